"""Digits for a Xylo, and a small trainer of networks with synaptic currents: what `xylo_digits.py` measures with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from torch.nn import functional

from neurodeploy.ir.nodes import Input
from neurodeploy.ir.populations import Population, PopulationNetwork, Projection
from neurodeploy.ir.program import INPUT

_TEST_SEED, _TEST = 20230426, 360  # the test images of the data set "digits"
_CROWDING = 0.1  # weight of the mean of hidden spikes and of potentials that are left over
EVENTS = 15  # a channel of Xylo brings at most so many in a step
Array = NDArray[Any]


def scanned_digits(repeats: int, classes: int = 10) -> dict[str, Array]:
    """scikit-learn's digits on 16 channels: step by step a row of the image on the first 8 and a column on the last 8.

    Each row stays for `repeats` steps; grey levels 0 to 16 are events, at most 15.

    Returns:
        train_samples, test_samples (N, 8 * repeats, 16) uint8, train_labels, test_labels; of the first classes only.
    """
    bunch = load_digits()
    images = np.minimum(bunch.images, EVENTS).astype(np.uint8)
    samples = np.repeat(np.concatenate([images, images.transpose(0, 2, 1)], axis=2), repeats, axis=1)
    order = np.random.default_rng(_TEST_SEED).permutation(len(images))
    found = {}
    for part, chosen in (("train", order[_TEST:]), ("test", order[:_TEST])):
        kept = chosen[bunch.target[chosen] < classes]
        found |= {f"{part}_samples": samples[kept], f"{part}_labels": bunch.target[kept].astype(np.int64)}
    return found


def write_npz(path: Path, data: dict[str, Array]) -> None:
    """As a data set of one's own."""
    classes = np.array(data["train_labels"].max() + 1)
    np.savez(path, temporal=np.array(True), classes=classes, **data)


class _Spikes(torch.autograd.Function):
    """n = floor(u), at most `most`; backward, 1 / (1 + 5 |u - nearest step|)^2 for the steps that there are."""

    @staticmethod
    def forward(ctx: Any, u: torch.Tensor, most: int) -> torch.Tensor:
        ctx.save_for_backward(u)
        ctx.most = most
        return u.floor().clamp(0, most)

    @staticmethod
    def backward(ctx: Any, given: torch.Tensor) -> tuple[torch.Tensor, None]:
        (u,) = ctx.saved_tensors
        distance = u - u.round().clamp(1, ctx.most)
        return given / (1 + 5 * distance.abs()) ** 2, None


def train_currents(
    data: dict[str, Array], ratio: float, seed: int, hidden: int = 64, epochs: int = 40, recurrent: bool = False
) -> PopulationNetwork:
    """A network of LIF neurons with currents, tau_syn = `ratio` steps, tau_mem 7.5 steps, subtractive reset, 31 spikes.

    Connections between neurons take a step, as on the chip; the readout is the count of output spikes, one per step.
    """
    torch.manual_seed(seed)
    x = torch.tensor(data["train_samples"].astype(np.float32)).transpose(0, 1)
    y, steps, classes = torch.tensor(data["train_labels"]), len(x), int(data["train_labels"].max()) + 1
    beta, alpha = float(np.exp(-1 / ratio)), 0.875
    into = (torch.randn(x.shape[2], hidden) * 0.07 * (1 - beta)).requires_grad_()
    among = (torch.randn(hidden, hidden) * (0.05 if recurrent else 0.0)).requires_grad_(recurrent)
    out = (torch.randn(hidden, classes) * 0.25 * (1 - beta)).requires_grad_()
    optimiser = torch.optim.Adam([one for one in (into, among, out) if one.requires_grad], lr=5e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs)
    for _ in range(epochs):
        for batch in torch.randperm(x.shape[1]).split(64):
            i, u, n = (torch.zeros(len(batch), hidden) for _ in range(3))
            i_out, u_out = (torch.zeros(len(batch), classes) for _ in range(2))
            counts, crowded = torch.zeros(len(batch), classes), torch.zeros(())
            for step in range(steps):
                before = n
                i = beta * i + x[step, batch] @ into + (before @ among if recurrent else 0)
                u = alpha * u + i
                n = _Spikes.apply(u, 31)
                u = u - n
                crowded = crowded + functional.relu(u).mean() + n.mean()
                i_out = beta * i_out + before @ out
                u_out = alpha * u_out + i_out
                fired = _Spikes.apply(u_out, 1)
                u_out = u_out - fired
                counts = counts + fired + 0.05 * u_out.clamp(-5, 2)
            loss = functional.cross_entropy(counts, y[batch]) + _CROWDING * crowded / steps
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        schedule.step()
    weights = [one.detach().double().numpy() for one in (into, among, out)]
    return _network(weights, alpha, beta, steps)


def _network(weights: list[Array], alpha: float, beta: float, steps: int) -> PopulationNetwork:
    into, among, out = weights

    def population(name: str, size: int, most: int) -> Population:
        return Population(name, np.full(size, alpha), np.full((1, size), beta), np.ones(size), np.zeros(size), most)

    populations = (population("hidden", into.shape[1], 31), population("output", out.shape[1], 1))
    projections = [Projection(INPUT, "hidden", into), Projection("hidden", "output", out, delay=1)]
    if among.any():
        projections.append(Projection("hidden", "hidden", among, delay=1))
    return PopulationNetwork(Input((len(into),), 1.0, 4), populations, tuple(projections), "spike_count", steps)
