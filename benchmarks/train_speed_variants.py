"""The networks that `train_speed.py` compares, each with the neurons of one library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

STEPS, DECAY, THRESHOLD = 4, 0.25, 0.46


class Arctangent(torch.autograd.Function):
    """The step function with slope 1 / (1 + x^2)."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, to_spikes: torch.Tensor) -> torch.Tensor:
        (x,) = ctx.saved_tensors
        return to_spikes / (1 + x * x)


class Layers(nn.Module):
    """What all variants have in common but ours, which brings its own container."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 16, 3, padding=1)
        self.second = nn.Conv2d(16, 32, 3, padding=1)
        self.pool = nn.AvgPool2d(2)
        self.linear = nn.Linear(32 * 7 * 7, 10)

    def neurons(self, number: int, current: torch.Tensor, state: Any) -> tuple[torch.Tensor, Any]:
        """One step of layer `number`: spikes and the state after it; the state is None at first."""
        raise NotImplementedError

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits; one step after the other, which is faster than layer by layer on a CPU."""
        total: Any = 0
        first: Any = None
        second: Any = None
        for _ in range(STEPS):
            spikes, first = self.neurons(0, self.first(images), first)
            spikes, second = self.neurons(1, self.second(self.pool(spikes)), second)
            total = total + self.linear(self.pool(spikes).flatten(1))
        return total / STEPS


class HandLoop(Layers):
    """What one writes without a library."""

    def neurons(self, number: int, current: torch.Tensor, state: Any) -> tuple[torch.Tensor, Any]:
        potential = current
        if state is not None:
            before, spikes = state
            potential = DECAY * before * (1 - spikes) + current
        spikes = Arctangent.apply(potential - THRESHOLD)
        return spikes, (potential, spikes)


class SnnTorch(Layers):
    """`snntorch.Leaky`, reset to zero right after the spike."""

    def __init__(self) -> None:
        super().__init__()
        import snntorch

        self.lif = nn.ModuleList(
            snntorch.Leaky(beta=DECAY, threshold=THRESHOLD, reset_mechanism="zero", reset_delay=False) for _ in range(2)
        )

    def neurons(self, number: int, current: torch.Tensor, state: Any) -> tuple[torch.Tensor, Any]:
        return self.lif[number](current, torch.zeros_like(current) if state is None else state)


class SpikingJelly(Layers):
    """`LIFNode` with tau = 4 / 3, whose leak 1 - 1 / tau is 0.25; its modules hold their state.

    Version 2 picks its kernels itself: PyTorch on a CPU, Triton on a GPU.
    """

    def __init__(self, mode: str = "s") -> None:
        super().__init__()
        from spikingjelly.activation_based import functional, neuron

        settings = {"tau": 1 / (1 - DECAY), "decay_input": False, "v_threshold": THRESHOLD, "v_reset": 0.0}
        self.lif = nn.ModuleList(neuron.LIFNode(**settings, step_mode=mode) for _ in range(2))
        self.mode, self.forget = mode, functional.reset_net

    def neurons(self, number: int, current: torch.Tensor, state: Any) -> tuple[torch.Tensor, Any]:
        return self.lif[number](current), None

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.mode == "s":
            return super().forward(images)
        current = self.first(images).expand(STEPS, -1, -1, -1, -1)
        spikes = self.pool(self.lif[0](current).flatten(0, 1))
        spikes = self.lif[1](self.second(spikes).unflatten(0, (STEPS, -1)))
        return self.linear(self.pool(spikes.flatten(0, 1)).flatten(1)).unflatten(0, (STEPS, -1)).mean(0)


class Norse(Layers):
    """`LIFBoxCell`, v += k (I - v): with k = 0.75 and weights times 1 / k the leak is 0.25 and the current I."""

    def __init__(self) -> None:
        super().__init__()
        import norse.torch as norse

        share = 1 - DECAY
        parameters = norse.LIFBoxParameters(
            tau_mem_inv=torch.tensor(share / 1e-3), v_th=torch.tensor(THRESHOLD), v_reset=torch.tensor(0.0)
        )
        self.lif = nn.ModuleList(norse.LIFBoxCell(parameters, dt=1e-3) for _ in range(2))
        self.factor = 1 / share

    def neurons(self, number: int, current: torch.Tensor, state: Any) -> tuple[torch.Tensor, Any]:
        return self.lif[number](current, state)


def ours(rule: Any = "frozen") -> nn.Module:
    """A SpikingNetwork with the arctangent surrogate."""
    from neurodeploy.ir.nodes import Input
    from neurodeploy.snn.neurons import LIFNeurons, MembraneReadoutNeurons
    from neurodeploy.snn.spiking_network import sequential
    from neurodeploy.snn.surrogate import Surrogate

    layers = Layers()

    def lif() -> LIFNeurons:
        return LIFNeurons(STEPS, Surrogate("arctangent", rule), DECAY, THRESHOLD)

    modules = [
        ("first", layers.first),
        ("lif1", lif()),
        ("pool1", nn.AvgPool2d(2)),
        ("second", layers.second),
        ("lif2", lif()),
        ("pool2", nn.AvgPool2d(2)),
        ("flatten", nn.Flatten()),
        ("linear", layers.linear),
        ("readout", MembraneReadoutNeurons(STEPS, 0.0)),  # the mean of the currents, as in the others
    ]
    return sequential(Input((1, 28, 28), 1 / 31, 5), STEPS, modules)


def variants(with_compiled: bool) -> dict[str, Callable[[], nn.Module]]:
    """Name -> how it is made; names say what is compiled and which memory format is asked for."""
    makers: dict[str, Callable[[], nn.Module]] = {
        "hand_loop": HandLoop,
        "snntorch_step": SnnTorch,
        "spikingjelly_step": SpikingJelly,
        "spikingjelly_multi": lambda: SpikingJelly("m"),
        "norse_step": Norse,
        "ours": ours,
        "ours_psg_pda": lambda: ours("literal"),
    }
    made = {f"{name}{end}": _formatted(maker, end) for name, maker in makers.items() for end in ("", "_channels_last")}
    if with_compiled:
        made |= {f"{name}_compiled": _compiled(maker) for name, maker in made.items()}
    return made


def _formatted(maker: Callable[[], nn.Module], end: str) -> Callable[[], nn.Module]:
    return (lambda: maker().to(memory_format=torch.channels_last)) if end else maker


def _compiled(maker: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        module = maker()
        if isinstance(module, Layers):
            module.compile()
            return module
        from neurodeploy.snn.memory_order import compiled

        network: nn.Module = compiled(module)  # what `train.compile` does
        return network

    return make
