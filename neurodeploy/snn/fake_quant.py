"""Quantisation in the loop: the forward pass computes with what `quantize` would store, code for code.

At every batch the network is traced and quantised at given scales: what folds batch norms, rounds weights, biases and
decays, and keeps thresholds exact is the code that exports. The forward pass then computes with

    weight    code * scale / source scale, divided by the batch norm's gain (and times the pool's window), which the
              module's own batch norm and pooling multiply again
    decay     k / 4096                                                   (fixed-point chips)
    threshold (64 q + 1/2) scale / 64                                    (fixed-point chips)
    current   + the rounding error of the bias + what truncation takes   (fixed-point chips)

The chip's integer voltages v fire above 64 q, that is, at or above 64 q + 1: half a unit between the two keeps the
decision where single precision puts a voltage a little off its grid. What the chip's truncating decay takes away is
computed beside the module, in integers, and added to its current. So the module fires as the Program does, spike for
spike, while its potentials, and with them surrogate gradients and potential adjustment, stay in the Network's unit.
Wrapping currents and saturating voltages, of which `neurodeploy inspect` warns, are left out; so is mixed precision, in
which 8-bit codes do not survive.

Backward everything is straight-through (Bengio, Léonard & Courville 2013, arXiv:1308.3432): d(rounded)/d(exact) = 1.

Codes are of folded weights, so that batch norms must be in evaluation mode (`snn.rounding`, which also says when
scales are chosen). A layer's scale is kept while weights change: as the integer threshold of firing layers, so that a
threshold that is learned stays exact, and as the scale itself elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from neurodeploy.errors import UsageError
from neurodeploy.hw_models.chip import ChipModel
from neurodeploy.ir.arrays import FloatArray
from neurodeploy.ir.lower import LoweredLayer, lower
from neurodeploy.ir.network import Network
from neurodeploy.ir.nodes import LIF
from neurodeploy.ir.program import DECAY_ONE, INPUT, VOLTAGE_UNIT_BITS, FixedPointNeurons, Layer
from neurodeploy.ir.synapses import ConvSynapses, Synapses
from neurodeploy.quantize import quantize, threshold_scale
from neurodeploy.snn.layers import FeatureLateral
from neurodeploy.snn.neurons import LIFNeurons
from neurodeploy.snn.perturb import Unperturbed
from neurodeploy.snn.spiking_network import SpikingNetwork
from neurodeploy.snn.trace import trace

_UNIT = 2**VOLTAGE_UNIT_BITS


@dataclass(frozen=True)
class Scales:
    """How finely a chip stores each layer, whatever its weights become.

    Attributes:
        thresholds: firing layers of a fixed-point chip -> integer threshold.
        fixed: all other layers -> scale.
    """

    chip: ChipModel
    thresholds: Mapping[str, int]
    fixed: Mapping[str, float]

    def of(self, network: Network) -> dict[str, float]:
        """layer -> scale for the network's present thresholds, as `quantize` takes them.

        Raises:
            UsageError: where a layer has a synaptic current, whose truncation `FakeQuant` does not compute.
        """
        found = dict(self.fixed)
        for name, threshold in self.thresholds.items():
            node = network.nodes[name]
            if not isinstance(node, LIF):
                raise UsageError(
                    f"layer {name}: rounding in the loop knows no synaptic currents; train without noise.quantize, or "
                    "without network.current_decay"
                )
            found[name] = threshold_scale(node, threshold)
        return found


def choose_scales(network: SpikingNetwork, chip: ChipModel, calibration: NDArray[Any] | None = None) -> Scales:
    """The scales that `quantize` finds for the network as it is; arguments and errors are its own."""
    program = quantize(trace(network), chip, calibration)
    thresholds = {
        layer.name: int(layer.neurons.threshold) for layer in program.layers if chip.fixed_point and layer.fires
    }
    fixed = {layer.name: layer.scale for layer in program.layers if layer.name not in thresholds}
    return Scales(chip, thresholds, fixed)


class FakeQuant(Unperturbed):
    """The rounding of one chip for the weights that a network has now; made anew after every optimiser step.

    Attributes:
        scales: those that it was made with.
        program: what the chip stores, `quantize(trace(network), scales.chip, scales=...)`.

    Raises:
        UsageError: for a network that cannot be traced, or in which weights reach neurons in more than one way.
        DesignRuleError: where the chip cannot hold the network at these scales.
    """

    def __init__(self, network: SpikingNetwork, scales: Scales) -> None:
        traced = trace(network)
        self.scales = scales
        self.program = quantize(traced, scales.chip, scales=scales.of(traced))
        self._layers = {layer.name: layer for layer in self.program.layers}
        self._weights: dict[str, FloatArray] = {}
        self._shortcuts: dict[str, float] = {}  # layer -> what spikes that reach it without weights are multiplied by
        self._bias_errors: dict[str, FloatArray] = {}
        self._decays: dict[str, float] = {}
        self._network = network
        for exact, stored in zip(lower(traced).layers, self.program.layers, strict=True):
            self._decays[stored.name] = exact.neuron.decay
            self._bias_errors[stored.name] = _bias_error(exact, stored)
            for before, after in zip(exact.synapses, stored.synapses, strict=True):
                weight = after.weight * (stored.scale / (network.input.scale if before.source == INPUT else 1.0))
                self._add(before, weight)

    def weight(self, name: str, weight: torch.Tensor) -> torch.Tensor:
        """The weights that the chip stores, before batch norm; of weights that lead to no neurons, themselves."""
        stored = self._weights.get(name)
        return weight if stored is None else _straight_through(weight, torch.from_numpy(stored))

    def threshold(self, name: str, threshold: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        """(64 q + 1/2) scale / 64 on a fixed-point chip."""
        layer = self._layers[name]
        if not isinstance(layer.neurons, FixedPointNeurons):
            return threshold
        stored = (_UNIT * int(layer.neurons.threshold) + 0.5) * layer.scale / _UNIT
        return _straight_through(threshold, torch.tensor(stored, dtype=torch.float64))

    def decay(self, name: str, decay: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        """k / 4096 on a fixed-point chip."""
        layer = self._layers[name]
        if not isinstance(layer.neurons, FixedPointNeurons):
            return decay
        return _straight_through(decay, torch.tensor(_kept(layer) / DECAY_ONE, dtype=torch.float64))

    def current(self, name: str, current: torch.Tensor, threshold: torch.Tensor, steps: int) -> torch.Tensor:
        """The current with the rounding of the bias and, at every step, what truncation takes from the potential."""
        layer = self._layers[name]
        if not isinstance(layer.neurons, FixedPointNeurons):
            return current
        current = current + torch.from_numpy(self._bias_errors[name]).to(current)
        return current + _lost(layer, current.detach(), steps, _kept(layer) / DECAY_ONE)

    def readout(self, name: str, current: torch.Tensor, steps: int) -> torch.Tensor:
        """As `current`; that the readout's decay is rounded goes by way of its current, too."""
        layer = self._layers[name]
        if not isinstance(layer.neurons, FixedPointNeurons):
            return current
        current = current + torch.from_numpy(self._bias_errors[name]).to(current)
        return current + _lost(layer, current.detach(), steps, self._decays[name])

    def arriving(self, source: str, name: str, value: torch.Tensor) -> torch.Tensor:
        """Spikes that no weights stand before, as in a residual sum: times the stored weight, and not 1."""
        factor = self._shortcuts.get(name)
        if factor is None or not self._unweighted(source):
            return value
        return _straight_through(value, value * factor)

    def decided(self, per_step: torch.Tensor) -> torch.Tensor:
        """(B,): the class that the chip decides on, from the readout (T, B, classes); of equal sums the first.

        Single precision takes potentials a little off the chip's grid, and with that equal sums apart; each potential
        is put back on it before they are added up. That is the chip's sum as long as none is half a unit off: by
        measurement up to 0.3 units at 25 steps and potentials of 8e5 units, 0.5 at 50 steps and 1.6e6, where one sum in
        a thousand differs by a few units.
        """
        last = self.program.layers[-1]
        if last.fires or not isinstance(last.neurons, FixedPointNeurons):
            return per_step.mean(dim=0).argmax(dim=1)
        units: torch.Tensor = per_step.double() * (_UNIT / last.scale)
        return units.round_().sum(dim=0).argmax(dim=1)

    def _unweighted(self, source: str) -> bool:
        while source != INPUT and not isinstance(self._network.layers[source], LIFNeurons):
            if isinstance(self._network.layers[source], nn.Conv2d | nn.Linear):
                return False
            source = self._network.sources(source)[0]
        return True

    def _add(self, exact: Synapses, stored: FloatArray) -> None:
        if exact.name in self._layers:
            largest = np.abs(exact.weight).max()
            self._shortcuts[exact.name] = float(np.abs(stored).max() / largest)
            return
        module = self._network.layers.get_submodule(exact.name)
        assert isinstance(module, nn.Conv2d | nn.Linear)
        weight = _raw(self._network, exact, module.weight.detach().double().cpu().numpy(), stored)
        known = self._weights.setdefault(exact.name, weight)
        if not np.allclose(known, weight, rtol=1e-9, atol=0):
            raise UsageError(
                f"module {exact.name}: its weights lead to several layers of neurons, or come from the input and from "
                "neurons, and would be rounded in several ways; noise.quantize needs one way"
            )


