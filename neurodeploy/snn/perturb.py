"""Perturbations of a forward pass: the one that does nothing, and several of them one after the other."""

from __future__ import annotations

from functools import reduce

import torch

from neurodeploy.snn.spiking_network import Perturbation


class Unperturbed:
    """Hands everything back as it came; what perturbs one thing overrides one method."""

    def weight(self, name: str, weight: torch.Tensor) -> torch.Tensor:
        """The weights themselves."""
        return weight

    def threshold(self, name: str, threshold: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        """The threshold itself."""
        return threshold

    def decay(self, name: str, decay: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        """The decay itself."""
        return decay

    def current(self, name: str, current: torch.Tensor, threshold: torch.Tensor, steps: int) -> torch.Tensor:
        """The current itself."""
        return current

    def noise(self, name: str, current: torch.Tensor, threshold: torch.Tensor, steps: int) -> torch.Tensor | None:
        """None."""
        return None

    def readout(self, name: str, current: torch.Tensor, steps: int) -> torch.Tensor:
        """The current itself."""
        return current

    def arriving(self, source: str, name: str, value: torch.Tensor) -> torch.Tensor:
        """The value itself."""
        return value


class _Combined(Unperturbed):
    def __init__(self, parts: tuple[Perturbation, ...]) -> None:
        self.parts = parts

    def weight(self, name: str, weight: torch.Tensor) -> torch.Tensor:
        for part in self.parts:
            weight = part.weight(name, weight)
        return weight

    def threshold(self, name: str, threshold: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        for part in self.parts:
            threshold = part.threshold(name, threshold, shape)
        return threshold

    def decay(self, name: str, decay: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        for part in self.parts:
            decay = part.decay(name, decay, shape)
        return decay

    def current(self, name: str, current: torch.Tensor, threshold: torch.Tensor, steps: int) -> torch.Tensor:
        for part in self.parts:
            current = part.current(name, current, threshold, steps)
        return current

    def noise(self, name: str, current: torch.Tensor, threshold: torch.Tensor, steps: int) -> torch.Tensor | None:
        drawn = (part.noise(name, current, threshold, steps) for part in self.parts)
        found = [one for one in drawn if one is not None]
        return reduce(torch.add, found) if found else None

    def readout(self, name: str, current: torch.Tensor, steps: int) -> torch.Tensor:
        for part in self.parts:
            current = part.readout(name, current, steps)
        return current

    def arriving(self, source: str, name: str, value: torch.Tensor) -> torch.Tensor:
        for part in self.parts:
            value = part.arriving(source, name, value)
        return value


def combine(*perturbations: Perturbation | None) -> Perturbation | None:
    """The perturbations one after the other, the first given being the first applied; None counts as none.

    The order of a chip is: what it stores (`FakeQuant`), how it deviates from that (`ChipNoise`), and the worst case
    around that (`adversarial_weights`).
    """
    parts = tuple(part for part in perturbations if part is not None)
    return parts[0] if len(parts) == 1 else _Combined(parts) if parts else None
