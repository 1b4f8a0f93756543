"""What levels of the ladder share: the data, what the chips should do, and how codes lie over neurons."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.calibrate.algorithms import ALGORITHMS, SPSA
from neurodeploy.calibrate.bench import Bench
from neurodeploy.calibrate.device import RackSettings
from neurodeploy.errors import UsageError, unknown_name
from neurodeploy.hw_models.chip import Knob
from neurodeploy.hw_models.knobs import code_shape
from neurodeploy.ir.arrays import FloatArray, IntArray
from neurodeploy.ir.program import DECAY_ONE, VOLTAGE_UNIT_BITS, FixedPointNeurons, Layer, Program
from neurodeploy.simulate.engine import run_chips

MEASURES = ("rates", "curve", "membrane", "readout")
_GROUPS = 4  # of samples, by how much they drive the network, that a transfer curve is measured on


@dataclass(frozen=True, eq=False)
class CalibrationData:
    """Samples that a calibration may see; no two of the three parts, nor the test samples, have one in common.

    Attributes:
        measurement: inputs on which rates are matched, (B, *shape) or (T, B, *shape).
        refit: inputs on which weights are fitted (levels 5 and 6); None for those of `measurement`.
        selection, labels: inputs on which a level must show that it helps, with (B,) labels.
    """

    measurement: NDArray[Any]
    selection: NDArray[Any]
    labels: IntArray
    refit: NDArray[Any] | None = None

    def __post_init__(self) -> None:
        if len(self.labels) < 1:
            raise UsageError("calibration needs at least one selection sample")


@dataclass(frozen=True)
class Options:
    """How a ladder is climbed.

    Attributes:
        algorithm: of levels 2 to 4, a name of `algorithms.ALGORITHMS`; or "spsa", of levels 2 and 3.
        measure: "rates" (spike counts over all measurement samples), "curve" (counts on four groups of them, from
            weakly to strongly driven, each weighted as a Poisson count), "membrane" (at level 4 the potentials of one
            recording per layer in the place of a search on the chip, elsewhere as "rates"; for chips with probes), or
            "readout" (how far it points away from the nominal one), which is one number per chip, and for "spsa" alone.
        runs: measurements per search; None for the bits of the knob.
        tuning_steps, tuning_batch, tuning_rate: of level 6; the rate is relative to the weights' root mean square.
        seed: of the samples' order in level 6.
    """

    algorithm: str = "bisection"
    measure: str = "rates"
    runs: int | None = None
    tuning_steps: int = 120
    tuning_batch: int = 64
    tuning_rate: float = 0.005
    seed: int = 0

    def __post_init__(self) -> None:
        if self.algorithm not in (*ALGORITHMS, SPSA):
            raise unknown_name("algorithm", self.algorithm, (*ALGORITHMS, SPSA))
        if self.measure not in MEASURES:
            raise unknown_name("measure", self.measure, MEASURES)
        if (self.algorithm == SPSA) != (self.measure == "readout"):
            raise UsageError(
                f"algorithm {self.algorithm} with measure {self.measure}: spsa goes with readout, one number per chip; "
                "the others with rates, curve or membrane"
            )
        if self.runs is not None and self.runs < 1:
            raise UsageError(f"{self.runs} runs: at least one measurement is needed")
        if self.tuning_steps < 1 or self.tuning_batch < 1 or not self.tuning_rate > 0:
            raise UsageError("tuning needs at least one step, one sample a step, and a positive rate")


@dataclass(frozen=True, eq=False)
class Standing:
    """How chips do on the selection samples.

    Attributes:
        accuracy: (chips,) share of the decisions that are right.
        distance: (chips,) as `Work.distance`, of these samples.
    """

    accuracy: FloatArray
    distance: FloatArray

    def better(self, than: Standing) -> NDArray[np.bool_]:
        """(chips,) right more often, or as often with readouts that are nearer to the nominal ones."""
        alike, nearer = self.accuracy == than.accuracy, self.distance < than.distance
        return np.asarray((self.accuracy > than.accuracy) | (alike & nearer))

    def where(self, chosen: NDArray[np.bool_], other: Standing) -> Standing:
        """This for the chosen chips, the other for the rest."""
        return Standing(
            np.where(chosen, self.accuracy, other.accuracy), np.where(chosen, self.distance, other.distance)
        )


@dataclass(frozen=True, eq=False)
class Work:
    """A calibration under way.

    Attributes:
        wanted: measurement part -> layer -> spike counts of the nominal Program, shape of the layer.
        parts: the measurement samples, whole or in groups.
        pointing: (B, classes), the directions of the nominal readouts of the first part.
        selected: the same of the selection samples.
    """

    bench: Bench
    data: CalibrationData
    options: Options
    parts: tuple[NDArray[Any], ...] = field(init=False)
    wanted: tuple[dict[str, IntArray], ...] = field(init=False)
    pointing: FloatArray = field(init=False)
    selected: FloatArray = field(init=False)

    def __post_init__(self) -> None:
        inputs = self.data.measurement
        parts: tuple[NDArray[Any], ...] = (inputs,)
        if self.options.measure == "curve":
            parts = _by_drive(self.program, inputs)
        found = [run_chips([self.program], part) for part in parts]
        counts = tuple({name: one[0] for name, one in part.spike_counts.items()} for part in found)
        object.__setattr__(self, "parts", parts)
        object.__setattr__(self, "wanted", counts)
        object.__setattr__(self, "pointing", _directions(found[0].readout[0]))
        selected = run_chips([self.program], self.data.selection).readout[0]
        object.__setattr__(self, "selected", _directions(selected))

    @property
    def program(self) -> Program:
        """What the chips were meant to be."""
        return self.bench.program

    @property
    def firing(self) -> list[Layer]:
        """The layers whose neurons fire, from the input on."""
        return [layer for layer in self.program.layers if layer.fires]

    @property
    def refit(self) -> NDArray[Any]:
        """The samples of levels 5 and 6."""
        return self.data.measurement if self.data.refit is None else self.data.refit

    def excess(self, layers: list[Layer], knob: Knob, settings: RackSettings) -> dict[str, NDArray[Any]]:
        """Layer -> (chips, *code shape): spikes beyond what is wanted of the neurons that share a code."""
        total: dict[str, NDArray[Any]] = {}
        for part, wanted in zip(self.parts, self.wanted, strict=True):
            counts = self.bench.counts(part, settings).spike_counts
            for layer in layers:
                here = grouped(counts[layer.name], knob, layer) - grouped(wanted[layer.name][None], knob, layer)
                if len(self.parts) > 1:
                    here = here / np.sqrt(grouped(wanted[layer.name][None], knob, layer) + 1.0)
                total[layer.name] = total[layer.name] + here if layer.name in total else here
        return total

    def distance(self, settings: RackSettings) -> FloatArray:
        """(chips,): mean squared distance between the directions of a chip's readouts and the nominal ones."""
        return _distance(self.bench.counts(self.parts[0], settings).readout, self.pointing)

    def standing(self, settings: RackSettings) -> Standing:
        """How chips with these settings do on the selection samples, in one run."""
        found = self.bench.counts(self.data.selection, settings)
        right = (found.decisions == self.data.labels).mean(axis=1)
        return Standing(np.asarray(right, dtype=np.float64), _distance(found.readout, self.selected))

    def start(self, knob: Knob, layer: Layer, settings: RackSettings) -> IntArray:
        """(chips, *code shape): the codes that are set, 0 where none are."""
        shape = (self.bench.device.chips, *code_shape(knob, layer))
        return np.array(settings.get(knob.key(layer.name), np.zeros(shape)), dtype=np.int64)


