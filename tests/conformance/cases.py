"""Random configurations of Lava processes, each with the Program that means the same: `case(index)`.

What is drawn, all from the index: dense connections in Lava's own terms (weights that get clipped and lose bits, 1 to 8
weight bits, three sign modes, exponents -8 to 7), convolutions with any geometry, recurrence, delays up to 62 steps,
the paper's neuron and neurons with a decaying current, binary and graded input, one to three samples with a reset
between them. In 35 of 100 the sums are so large that currents wrap and voltages saturate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.export import lava, lava_job
from neurodeploy.export.lava_rules import INT32_MAX, largest_current
from neurodeploy.export.lava_weights import RANGES, SignMode, effective_weights
from neurodeploy.ir.arrays import IntArray, Shape, frozen_ints
from neurodeploy.ir.nodes import Input
from neurodeploy.ir.program import FixedPointNeurons, Layer, Program
from neurodeploy.ir.synapses import ConvSynapses, DenseSynapses, Synapses, extreme_sums
from neurodeploy.simulate import reference

KINDS = ("dense", "conv", "recurrent", "delays", "network")
STRESS = 0.35  # share of configurations whose sums overflow
_FITS = 2**17  # weight units that the current's register holds
_SEED = 20230401
THRESHOLD_MAX = 131071


@dataclass(frozen=True, eq=False)
class RawDense:
    """What Lava's Dense is given; the Program holds what it makes of it."""

    weights: IntArray
    bits: int
    sign_mode: SignMode


@dataclass(frozen=True, eq=False)
class Case:
    """One configuration.

    Attributes:
        raw: (layer, position among its synapses) -> what Lava is given instead of the Program's own weights.
    """

    index: int
    kind: str
    program: Program
    inputs: NDArray[Any]
    raw: Mapping[tuple[str, int], RawDense]

    def job(self) -> lava.Job:
        """The run in Lava: `lava_job.describe`, but with the raw terms of dense connections."""
        contents, arrays = lava_job.describe(self.program)
        places = [(layer.name, i) for layer in self.program.layers for i in range(len(layer.synapses))]
        for index, place in enumerate(places):
            if place in self.raw:
                raw, (name, position) = self.raw[place], place
                layer = next(one for one in self.program.layers if one.name == name)
                exponent = layer.synapses[position].weight_exponent
                described = {"weight_bits": raw.bits, "sign_mode": raw.sign_mode, "weight_exponent": exponent}
                contents["synapses"][index] |= described
                arrays[f"synapses{index}.weight"] = raw.weights.astype(np.int32)
        return lava.Job(contents, arrays, self.inputs)


def case(index: int, small: bool = False) -> Case:
    """The configuration of that number; `small` ones are a few hundred values in all."""
    rng = np.random.default_rng([_SEED, index, int(small)])
    kind = KINDS[index % len(KINDS)]
    while True:
        made = _Builder(rng, kind, small).build(index)
        if made is not None:
            return made


