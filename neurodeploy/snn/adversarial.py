"""Adversarial weight perturbation: the loss is minimised at the worst weights nearby (Wu et al., NeurIPS 2020,
arXiv:2004.05884; for mismatch in spiking networks Büchel, Faber & Muir, ICLR 2022, arXiv:2106.05009).

For every layer's weights w and their perturbation delta, from delta = 0, at every step

    g     = dL/ddelta at w + delta
    delta = project(delta + level * |w| * g / |g|),     project: onto the ball |delta| <= level * |w|

with Euclidean norms over the layer. One step ends exactly on the sphere. Then dL/dw is taken at w + delta, delta held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from neurodeploy.snn.perturb import Unperturbed
from neurodeploy.snn.spiking_network import Perturbation, SpikingNetwork


class ShiftedWeights(Unperturbed):
    """Adds a shift to the weights of every layer; made as layers ask for it.

    Attributes:
        shifts: layer -> delta, the shape of its weights.
        norms: layer -> |w|, of the weights that the layer brought.
    """

    def __init__(self) -> None:
        self.shifts: dict[str, torch.Tensor] = {}
        self.norms: dict[str, torch.Tensor] = {}

    def weight(self, name: str, weight: torch.Tensor) -> torch.Tensor:
        """weight + shift."""
        if name not in self.shifts:
            self.shifts[name] = torch.zeros_like(weight).requires_grad_()
            self.norms[name] = torch.linalg.vector_norm(weight.detach())
        return weight + self.shifts[name]


def adversarial_weights(
    network: SpikingNetwork, loss: Callable[[Perturbation], torch.Tensor], level: float, steps: int = 1
) -> Perturbation | None:
    """The perturbation of the weights that raises the loss; each step costs one forward and backward pass.

    Args:
        network: in training; batch norms use the batch as always, but keep the running statistics that they had, and
            no parameter's gradient is touched.
        loss: the batch's loss under a perturbation; where there is noise as well, combine(noise, perturbation).
        level: relative size |delta| / |w| in every layer; 0 gives None, and costs nothing.
        steps: number of ascent steps.
    """
    if level == 0:
        return None
    shifted = ShiftedWeights()
    with _buffers_kept(network), torch.enable_grad():
        for _ in range(steps):
            value = loss(shifted)
            names = list(shifted.shifts)
            gradients = torch.autograd.grad(value, [shifted.shifts[name] for name in names], allow_unused=True)
            for name, gradient in zip(names, gradients, strict=True):
                if gradient is not None:
                    moved = _moved(shifted.shifts[name].detach(), gradient, level * shifted.norms[name])
                    shifted.shifts[name] = moved.requires_grad_()
    shifted.shifts = {name: shift.detach() for name, shift in shifted.shifts.items()}
    return shifted


def _moved(shift: torch.Tensor, gradient: torch.Tensor, radius: torch.Tensor) -> torch.Tensor:
    """A step of length `radius` along the gradient, back onto the ball of that radius; none where there is no slope."""
    length = torch.linalg.vector_norm(gradient)
    if not (0 < length < torch.inf and radius > 0):  # nor where a gradient is not finite
        return shift
    moved = shift + gradient * (radius / length)
    size = torch.linalg.vector_norm(moved)
    shrunk: torch.Tensor = moved * (radius / size).clamp(max=1)
    return shrunk


@contextmanager
def _buffers_kept(network: torch.nn.Module) -> Iterator[None]:
    """Running statistics are afterwards what they were before."""
    before = [buffer.clone() for buffer in network.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in zip(network.buffers(), before, strict=True):
                buffer.copy_(value)
