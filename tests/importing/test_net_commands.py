"""`inspect`, `sweep` and `calibrate` take `.net` files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from importing.slayer_files import conv, cuba, dense, flatten, put_in, write_net
from numpy.typing import NDArray
from writers import write_npz

from neurodeploy.importing.loading import random_inputs
from neurodeploy.importing.net import read_net
from neurodeploy.ir.program import Program
from neurodeploy.simulate import reference

Array = NDArray[Any]
RNG = np.random.default_rng(0)


@pytest.fixture
def net(tmp_path: Path) -> Path:
    """A convolution and a dense layer of even weights, of twice 8 bits, as slayer has them."""
    write_npz(tmp_path / "mine.npz", (6, 6), test=20, temporal=False)
    return write_net(
        tmp_path / "slayer.net",
        put_in(1, 6, 6),
        conv(2 * RNG.integers(-60, 100, (2, 1, 3, 3)), (2, 6, 6), cuba(1500, 400, 300), padding=[1, 1]),
        flatten(72, 1, 1),
        dense(2 * RNG.integers(-100, 128, (3, 72)), cuba(2048, 300, 900)),
    )


def test_inspect_says_whether_it_fits(run: Any, net: Path, tmp_path: Path) -> None:
    outcome = run("inspect", net, "--target", "lava", "--steps", 8, "--json")
    assert outcome.code == 0, outcome
    found = json.loads(outcome.out)
    assert found["fits"] is True
    assert "fits lava: yes" in run("inspect", net, "--target", "lava", "--steps", 8).out
    wide = write_net(tmp_path / "wide.net", put_in(3), dense(np.array([[1, 2, 3.5]]), cuba(), bias=[5000]))
    outcome = run("inspect", wide, "--target", "lava", "--steps", 8)
    assert outcome.code == 3
    assert "bias mantissa: 5000 (limit -4096 to 4095)" in outcome.err
    assert "warning: layer 1 (dense): 1 of 3 values of weight are not whole numbers" in outcome.err
    assert run("inspect", net, "--target", "rockpool", "--steps", 8).code == 3


def test_energy_is_counted_on_random_integers_or_on_data(run: Any, net: Path, tmp_path: Path) -> None:
    words = ("inspect", net, "--target", "lava", "--steps", 8, "--energy", "--json")
    program = read_net(net, 8, 1).program
    mine = np.load(tmp_path / "mine.npz")["test_samples"][:7]
    chosen = (
        ((), random_inputs(program, 16), "16 samples of random integers, seed 0"),
        (("--samples", 5), random_inputs(program, 5), "5 samples of random integers, seed 0"),
        (
            ("--data", tmp_path / "mine.npz", "--samples", 7),
            (mine >= 128)[:, None],
            f"7 test samples of {tmp_path / 'mine.npz'}",
        ),
    )
    for options, inputs, what in chosen:
        outcome = run(*words, *options)
        assert outcome.code == 0, outcome
        energy = json.loads(outcome.out)["energy"]
        assert energy["inputs"] == what
        shown = np.broadcast_to(np.asarray(inputs, int), (8, *inputs.shape)) if inputs.ndim == 4 else inputs
        assert energy["events"][0]["count_low"] == pytest.approx(operations(program, shown))
    outcome = run(*words[:-1], "--samples", 5)
    assert "inputs: 5 samples of random integers, seed 0" in outcome.out
    assert "neurons on 5 samples of random integers, seed 0" in outcome.out


def operations(program: Program, inputs: Array) -> float:
    """Synapses with a weight that is not zero, of every event, per sample: tap by tap."""
    conv, dense = (layer.synapses[0] for layer in program.layers)
    spikes = reference.run(program, inputs).spikes[program.layers[0].name]
    assert 0.05 < spikes.mean() < 0.95
    padded = np.pad(inputs[:, :, 0], ((0, 0), (0, 0), (1, 1), (1, 1)))
    total = 0
    for output in range(2):
        for row in range(3):
            for column in range(3):
                if conv.weight[output, 0, row, column]:
                    total += int(padded[:, :, row : row + 6, column : column + 6].sum())
    total += int((spikes.reshape(8, -1, 72) @ (dense.weight != 0).T.astype(int)).sum())
    return total / inputs.shape[1]


@pytest.mark.lava
def test_lava_runs_it(run: Any, net: Path) -> None:
    outcome = run("run", net, "--steps", 8, "--backend", "lava", "--samples", 2, "--json")
    assert outcome.code == 0, outcome
    proof = json.loads(outcome.out)
    assert (proof["mismatched_spikes"], proof["mismatched_voltages"]) == (0, 0)
    assert all(0.05 < row["firing_rate"] < 0.95 for row in proof["layers"])


def test_sweep_and_calibrate_judge_it_on_a_data_set(run: Any, net: Path, tmp_path: Path) -> None:
    words = ("--data", tmp_path / "mine.npz", "--encoding", "rate", "--steps", 6, "--noise", "mismatch=0,0.4")
    words = (*words, "--chips", 2, "-o", tmp_path / "s.sqlite", "--json")
    outcome = run("sweep", net, *words)
    assert outcome.code == 0, outcome
    rows = json.loads(outcome.out)
    assert [(row["chip"], row["level"], row["n_samples"]) for row in rows] == [("loihi2", 0.0, 20), ("loihi2", 0.4, 20)]
    outcome = run("calibrate", net, *words)
    assert outcome.code == 0, outcome
    assert [row["level"] for row in json.loads(outcome.out)] == [0.0, 0.4]
    outcome = run("sweep", net, *words, "--calibrated", "4")
    assert outcome.code == 0, outcome
    assert {row["calibrated"] for row in json.loads(outcome.out)} == {False, True}


def test_what_is_missing_or_too_much_is_one_line(run: Any, net: Path, model_file: Path, tmp_path: Path) -> None:
    data = ("--data", tmp_path / "mine.npz")
    study = ("-o", tmp_path / "s.sqlite")
    for words, says in (
        (("sweep", net, "--steps", 3, *study), "--data: a .net file has no samples"),
        (("sweep", net, *data, *study), "give --steps"),
        (("sweep", net, model_file, *data, *study), "sweep them one after the other"),
        (("sweep", model_file, *data, *study), "--data: only for .net files"),
        (("calibrate", model_file, "--input-bits", 2, *study), "--input-bits: only for .net files"),
        (("sweep", net, *data, "--steps", 3, "--encoding", "loud", *study), "unknown encoding"),
        (("inspect", model_file, "--target", "lava", "--steps", 3), "--steps: only for a .net file"),
        (("inspect", net, "--target", "lava"), "give --steps"),
        (
            ("inspect", net, "--target", "lava", "--steps", 3, "--load"),
            "a .net file holds integers alone",
        ),
        (("inspect", net, "--target", "lava", "--steps", 3, "--chip", "loihi2"), "holds Loihi 2's integers already"),
        (("inspect", net, "--target", "lava", "--steps", 3, "--search-scales"), "holds Loihi 2's integers already"),
        (("inspect", net, "--target", "lava", "--steps", 3, "--encoding", "rate"), "name it with --data"),
        (("inspect", net, "--target", "lava", "--steps", 3, "--data-root", tmp_path), "name it with --data"),
        (("inspect", model_file, "--target", "lava", *data), "--data: only for a .net file"),
        (("inspect", model_file, "--target", "lava", "--samples", 3), "--samples: only for a .net file"),
        (("inspect", model_file, "--target", "lava", "--encoding", "rate"), "--encoding: only for a .net file"),
    ):
        outcome = run(*words)
        assert (outcome.code, outcome.out) == (2, ""), outcome
        assert outcome.err.startswith("error: ")
        assert says in outcome.err
        assert not (tmp_path / "s.sqlite").exists()
