"""PopulationNetwork: a float network of current-based LIF neurons, every neuron with parameters of its own.

What a Xylo approximates: a Network with subtractive reset is one, and so is a network that Rockpool has mapped.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neurodeploy.errors import UsageError
from neurodeploy.ir.arrays import FloatArray, frozen_floats
from neurodeploy.ir.nodes import RESETS, Input, Reset
from neurodeploy.ir.program import INPUT, ReadoutKind


@dataclass(frozen=True, eq=False)
class Population:
    """Current-based LIF neurons with K synapses, for what arrives at each, x_k:

        i_k[t] = current_decay_k i_k[t-1] + x_k[t]
        u[t] = decay (u[t-1] - n[t-1] threshold) + Σ_k i_k[t] + bias           (reset "zero": 0 where n[t-1] > 0)
        n[t] = how often threshold goes into u[t], at most `most`
        n[t] = 1 where u[t] > threshold                                     (`most` 1), or >= with `fires_at_threshold`

    with u[0] = i[0] = n[0] = 0. Neurons that do not fire have n = 0.

    Attributes:
        decay, threshold, bias: (n,); decay is a fraction in [0, 1].
        current_decay: (K, n), fractions in [0, 1); 0 is a current without memory.
    """

    name: str
    decay: FloatArray
    current_decay: FloatArray
    threshold: FloatArray
    bias: FloatArray
    most: int = 1
    reset: Reset = "subtract"
    fires: bool = True
    fires_at_threshold: bool = False

    def __post_init__(self) -> None:
        for name in ("decay", "current_decay", "threshold", "bias"):
            object.__setattr__(self, name, frozen_floats(getattr(self, name)))
        expected = {"decay": (self.size,), "bias": (self.size,), "current_decay": (len(self.current_decay), self.size)}
        for name, shape in expected.items():
            if getattr(self, name).shape != shape or self.size == 0 or 0 in shape:
                raise UsageError(
                    f"population {self.name}: {name} of shape {getattr(self, name).shape}, {shape} expected"
                )
        for name, highest in (("decay", 1.0), ("current_decay", np.nextafter(1, 0))):
            values = getattr(self, name)
            if not (values.min() >= 0 and values.max() <= highest):  # NaN fails too
                raise UsageError(
                    f"population {self.name}: {name} {values.min()} to {values.max()}: a fraction expected"
                )
        if not (np.isfinite(self.bias).all() and self.threshold.min() > 0):
            raise UsageError(f"population {self.name}: thresholds must be positive and biases finite")
        if self.reset not in RESETS or self.most < 1:
            raise UsageError(f"population {self.name}: reset {self.reset!r}, at most {self.most} spikes a step")

    @property
    def size(self) -> int:
        """Neurons."""
        return int(self.threshold.size)

    @property
    def synapses(self) -> int:
        """K."""
        return len(self.current_decay)


@dataclass(frozen=True, eq=False)
class Projection:
    """x_synapse[t] += weight^T n_source[t - delay] at the target.

    Attributes:
        source: a population, or "input", whose values are integer * Input.scale.
        weight: (sources, targets).
    """

    source: str
    target: str
    weight: FloatArray
    synapse: int = 0
    delay: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", frozen_floats(self.weight))
        if self.weight.ndim != 2 or not np.isfinite(self.weight).all():
            raise UsageError(f"{self.source} -> {self.target}: finite weights (sources, targets) are expected")
        if self.delay < 0 or self.synapse < 0:
            raise UsageError(f"{self.source} -> {self.target}: delay {self.delay} and synapse {self.synapse} from 0 on")


@dataclass(frozen=True, eq=False)
class PopulationNetwork:
    """Populations in an order in which each comes after its sources without delay; the last one is read out.

    Attributes:
        input: shape (channels,).
        readout: "spike_count" or "membrane" (the sum of potentials over time).

    Raises:
        UsageError: where a name is unknown or used twice, or shapes do not fit.
    """

    input: Input
    populations: tuple[Population, ...]
    projections: tuple[Projection, ...]
    readout: ReadoutKind
    steps: int

    def __post_init__(self) -> None:
        if len(self.input.shape) != 1 or self.steps < 1 or not self.populations:
            raise UsageError(f"input {self.input.shape}, {self.steps} steps, {len(self.populations)} populations")
        places = {population.name: place for place, population in enumerate(self.populations)}
        if len(places) != len(self.populations) or INPUT in places:
            raise UsageError(f"population names must differ, and none is {INPUT!r}: {list(places)}")
        for one in self.projections:
            if one.target not in places or one.source not in {INPUT, *places}:
                raise UsageError(f"projection {one.source} -> {one.target}: known are {INPUT}, {', '.join(places)}")
            if one.delay == 0 and one.source != INPUT and places[one.source] >= places[one.target]:
                raise UsageError(f"projection {one.source} -> {one.target}: needs a delay of at least one step")
            target = self.population(one.target)
            sources = self.input.shape[0] if one.source == INPUT else self.population(one.source).size
            if one.weight.shape != (sources, target.size) or one.synapse >= target.synapses:
                raise UsageError(
                    f"projection {one.source} -> {one.target}: weights {one.weight.shape} at synapse {one.synapse}, "
                    f"{(sources, target.size)} expected, synapses 0 to {target.synapses - 1}"
                )
        if self.populations[-1].fires != (self.readout == "spike_count"):
            raise UsageError("only the last population of a membrane readout does not fire")

    def population(self, name: str) -> Population:
        """The population of that name."""
        return next(one for one in self.populations if one.name == name)

    def into(self, name: str) -> tuple[Projection, ...]:
        """The projections that reach a population."""
        return tuple(one for one in self.projections if one.target == name)

    @property
    def hidden(self) -> tuple[Population, ...]:
        """All but the last."""
        return self.populations[:-1]

    @property
    def output(self) -> Population:
        """The last."""
        return self.populations[-1]
