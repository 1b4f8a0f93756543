"""`neurodeploy compare`: what is printed, written, and with which code it ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neurodeploy.compare.backends import Request, compare_backends
from neurodeploy.ir.artifact import load_artifact
from neurodeploy.ir.identity import program_hash
from neurodeploy.recorded_run import RecordedRun, save_run
from neurodeploy.simulate import reference
from neurodeploy.simulate.recording import Recording


def parsed(text: str) -> Any:
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_two_that_agree_end_with_0(run: Any, artifact: Path) -> None:
    outcome = run("compare", artifact, "reference", "engine")
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert lines[0].startswith("reference: NumPy reference ")
    assert lines[1].startswith("engine: engine ")
    assert lines[2] == "32 samples, 4 steps, chip loihi2"
    assert lines[-1] == "no difference"


def test_two_that_differ_end_with_1_and_name_the_cause(run: Any, model_file: Path) -> None:
    result = compare_backends(Request(model_file, "float", "reference", target="lava"))
    first = result.first_difference
    assert first is not None
    assert first.first is not None
    assert first.explanation is not None
    outcome = run("compare", model_file, "float", "reference", "--target", "lava")
    assert outcome.code == 1
    assert outcome.err.startswith(f"error: float and reference differ: {result.differing_spikes} spikes differ, ")
    neuron = ", ".join(map(str, first.first.neuron))
    place = f"first at step {first.first.step}, layer {first.layer}, neuron ({neuron}), sample {first.first.sample}: "
    assert place in outcome.out
    assert place in outcome.err
    assert f"layer {first.layer}: {first.explanation.sentence}\n" in outcome.out
    assert f"decisions: {result.decisions_differing} of 32 differ; right: float {result.first.correct}, " in outcome.out
    table = next(line for line in outcome.out.splitlines() if line.startswith(f"{first.layer} "))
    assert f" {first.differing_spikes} " in table
    assert table.endswith(first.explanation.short)
    steps = outcome.out.split("over steps\n")[1].splitlines()
    assert [line.split()[0] for line in steps[1:5]] == ["1", "2", "3", "4"]


def test_what_is_allowed_decides_the_code(run: Any, model_file: Path) -> None:
    words = ("compare", model_file, "float", "reference", "--target", "lava")
    result = compare_backends(Request(model_file, "float", "reference", target="lava"))
    enough = ("--allow-decisions", "1", "--allow-spikes")
    assert run(*words, *enough, repr(result.worst_share)).code == 0
    assert run(*words, *enough, repr(float(np.nextafter(result.worst_share, 0)))).code == 1
    assert run(*words, "--allow-decisions", "1").code == 1


def test_json_holds_everything(run: Any, model_file: Path) -> None:
    words = ("compare", model_file, "float", "reference", "--target", "lava", "--samples", "9", "--explain", "4")
    outcome = run(*words, "--json")
    assert outcome.code == 1
    content = parsed(outcome.out)
    request = Request(model_file, "float", "reference", target="lava", samples=9, explained=4)
    assert content == json.loads(json.dumps(compare_backends(request).as_dict() | {"excess": content["excess"]}))
    assert content["samples"] == 9
    assert content["excess"]
    layer = content["layers"][0]
    assert {"explanation", "first", "error", "differing_by_step", "causes", "share"} <= set(layer)
    assert sum(layer["causes"].values()) <= 4
    allowed = run(*words, "--json", "--allow-spikes", "1", "--allow-decisions", "1")
    assert (allowed.code, parsed(allowed.out)["excess"]) == (0, [])


def test_a_page_is_written(run: Any, artifact: Path, tmp_path: Path) -> None:
    page = tmp_path / "new" / "page.html"
    outcome = run("compare", artifact, "network", "reference", "--html", page, "--samples", "3")
    assert f"page: {page}" in outcome.err
    assert page.read_text().startswith("<!DOCTYPE html>")
    outcome = run("compare", artifact, "network", "reference", "--html", artifact, "--samples", "3")
    assert outcome.code == 2
    assert f"--html {artifact}" in outcome.err


def test_teacher_forcing_is_said(run: Any, model_file: Path) -> None:
    words = ("compare", model_file, "float", "reference", "--target", "lava", "--teacher-forced")
    outcome = run(*words)
    assert "each layer of reference fed float's spikes" in outcome.out
    assert "inherited" not in outcome.out


def test_a_recorded_run_with_a_flipped_spike(run: Any, artifact: Path, tmp_path: Path) -> None:
    loaded = load_artifact(artifact)
    own = reference.run(loaded.program, loaded.golden.inputs)
    spikes = {name: fired.copy() for name, fired in own.spikes.items()}
    spikes["lif2"][2, 7, 11] ^= 1
    recording = Recording({"lif2": spikes["lif2"]}, {}, own.readout)
    save_run(
        tmp_path / "bench",
        RecordedRun(
            "bench", "measured-silicon", program_hash(loaded.program), "loihi2", {}, "2026-02-03", None, recording, {}
        ),
    )
    outcome = run("compare", artifact, "engine", f"run:{tmp_path / 'bench'}")
    assert outcome.code == 1
    assert "note: run:bench does not hold its inputs" in outcome.out
    assert "not compared: layer lif1: run:bench has no spikes and no potentials" in outcome.out
    assert "first at step 3, layer lif2, neuron (11), sample 7" in outcome.out
    assert "run:bench lacks the spikes of layer lif1, which feed it" in outcome.out


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("reference", "nothing"), 2, "unknown backend 'nothing'"),
        (("float", "network"), 2, "there is no PyTorch network here"),
        (("reference", "engine", "--data-root", "x"), 2, "--data-root: of which data set?"),
        (("reference", "engine", "--allow-spikes", "2"), 2, "--allow-spikes"),
        (("reference", "engine", "--samples", "0"), 2, "--samples"),
        (("reference",), 2, "SECOND"),
        (("reference", "rockpool"), 3, "fixed-point neurons"),
        (("reference", "run:nowhere"), 2, "nowhere"),
    ],
)
def test_misuse_ends_with_2_and_what_does_not_fit_with_3(
    run: Any, artifact: Path, words: tuple[str, ...], code: int, told: str
) -> None:
    outcome = run("compare", artifact, *words)
    assert outcome.code == code
    assert told in outcome.err
    assert "Traceback" not in outcome.err


def test_a_missing_simulator_ends_with_4(
    run: Any, artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEURODEPLOY_HOME", str(tmp_path / "home"))
    outcome = run("compare", artifact, "reference", "lava")
    assert outcome.code == 4
    assert "neurodeploy vendor install lava" in outcome.err


def test_many_steps_are_taken_together(run: Any, artifact: Path) -> None:
    from neurodeploy.cli.comparing import _over_steps

    result = compare_backends(Request(artifact, "network", "reference", samples=3))
    whole = _over_steps(result)
    assert [row["step"] for row in whole] == ["1", "2", "3", "4"]
    from dataclasses import replace

    layer = replace(result.layers[0], differing_by_step=(0,) * 20 + (5,) * 10, compared=300, error=None)
    rows = _over_steps(replace(result, steps=30, layers=(layer,)))
    assert [row["step"] for row in rows][:2] == ["1-3", "4-6"]
    assert rows[-1] == {"step": "28-30", "lif1 (%)": 100 * 15 / 30}
    assert rows[6]["lif1 (%)"] == 100 * 5 / 30
