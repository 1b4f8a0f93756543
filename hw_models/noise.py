"""NoiseModel: how far virtual chips are from nominal and how noisy they are, one magnitude per noise of the vocabulary.

What each magnitude means is in `hw_models.noise_terms`. A level of 0 is bit-identical to no noise, and a draw does not
depend on the level: a chip at level 0.2 is the same chip as at 0.1, twice as far from nominal.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from numbers import Real
from typing import Any, Literal, get_args

from neurodeploy.errors import UsageError, unknown_name
from neurodeploy.hw_models.noise_terms import NOISE_TERMS
from neurodeploy.ir.program import Program

Distribution = Literal["gaussian", "lognormal"]
DecayAs = Literal["eps", "tau"]
Direction = Literal["hotter", "colder"]

NOISES = tuple(NOISE_TERMS)
NOMINAL_TEMPERATURE = 300.0  # K


@dataclass(frozen=True)
class NoiseModel:
    """Magnitudes, then options that say how they act. The magnitudes' equations and units: `NOISE_TERMS`.

    Attributes:
        distribution: of all mismatch factors F with mean 1 and standard deviation x: "gaussian", F = 1 + x N, or
            "lognormal", F = exp(s N - s²/2) with s² = ln(1 + x²).
        decay_as: what a mismatch of decays multiplies: the decay itself ("eps", clipped to [0, 1]) or its time constant
            ("tau", decay^(1/F)). At a decay of 0.9 the same level moves the decay ten times less as tau.
        correlation_length: of the neurons' mismatch over a core, in neuron pitches: correlation exp(-d²/(2 L²)) at
            distance d, neurons lying row by row on the smallest square. 0: none.
        core_size: neurons per core, counted row by row within a layer; 0: each layer is a core.
        age: hours since the chip was as it was meant; `drift` grows with it.
        temperature_direction: whether the chip is `temperature` kelvin hotter or colder than nominal.
        temperature_threshold, temperature_tau: relative change of thresholds and time constants, per kelvin.
        temperature_spread: standard deviation of both between neurons, relative to their value.
        layers: the layers that have noise, () for all. The readout's noise belongs to the last layer.

    Raises:
        UsageError: for a negative or non-finite level, or one past its limit; for an option that does not exist.
    """

    mismatch: float = 0.0
    weight_mismatch: float = 0.0
    thermal: float = 0.0
    threshold_mismatch: float = 0.0
    decay_mismatch: float = 0.0
    bias_mismatch: float = 0.0
    gain_mismatch: float = 0.0
    core_mismatch: float = 0.0
    core_gain_mismatch: float = 0.0
    quantization: float = 0.0
    temperature: float = 0.0
    supply: float = 0.0
    drift: float = 0.0
    dead_neurons: float = 0.0
    stuck_neurons: float = 0.0
    dead_synapses: float = 0.0
    stuck_synapses: float = 0.0
    ktc: float = 0.0
    flicker: float = 0.0
    spike_loss: float = 0.0
    spike_jitter: float = 0.0
    background_spikes: float = 0.0
    readout: float = 0.0
    distribution: Distribution = "gaussian"
    decay_as: DecayAs = "eps"
    correlation_length: float = 0.0
    core_size: int = 0
    age: float = 1.0
    temperature_direction: Direction = "hotter"
    temperature_threshold: float = -0.002
    temperature_tau: float = 1 / 300
    temperature_spread: float = 0.1
    layers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in NOISES:
            level = getattr(self, name)
            if not (_finite(level) and level >= 0):
                raise UsageError(f"noise {name}={level}: a level is finite and not negative")
            limit = NOISE_TERMS[name].limit
            if limit is not None and level > limit:
                raise UsageError(f"noise {name}={level}: at most {limit:g}, it is a {NOISE_TERMS[name].unit}")
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise unknown_name(name, str(getattr(self, name)), allowed)
        for name in ("temperature_threshold", "temperature_tau"):
            if not _finite(getattr(self, name)):
                raise UsageError(f"noise option {name}={getattr(self, name)}: a finite number is expected")
        for name in ("correlation_length", "core_size", "age", "temperature_spread"):
            if not (_finite(getattr(self, name)) and getattr(self, name) >= 0):
                raise UsageError(f"noise option {name}={getattr(self, name)}: finite and not negative is expected")
        if 0 < self.correlation_length < 1:
            raise UsageError(
                f"noise option correlation_length={self.correlation_length}: 1 or more, or 0 for none; "
                "shorter than the neurons' pitch, it would not correlate as it says"
            )
        if self.core_size != int(self.core_size):
            raise UsageError(f"noise option core_size={self.core_size}: a whole number of neurons is expected")
        if self.temperature_direction == "colder" and self.temperature > NOMINAL_TEMPERATURE:
            raise UsageError(f"noise temperature={self.temperature}: colder than {NOMINAL_TEMPERATURE:g} K by more")
        several = isinstance(self.layers, list | tuple | set | frozenset)
        names = tuple(self.layers) if several else (self.layers,)
        if not all(isinstance(name, str) for name in names):
            raise UsageError(f"noise option layers={self.layers!r}: names of layers are expected")
        object.__setattr__(self, "layers", names)

    @property
    def active(self) -> tuple[str, ...]:
        """The noises with a level above 0."""
        return tuple(name for name in NOISES if getattr(self, name) > 0)

    @property
    def outside_program(self) -> tuple[str, ...]:
        """The active noises that are no part of a chip's Program: our simulators alone run with them."""
        return tuple(name for name in self.active if NOISE_TERMS[name].where != "program")

    def limit(self, name: str) -> float:
        """The largest level of a noise that has a meaning beside these options; infinity where there is none."""
        if name == "temperature" and self.temperature_direction == "colder":
            return NOMINAL_TEMPERATURE
        found = NOISE_TERMS[name].limit
        return float("inf") if found is None else found

    def acts_on(self, layer: str) -> bool:
        """Whether a layer is among those that have noise."""
        return not self.layers or layer in self.layers

    def check_layers(self, program: Program) -> None:
        """Raises UsageError naming the nearest layer where `layers` names one that the program has not."""
        known = [layer.name for layer in program.layers]
        for name in self.layers:
            if name not in known:
                raise unknown_name("layer", name, known)


def _finite(value: Any) -> bool:
    """True for a finite number; not for truth values, nor for integers that no float holds."""
    try:
        return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False


_CHOICES: dict[str, tuple[str, ...]] = {
    "distribution": get_args(Distribution),
    "decay_as": get_args(DecayAs),
    "temperature_direction": get_args(Direction),
}
OPTIONS = tuple(field.name for field in fields(NoiseModel) if field.name not in NOISES)


def parse_option(name: str, text: str) -> Any:
    """The value of an option as typed, `layers` as names with + or commas between; `NoiseModel` checks its range.

    Raises:
        UsageError: for an unknown option, or text that is no such value.
    """
    if name not in OPTIONS:
        raise unknown_name("noise option", name, OPTIONS)
    if name == "layers":
        return tuple(part.strip() for part in text.replace("+", ",").split(",") if part.strip())
    if name in _CHOICES:
        if text not in _CHOICES[name]:
            raise unknown_name(name, text, _CHOICES[name])
        return text
    try:
        return int(text) if name == "core_size" else float(text)
    except ValueError as error:
        kind = "a whole number" if name == "core_size" else "a number"
        raise UsageError(f"{name}={text}: {kind} is expected") from error
