"""`.net` files in `run` and in sweeps: programs without a float network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from importing.slayer_files import conv, cuba, dense, flatten, put_in, write_net
from writers import write_npz

from neurodeploy.errors import FileFormatError, UsageError
from neurodeploy.importing.loading import data_for, known_encoding, load_program, random_inputs, shaped
from neurodeploy.programs import choose_samples, program_studies, prove_program
from neurodeploy.simulate import reference
from neurodeploy.sweep.design import make_points
from neurodeploy.sweep.plan import parse_axis
from neurodeploy.sweep.run import sweep
from neurodeploy.sweep.store import Store

RNG = np.random.default_rng(0)
LAYERS = (
    put_in(1, 6, 6),
    conv(2 * RNG.integers(-60, 100, (2, 1, 3, 3)), (2, 6, 6), cuba(1500, 400, 300), padding=[1, 1]),
    flatten(72, 1, 1),
    dense(2 * RNG.integers(-100, 128, (3, 72)), cuba(2048, 300, 900)),
)


@pytest.fixture
def net(tmp_path: Path) -> Path:
    return write_net(tmp_path / "slayer.net", *LAYERS)


def test_a_program_from_a_net_file_has_no_artifact(net: Path) -> None:
    loaded = load_program(net, 9)
    assert (loaded.artifact, loaded.program.steps, loaded.warnings) == (None, 9, ())
    assert load_program(net, 9, 4).program.input.bits == 4


def test_an_artifact_says_its_own_steps(tmp_path: Path) -> None:
    for options in ({"steps": 3}, {"input_bits": 1}):
        with pytest.raises(UsageError, match=r"only for a \.net file"):
            load_program(tmp_path, **options)
    with pytest.raises(FileFormatError, match="not an artifact"):
        load_program(tmp_path)
    (tmp_path / "graph.nir").write_bytes(b"x")
    with pytest.raises(FileFormatError, match=r"graph\.nir: the folder of an artifact or a \.net file is expected"):
        load_program(tmp_path / "graph.nir")
    with pytest.raises(FileFormatError, match="there is no such file"):
        load_program(tmp_path / "absent.net", 3)


def test_random_inputs_are_reproducible_and_use_all_bits(net: Path) -> None:
    program = load_program(net, 8, 3).program
    inputs = random_inputs(program, 5)
    assert inputs.shape == (8, 5, 1, 6, 6)
    assert set(np.unique(inputs)) == set(range(8))
    np.testing.assert_array_equal(inputs, random_inputs(program, 5))
    assert (inputs != random_inputs(program, 5, seed=1)).any()


def test_samples_take_the_programs_shape_and_bits(net: Path, tmp_path: Path) -> None:
    images, _ = write_npz(tmp_path / "mine.npz", (6, 6), temporal=False)["test"]
    program = load_program(net, 5, 2).program
    data = data_for(program, str(tmp_path / "mine.npz"))
    assert (data.input.bits, data.test.inputs.shape) == (2, (10, 1, 6, 6))
    np.testing.assert_array_equal(data.test.inputs[:, 0], np.rint(images / 255 * 3))
    flat = load_program(write_net(tmp_path / "flat.net", put_in(36), dense(np.eye(36)[:3], cuba())), 5, 2).program
    np.testing.assert_array_equal(shaped(flat, data.test.inputs), data.test.inputs.reshape(10, 36))
    spikes = data_for(load_program(net, 5).program, str(tmp_path / "mine.npz"), encoding="rate").test.inputs
    assert spikes.shape == (5, 10, 1, 6, 6)
    np.testing.assert_array_equal(shaped(flat, spikes), spikes.reshape(5, 10, 36))
    write_npz(tmp_path / "other.npz", (5, 6), temporal=False)
    with pytest.raises(UsageError, match=r"samples of shape \(1, 5, 6\), the network takes \(1, 6, 6\)"):
        data_for(program, str(tmp_path / "other.npz"))
    for outputs in (3, 2):  # as many as there are classes, and one less
        last = write_net(tmp_path / f"{outputs}.net", put_in(36), dense(np.eye(36)[:outputs], cuba()))
        few = load_program(last, 5, 2).program
        if outputs == 3:
            assert data_for(few, str(tmp_path / "mine.npz")).classes == 3
            continue
        with pytest.raises(UsageError, match=r"mine\.npz: 3 classes, the network tells 2 apart"):
            data_for(few, str(tmp_path / "mine.npz"))
    with pytest.raises(UsageError, match="unknown encoding 'rates': did you mean rate"):
        known_encoding("rates")


def test_a_proof_of_a_program(net: Path, tmp_path: Path) -> None:
    program = load_program(net, 6).program
    proof = prove_program(program, "engine", choose_samples(program, None, None, 4))
    assert (proof["mismatched_spikes"], proof["mismatched_voltages"], proof["first"]) == (0, 0, None)
    assert (proof["accuracy"], proof["samples"]) == (None, 4)
    assert all(0.05 < row["firing_rate"] < 0.95 for row in proof["layers"])
    written = write_npz(tmp_path / "mine.npz", (6, 6), temporal=False)
    chosen = choose_samples(program, str(tmp_path / "mine.npz"), None, 7, "rate")
    proof = prove_program(program, "engine", chosen)
    right = reference.run(program, chosen.inputs).decisions == written["test"][1][:7]
    assert (proof["accuracy"], proof["samples"]) == (right.mean(), 7)


def test_the_command_runs_a_net_file(run: Any, net: Path, tmp_path: Path) -> None:
    outcome = run("run", net, "--steps", 6, "--samples", 3, "--json", "-o", tmp_path / "proof.json")
    assert outcome.code == 0, outcome
    proof = json.loads(outcome.out)
    assert (proof["chip"], proof["samples"], proof["mismatched_voltages"]) == ("loihi2", 3, 0)
    assert [row["layer"] for row in proof["layers"]] == ["conv1", "dense3"]
    assert json.loads((tmp_path / "proof.json").read_text()) == proof
    write_npz(tmp_path / "mine.npz", (6, 6), temporal=False)
    outcome = run("run", net, "--steps", 6, "--data", tmp_path / "mine.npz", "--encoding", "rate")
    assert outcome.code == 0, outcome
    assert "10 test samples of" in outcome.out
    assert "the reference is right in" in outcome.out


def test_the_command_says_what_is_wrong_in_one_line(run: Any, net: Path, tmp_path: Path) -> None:
    odd = write_net(tmp_path / "odd.net", put_in(3), dense(np.array([[1.5, 2, 3]]), cuba()))
    assert "warning: layer 1 (dense): 1 of 3 values of weight" in run("run", odd, "--steps", 3).err
    (tmp_path / "bad.net").write_bytes(net.read_bytes()[:300])
    for words, says in (
        (("run", net), "give --steps"),
        (("run", tmp_path / "bad.net", "--steps", 3), "damaged, truncated or not an HDF5 file"),
        (("run", tmp_path, "--steps", 3), "--steps 3: only for a .net file"),
        (("run", net, "--steps", 3, "--encoding", "loud"), "unknown encoding 'loud'"),
        (("run", net, "--steps", 3, "--input-bits", 9), "--input-bits 9"),
        (("run", net, "--steps", 3, "--backend", "nir"), "NIR is a file"),
    ):
        outcome = run(*words)
        assert (outcome.code, outcome.out) == (2, "")
        assert outcome.err.startswith("error: ")
        assert says in outcome.err
        assert "Traceback" not in outcome.err


def test_noise_sweeps_over_net_files(net: Path, tmp_path: Path) -> None:
    """Two files side by side: without noise every chip is right as often as the reference, with it not."""
    written = write_npz(tmp_path / "mine.npz", (6, 6), test=30, temporal=False)
    weight = LAYERS[3]["weight"].copy()
    weight[:, ::2] += 20
    second = write_net(tmp_path / "second.net", *LAYERS[:3], {**LAYERS[3], "weight": weight})
    studies, warnings = program_studies(
        [net, second], str(tmp_path / "mine.npz"), 3, None, 0, None, encoding="rate", steps=6
    )
    assert [(study.network, study.chip.name, study.names) for study in studies] == [
        ("slayer", "loihi2", "slayer loihi2"),
        ("second", "loihi2", "second loihi2"),
    ]
    clipped = f"{np.count_nonzero(weight > 254)} of 216 weights do not act as they are in the file; netx changes them"
    assert warnings == [f"{second}: layer 3 (dense): {clipped}"]
    points = make_points([parse_axis("mismatch=0,0.5")], "one-at-a-time", None, 0)
    with Store(tmp_path / "s.sqlite") as store:
        for study in studies:
            sweep(study, points, store, False, lambda *progress: None)
        table = store.table("curves", "chips", None)
    for study in studies:
        right = reference.run(study.program, study.test.inputs).decisions == written["test"][1]
        rows = table[table["network"] == study.network].sort_values("level")
        assert rows["accuracy_mean"].iloc[0] == pytest.approx(right.mean())
        assert rows["accuracy_sd"].iloc[0] == 0
        assert rows["accuracy_sd"].iloc[1] > 0


def test_as_many_random_values_as_a_machine_holds(tmp_path: Path) -> None:
    program = load_program(write_net(tmp_path / "x.net", dense([[1, 2]], cuba())), 2, 1).program
    assert random_inputs(program, 3).shape == (2, 3, 2)
    with pytest.raises(UsageError, match=r"--samples 536870913: inputs of shape \(2, 536870913, 2\)"):
        random_inputs(program, 2**29 + 1)
