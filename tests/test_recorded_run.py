"""Run folders: what was saved comes back by value, and what does not fit a program is refused."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from recorded_runs import INPUTS, PROGRAM, RECORDING, SAMPLES, make, same

from neurodeploy.errors import FileFormatError, NeurodeployError, UsageError
from neurodeploy.recorded_run import is_run, load_run, save_run
from neurodeploy.simulate.recording import Recording


def test_a_run_comes_back_as_it_was(tmp_path: Path) -> None:
    assert 0.05 < RECORDING.spikes["a"].mean() < 0.95
    run = make()
    save_run(tmp_path / "run", run)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["recording.safetensors", "run.json"]
    got = load_run(tmp_path / "run", PROGRAM)
    same(got.recording, RECORDING)
    np.testing.assert_array_equal(got.inputs, INPUTS)
    for name in ("name", "evidence", "program_hash", "backend", "versions", "date", "facts"):
        assert getattr(got, name) == getattr(run, name)
    assert is_run(tmp_path / "run")
    assert not is_run(tmp_path)


@pytest.mark.parametrize("limit", [2**31 - 1, 2**31, -(2**31), -(2**31) - 1, 2**62])
def test_large_integers_keep_their_value(tmp_path: Path, limit: int) -> None:
    readout = np.array([[limit, 1]] * SAMPLES)
    save_run(tmp_path / "run", make(recording=Recording({}, {}, readout)))
    np.testing.assert_array_equal(load_run(tmp_path / "run", PROGRAM).recording.readout, readout)


def test_a_run_of_some_layers_without_inputs(tmp_path: Path) -> None:
    part = Recording({"a": RECORDING.spikes["a"]}, {}, RECORDING.readout)
    save_run(tmp_path / "run", make(inputs=None, recording=part))
    got = load_run(tmp_path / "run", PROGRAM)
    same(got.recording, part)
    assert got.inputs is None


def test_a_run_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    place = tmp_path / "run"
    save_run(place, make(name="one"))
    save_run(place, make(name="two"))
    assert load_run(place).name == "two"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("years")
    with pytest.raises(UsageError, match="is not a run of ours"):
        save_run(other, make())
    assert (other / "thesis.tex").read_text() == "years"


def test_a_full_disk_leaves_the_run_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_run(tmp_path / "run", make(name="one"))
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(NeurodeployError, match="No space left"):
        save_run(tmp_path / "run", make(name="two"))
    assert load_run(tmp_path / "run").name == "one"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_kill_between_the_renames_is_mended(tmp_path: Path) -> None:
    save_run(tmp_path / "run", make())
    (tmp_path / "run").rename(tmp_path / ".run.previous")
    assert load_run(tmp_path / "run").name == "first light"


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": ""}, "name: a text"),
        ({"name": "x" * 201}, "name: a text"),
        ({"name": "\x1b[2Jcleared"}, "printable"),
        ({"backend": "a\nb"}, "backend"),
        ({"versions": {"lava": 1}}, "version of 'lava'"),
        ({"evidence": "certain"}, "allowed are measured-silicon, bit-exact-sim"),
        ({"program_hash": "f" * 63}, "64 hexadecimal digits"),
        ({"program_hash": "G" * 64}, "64 hexadecimal digits"),
        ({"date": "yesterday"}, "ISO 8601"),
        ({"facts": {"power": float("nan")}}, "plain values"),
        ({"facts": {"power": object()}}, "plain values"),
        ({"recording": Recording({}, {}, np.zeros(3))}, "readout of shape"),
        ({"recording": Recording({}, {}, np.full((2, 2), np.inf))}, "finite"),
        ({"recording": Recording({"a": np.full((1, 1, 2), 2, np.uint8)}, {}, np.zeros((1, 2)))}, "0 and 1"),
        ({"recording": Recording({}, {"a": np.full((1, 1, 2), np.nan)}, np.zeros((1, 2)))}, "finite numbers"),
        ({"recording": Recording({}, {"a": np.zeros((4, 3, 2))}, np.zeros((1, 2)))}, r"\(steps, samples\)"),
    ],
)
def test_values_that_are_not_what_they_should_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make(**changes)
    make(name="x" * 200)


def changed(values: NDArray[Any], place: tuple[int, ...]) -> NDArray[Any]:
    values = values.copy()
    values[place] = 1 - values[place] if values.dtype == np.uint8 else values[place] + 1
    return values


@pytest.mark.parametrize(
    ("recording", "message"),
    [
        (replace(RECORDING, spikes={"b": RECORDING.spikes["a"]}), "spikes of layer 'b': the program has a"),
        (replace(RECORDING, spikes={"out": RECORDING.spikes["a"]}), "spikes of layer 'out': the program has a"),
        (replace(RECORDING, potentials={"c": RECORDING.potentials["a"]}), "potentials of layer 'c': .* a, out"),
        (replace(RECORDING, spikes={"a": RECORDING.spikes["a"][..., :3]}), r"shape \(5, 6, 3\), \(5, 6, 4\) is"),
        (
            Recording({"a": RECORDING.spikes["a"][:4]}, {}, RECORDING.readout),
            r"shape \(4, 6, 4\), \(5, 6, 4\) is expected",
        ),
        (Recording({}, {"a": RECORDING.potentials["a"] * 1.0}, RECORDING.readout), "float64 where the chip has"),
        (Recording({}, {}, RECORDING.readout[:, :1]), r"readout of shape \(6, 1\): \(6, 2\)"),
        (replace(RECORDING, readout=changed(RECORDING.readout, (0, 0))), "not the sum of layer out"),
    ],
)
def test_arrays_that_do_not_fit_the_program(tmp_path: Path, recording: Recording, message: str) -> None:
    save_run(tmp_path / "run", make(recording=recording))
    load_run(tmp_path / "run")
    with pytest.raises(FileFormatError, match=message):
        load_run(tmp_path / "run", PROGRAM)


@pytest.mark.parametrize("inputs", [INPUTS + 1, INPUTS[:, :5], INPUTS[..., :2], INPUTS[:4]])
def test_inputs_that_do_not_fit_the_program(tmp_path: Path, inputs: NDArray[Any]) -> None:
    save_run(tmp_path / "run", make(inputs=inputs))
    with pytest.raises(FileFormatError, match="input"):
        load_run(tmp_path / "run", PROGRAM)


def test_a_run_of_another_program(tmp_path: Path) -> None:
    save_run(tmp_path / "run", make())
    with pytest.raises(UsageError, match="another program ran"):
        load_run(tmp_path / "run", replace(PROGRAM, steps=6))
