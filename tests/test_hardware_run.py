"""Runs that come back: compared layer by layer, labelled by what ran them, and refused where they cannot be true."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hardware_programs import SAMPLES, artifact_of, chip_program, runner_wrote, uneven
from numpy.typing import NDArray

from neurodeploy.errors import FileFormatError, UsageError
from neurodeploy.export import loihi2
from neurodeploy.hardware_run import import_run
from neurodeploy.ir.identity import program_hash
from neurodeploy.recorded_run import load_run, save_run
from neurodeploy.simulate import reference

ARTIFACT = artifact_of(chip_program())
FORM = loihi2.hardware_form(ARTIFACT.program).program
EXPECTED = reference.run(FORM, ARTIFACT.golden.inputs)
Arrays = dict[str, NDArray[Any]]


def test_a_run_in_the_simulator(tmp_path: Path) -> None:
    runner_wrote(tmp_path / "run", ARTIFACT, "cpu")
    found = import_run(tmp_path / "run", ARTIFACT)
    assert found.agrees
    assert (found.run.evidence, found.run.name) == ("bit-exact-sim", "network on cpu")
    assert found.comparison["spikes_compared"] == sum(values.size for values in EXPECTED.spikes.values()) == 5448
    assert found.comparison["voltages_recorded"] == ["stem", "x", "joined", "d", "out"]
    assert found.comparison["form"] == "even weights"
    own = ARTIFACT.golden.readout.argmax(axis=-1)
    assert found.comparison["decisions_differing_from_artifact"] == int((EXPECTED.decisions != own).sum())
    assert found.run.program_hash == program_hash(ARTIFACT.program)
    assert found.run.facts["comparison"] == found.comparison
    json.dumps(found.comparison, allow_nan=False)


def test_a_run_on_the_chip_that_recorded_the_last_layer_only(tmp_path: Path) -> None:
    runner_wrote(tmp_path / "run", ARTIFACT, "loihi2", only=("spikes:out",))
    found = import_run(tmp_path / "run", ARTIFACT)
    assert found.agrees
    assert found.run.evidence == "measured-silicon"
    assert [layer["layer"] for layer in found.comparison["layers"]] == ["out"]
    assert found.comparison["voltages_recorded"] == []
    voltages = [row["mismatched_voltages"] for row in found.comparison["layers"]]
    assert (voltages, found.comparison["mismatched_voltages"]) == ([None], None)  # nobody looked at them
    assert found.comparison["spikes_compared"] == 6 * SAMPLES * 3


def flipped(name: str, place: tuple[int, ...]) -> Callable[[Arrays], None]:
    def change(result: Arrays) -> None:
        result[name][place] = result[name][place] ^ 1

    return change


def test_the_first_difference_has_a_name(tmp_path: Path) -> None:
    def change(result: Arrays) -> None:
        flipped("spikes:x", (3, 2, 1, 0, 5))(result)
        flipped("spikes:joined", (4, 0, 0, 0, 0))(result)
        result["voltages:d"][5, 1, 7] += 3

    runner_wrote(tmp_path / "run", ARTIFACT, "loihi2", change)
    found = import_run(tmp_path / "run", ARTIFACT)
    assert not found.agrees
    counts = {
        layer["layer"]: (layer["mismatched_spikes"], layer["mismatched_voltages"])
        for layer in found.comparison["layers"]
    }
    assert counts == {"stem": (0, 0), "x": (1, 0), "joined": (1, 0), "d": (0, 1), "out": (0, 0)}
    expected = int(EXPECTED.spikes["x"][3, 2, 1, 0, 5])
    assert found.comparison["first"] == (
        f"first at step 4, layer x, neuron (1, 0, 5), sample 2: spike {expected} expected, {1 - expected} got"
    )


def test_another_readout_is_a_difference(tmp_path: Path) -> None:
    """The last layer's spikes differ, and with them its sum over time and one decision."""

    def change(result: Arrays) -> None:
        result["spikes:out"][:, 0] = 0
        result["spikes:out"][:, 0, (int(EXPECTED.decisions[0]) + 1) % 3] = 1

    runner_wrote(tmp_path / "run", ARTIFACT, "loihi2", change, only=("spikes:out",))
    comparison = import_run(tmp_path / "run", ARTIFACT).comparison
    assert comparison["readouts_differing"] == 1
    assert comparison["decisions_differing"] == 1
    assert comparison["mismatched_spikes"] > 0


