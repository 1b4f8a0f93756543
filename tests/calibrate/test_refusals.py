"""What the ladder refuses, and devices that answer nothing, nonsense, or too late."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from watched_device import Watched

from neurodeploy import hw_models
from neurodeploy.calibrate.bench import MeasurementError
from neurodeploy.calibrate.device import Device, RackSettings, virtual_rack
from neurodeploy.calibrate.ladder import LEVELS, calibrate, ladder_name, parse_ladder
from neurodeploy.calibrate.search import STATES
from neurodeploy.calibrate.work import CalibrationData, Options
from neurodeploy.errors import UsageError
from neurodeploy.hw_models.chip import Knob
from neurodeploy.hw_models.noise import NoiseModel
from neurodeploy.hw_models.virtual_chip import VirtualChip
from neurodeploy.ir.program import Program
from neurodeploy.simulate.engine import Counts, run_chips

Population = Callable[..., list[VirtualChip]]
Programs = dict[str, Program]


def test_a_chip_without_a_knob_is_refused(programs: Programs) -> None:
    ideal = VirtualChip(hw_models.chip("ideal"), NoiseModel(mismatch=0.1), 0)
    with pytest.raises(UsageError, match="chip ideal has no knob"):
        virtual_rack([ideal], programs["mixed-signal"])


@pytest.mark.parametrize("readout", [np.zeros((1, 10)), np.full((160, 10), np.nan)], ids=["shape", "not finite"])
def test_a_recording_whose_readout_is_nonsense_ends_level_5(
    programs: Programs, population: Population, data: CalibrationData, readout: NDArray[Any]
) -> None:
    device = Watched(virtual_rack(population("mixed-signal", 1, mismatch=0.3), programs["mixed-signal"]))
    whole = device.record
    device.record = lambda *asked, **options: [  # type: ignore[method-assign]
        replace(one, readout=readout) for one in whole(*asked, **options)
    ]
    step = calibrate(device, programs["mixed-signal"], data, (5,)).steps[0]
    assert "the device's readout is of shape" in step.refused
    assert not step.kept.any()


def test_a_level_without_its_knob_is_refused_by_name(
    programs: Programs, population: Population, data: CalibrationData
) -> None:
    device = virtual_rack(population("by-core", 1, mismatch=0.3), programs["by-core"])
    said = r"level 4 \(per neuron\): needs .* per neuron; the chip has gain per core \(8 bits\), weight per synapse"
    with pytest.raises(UsageError, match=said):
        calibrate(device, programs["by-core"], data, (4,))
    result = calibrate(device, programs["by-core"], data, (3, 4, 5))
    assert [step.refused[:24] for step in result.steps] == ["", "needs threshold or bias ", ""]
    assert not result.steps[1].kept.any()


def test_a_spiking_readout_is_not_refitted(programs: Programs, population: Population, data: CalibrationData) -> None:
    program = programs["mixed-signal"]
    last = replace(program.layers[-1], fires=True, neurons=replace(program.layers[-1].neurons, threshold=np.array(0.5)))
    counting = replace(program, layers=(*program.layers[:-1], last), readout="spike_count")
    device = virtual_rack(population("mixed-signal", 1, mismatch=0.3), counting)
    for level in (5, 6):
        with pytest.raises(UsageError, match=rf"level {level} .*: its readout counts spikes"):
            calibrate(device, counting, data, (level,))
    assert calibrate(device, counting, data, (4,)).steps[0].refused == ""


@pytest.mark.parametrize("text", ["", "0", "7", "4-", "5-4", "x", "4,5", "-1", "1-9999999"])
def test_what_is_no_ladder_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=rf"calibration level '{text}': .* 1 normalisation"):
        parse_ladder(text)


@pytest.mark.parametrize("text", ["4", "1-5", "2+4", "1-6"])
def test_a_ladder_is_named_as_it_is_typed(text: str) -> None:
    assert ladder_name(parse_ladder(text)) == text
    assert set(parse_ladder(text)) <= set(LEVELS)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"algorithm": "bisect"}, "unknown algorithm 'bisect': did you mean bisection"),
        ({"measure": "rate"}, "unknown measure 'rate': did you mean rates"),
        ({"runs": 0}, "0 runs"),
        ({"algorithm": "spsa"}, "spsa goes with readout"),
        ({"measure": "readout"}, "algorithm bisection with measure readout"),
        ({"tuning_steps": 0}, "at least one step"),
        ({"tuning_rate": 0.0}, "positive rate"),
    ],
)
def test_impossible_options_are_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Options(**change)


class Broken(Watched):
    """A device that is as it should be for some runs, and then is not."""

    def __init__(self, device: Device, good: int, spoil: Callable[[Counts], Any]) -> None:
        super().__init__(device)
        self.good, self.spoil = good, spoil

    def run(self, inputs: NDArray[Any], settings: RackSettings) -> Any:
        found = super().run(inputs, settings)
        return found if len(self.seen) <= self.good else self.spoil(found)


def _times_out(found: Counts) -> Any:
    raise TimeoutError("no answer in 10 s")


SPOILT: dict[str, tuple[Callable[[Counts], Any], str]] = {
    "nothing": (lambda found: None, "returned NoneType where spike counts are expected"),
    "no layer": (lambda found: Counts(found.readout, {}), "layer lif1: the device returned NoneType"),
    "shape": (
        lambda found: Counts(found.readout, {n: one[..., :-1] for n, one in found.spike_counts.items()}),
        r"layer lif1: the device returned int64 of shape \(2, 4, 8, 7\), integers of shape \(2, 4, 8, 8\)",
    ),
    "not a number": (lambda found: Counts(found.readout * np.nan, found.spike_counts), "readout .* not finite"),
    "fractions": (
        lambda found: Counts(found.readout, {n: one / 2 for n, one in found.spike_counts.items()}),
        "layer lif1: the device returned float64",
    ),
    "too late": (_times_out, "the measurement timed out after .* runs: no answer in 10 s"),
}


@pytest.mark.parametrize("kind", sorted(SPOILT))
def test_a_device_that_fails_ends_a_level_and_is_named(
    programs: Programs, population: Population, data: CalibrationData, kind: str
) -> None:
    program, (spoil, said) = programs["mixed-signal"], SPOILT[kind]
    chips = population("mixed-signal", 2, mismatch=0.5)
    with pytest.raises(MeasurementError, match=said):
        calibrate(Broken(virtual_rack(chips, program), 0, spoil), program, data)
    # Level 1 is through when it fails: what that brought is kept.
    done = 4 if program.layers[1].name == "lif2" else 3
    result = calibrate(Broken(virtual_rack(chips, program), done - 1, spoil), program, data, (1, 4))
    whole = calibrate(virtual_rack(chips, program), program, data, (1,))
    assert result.steps[0].refused == ""
    assert np.char.find(result.steps[1].refused, "device") >= 0 or "timed out" in result.steps[1].refused
    assert not result.steps[1].kept.any()
    for name, values in whole.settings.items():
        np.testing.assert_array_equal(result.settings[name], values)


def test_neurons_that_never_fire_or_always_do_are_marked_and_left_alone(
    programs: Programs, population: Population, data: CalibrationData
) -> None:
    chips = population("mixed-signal", 3, mismatch=0.3, dead_neurons=0.1, stuck_neurons=0.1)
    program = programs["mixed-signal"]
    result = calibrate(virtual_rack(chips, program), program, data)
    (step,) = result.steps
    wanted = run_chips([program], data.measurement).spike_counts["lif2"][0]
    most = program.steps * len(data.measurement)
    for index, chip in enumerate(chips):
        own = chip.realise(program)
        noise = chip.dynamic_noise(program)
        assert noise is not None
        dead = np.isinf(own.layers[1].neurons.threshold) & (wanted > 0) & ~noise.stuck["lif2"]
        stuck = noise.stuck["lif2"] & (wanted < most)
        assert dead.any()
        assert stuck.any()
        states = step.mask["threshold/neuron/lif2"][index]
        assert set(states[dead]) == {STATES.index("too little whatever the code")}
        assert set(states[stuck]) == {STATES.index("too much whatever the code")}
        assert not result.settings["threshold/neuron/lif2"][index][dead | stuck].any()
        told = " ".join(step.troubles(index))
        assert f"threshold/neuron/lif2: {dead.sum()} of 32: too little whatever the code" in told


def test_a_device_that_answers_nothing_keeps_no_code(programs: Programs, data: CalibrationData) -> None:
    """Constant spikes: every knob is deaf, every neuron marked, nothing set."""
    program = programs["mixed-signal"]

    class Constant:
        chips, knobs, step_seconds, probes = 2, (Knob("threshold", "neuron", 7, 1.0),), None, False

        def run(self, inputs: NDArray[Any], settings: RackSettings) -> Counts:
            counts = {layer.name: np.full((2, *layer.shape), 10**6) for layer in program.layers if layer.fires}
            return Counts(np.ones((2, len(inputs), 10)), counts)

        def record(self, inputs: NDArray[Any], settings: RackSettings, potentials: bool = False) -> Any:
            return None

    result = calibrate(Constant(), program, data)
    assert not any(values.any() for values in result.settings.values())
    assert {state for mask in result.steps[0].mask.values() for state in mask.ravel()} == {3}
    with pytest.raises(UsageError, match="level 6"):
        calibrate(Constant(), program, data, (6,))
    refused = calibrate(Constant(), program, data, (1, 4)).steps[0].refused
    assert refused == "the device returned recordings of 0 chips"
