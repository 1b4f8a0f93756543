"""A network while it is put together: modules, edges, and what the next module reads."""

from __future__ import annotations

from torch import nn

from neurodeploy.config import NetworkConfig, SurrogateShape
from neurodeploy.ir.nodes import Input
from neurodeploy.snn.currents import with_currents
from neurodeploy.snn.fan_in import FanInLinear
from neurodeploy.snn.graded import GradedLIFNeurons
from neurodeploy.snn.layers import FeatureLateral, ModerateDropout
from neurodeploy.snn.neurons import Decay, LIFNeurons, MembraneReadoutNeurons, SpikeCountReadoutNeurons
from neurodeploy.snn.recurrent import RecurrentLIFNeurons
from neurodeploy.snn.spiking_network import INPUT
from neurodeploy.snn.surrogate import Surrogate

_LATERAL_KERNEL = 5  # of LISNN


class Plan:
    """What the functions that define networks write into.

    Attributes:
        shape: of the input.
        modules: in an order in which each comes after its sources.
        tip: the modules whose outputs, added up, the next one reads.
        layers: number of layers with weights so far, by which convnets name them.
    """

    def __init__(self, config: NetworkConfig, input_node: Input) -> None:
        self.config, self.shape = config, input_node.shape
        self.modules: dict[str, nn.Module] = {}
        self.edges: list[tuple[str, str]] = []
        self.tip: tuple[str, ...] = (INPUT,)
        self.layers = 0
        self._shared_decay = Decay(config.decay) if config.decay_rule == "shared" else None

    def add(self, name: str, module: nn.Module) -> None:
        """Appends a module that reads the tip, and becomes it."""
        self.modules[name] = module
        self.edges += [(source, name) for source in self.tip]
        self.tip = (name,)

    def convolution(
        self, name: str, norm: str, channels: tuple[int, int], kernel: int = 3, stride: int = 1, share: float = 1.0
    ) -> None:
        """A convolution and its batch norm, unless there is none; its stride apart it keeps the size, unless
        `padding` is 0.

        Under "threshold" the output of the norm is N(0, (share Vth)^2) at the start: tdBN (Zheng et al., AAAI 2021)
        multiplies the normalised current by alpha Vth, constants, before its own learned weight; here they are the
        start of the learned weight. alpha (`share`) is 1, and 1 / sqrt(2) where a residual sum of two follows.
        """
        self.add(
            name,
            nn.Conv2d(*channels, kernel, stride, kernel // 2 * self.config.padding, bias=self.config.norm == "none"),
        )
        if self.config.norm != "none":
            self.add(norm, self._start(nn.BatchNorm2d(channels[1]), share))

    def spatial_neurons(self, name: str, channels: int) -> None:
        """Neurons of a convolutional layer, with lateral connections if the configuration has them."""
        kernel = _LATERAL_KERNEL
        lateral = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels, bias=False)
        self.add(name, self._neurons(self.config.surrogate, lateral if self.config.lateral == "channel" else None))

    def pool(self, name: str) -> None:
        """Pooling by two."""
        kinds = {"average": nn.AvgPool2d(2), "sum": nn.AvgPool2d(2, divisor_override=1), "max": nn.MaxPool2d(2)}
        self.add(name, kinds[self.config.pool])

    def classifier(self, features: int, classes: int) -> None:
        """The hidden fully connected layers and the readout.

        Hidden layers have a norm like the others, except in "resnet19", where they have biases instead, as in TET
        (Deng et al., ICLR 2022), unless `classifier_norm`: then no fully connected layer has a bias, as in MPD-AGL
        (IJCAI 2025).
        """
        config = self.config
        normed = config.norm != "none" and (config.kind != "resnet19" or config.classifier_norm)
        for width in config.hidden:
            self.layers += 1
            number = self.layers
            self.add(f"linear{number}", self._linear(features, width, not normed and not config.current_decay))
            if normed:
                self.add(f"norm{number}", self._start(nn.BatchNorm1d(width), 1.0))
            recurrent = nn.Linear(width, width, bias=False) if config.recurrent else None
            self._dense_neurons(number, config.hidden_output == "potential", recurrent)
            if config.dropout > 0:
                self.add(f"dropout{number}", ModerateDropout(config.dropout))
            features = width
        self.layers += 1
        # A bias acts on the potential (`ir.nodes.CubaLIF`), which a layer before the current cannot express.
        through_current = config.current_decay > 0 and config.readout != "membrane"
        self.add(
            f"linear{self.layers}", self._linear(features, classes, not (through_current or config.classifier_norm))
        )
        if config.readout == "membrane":
            self.add("readout", MembraneReadoutNeurons(config.steps, config.readout_decay))
        else:
            self._dense_neurons(self.layers, config.readout == "potential", None, most=1)
            self.add("readout", SpikeCountReadoutNeurons())

    def _dense_neurons(self, number: int, graded: bool, recurrent: nn.Linear | None, most: int | None = None) -> None:
        if self.config.lateral == "feature":
            self.add(f"lateral{number}", FeatureLateral())
        self.add(f"lif{number}", self._neurons(self.config.surrogate_linear, recurrent, graded, most))

    def _neurons(
        self,
        shape: SurrogateShape,
        recurrent: nn.Linear | nn.Conv2d | None,
        graded: bool = False,
        most: int | None = None,
    ) -> LIFNeurons:
        config = self.config
        decay: float | Decay = self._shared_decay or config.decay
        settings = (
            config.steps,
            Surrogate(shape, config.gamma_rule),
            Decay(config.decay) if config.decay_rule == "layer" else decay,
            config.threshold,
            config.gamma,
            config.reset,
            config.detach_reset,
            None if config.learn_threshold else False,
        )
        most = config.most_spikes if most is None else most
        if config.current_decay or most > 1:
            return with_currents(config.current_decay, most, recurrent, settings)
        if recurrent is not None:
            return RecurrentLIFNeurons(recurrent, *settings)
        return GradedLIFNeurons(*settings) if graded else LIFNeurons(*settings)

    def _linear(self, features: int, width: int, bias: bool) -> nn.Linear:
        fan_in = self.config.fan_in
        return nn.Linear(features, width, bias=bias) if fan_in is None else FanInLinear(features, width, fan_in)

    def _start(self, norm: nn.BatchNorm1d | nn.BatchNorm2d, share: float) -> nn.Module:
        if self.config.norm == "threshold":
            nn.init.constant_(norm.weight, share * self.config.threshold)
        return norm
