"""What is drawn at every step or trial: equations, statistics, and independence of how it is asked for."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
from noise_programs import CHIPS, SIDE, program, virtual
from numpy.typing import NDArray

from neurodeploy.errors import UsageError
from neurodeploy.hw_models import chip
from neurodeploy.hw_models.dynamic_noise import FLICKER_ROWS, DynamicNoise, SpikeMasks, transmitted
from neurodeploy.hw_models.noise_terms import NOISE_TERMS
from neurodeploy.hw_models.random import frozen_uniforms, step_integers, step_normals
from neurodeploy.hw_models.virtual_chip import VirtualChip
from neurodeploy.simulate import reference

DYNAMIC = [name for name, term in NOISE_TERMS.items() if term.where != "program"]
ON_INPUT = ("thermal", "ktc", "flicker")
ON_SPIKES = {"spike_loss": "lost", "spike_jitter": "late", "background_spikes": "extra"}
FLOAT = "mixed-signal"


def dynamic(name: str = FLOAT, trial: int = 0, decay: float = 0.8, chip_id: int = 17, **levels: Any) -> DynamicNoise:
    found = virtual(name, chip_id, **levels).dynamic_noise(program(name, decay=decay), trial)
    assert found is not None
    return found


def current(noise: DynamicNoise, step: int, first: int, count: int, shape: tuple[int, ...] = (40,)) -> NDArray[Any]:
    found = noise.current("a", shape, step, first, count)
    assert found is not None
    return found


@pytest.mark.parametrize("name", DYNAMIC)
def test_dynamic_noise_leaves_the_program_as_it_was_and_is_none_at_0(name: str) -> None:
    nominal = program(FLOAT)
    realised = virtual(FLOAT, **{name: 0.5}).realise(nominal)
    assert all(one.neurons is other.neurons for one, other in zip(realised.layers, nominal.layers, strict=True))
    assert virtual(FLOAT, **{name: 0.0}).dynamic_noise(nominal) is None
    assert virtual(FLOAT, **{name: 0.5}).dynamic_noise(nominal) is not None


@pytest.mark.parametrize("name", ON_INPUT)
def test_noise_on_inputs_touches_neither_spikes_nor_readout(name: str) -> None:
    noise = dynamic(**{name: 0.3})
    assert noise.masks("a", (40,), 0, 0, 3) is None
    values = np.array([[1.0, 2.0, 4.0]])
    np.testing.assert_array_equal(noise.readout(values, 0), values)
    assert noise.current("out", (3,), 0, 0, 3) is None  # a readout that does not fire


@pytest.mark.parametrize("chip_name", CHIPS)
@pytest.mark.parametrize("name", ["thermal", "flicker"])
def test_noise_on_inputs_has_the_level_it_says(chip_name: str, name: str) -> None:
    """Over samples and neurons at one step; flicker's twelve rows add up to the level."""
    noise = dynamic(chip_name, **{name: 0.2})
    got = current(noise, 5, 0, 500, (400,)) / (64000 if chip_name == "loihi2" else 1000)
    assert abs(got.mean()) < 4 * 0.2 / np.sqrt(got.size)
    assert abs(got.std() - 0.2) < 4 * 0.2 / np.sqrt(2 * got.size)


def test_sums_of_noises_are_rounded_once_and_each_keeps_its_draw() -> None:
    levels = {"thermal": 0.1, "flicker": 0.2}
    parts = [current(dynamic(**{name: level}), 3, 2, 4) for name, level in levels.items()]
    np.testing.assert_allclose(current(dynamic(**levels), 3, 2, 4), sum(parts))
    both = current(dynamic("loihi2", **levels), 3, 2, 4)
    np.testing.assert_array_equal(both, np.rint(both))
    np.testing.assert_array_equal(both, np.rint(64 * sum(parts)))


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9])
def test_ktc_gives_the_membrane_its_equilibrium_voltage(decay: float) -> None:
    """√(kT/C) of 1 pF at 300 K is 64.4 µV, whatever the leak; thresholds are 0.3 V."""
    nominal = program(FLOAT, decay=decay, steps=60)
    noise = virtual(FLOAT, ktc=50.0).dynamic_noise(nominal)
    recording = reference.run(nominal, np.zeros((1, 1, SIDE, SIDE), dtype=int), noise)
    volts = recording.potentials["a"][-1] / 1000 * 0.3
    wanted = 50 * np.sqrt(1.380649e-23 * 300 / 1e-12)
    assert wanted == pytest.approx(50 * 64.36e-6, rel=1e-3)
    assert abs(volts.std() - wanted) < 4 * wanted / np.sqrt(2 * SIDE**2)


