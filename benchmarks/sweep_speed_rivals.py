"""What `sweep_speed` measures against: loops over chips as users write them, one chip at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

Run = Callable[[int], float]  # chip id -> mean firing rate of the hidden layer
DECAY, THRESHOLD = 0.9, 1.0


def torch_loop(weights: list[torch.Tensor], inputs: torch.Tensor, noise: dict[str, float]) -> Run:
    """PyTorch: draw a chip, run all samples step by step.

    Args:
        weights: of the hidden layer and of the readout, (out, in).
        inputs: (T, B, in).
        noise: levels of "mismatch" (thresholds and decays), "weights" and "thermal".
    """

    def run(chip: int) -> float:
        generator = torch.Generator().manual_seed(chip)

        def factor(*shape: int, level: float) -> torch.Tensor:
            return 1 + level * torch.randn(*shape, generator=generator)

        hidden, last = weights
        if noise["weights"]:
            hidden = hidden * factor(*hidden.shape, level=noise["weights"])
            last = last * factor(*last.shape, level=noise["weights"])
        threshold = THRESHOLD * factor(len(hidden), level=noise["mismatch"])
        decay = (DECAY * factor(len(hidden), level=noise["mismatch"])).clamp(0, 1)
        potential = torch.zeros(inputs.shape[1], len(hidden))
        spikes, readout = torch.zeros_like(potential), torch.zeros(inputs.shape[1], len(last))
        total, fired = torch.zeros_like(readout), 0.0
        for frame in inputs:
            current = frame @ hidden.T
            if noise["thermal"]:
                current = current + noise["thermal"] * THRESHOLD * torch.randn(current.shape, generator=generator)
            potential = decay * potential * (1 - spikes) + current
            spikes = (potential > threshold).float()
            readout = readout + spikes @ last.T
            total += readout
            fired += float(spikes.mean())
        total.argmax(dim=1)
        return fired / len(inputs)

    return run


def rockpool_loop(weights: list[torch.Tensor], inputs: torch.Tensor, noise: dict[str, float]) -> Run:
    """Rockpool: a network of LinearTorch and LIFTorch, its time constants and thresholds set anew for each chip."""
    from rockpool.nn.combinators import Sequential
    from rockpool.nn.modules import LIFTorch, LinearTorch

    step = 1e-3
    hidden, last = weights
    time_constant = -step / float(torch.log(torch.tensor(DECAY)))
    neurons = {"tau_syn": step, "dt": step, "threshold": THRESHOLD, "noise_std": noise["thermal"] * THRESHOLD}
    first = LinearTorch((hidden.shape[1], len(hidden)), has_bias=False)
    second = LinearTorch((last.shape[1], len(last)), has_bias=False)
    network: Any = Sequential(
        first,
        LIFTorch(len(hidden), tau_mem=time_constant, **neurons),
        second,
        LIFTorch(len(last), tau_mem=time_constant, **neurons),
    )
    first.weight.data, second.weight.data = hidden.T.contiguous(), last.T.contiguous()
    batch = inputs.transpose(0, 1).contiguous()
    layers = [network[1], network[3]]
    nominal = [(one.tau_mem.detach().clone(), one.threshold.detach().clone()) for one in layers]
    nominal_weights = [first.weight.detach().clone(), second.weight.detach().clone()]

    def run(chip: int) -> float:
        generator = torch.Generator().manual_seed(chip)

        def drawn(value: torch.Tensor, level: float, shape: Any) -> torch.Tensor:
            return value * (1 + level * torch.randn(shape, generator=generator))

        for layer, (time_constants, thresholds) in zip(layers, nominal, strict=True):
            size = layer.shape[1]
            layer.tau_mem.data = drawn(time_constants, noise["mismatch"], size).clamp(min=step / 10)
            layer.threshold.data = drawn(thresholds, noise["mismatch"], size)
        for layer, weight in zip((first, second), nominal_weights, strict=True):
            layer.weight.data = drawn(weight, noise["weights"], weight.shape) if noise["weights"] else weight
        with torch.no_grad():
            output, _, _ = network(batch)
        output.sum(dim=1).argmax(dim=1)
        return float(output.mean())

    return run