def _raw(network: SpikingNetwork, exact: Synapses, raw: FloatArray, stored: FloatArray) -> FloatArray:
    """Stored weights brought back to where the module has its own: before batch norm, lateral taps and pooling.

    Both folded weights are (1 + L) diag(gain) times what the module has, with L of lateral taps.
    """
    rows, folded, wanted = (part.reshape(len(raw), -1) for part in (raw, exact.weight, stored))
    mixing = _mixing(network, exact.name, len(raw))
    if mixing is not None:
        folded, wanted = np.linalg.solve(mixing, folded), np.linalg.solve(mixing, wanted)
    power = (rows**2).sum(axis=1)
    gain = (rows * folded).sum(axis=1, keepdims=True) / np.where(power > 0, power, 1.0)[:, None]
    return np.asarray(np.where(gain == 0, rows, wanted / np.where(gain == 0, 1.0, gain)).reshape(raw.shape))


def _mixing(network: SpikingNetwork, name: str, features: int) -> FloatArray | None:
    """1 + L of the lateral taps behind a layer with weights; None where there are none."""
    while (readers := [target for source, target in network.edges if source == name]) and len(readers) == 1:
        name = readers[0]
        module = network.layers[name]
        if isinstance(module, FeatureLateral):
            weight = module.taps.weight.detach().double().cpu()
            identity = torch.eye(features, dtype=torch.float64)
            return np.asarray((identity + nn.functional.conv1d(identity[:, None], weight, padding="same")[:, 0]).T)
        if not isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            break
    return None


