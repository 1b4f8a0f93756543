"""Noise in training: every batch sees another chip, of those that `hw_models` draws, and its thermal noise.

With N standard normal numbers, xi a level, per neuron or synapse i:

    threshold_i = max(threshold * (1 + xi_mismatch N_i), 0)              drawn once per batch
    decay_i     = min(max(decay * (1 + xi_mismatch N_i), 0), 1)          drawn once per batch
    weight_i    = weight_i * (1 + xi_weight N_i)                         drawn once per batch
    current     = current + xi_thermal * threshold * N                   drawn per step, sample and neuron

Where neurons have synaptic currents, thermal noise joins the potential beside them, as in `simulate.reference`: it does
not pass the synapses' filter.

A batch is one chip: its draws are frozen over steps and samples (Büchel, Faber & Muir, ICLR 2022, arXiv:2106.05009,
train so on weights; arXiv:2304.13289, section 5.4, tests so on thresholds and decays). The equations and the clips are
those of `hw_models.virtual_chip` for Gaussian spreads. Gradients pass through the factors, but not where a clip holds.

A batch norm with statistics of the batch normalises part of a weight's deviation away, as no chip does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import NDArray

from neurodeploy.config import NoiseConfig
from neurodeploy.snn.perturb import Unperturbed, combine
from neurodeploy.snn.rounding import rounding
from neurodeploy.snn.spiking_network import Perturbation, SpikingNetwork


class ChipNoise(Unperturbed):
    """One virtual chip for one batch.

    Every draw is named by (seed, epoch, batch, layer, parameter): a resumed training sees the same chips, and a level
    does not change the draw. Mismatch and weights are drawn on the CPU, the same for every device; thermal noise where
    the current is.

    Attributes:
        mismatch, weight_mismatch, thermal: levels, as in `hw_models.noise.NoiseModel`; 0 hands back the same tensors.
        name: of the chip, say (seed, epoch, batch).
    """

    def __init__(
        self, mismatch: float = 0.0, weight_mismatch: float = 0.0, thermal: float = 0.0, name: Sequence[int] = (0, 0, 0)
    ) -> None:
        self.mismatch, self.weight_mismatch, self.thermal, self.name = mismatch, weight_mismatch, thermal, tuple(name)

    def weight(self, name: str, weight: torch.Tensor) -> torch.Tensor:
        """weight * (1 + level * N), of the same shape."""
        if self.weight_mismatch == 0:
            return weight
        return weight * self._factors(self.weight_mismatch, weight, weight.shape, name, "weight")

    def threshold(self, name: str, threshold: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        """One threshold per neuron, at least 0: `shape`, or the scalar that came."""
        if self.mismatch == 0:
            return threshold
        return (threshold * self._factors(self.mismatch, threshold, shape, name, "threshold")).clamp(min=0)

    def decay(self, name: str, decay: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        """One decay per neuron, in [0, 1]: `shape`, or the scalar that came."""
        if self.mismatch == 0:
            return decay
        return (decay * self._factors(self.mismatch, decay, shape, name, "decay")).clamp(0, 1)

    def current(self, name: str, current: torch.Tensor, threshold: torch.Tensor, steps: int) -> torch.Tensor:
        """(T, B, …): the current with fresh noise at every step; it scales with the nominal threshold."""
        noise = self.noise(name, current, threshold, steps)
        return current if noise is None else current + noise

    def noise(self, name: str, current: torch.Tensor, threshold: torch.Tensor, steps: int) -> torch.Tensor | None:
        """(T, B, …): that noise alone, where neurons have synaptic currents; None at level 0."""
        if self.thermal == 0:
            return None
        generator = self._generator(current.device, name, "thermal")
        shape = (steps, *current.shape[1:])
        normals = torch.randn(shape, generator=generator, device=current.device, dtype=torch.float32)
        return self.thermal * threshold.to(current.dtype) * normals.to(current.dtype)

    def _factors(self, level: float, like: torch.Tensor, shape: torch.Size, layer: str, parameter: str) -> torch.Tensor:
        generator = self._generator(torch.device("cpu"), layer, parameter)
        normals = torch.randn(shape, generator=generator, dtype=torch.float64)
        return (1 + level * normals).to(like)

    def _generator(self, device: torch.device, layer: str, parameter: str) -> torch.Generator:
        text = "\x1f".join(map(str, (*self.name, layer, parameter)))
        digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
        return torch.Generator(device).manual_seed(int.from_bytes(digest, "little") >> 1)


def make_perturbation(
    config: NoiseConfig,
    network: SpikingNetwork,
    seed: int,
    epoch: int,
    batch_index: int,
    calibration_inputs: NDArray[Any] | None = None,
) -> Perturbation | None:
    """What one training batch goes through, but for the adversarial part: `network(images, perturbation=...)`.

    To be called for every training batch, before its forward pass:

        noise = make_perturbation(config.noise, network, config.seed, epoch, index, data.train.samples[:128])
        if config.noise.adversarial:
            noise = combine(noise, adversarial_weights(network, lambda extra: loss_of(combine(noise, extra)), ...))
        output = network(images, perturbation=noise)

    With `config.quantize` the rounding of that chip comes first. Its scales are chosen at the first call of an epoch
    and kept until the next epoch (see `snn.rounding`; a checkpoint within an epoch needs its `kept_scales`). That call
    also estimates the batch norms' statistics on the calibration inputs, and every call puts the batch norms into
    evaluation mode: what is rounded are weights with the norm folded in, which statistics of a batch would change.

    Args:
        config: levels and the chip's name; all zero (and no chip) gives None: training without noise, to the bit.
        network: the network in training; its batch norms are touched as said, where `config.quantize` is given.
        seed, epoch, batch_index: the name of the batch's chip; the same name is the same chip.
        calibration_inputs: integers, (B, *shape) or (T, B, *shape), on which scales are chosen; without them the scales
            at which the largest weights just fit are taken.

    Raises:
        UsageError: for an unknown chip, or a network that cannot be traced.
        DesignRuleError: where the chip cannot hold the network at any scale.
    """
    rounded = None
    if config.quantize:
        rounded = rounding(network, config.quantize, epoch, batch_index, calibration_inputs)
    noise = None
    if config.mismatch or config.weight_mismatch or config.thermal:
        name = (seed, epoch, batch_index)
        noise = ChipNoise(config.mismatch, config.weight_mismatch, config.thermal, name)
    return combine(rounded, noise)