def test_ktc_follows_temperature_and_needs_a_capacitance() -> None:
    cold, hot = (
        dynamic(ktc=1.0, temperature=75.0, temperature_direction=direction).deviations["a"]["ktc"]
        for direction in ("colder", "hotter")
    )
    assert hot / cold == pytest.approx(np.sqrt(375 / 225))
    assert virtual(FLOAT, ktc=1.0).dynamic_noise(program(FLOAT, decay=1.0)) is None  # no leak, no noise from it
    for name in ("loihi2", "ideal"):
        one = VirtualChip(chip(name), replace(virtual(FLOAT).noise, ktc=1.0), 0)
        with pytest.raises(UsageError, match=f"noise ktc: chip {name} gives no capacitance"):
            one.dynamic_noise(program("loihi2" if name == "loihi2" else FLOAT))


def test_flicker_is_one_over_f() -> None:
    """Slope of the mean periodogram of 100 neurons over 4096 steps, and no slope of thermal noise."""
    slopes = {}
    for name in ("flicker", "thermal"):
        noise = dynamic(**{name: 1.0})
        series = np.stack([current(noise, step, 0, 1, (100,))[0] for step in range(4096)])
        power = (np.abs(np.fft.rfft(series * np.hanning(4096)[:, None], axis=0)) ** 2).mean(axis=1)
        octaves = [power[2**k : 2 ** (k + 1)].mean() for k in range(2, 11)]  # 1/1024 to 1/2 per step
        slopes[name] = np.polyfit(np.arange(len(octaves)), np.log2(octaves), 1)[0]
    assert -1.15 < slopes["flicker"] < -0.85
    assert abs(slopes["thermal"]) < 0.05


def test_a_row_of_flicker_is_held_for_its_octave() -> None:
    """The rows written out: row k changes every 2^k steps, at a phase of its own."""
    noise = dynamic(flicker=0.3)
    names = [noise.flicker_names("a", step) for step in range(300)]
    phases = []
    for row in range(FLICKER_ROWS):
        changes = [step for step in range(1, 300) if names[step][row] != names[step - 1][row]]
        assert all(later - one == 2**row for one, later in pairwise(changes))
        assert len(changes) in (299 // 2**row, 299 // 2**row + 1)
        phases += [changes[0] % 2**row] if 3 <= row <= 7 else []
    assert any(phases)  # else all rows would change together
    rows = [step_normals(3, 2, 40, *name).astype(np.float64) for name in names[123]]
    np.testing.assert_allclose(current(noise, 123, 3, 2), 0.3 * 1000 * sum(rows) / np.sqrt(12), rtol=1e-12)


@pytest.mark.parametrize("name", ON_INPUT)
def test_noise_on_inputs_depends_on_no_order_chunk_or_batch(name: str) -> None:
    noise, again = dynamic(**{name: 0.4}), dynamic(**{name: 0.4})
    whole = {step: current(noise, step, 0, 10) for step in range(20)}
    for step, (first, count) in product((19, 3, 3, 11), ((0, 10), (0, 4), (4, 3), (9, 1))):
        np.testing.assert_array_equal(current(again, step, first, count), whole[step][first : first + count])
    assert (current(dynamic(trial=1, **{name: 0.4}), 3, 0, 10) != whole[3]).mean() > 0.99
    assert (current(dynamic(chip_id=18, **{name: 0.4}), 3, 0, 10) != whole[3]).mean() > 0.99
    np.testing.assert_allclose(current(dynamic(**{name: 0.8}), 3, 0, 10), 2 * whole[3])  # the same chip, twice as noisy


@pytest.mark.parametrize(("name", "part"), ON_SPIKES.items())
@pytest.mark.parametrize("level", [0.003, 0.25, 1.0])
def test_what_happens_to_spikes_has_its_probability(name: str, part: str, level: float) -> None:
    masks = dynamic(**{name: level}).masks("a", (400,), 2, 0, 500)
    assert masks is not None
    assert [one for one in SpikeMasks._fields if getattr(masks, one) is not None] == [part]
    hits = getattr(masks, part)
    assert hits.dtype == bool
    assert abs(hits.mean() - level) <= 4 * np.sqrt(level * (1 - level) / hits.size)
    np.testing.assert_array_equal(hits, step_integers(0, 500, 400, 0, 17, "a", name, 0, 2) < level * 2**32)
    more = dynamic(**{name: min(1.0, 2 * level)}).masks("a", (400,), 2, 0, 500)
    assert more is not None
    assert (hits <= getattr(more, part)).all()  # what happens at a level happens at every higher one
    assert dynamic(**{name: level}).current("a", (400,), 2, 0, 500) is None


def test_masks_depend_on_no_chunk_and_differ_between_steps_trials_and_noises() -> None:
    levels = {"spike_loss": 0.5, "spike_jitter": 0.5, "background_spikes": 0.5, "stuck_neurons": 0.5}
    noise = virtual(FLOAT, **levels).dynamic_noise(program(FLOAT))
    later = virtual(FLOAT, **levels).dynamic_noise(program(FLOAT), 1)
    assert noise is not None
    assert later is not None
    shape = (1, SIDE, SIDE)
    whole, part = noise.masks("a", shape, 4, 0, 6), noise.masks("a", shape, 4, 2, 3)
    other, trial = noise.masks("a", shape, 5, 0, 6), later.masks("a", shape, 4, 0, 6)
    assert whole is not None
    assert part is not None
    assert other is not None
    assert trial is not None
    for name in ("lost", "late", "extra"):
        np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[2:5])
        for changed in (other, trial):
            assert abs((getattr(changed, name) != getattr(whole, name)).mean() - 0.5) < 0.01
    assert abs((whole.lost != whole.late).mean() - 0.5) < 0.01
    assert abs((whole.extra != whole.late).mean() - 0.5) < 0.01
    for one in (part, other, trial):  # a fault is the chip's
        np.testing.assert_array_equal(one.stuck, whole.stuck)
    np.testing.assert_array_equal(whole.stuck, frozen_uniforms(shape, 0, 17, "a", "stuck_neurons") < 0.5)


