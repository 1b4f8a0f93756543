"""Dynapse2Network: what DYNAP-SE2 stores of a network, and what its neurons compute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType

import numpy as np

from neurodeploy.errors import UsageError
from neurodeploy.hw_models.dynapse2 import BASE_CURRENTS, BIASES
from neurodeploy.ir.arrays import FloatArray, IntArray, frozen_floats, frozen_ints
from neurodeploy.ir.nodes import Input

CODE_MAX = 15  # four bits; the sign is the kind of synapse
SHARED = tuple(name for name in BIASES if name not in BASE_CURRENTS)
_LARGEST = 4096  # neurons of a board
_LARGEST_INPUT = 65_536
_LARGEST_STEPS = 2**20


@dataclass(frozen=True)
class Block:
    """Neurons start to stop - 1, which were one layer of the network that this one was made from.

    Attributes:
        latency: steps of the chip by which they lag behind that layer: each spike takes one on its way.
    """

    name: str
    start: int
    stop: int
    latency: int = 0


@dataclass(frozen=True, eq=False)
class Dynapse2Network:
    """Input channels, neurons on cores, and the currents that the neurons of a core share.

    A synapse with code c has the weight current sign(c) Σ_b bit_b(|c|) base[core of its neuron, b]: the chip adds up
    those of the core's four base currents that the mask of the synapse names. Each step of `dt` seconds, for events e
    of the inputs in it and spikes n of the step before, as Rockpool 3.1.0's DynapSim computes it, in float32:

        I_w = e weights_in + n weights_rec
        I_syn = exp(-dt / tau_syn) I_syn + (1 - exp(-t_pulse / tau_syn)) max(Igain_syn / Itau_syn I_w, Io)
        I_ahp = max(exp(-dt / tau_ahp) I_ahp + (1 - exp(-t_pulse_ahp / tau_ahp)) Igain_ahp / Itau_ahp Iw_ahp n_own, Io)
        I_leak = Itau_mem + I_ahp
        I_in = max(I_syn - I_leak + Idc, Io), or Io while the neuron is refractory
        I_fb = Io (I' / Io)^(kappa / (kappa + 1))
        I = max(I + dt / tau_mem I / (I + Igain_mem) (Igain_mem / Itau_mem (I_in - I_leak)
                + I_fb / I_leak (I + Igain_mem) - I (1 + I_ahp / Itau_mem)), Io)
        n = ceil(ln(I / Ispkthr)) where I > Ispkthr, else 0;   I' = I;   I = Io where n > 0

    with tau = C Ut / (kappa I_tau), tau_mem that of I_leak, pulses t = C Vth / I, and the refractory period t_ref of
    Iref, which silences the steps that begin while it lasts. Inhibition takes away excitation of the same step
    only: currents are never negative. A strong input makes n larger than 1; the silicon fires once.

    Attributes:
        chip: the name of the chip that it was made for.
        steps: time steps of the input; each takes `substeps` steps of the chip, in the first of which its events come.
        input: shape (channels,); values are events.
        codes_in: (channels, neurons), -15 to 15.
        codes_rec: (neurons, neurons), from, to.
        core: (neurons,), from 0 on; chip = core // 4.
        base: (cores, 4), ampere.
        biases: name -> (cores,), ampere; `SHARED` says which.
        dt: seconds of a step of the chip.
        blocks: what the neurons are, without gaps; the last is read out by its spike count.

    Raises:
        UsageError: naming the field whose shape or value cannot be.
    """

    chip: str
    steps: int
    substeps: int
    dt: float
    input: Input
    codes_in: IntArray
    codes_rec: IntArray
    core: IntArray
    base: FloatArray
    biases: Mapping[str, FloatArray]
    blocks: tuple[Block, ...]

    def __post_init__(self) -> None:
        for one in fields(self):
            if one.type in ("IntArray", "FloatArray"):
                freeze = frozen_ints if one.type == "IntArray" else frozen_floats
                object.__setattr__(self, one.name, freeze(getattr(self, one.name)))
        frozen = {name: frozen_floats(values) for name, values in self.biases.items()}
        object.__setattr__(self, "biases", MappingProxyType(frozen))
        self._check_sizes()
        self._check_values()

    @property
    def neurons(self) -> int:
        """All of them, outputs included."""
        return len(self.core)

    @property
    def cores(self) -> int:
        """Cores that are used."""
        return len(self.base)

    @property
    def output(self) -> Block:
        """The last block."""
        return self.blocks[-1]

    @property
    def outputs(self) -> int:
        """Neurons of the last block."""
        return self.output.stop - self.output.start

    @property
    def chip_steps(self) -> int:
        """Steps of the chip until the last block has seen everything."""
        return self.steps * self.substeps + self.output.latency

    def block(self, name: str) -> Block:
        """The block of that name."""
        return next(one for one in self.blocks if one.name == name)

    def weights(self) -> tuple[FloatArray, FloatArray]:
        """(channels, neurons) and (neurons, neurons): weight currents, ampere."""
        return tuple(weight_currents(codes, self.base[self.core]) for codes in (self.codes_in, self.codes_rec))  # type: ignore[return-value]  # two

    def fan_in(self) -> IntArray:
        """(neurons,) synapses: connections whose mask names a base current."""
        return np.asarray((self.codes_in != 0).sum(axis=0) + (self.codes_rec != 0).sum(axis=0), dtype=np.int64)

    def _check_sizes(self) -> None:
        neurons, cores = self.core.size, len(self.base)
        if not (0 < neurons <= _LARGEST and len(self.input.shape) == 1 and self.input.shape[0] <= _LARGEST_INPUT):
            raise UsageError(f"{neurons} neurons, input {self.input.shape}: 1 to {_LARGEST} neurons, (channels,)")
        expected = {
            "codes_in": (self.input.shape[0], neurons),
            "codes_rec": (neurons, neurons),
            "core": (neurons,),
            "base": (cores, len(BASE_CURRENTS)),
        }
        for name, shape in expected.items():
            if getattr(self, name).shape != shape:
                raise UsageError(f"{name} of shape {getattr(self, name).shape}, {shape} expected")
        if set(self.biases) != set(SHARED):
            raise UsageError(f"biases {sorted(self.biases)}: {sorted(SHARED)} expected")
        for name, values in self.biases.items():
            if values.shape != (cores,):
                raise UsageError(f"bias {name} of shape {values.shape}, {(cores,)} expected")
        edges = [0, *(one.stop for one in self.blocks)]
        if edges[-1] != neurons or any(one.start != edge for one, edge in zip(self.blocks, edges, strict=False)):
            raise UsageError(f"blocks {self.blocks} do not cover {neurons} neurons without gaps")
        if any(one.stop <= one.start or one.latency < 0 for one in self.blocks):
            raise UsageError(f"blocks {self.blocks}: empty, or with a negative latency")

    def _check_values(self) -> None:
        for name in ("codes_in", "codes_rec"):
            codes = getattr(self, name)
            if np.abs(codes).max(initial=0) > CODE_MAX:
                raise UsageError(f"{name}: {codes.min()} to {codes.max()}, {-CODE_MAX} to {CODE_MAX} allowed")
        if set(self.core.tolist()) != set(range(self.cores)):
            raise UsageError(f"cores {sorted(set(self.core.tolist()))} where 0 to {self.cores - 1} have parameters")
        if not (np.isfinite(self.base).all() and self.base.min() >= 0):
            raise UsageError("base currents must be finite and not negative")
        for name, values in self.biases.items():
            if not (np.isfinite(values).all() and values.min() > 0):
                raise UsageError(f"bias {name}: {values.min()} to {values.max()} A, positive currents expected")
        if not (np.isfinite(self.dt) and 1e-6 <= self.dt <= 1 and self.steps >= 1 and self.substeps >= 1):
            raise UsageError(f"dt {self.dt} s, {self.steps} steps of {self.substeps}: dt 1e-6 to 1, steps from 1 on")
        if self.chip_steps > _LARGEST_STEPS:
            raise UsageError(f"{self.chip_steps} steps of the chip, at most {_LARGEST_STEPS}")


def weight_currents(codes: IntArray, base: FloatArray) -> FloatArray:
    """Σ_b bit_b(|code|) base_b with the code's sign.

    Args:
        codes: (sources, targets).
        base: (targets, 4), the base currents of each target.
    """
    bits = (np.abs(codes)[..., None] >> np.arange(len(BASE_CURRENTS))) & 1
    return np.asarray(np.sign(codes) * (bits * base[None]).sum(axis=-1), dtype=np.float64)
