"""Compares `snn.fused_gpu`, run by Triton's interpreter on a CPU, with `snn.fused`; a script, not a test."""

from __future__ import annotations

import itertools
import sys

import torch

from neurodeploy.snn import fused_gpu, fused_layer

PAIRS = ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (2, 3), (3, 3), (4, 3), (5, 3), (6, 3), (0, 3))
STEPS, SAMPLES, NEURONS = 3, 2, 600  # more than one block, not a whole number of them


def main() -> int:
    """The number of comparisons."""
    torch.manual_seed(0)
    done = 0
    for (shape, rule), subtract, static, each in itertools.product(PAIRS, *[(False, True)] * 3):
        detach = static != each
        current = torch.randn(1 if static else STEPS, SAMPLES, NEURONS) * 0.7 + 0.3
        count = NEURONS if each else 1
        threshold, decay, gamma = 0.3 + 0.3 * torch.rand(count), torch.rand(count), torch.tensor(1.7)
        flat = current if each else current.reshape(len(current), 1, -1)
        settings = (STEPS, shape, rule, subtract, detach, 1)
        spikes = torch.empty(STEPS, *flat.shape[1:])
        means = fused_gpu.forward(flat, threshold, decay, STEPS, subtract, spikes)
        wanted, wanted_means = fused_layer._forward(current, threshold, decay, gamma, *settings)
        same(spikes.reshape(wanted.shape), wanted, 0)
        same(means, wanted_means, 1e-6)
        to_spikes, to_means = torch.randn_like(wanted), 100 * torch.randn(STEPS, 3)
        factors = torch.stack([to_means[:, 0], 2 * to_means[:, 1]], 1) / (SAMPLES * NEURONS)
        to_current = torch.empty_like(flat)
        parts = fused_gpu.backward(
            flat,
            threshold,
            decay,
            gamma,
            STEPS,
            subtract,
            detach,
            shape,
            rule,
            to_spikes.view_as(spikes),
            factors,
            to_current,
        )
        gradients = fused_layer._backward(current, threshold, decay, gamma, *settings, to_spikes, to_means)
        for got, other in zip((to_current.view_as(current), *parts), gradients, strict=True):
            same(got, other, 1e-4)
        done += 1
    return done


def same(got: torch.Tensor, wanted: torch.Tensor, tolerance: float) -> None:
    """Raises where they differ by more than `tolerance` of the largest value."""
    if got.shape != wanted.shape or float((got - wanted).abs().max()) > tolerance * (1 + float(wanted.abs().max())):
        raise SystemExit(f"{got} is not {wanted}")


if __name__ == "__main__":
    sys.stdout.write(f"compared {main()}\n")