def _bias_error(exact: LoweredLayer, stored: Layer) -> FloatArray:
    if not isinstance(stored.neurons, FixedPointNeurons):
        return np.zeros(exact.shape)
    return np.asarray(stored.neurons.bias * (stored.scale / _UNIT) - exact.bias)


def _kept(layer: Layer) -> int:
    """k of the decay k / 4096."""
    assert isinstance(layer.neurons, FixedPointNeurons)
    return DECAY_ONE - int(layer.neurons.voltage_decay)


def _straight_through(exact: torch.Tensor, rounded: torch.Tensor) -> torch.Tensor:
    """`rounded`, with the gradient of `exact`."""
    return _StraightThrough.apply(exact, rounded)  # type: ignore[no-any-return, no-untyped-call]


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, exact: torch.Tensor, rounded: torch.Tensor) -> torch.Tensor:
        return torch.empty_like(exact).copy_(rounded)  # in the memory order that the weights have

    @staticmethod
    def backward(ctx: Any, given: torch.Tensor) -> tuple[torch.Tensor, None]:
        return given, None


@torch.no_grad()
def _lost(layer: Layer, current: torch.Tensor, steps: int, decay: float) -> torch.Tensor:
    """(T, B, …): trunc(k v / 4096) - decay v at every step, in the Network's unit; or 0 where there is no difference.

    v are the chip's voltages after reset, whole numbers in double precision; decay v is what the module keeps of them.
    """
    kept, threshold = _kept(layer) / DECAY_ONE, float(layer.neurons.threshold) * _UNIT
    if kept == decay and kept in (0, 1):
        return torch.zeros((), dtype=current.dtype, device=current.device)
    units = (current.double() * (_UNIT / layer.scale)).round_()
    own = [synapses for synapses in layer.synapses if synapses.source == layer.name]
    lost = torch.zeros((steps, *current.shape[1:]), dtype=torch.float64, device=current.device)
    voltage = units[0]
    for step in range(1, steps):
        fired = voltage > threshold if layer.fires else torch.zeros_like(voltage, dtype=torch.bool)
        voltage = torch.where(fired, 0.0, voltage)
        whole = (voltage * kept).trunc_()
        lost[step] = whole - voltage * decay
        voltage = whole + units[step if len(units) > 1 else 0]
        for synapses in own:
            voltage += _UNIT * _weighed(synapses, fired.double())
    return lost.mul_(layer.scale / _UNIT).to(current.dtype)


def _weighed(synapses: Synapses, spikes: torch.Tensor) -> torch.Tensor:
    weight = torch.from_numpy(synapses.weight.astype(np.float64)).to(spikes.device)
    if isinstance(synapses, ConvSynapses):
        s = synapses
        return nn.functional.conv2d(spikes, weight, None, s.stride, s.padding, s.dilation, s.groups)
    return spikes @ weight.T