class _Builder:
    def __init__(self, rng: np.random.Generator, kind: str, small: bool) -> None:
        self.rng, self.kind, self.small = rng, kind, small
        self.stress = bool(rng.random() < STRESS)
        self.bits = int(rng.choice([1, 1, 2, 4, 8]))
        self.steps = int(rng.integers(3, 13 if small else 31))
        if kind == "delays" and rng.random() < 0.15:
            self.steps = int(rng.integers(63, 80))  # long enough for the longest delays
        self.raw: dict[tuple[str, int], RawDense] = {}

    def build(self, index: int) -> Case | None:
        """A case, or None where its numbers pass Lava's 32 bits or it is silent."""
        rng = self.rng
        image = self.kind == "conv" or (self.kind == "network" and rng.random() < 0.7)
        shape: Shape = (self.count(4), self.count(11, 3), self.count(11, 3)) if image else (self.count(60),)
        self.shapes = {"input": shape}
        layers = getattr(self, f"_{self.kind}")(shape)
        program = Program("loihi2", self.steps, Input(shape, 1.0, self.bits), tuple(layers), "spike_count")
        if any(largest_current(layer, program) > INT32_MAX for layer in layers):
            return None
        batch = int(rng.integers(1, 3 if self.small else 4))
        frames = (batch, *shape) if rng.random() < 0.3 else (self.steps, batch, *shape)
        inputs = rng.integers(0, 2**self.bits, frames) * (rng.random(frames) < rng.uniform(0.3, 1))
        program = self.lively(program, inputs)
        spikes = sum(int(values.sum()) for values in reference.run(program, inputs).spikes.values())
        return Case(index, self.kind, program, inputs, self.raw) if spikes else None

    # --- the kinds of networks --------------------------------------------------------------------------------------

    def _dense(self, shape: Shape) -> list[Layer]:
        return [self.layer("a", self.dense("a", 0, "input", self.count(50)))]

    def _conv(self, shape: Shape) -> list[Layer]:
        return [self.layer("a", self.conv("input"))]

    def _recurrent(self, shape: Shape) -> list[Layer]:
        size = self.count(20)
        delay = int(self.rng.integers(1, 4))
        recurrent = self.dense("a", 1, "a", size, size, delay=delay, delays=self.rng.random() < 0.3)
        return [self.layer("a", self.dense("a", 0, "input", size), recurrent)]

    def _delays(self, shape: Shape) -> list[Layer]:
        """Delays of all kinds, and feedback from a later layer where its delay pays for the way there."""
        longest = min(62, self.steps)
        size = self.count(8)
        first = [self.dense("a", 0, "input", size, delay=int(self.rng.integers(0, longest)), delays=True)]
        first[0] = self.with_delays(first[0], longest)
        layers = [self.layer("a", first[0])]
        if self.rng.random() < 0.6:
            out = self.count(6)
            second = self.with_delays(self.dense("b", 0, "a", out, delay=int(self.rng.integers(0, 4))), 3)
            layers.append(self.layer("b", second))
            if self.rng.random() < 0.6:
                back = self.dense("a", 1, "b", size, out, delay=int(self.rng.integers(2, 5)))
                layers[0] = replace(layers[0], synapses=(*layers[0].synapses, back))
        return layers

    def _network(self, shape: Shape) -> list[Layer]:
        """Two or three layers, with a connection past one of them, and delays of convolutions."""
        if len(shape) == 1:
            first = self.layer("a", self.dense("a", 0, "input", self.count(30)))
        else:
            first = self.layer("a", self.conv("input"))
        if len(first.shape) == 3 and self.rng.random() < 0.5:
            second = self.layer("b", self.conv("a", delay=int(self.rng.integers(0, 3))))
        else:
            second = self.layer("b", self.dense("b", 0, "a", self.count(10)))
        size = self.count(8)
        into = [self.dense("c", 0, "b", size)]
        if self.rng.random() < 0.6:
            into.append(self.dense("c", 1, str(self.rng.choice(["input", "a"])), size))
        return [first, second, self.layer("c", *into)]

    # --- parts --------------------------------------------------------------------------------------------------------

    def count(self, most: int, least: int = 1) -> int:
        return int(self.rng.integers(least, max(least + 1, (most + 2) // 2 if self.small else most + 1)))

    def sum_limit(self) -> float:
        """What the sums of one connection may reach, weight units."""
        return 2.0 ** self.rng.uniform(19, 23.3) if self.stress else _FITS * 2.0 ** self.rng.uniform(-8, 0)

    def highest(self, source: str) -> int:
        return int(2**self.bits - 1) if source == "input" else 1

    def dense(
        self, layer: str, position: int, source: str, out: int, inputs: int = 0, delay: int = 0, delays: bool = False
    ) -> DenseSynapses:
        """Weights in Lava's terms, and an exponent that brings the sums near a limit or makes them smaller."""
        inputs = inputs or int(np.prod(self.shapes[source]))
        mode: SignMode = str(self.rng.choice(list(RANGES), p=[0.6, 0.25, 0.15]))  # type: ignore[assignment]
        bits = int(self.rng.integers(1, 9))
        size = int(self.rng.choice([3, 40, 128, 300]))
        given = frozen_ints(self.rng.integers(-size, size + 1, (out, inputs)))
        weight = effective_weights(given, bits, mode)
        if self.rng.random() < 0.25:  # not Lava's terms, but ours
            weight = frozen_ints(self.rng.integers(-128, 128, (out, inputs)))
        else:
            self.raw[layer, position] = RawDense(given, bits, mode)
        plain = DenseSynapses(f"{source}-{layer}", source, weight, delay=delay)
        low, high = extreme_sums(plain, 0, self.highest(source))
        exponent = int(np.floor(np.log2(self.sum_limit() / max(-low, high, 1))))
        lowest = -8 if (layer, position) in self.raw else -7
        exponent = int(np.clip(exponent, lowest, 7))
        if self.rng.random() < 0.3:
            exponent = int(self.rng.integers(lowest, exponent + 1))
        made = replace(plain, weight_exponent=exponent)
        return self.with_delays(made, 3) if delays else made

    def with_delays(self, synapses: DenseSynapses, longest: int) -> DenseSynapses:
        if self.rng.random() < 0.2:
            return synapses
        return replace(synapses, delays=frozen_ints(self.rng.integers(0, longest + 1, synapses.weight.shape)))

    def conv(self, source: str, delay: int = 0) -> ConvSynapses:
        channels, height, width = self.shapes[source]
        rng = self.rng
        groups = int(rng.choice([g for g in range(1, channels + 1) if channels % g == 0]))
        padding = (int(rng.integers(0, 3)), int(rng.integers(0, 3)))
        dilation = tuple(int(rng.integers(1, 3)) for _ in range(2))
        kernel = tuple(
            int(rng.integers(1, min(4, (size + 2 * pad - 1) // step + 2)))
            for size, pad, step in zip((height, width), padding, dilation, strict=True)
        )
        stride = (int(rng.integers(1, 3)), int(rng.integers(1, 3)))
        shape = (groups * self.count(3), channels // groups, *kernel)
        taps = int(np.prod(shape[1:])) * self.highest(source)
        largest = int(np.clip(self.sum_limit() / taps, 1, 2**26 if self.stress else 127))
        weight = frozen_ints(rng.integers(-largest, largest + 1, shape))
        return ConvSynapses(f"{source}-conv", source, weight, stride, padding, dilation, groups, delay=delay)

    def layer(self, name: str, *synapses: Synapses) -> Layer:
        shape = synapses[0].output_shape(self.shapes[synapses[0].source])
        self.shapes[name] = shape
        return Layer(name, shape, synapses, self.neurons(shape), 1.0)

    def neurons(self, shape: Shape) -> FixedPointNeurons:
        rng = self.rng
        per_neuron = shape if rng.random() < 0.2 else ()
        paper = rng.random() < 0.4
        current = np.full(per_neuron, 4096) if paper else _decays(rng, per_neuron, 0, 4096)
        exponent = int(rng.integers(0, 8))
        size = int(rng.choice([0, 64, 4095])) if exponent < 4 or self.stress else 64
        return FixedPointNeurons(
            frozen_ints(_decays(rng, per_neuron, 0, 4096)),
            frozen_ints(np.full(per_neuron, THRESHOLD_MAX)),
            frozen_ints(rng.integers(-size - 1, size + 1, shape)),
            exponent,
            frozen_ints(current),
        )

    def lively(self, program: Program, inputs: NDArray[Any]) -> Program:
        """The program with thresholds, layer by layer, that its voltages pass now and then."""
        for index, layer in enumerate(program.layers):
            voltages = reference.run(program, inputs).potentials[layer.name] >> 6
            shape = np.shape(layer.neurons.threshold)
            reached = np.quantile(voltages, self.rng.uniform(0.4, 0.9, int(np.prod(shape)))).reshape(shape)
            threshold = np.clip(reached, 0, THRESHOLD_MAX).astype(np.int64)
            changed = replace(layer, neurons=replace(layer.neurons, threshold=frozen_ints(threshold)))
            program = replace(program, layers=(*program.layers[:index], changed, *program.layers[index + 1 :]))
        return program


def _decays(rng: np.random.Generator, shape: Shape, low: int, high: int) -> IntArray:
    """Anything, the limits often."""
    if rng.random() < 0.3:
        return frozen_ints(rng.choice([low, low + 1, 2048, high - 1, high], shape))
    return frozen_ints(rng.integers(low, high + 1, shape))
