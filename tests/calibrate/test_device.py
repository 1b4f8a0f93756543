"""Devices: virtual chips, and chips behind a simulator, are seen through what they put out and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from neurodeploy import hw_models
from neurodeploy.calibrate.device import of_chip, simulated_rack, virtual_rack
from neurodeploy.calibrate.work import CalibrationData
from neurodeploy.hw_models.knobs import adjusted, written
from neurodeploy.hw_models.noise import NoiseModel
from neurodeploy.hw_models.virtual_chip import VirtualChip
from neurodeploy.ir.program import Program
from neurodeploy.simulate import engine, reference
from neurodeploy.simulate.recording import Recording

Population = Callable[..., list[VirtualChip]]
Programs = dict[str, Program]


def test_a_run_is_what_the_chips_compute_with_the_noise_of_its_turn(
    programs: Programs, population: Population, data: CalibrationData
) -> None:
    """Weights that are written deviate as the chip's own do; codes act on what the chip has."""
    program, chips = (
        programs["mixed-signal"],
        population("mixed-signal", 2, mismatch=0.2, weight_mismatch=0.2, thermal=0.1),
    )
    knobs, last = chips[0].model.knobs, program.layers[-1]
    settings = {
        "threshold/neuron/lif2": np.arange(64).reshape(2, 32) - 32,
        f"weight/0/{last.name}": np.stack([-last.synapses[0].weight] * 2),
    }
    device = virtual_rack(chips, program, first_trial=5)
    inputs = data.measurement[:12]
    for trial in (5, 7):
        counts, recorded = device.run(inputs, settings), device.record(inputs, settings, potentials=True)
        for index, chip in enumerate(chips):
            mine = of_chip(settings, index)
            own = adjusted(chip.realise(written(program, knobs, mine)), program, knobs, mine)
            wanted = reference.run(own, inputs, chip.dynamic_noise(program, trial))
            np.testing.assert_array_equal(counts.readout[index], wanted.readout)
            after = reference.run(own, inputs, chip.dynamic_noise(program, trial + 1))
            for name, spikes in wanted.spikes.items():
                np.testing.assert_array_equal(counts.spike_counts[name][index], spikes.sum(axis=(0, 1), dtype=int))
                np.testing.assert_array_equal(recorded[index].spikes[name], after.spikes[name])
            assert recorded[index].potentials == {}  # the chip has no probes


@pytest.mark.parametrize(("probes", "asked"), [(True, True), (True, False), (False, True), (False, False)])
def test_a_simulators_chips_show_potentials_where_they_have_probes_and_are_asked(
    programs: Programs, data: CalibrationData, probes: bool, asked: bool
) -> None:
    program, knobs = programs["loihi2"], hw_models.chip("loihi2").knobs
    rack = simulated_rack([lambda written: written], program, knobs, engine.run, probes)
    (found,) = rack.record(data.measurement[:3], {}, asked)
    wanted = engine.run(program, data.measurement[:3])
    assert set(found.potentials) == (set(wanted.potentials) if probes and asked else set())
    for name, spikes in wanted.spikes.items():
        np.testing.assert_array_equal(found.spikes[name], spikes)


def test_weights_written_through_a_simulator_deviate_as_those_of_virtual_chips_do(
    programs: Programs, population: Population, data: CalibrationData
) -> None:
    """Where synapses deviate a chip's weights are finer than its codes; what is written is in codes all the same."""
    program, chips = programs["mixed-signal"], population("mixed-signal", 2, mismatch=0.2, weight_mismatch=0.3)
    last, knobs = program.layers[-1], chips[0].model.knobs
    inputs, own = data.measurement[:8], np.stack([last.synapses[0].weight, -last.synapses[0].weight])
    simulated = simulated_rack([chip.realise for chip in chips], program, knobs, engine.run)
    for settings in ({}, {f"weight/0/{last.name}": own}):
        wanted, got = (rack.run(inputs, settings) for rack in (virtual_rack(chips, program), simulated))
        np.testing.assert_array_equal(got.readout, wanted.readout)
    assert (wanted.readout[1] != virtual_rack(chips, program).run(inputs, {}).readout[1]).any()


def reachable(value: Any, seen: set[int]) -> list[Any]:
    """Everything that public attributes lead to."""
    if id(value) in seen or isinstance(value, int | float | str | type | type(np)):
        return []
    seen.add(id(value))
    inner = list(value) if isinstance(value, tuple) else []
    inner += [getattr(value, name) for name in dir(value) if not name.startswith("_")]
    return [value, *(other for one in inner for other in reachable(one, seen))]


def test_the_rack_leads_to_no_hidden_parameters(programs: Programs, population: Population) -> None:
    device = virtual_rack(population("mixed-signal", mismatch=0.3), programs["mixed-signal"])
    found = reachable(device, set())
    assert any(one is device.knobs for one in found)
    hidden = Program | VirtualChip | NoiseModel | np.ndarray | Recording
    assert not [one for one in found if isinstance(one, hidden)]
    public = {name for name in dir(device) if not name.startswith("_")}
    assert public == {"chips", "knobs", "step_seconds", "probes", "run", "record"}
    assert device.chips == 6


def test_loihi_2_has_probes(programs: Programs, population: Population, data: CalibrationData) -> None:
    program = programs["loihi2"]
    device = virtual_rack(population("loihi2", 1, mismatch=0.1), program)
    (probed,), (unasked,) = (device.record(data.measurement[:3], {}, wanted) for wanted in (True, False))
    assert set(probed.potentials) == {"lif1", "lif2", program.layers[-1].name}
    assert unasked.potentials == {}
    for name, spikes in probed.spikes.items():
        np.testing.assert_array_equal(spikes, unasked.spikes[name])
    np.testing.assert_array_equal(probed.readout, unasked.readout)