def test_transmission_is_stuck_then_lost_then_late_then_extra() -> None:
    """Every combination of what can be, against the words of the vocabulary."""
    cases = np.array(list(product([False, True], repeat=6))).T
    fired, stuck, lost, late, extra, before = cases
    arrived, held = transmitted(fired, SpikeMasks(stuck, lost, late, extra), before)
    sent = (fired | stuck) & ~lost
    np.testing.assert_array_equal(arrived, (sent & ~late) | before | extra)
    np.testing.assert_array_equal(held, sent & late)
    same, nothing = transmitted(fired, None, None)
    assert same is fired
    assert nothing is None
    first, _ = transmitted(fired, SpikeMasks(late=late), None)
    np.testing.assert_array_equal(first, fired & ~late)


@pytest.mark.parametrize("whole", [False, True])
def test_readout_noise_is_relative_to_the_samples_own_spread(whole: bool) -> None:
    name = "loihi2" if whole else FLOAT
    values = np.tile(np.array([[0.0, 1000.0, 5000.0], [0.0, 10000.0, 50000.0], [7.0, 7.0, 7.0]]), (2000, 1))
    noise = dynamic(name, readout=0.2)
    got = noise.readout(values, 0) - values
    spread = np.std([0.0, 1000.0, 5000.0])
    for row, wanted in ((0, 0.2 * spread), (1, 2 * spread)):
        assert abs(got[row::3].std() - wanted) < 4 * wanted / np.sqrt(2 * 6000)
        assert abs(got[row::3].mean()) < 4 * wanted / np.sqrt(6000)
    assert not got[2::3].any()  # classes that do not differ have no spread
    np.testing.assert_array_equal(got, np.rint(got)) if whole else None
    np.testing.assert_array_equal(noise.readout(values[4:9], 4), noise.readout(values, 0)[4:9])
    normals = step_normals(0, 6000, 3, 0, 17, "out", "readout", 0).astype(float)
    exact = 0.2 * values.std(axis=1, keepdims=True) * normals
    np.testing.assert_allclose(got, np.rint(exact) if whole else exact, atol=1e-9)
    assert (dynamic(name, trial=1, readout=0.2).readout(values, 0) != noise.readout(values, 0)).mean() > 0.6
