"""`.net` files of lava-dl as the first argument of `compare`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from importing.slayer_files import conv, cuba, dense, flatten, put_in, write_net
from writers import write_npz

from neurodeploy.compare.backends import Request, compare_backends
from neurodeploy.compare.result import SideComparison
from neurodeploy.errors import UsageError
from neurodeploy.export import lava
from neurodeploy.importing.net import read_net

RNG = np.random.default_rng(0)
STEPS = 8


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    """A convolution and a dense layer."""
    return write_net(
        tmp_path / "chain.net",
        put_in(1, 6, 6),
        conv(2 * RNG.integers(-60, 100, (2, 1, 3, 3)), (2, 6, 6), cuba(1500, 400, 300), padding=[1, 1]),
        flatten(72, 1, 1),
        dense(2 * RNG.integers(-100, 128, (3, 72)), cuba(2048, 300, 1500)),
    )


@pytest.fixture
def recurrent(tmp_path: Path) -> Path:
    """A recurrent layer, biases that netx cuts, delays."""
    weights = {"weight_rec": 2 * RNG.integers(-90, 30, (8, 8)), "bias": np.arange(8) + 0.5}
    return write_net(
        tmp_path / "recurrent.net",
        put_in(12),
        dense(RNG.integers(-60, 100, (8, 12)), cuba(1024, 300, 700), kind="dense_rec", **weights),
        dense(2 * RNG.integers(-60, 90, (3, 8)), cuba(1500, 300, 300), delay=[0, 2, 1, 0, 3, 0, 0, 1]),
    )


def alive(result: SideComparison) -> None:
    """Every layer fires now and then, and is the same on both sides to the last bit."""
    assert (result.by_value, result.excess()) == (True, [])
    for layer in result.layers:
        assert layer.first_rate is not None
        assert 0.05 < layer.first_rate < 0.95
        assert layer.differing_voltages == 0


def test_simulators_of_ours_agree_on_it(chain: Path) -> None:
    result = compare_backends(Request(chain, "reference", "engine", steps=STEPS, samples=5))
    alive(result)
    assert (result.samples, result.steps, result.chip) == (5, STEPS, "loihi2")
    assert result.notes == (f"{chain} holds no samples: these are random integers, seed 0",)


@pytest.mark.lava
@pytest.mark.parametrize("name", ["chain", "recurrent"])
def test_netx_runs_the_file_itself(name: str, request: pytest.FixtureRequest) -> None:
    """Three samples in one run: nothing of one may reach the next, through feedback and delays neither."""
    found = lava.TARGET.backend()
    if found.version is None:  # equality that was not tried must not look like equality
        pytest.fail(found.detail, pytrace=False)
    path = request.getfixturevalue(name)
    alive(compare_backends(Request(path, "reference", "netx", steps=STEPS, samples=3)))


def test_the_command_takes_a_data_set_and_says_what_netx_does(run: Any, recurrent: Path, tmp_path: Path) -> None:
    write_npz(tmp_path / "mine.npz", (12,), test=9, temporal=False)
    words = ("compare", recurrent, "reference", "engine", "--steps", STEPS, "--data", tmp_path / "mine.npz")
    outcome = run(*words, "--encoding", "rate", "--json")
    assert outcome.code == 0, outcome
    found = json.loads(outcome.out)
    assert found["samples"] == 9
    assert any("8 of 8 values of bias are not whole numbers" in note for note in found["notes"])
    assert not any("random" in note for note in found["notes"])


def test_an_input_with_neurons_is_not_for_netx(tmp_path: Path) -> None:
    driven = put_in(4) | {"weight": np.array([64]), "bias": np.array([1]), "neuron": cuba(4096, 4096, 100)}
    path = write_net(tmp_path / "driven.net", driven, dense(RNG.integers(1, 99, (3, 4)), cuba()))
    imported = read_net(path, 2)
    with pytest.raises(UsageError, match=r"netx: the input of .*driven.net has neurons, .* name lava"):
        lava.run_net(path, imported.program, np.ones((1, 4), dtype=int))


def test_what_does_not_go_with_it_is_one_line(run: Any, chain: Path, model_file: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.net"
    damaged.write_bytes(chain.read_bytes()[:700])
    steps = ("--steps", STEPS)
    for words, says in (
        ((chain, "reference", "engine"), "give --steps"),
        ((chain, "float", "engine", *steps), "holds the integers of a chip and no float network"),
        ((chain, "network", "engine", *steps), "holds the integers of a chip and no float network"),
        ((chain, "reference", "engine", "--target", "lava", *steps), "--target: "),
        ((chain, "reference", "engine", "--chip", "loihi2", *steps), "whose Program is made already"),
        ((chain, "reference", "engine", "--encoding", "rate", *steps), "only for the --data of a .net file"),
        ((chain, "reference", "engine", "--encoding", "loud", *steps), "unknown encoding"),
        ((chain, "reference", "engine", "--input-bits", 9, *steps), "--input-bits 9: allowed are 1 to 8"),
        ((model_file, "reference", "engine", "--target", "lava", *steps), "--steps 8: only for a .net file"),
        ((damaged, "reference", "engine", *steps), "damaged.net"),
    ):
        outcome = run("compare", *words)
        assert (outcome.code, outcome.out) == (2, ""), outcome
        assert outcome.err.startswith("error: ")
        assert says in outcome.err
