"""Random programs of every kind in the engine and in the reference: every spike, every potential, every chip."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.random import Generator
from numpy.typing import NDArray
from simulate.test_engine import assert_alike

from neurodeploy.errors import UsageError
from neurodeploy.hw_models import chip
from neurodeploy.hw_models.noise import NoiseModel
from neurodeploy.hw_models.virtual_chip import VirtualChip
from neurodeploy.ir.arrays import Shape, frozen_floats, frozen_ints
from neurodeploy.ir.nodes import Input
from neurodeploy.ir.program import FixedPointNeurons, FloatNeurons, Layer, Program
from neurodeploy.ir.synapses import ConvSynapses, DenseSynapses, Synapses
from neurodeploy.simulate import engine, reference

STEPS, BATCH = 7, 5


def fitting_conv(rng: Generator, source: str, shape: Shape) -> ConvSynapses:
    """The first drawn whose output is not empty."""
    while True:
        one = conv(rng, source, shape)
        try:
            one.output_shape(shape)
        except UsageError:
            continue
        return one


def conv(rng: Generator, source: str, shape: Shape, target: Shape | None = None, delay: int = 0) -> ConvSynapses:
    """A convolution of any geometry from `shape`; to the same height and width where a target says its channels."""
    pool = int(rng.choice([1, 2])) if target is None and shape[1] % 2 == shape[2] % 2 == 0 else 1
    groups = int(rng.choice([g for g in (1, 2, shape[0]) if shape[0] % g == 0]))
    outputs = target[0] if target is not None else groups * int(rng.integers(1, 4))
    groups = groups if outputs % groups == 0 else 1
    kernel = (3, 3) if target is not None else tuple(int(k) for k in rng.integers(1, 4, 2))
    any_geometry = target is None
    weight = frozen_ints(rng.integers(-40, 60, (outputs, shape[0] // groups, *kernel)))
    return ConvSynapses(
        f"conv-{source}",
        source,
        weight,
        stride=(int(rng.integers(1, 3)), int(rng.integers(1, 3))) if any_geometry else (1, 1),
        padding=tuple(int(p) for p in rng.integers(0, 4, 2)) if any_geometry else (1, 1),  # type: ignore[arg-type]
        dilation=(int(rng.integers(1, 3)), int(rng.integers(1, 3))) if any_geometry else (1, 1),
        groups=groups,
        pool=pool,
        delay=delay,
    )


def dense(rng: Generator, source: str, inputs: int, outputs: int, fixed: bool, delay: int = 0) -> DenseSynapses:
    weight = frozen_ints(rng.integers(-30, 45, (outputs, inputs)))
    delays = frozen_ints(rng.integers(0, 4, weight.shape)) if rng.random() < 0.3 else None
    exponent = int(rng.integers(-2, 2)) if fixed else 0
    return DenseSynapses(f"dense-{source}", source, weight, delay=delay, delays=delays, weight_exponent=exponent)


def neurons(rng: Generator, shape: Shape, drive: float, fixed: bool) -> FixedPointNeurons | FloatNeurons:
    """Thresholds at about the drive, one per neuron or one for all; currents with memory or without."""
    own = shape if rng.random() < 0.5 else ()
    keeps = rng.random() < 0.4
    if fixed:
        return FixedPointNeurons(
            frozen_ints(rng.integers(200, 4097, own)),
            frozen_ints(np.maximum(1, np.rint(drive * rng.uniform(0.6, 1.4, own))).astype(np.int64)),
            frozen_ints(rng.integers(-20, 40, shape)),
            int(rng.integers(0, 4)),
            frozen_ints(rng.integers(1500, 4097, own) if keeps else np.array(4096)),
        )
    return FloatNeurons(
        frozen_floats(rng.uniform(0, 1, own)),
        frozen_floats(drive * rng.uniform(0.6, 1.4, own) / 16),
        frozen_floats(rng.normal(0, drive / 100, shape)),
        rng.choice(["zero", "subtract"]),
        bool(rng.integers(2)),
        frozen_floats(rng.uniform(0, 0.7, own) if keeps else np.array(0.0)),
    )


def case(seed: int) -> tuple[Program, NDArray[Any]]:
    """A program of two convolutions (the second with feedback or a shortcut, or not), a hidden layer and a readout."""
    rng = np.random.default_rng(seed)
    fixed, static, bits = bool(rng.integers(2)), bool(rng.integers(2)), int(rng.choice([1, 2, 8]))
    source: Shape = (int(rng.integers(1, 4)), int(rng.integers(4, 9)), int(rng.integers(4, 9)))
    density = rng.choice([0.1, 0.6])
    shape = (BATCH, *source) if static else (STEPS, BATCH, *source)
    inputs = np.where(rng.random(shape) < density, rng.integers(1, 2**bits, shape), 0)
    layers: list[Layer] = []
    shapes: dict[str, Shape] = {"input": source}

    def add(name: str, synapses: list[Synapses], fires: bool = True) -> None:
        size = synapses[0].output_shape(shapes[synapses[0].source])
        drive = sum(
            float(np.abs(one.weight).mean() * np.sqrt(one.weight[0].size))
            * (inputs.mean() if one.source == "input" else 0.4)
            for one in synapses
        )
        layers.append(
            Layer(name, size, tuple(synapses), neurons(rng, size, drive, fixed), 1.0 if fixed else 2.0**-4, fires)
        )
        shapes[name] = size

    add("a", [replace(fitting_conv(rng, "input", source), delay=int(rng.integers(0, 2)))])
    second: list[Synapses] = [fitting_conv(rng, "a", shapes["a"])]
    size = second[0].output_shape(shapes["a"])
    if rng.random() < 0.5:
        second.append(conv(rng, "b", size, size, delay=int(rng.integers(1, 3))))
    add("b", second)
    add(
        "c",
        [
            dense(rng, "b", int(np.prod(shapes["b"])), 9, fixed),
            *([dense(rng, "c", 9, 9, fixed, 1)] if rng.random() < 0.5 else []),
        ],
    )
    hidden = [dense(rng, "c", 9, 4, fixed, int(rng.integers(0, 3)))]
    if rng.random() < 0.3:
        hidden.append(dense(rng, "a", int(np.prod(shapes["a"])), 4, fixed))
    membrane = bool(rng.integers(2))
    add("d", list(hidden), fires=not membrane)
    program = Program(
        "loihi2" if fixed else "mixed-signal",
        STEPS,
        Input(source, bits=bits),
        tuple(layers),
        "membrane" if membrane else "spike_count",
    )
    return program, inputs


def test_the_programs_are_of_every_kind_and_fire() -> None:
    programs = [case(seed)[0] for seed in range(60)]
    synapses = [one for program in programs for layer in program.layers for one in layer.synapses]
    convolutions = [one for one in synapses if isinstance(one, ConvSynapses)]
    for name in ("pool", "groups", "delay"):
        assert {1, 2} <= {getattr(one, name) for one in convolutions}
    assert any(isinstance(one, DenseSynapses) and one.delays is not None for one in synapses)
    assert {program.fixed_point for program in programs} == {True, False}
    rates = [rate for seed in range(60) for rate in reference.run(*case(seed)).firing_rates().values()]
    assert np.mean([0.02 < rate < 0.98 for rate in rates]) > 0.75


@pytest.mark.parametrize("seed", range(60))
def test_every_spike_and_potential_is_the_references(seed: int) -> None:
    program, inputs = case(seed)
    assert_alike(program, inputs)


NOISES = (
    NoiseModel(mismatch=0.2),
    NoiseModel(weight_mismatch=0.2),
    NoiseModel(mismatch=0.2, layers=("c",)),  # the layers before it are the same in all chips
    NoiseModel(mismatch=0.2, thermal=0.1, layers=("b", "c", "d")),
    NoiseModel(spike_loss=0.1, spike_jitter=0.1, layers=("c",)),
    NoiseModel(),
)


@pytest.mark.parametrize("seed", range(24))
def test_every_chip_of_a_population_is_the_references(seed: int) -> None:
    program, inputs = case(seed)
    noise = replace(NOISES[seed % len(NOISES)])
    chips = [VirtualChip(chip(program.chip), noise, chip_id) for chip_id in (0, 3, 4)]
    programs, running = [one.realise(program) for one in chips], [one.dynamic_noise(program) for one in chips]
    counts = engine.run_chips(programs, inputs, running)
    for index, (own, dynamic) in enumerate(zip(programs, running, strict=True)):
        expected = reference.run(own, inputs, dynamic)
        np.testing.assert_array_equal(counts.readout[index], expected.readout)
        for name, spikes in expected.spikes.items():
            np.testing.assert_array_equal(counts.spike_counts[name][index], spikes.sum(axis=(0, 1), dtype=np.int64))