def test_own_samples_are_compared_with_their_own_reference(tmp_path: Path) -> None:
    inputs = 1 - ARTIFACT.golden.inputs[:, :3]
    runner_wrote(tmp_path / "run", ARTIFACT, "cpu", inputs=inputs)
    found = import_run(tmp_path / "run", ARTIFACT)
    assert found.agrees
    assert found.comparison["samples"] == 3
    np.testing.assert_array_equal(found.run.inputs, inputs)


def description(folder: Path, **changes: Any) -> None:
    path = folder / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("backend", "changes", "message"),
    [
        (
            "cpu",
            {"evidence": "measured-silicon"},
            "says measured-silicon of a run on cpu, which can only be bit-exact-sim",
        ),
        ("loihi2", {"evidence": "bit-exact-sim"}, "says bit-exact-sim of a run on loihi2"),
        ("cpu", {"backend": "loihi2"}, "says bit-exact-sim of a run on loihi2"),
        ("cpu", {"backend": "loihi2", "evidence": "measured-silicon"}, "names no host or no version of lava-loihi"),
        ("loihi2", {"versions": {"lava-nc": "0.10.0"}}, "names no host or no version of lava-loihi"),
        ("loihi2", {"facts": {}}, "names no host or no version of lava-loihi"),
        ("cpu", {"backend": "brain"}, "ran on 'brain'; a bundle's runner has cpu, loihi2"),
        ("cpu", {"facts": {"probes": [1]}}, "probes: name"),
        ("cpu", {"facts": {"probes": {"power": 3}}}, "probes: name"),
        ("cpu", {"facts": {"probes": {"power": {"watt": "much"}}}}, "probes: name"),
    ],
)
def test_evidence_that_cannot_be(tmp_path: Path, backend: str, changes: dict[str, Any], message: str) -> None:
    runner_wrote(tmp_path / "run", ARTIFACT, backend)
    import_run(tmp_path / "run", ARTIFACT)
    description(tmp_path / "run", **changes)
    with pytest.raises(FileFormatError, match=message):
        import_run(tmp_path / "run", ARTIFACT)


def test_a_run_of_another_network(tmp_path: Path) -> None:
    runner_wrote(tmp_path / "run", ARTIFACT, "cpu")
    other = artifact_of(chip_program(decay=900))
    with pytest.raises(UsageError, match="another program ran"):
        import_run(tmp_path / "run", other)
    with pytest.raises(UsageError, match="another program ran"):
        import_run(tmp_path / "run", replace(other, program=uneven(other.program)))  # which has no form for the chip


def test_a_run_of_the_program_as_exported(tmp_path: Path) -> None:
    """A program whose form for hardware would be another one may have run as it is, for example in Lava."""
    runner_wrote(tmp_path / "run", ARTIFACT, "cpu", program=ARTIFACT.program)
    found = import_run(tmp_path / "run", ARTIFACT)
    assert found.agrees
    assert found.comparison["form"] == "as exported"
    assert sorted(found.run.recording.potentials) == ["d", "joined", "out", "stem", "x"]


def test_without_inputs_nothing_can_be_compared(tmp_path: Path) -> None:
    runner_wrote(tmp_path / "run", ARTIFACT, "cpu")
    run = load_run(tmp_path / "run")
    save_run(tmp_path / "run", replace(run, inputs=None))
    with pytest.raises(FileFormatError, match="holds no inputs"):
        import_run(tmp_path / "run", ARTIFACT)
