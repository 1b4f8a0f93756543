"""Membrane probes: what a recording tells of a neuron, and a level 4 that takes one recording per layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from watched_device import Watched

from neurodeploy.calibrate.bench import Bench
from neurodeploy.calibrate.device import simulated_rack, virtual_rack
from neurodeploy.calibrate.ladder import calibrate
from neurodeploy.calibrate.membrane import replayed
from neurodeploy.calibrate.work import CalibrationData, Options, Work
from neurodeploy.errors import UsageError
from neurodeploy.hw_models.chip import Knob
from neurodeploy.hw_models.virtual_chip import VirtualChip
from neurodeploy.ir.program import Program
from neurodeploy.simulate import reference

Population = Callable[..., list[VirtualChip]]
Programs = dict[str, Program]
PROBED = Options(measure="membrane")


def with_probes(chips: list[VirtualChip]) -> list[VirtualChip]:
    return [replace(chip, model=replace(chip.model, probes=True)) for chip in chips]


@pytest.mark.parametrize("quantity", ["threshold", "bias"])
@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_the_spikes_at_other_codes_are_foretold(
    programs: Programs, population: Population, data: CalibrationData, quantity: str, reset: str
) -> None:
    """Against the reference run with these codes: what is recorded at code 0 says what other codes do."""
    nominal = programs["mixed-signal"]
    layers = [replace(one, neurons=replace(one.neurons, reset=reset)) if one.fires else one for one in nominal.layers]
    nominal = replace(nominal, layers=tuple(layers))
    knob = Knob(quantity, "neuron", 7, 1.0)  # type: ignore[arg-type]
    chips = population("mixed-signal", 2, mismatch=0.3)
    device = simulated_rack([chip.realise for chip in chips], nominal, (knob,), reference.run, probes=True)
    work = Work(Bench(device, nominal), replace(data, measurement=data.measurement[:24]), PROBED)
    layer = work.firing[0]
    response = replayed(work, layer, knob, {})
    assert work.bench.cost.chip_runs == 1
    for code in (0, 5, -9):
        codes = np.full((2, *layer.shape), code)
        counted = device.run(work.data.measurement, {knob.key(layer.name): codes}).spike_counts[layer.name]
        rate = counted.mean() / (nominal.steps * 24)
        assert 0.05 < rate < 0.95
        error = response(codes) + work.wanted[0][layer.name] - counted
        if code == 0:
            assert (error != 0).mean() < 0.02  # where no step without a spike tells of the decay
        assert np.abs(error).sum() < 0.03 * counted.sum()


@pytest.mark.parametrize("quantity", ["threshold", "bias"])
def test_what_is_set_already_is_known_when_other_codes_are_foretold(
    programs: Programs, population: Population, data: CalibrationData, quantity: str
) -> None:
    """Recorded with biases and thresholds that are set, and foretold at other codes of one of both."""
    nominal = programs["loihi1"]
    chips = population("loihi1", 2, mismatch=0.2)
    device = virtual_rack(chips, nominal)
    knobs = {f"{knob.quantity}/{knob.per}": knob for knob in device.knobs}
    knob = knobs[f"{quantity}/neuron"]
    work = Work(Bench(device, nominal), replace(data, measurement=data.measurement[:24]), PROBED)
    layer = work.firing[0]
    set_to = {"bias": 12, "threshold": -1}  # a fifth, and a third, of the nominal threshold
    settings = {f"{name}/neuron/lif1": np.full((2, *layer.shape), code) for name, code in set_to.items()}
    response = replayed(work, layer, knob, settings)
    for further in (0, 1, -1):
        codes = settings[knob.key(layer.name)] + further * (1 if quantity == "threshold" else 6)
        counted = device.run(work.data.measurement, settings | {knob.key(layer.name): codes}).spike_counts[layer.name]
        assert 0.05 < counted.mean() / (nominal.steps * 24) < 0.95
        error = response(codes) + work.wanted[0][layer.name] - counted
        assert np.abs(error).sum() < 0.05 * counted.sum()  # a code of the thresholds is a third of them


@pytest.mark.parametrize("name", ["mixed-signal", "loihi2"])
def test_one_recording_per_layer_does_what_seven_runs_do(
    programs: Programs, population: Population, data: CalibrationData, name: str
) -> None:
    program, chips = programs[name], with_probes(population(name, 8, mismatch=0.5))
    few = replace(data, measurement=data.measurement[:16])
    probed = calibrate(virtual_rack(chips, program), program, few, (4,), PROBED)
    by_rates = calibrate(virtual_rack(chips, program), program, few, (4,))
    layers = sum(layer.fires for layer in program.layers)
    assert (probed.cost.chip_runs, by_rates.cost.chip_runs) == (2 + layers, 2 + 7 * layers)
    gained = (probed.selection_after - probed.selection_before).mean()
    assert gained > 0.01
    assert probed.selection_after.mean() >= by_rates.selection_after.mean() - 0.01
    assert (probed.selection_after >= probed.selection_before).all()


def test_a_curve_has_every_recording(programs: Programs, population: Population, data: CalibrationData) -> None:
    program, chips = programs["mixed-signal"], with_probes(population("mixed-signal", 1, mismatch=0.5))
    runs: list[int] = []
    calibrate(virtual_rack(chips, program), program, data, (4,), PROBED, lambda cost, _: runs.append(cost.chip_runs))
    layers = sum(layer.fires for layer in program.layers)
    assert runs == [*range(2, 2 + layers), 2 + layers]


def test_probes_are_used_where_there_are_some(
    programs: Programs, population: Population, data: CalibrationData
) -> None:
    bare = virtual_rack(population("mixed-signal", 1, mismatch=0.3), programs["mixed-signal"])
    device = Watched(bare)
    with pytest.raises(UsageError, match="measure membrane: mixed-signal has no probes of membrane potentials"):
        calibrate(device, programs["mixed-signal"], data, (4,), PROBED)
    assert device.seen == []
    probed = virtual_rack(with_probes(population("mixed-signal", 1, mismatch=0.3)), programs["mixed-signal"])
    with pytest.raises(UsageError, match="measure membrane is of level 4"):
        calibrate(probed, programs["mixed-signal"], data, (3,), PROBED)
    with pytest.raises(UsageError, match="spsa goes with readout"):
        Options(algorithm="spsa", measure="membrane")