def in_weight_units(layer: Layer) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(decay, threshold, bias) of a layer's neurons, potentials in units of a weight."""
    neurons = layer.neurons
    if isinstance(neurons, FixedPointNeurons):
        bias = neurons.bias / 2.0**VOLTAGE_UNIT_BITS
        whole: tuple[Any, ...] = (1 - neurons.voltage_decay / DECAY_ONE, neurons.threshold, bias)
    else:
        whole = (neurons.decay, neurons.threshold / layer.scale, neurons.bias / layer.scale)
    first, second, third = (np.asarray(one, dtype=np.float64) for one in whole)
    return first, second, third


def readout_in_weight_units(layer: Layer, readout: NDArray[Any]) -> FloatArray:
    """(B, classes) readouts of a membrane readout, in units of its weights."""
    unit = 2.0**VOLTAGE_UNIT_BITS if isinstance(layer.neurons, FixedPointNeurons) else layer.scale
    return np.asarray(readout / unit, dtype=np.float64)


def current_kept(layer: Layer) -> NDArray[Any]:
    """What synaptic currents keep of themselves from step to step."""
    neurons = layer.neurons
    if isinstance(neurons, FixedPointNeurons):
        return np.asarray(1 - neurons.current_decay / DECAY_ONE)
    return neurons.current_decay


def grouped(values: NDArray[Any], knob: Knob, layer: Layer) -> NDArray[Any]:
    """Sums over the neurons that share a code: (chips, *shape of the layer) -> (chips, *code shape)."""
    if knob.per == "neuron":
        return values
    flat = values.reshape(len(values), -1)
    if knob.per == "core":
        (cores,) = code_shape(knob, layer)
        padded = np.pad(flat, ((0, 0), (0, cores * knob.core_size - flat.shape[1])))
        return np.asarray(padded.reshape(len(values), cores, -1).sum(axis=2))
    return np.asarray(flat.sum(axis=1))


def _distance(readout: NDArray[Any], nominal: FloatArray) -> FloatArray:
    """(chips,): mean squared distance of directions."""
    return np.asarray(np.square(_directions(readout) - nominal).sum(axis=-1).mean(axis=-1))


def _directions(readout: NDArray[Any]) -> FloatArray:
    """Readouts, (…, classes), at length 1."""
    values = np.asarray(readout, dtype=np.float64)
    length = np.linalg.norm(values, axis=-1, keepdims=True)
    return np.asarray(values / np.where(length > 0, length, 1.0))


def _by_drive(program: Program, inputs: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    """The samples in groups, from those with the smallest input sum to those with the largest."""
    static = inputs.ndim == len(program.input.shape) + 1
    sums = (
        inputs.reshape(len(inputs), -1).sum(axis=1)
        if static
        else inputs.swapaxes(0, 1).reshape(inputs.shape[1], -1).sum(axis=1)
    )
    order = np.argsort(sums, kind="stable")
    groups = [group for group in np.array_split(order, _GROUPS) if len(group)]
    return tuple(inputs[group] if static else inputs[:, group] for group in groups)
