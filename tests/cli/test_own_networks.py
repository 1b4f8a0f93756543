"""Options where the chip is a Xylo or DYNAP-SE2: what is not there for them is refused by name, nothing is dropped."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from dynapse2_networks import chip_network, events
from xylo_networks import random_events, random_network

from neurodeploy import deployment_dynapse2, deployment_xylo
from neurodeploy.cli.learn import _target
from neurodeploy.config import load_config
from neurodeploy.deployment_chip import Prepared
from neurodeploy.export import dynapse2_folder, xylo_folder
from neurodeploy.snn import model_file

Run = Callable[..., Any]


@pytest.fixture(scope="module", params=["xylo", "dynapse2"])
def own(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """(target, folder of an artifact)."""
    folder = tmp_path_factory.mktemp("own") / request.param
    labels = np.zeros(4, dtype=np.int64)
    if request.param == "dynapse2":
        network = chip_network(2)
        golden = dynapse2_folder.golden_of(network, events(network, 4), labels)
        dynapse2_folder.save_dynapse2(dynapse2_folder.Dynapse2Artifact(network, golden, {}), folder)
        return "dynapse2", folder
    rng = np.random.default_rng(3)
    xylo = replace(random_network(rng, wild=False), chip="xylo-a3")
    golden_of_xylo = xylo_folder.golden_of(xylo, random_events(rng, xylo, 4), labels)
    xylo_folder.save_xylo(xylo_folder.XyloArtifact(xylo, golden_of_xylo, {}), folder)
    return "xylo-a3", folder


def refused(run: Run, words: tuple[Any, ...], *options: Any) -> None:
    """The command names all these options, and makes nothing of them."""
    done = run(*words, *options)
    assert (done.code, done.out) == (2, "")
    names = [str(one) for one in options if str(one).startswith("--")]
    assert done.err.startswith(f"error: {', '.join(names)}: "), done.err


@pytest.mark.parametrize("target", ["xylo", "xylo-a3", "dynapse2"])
@pytest.mark.parametrize(
    "options",
    [
        ("--load",),
        ("--energy",),
        ("--load", "--energy", "--steps", 5, "--input-bits", 2, "--data", "digits"),
        ("--data-root", "."),
        ("--samples", 3, "--encoding", "rate"),
    ],
)
def test_inspect(run: Run, target: str, options: tuple[Any, ...]) -> None:
    refused(run, ("inspect", "model.pt", "--target", target), *options)


@pytest.mark.parametrize(("target", "where"), [("xylo", deployment_xylo), ("dynapse2", deployment_dynapse2)])
def test_strict_takes_warnings_for_violations(
    run: Run, target: str, where: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    network: Any = SimpleNamespace(chip="a chip")

    def prepare(*_: Any, **__: Any) -> Prepared[Any]:
        return Prepared(network, network, [], 1.0, [], list(warned))

    monkeypatch.setattr(model_file, "load_model", lambda path: None)
    monkeypatch.setattr(where, "prepare", prepare)
    words = ("inspect", "model.pt", "--target", target)
    warned = ["half of it is silent"]
    for strict, code in (((), 0), (("--strict",), 3)):
        done = run(*words, *strict)
        assert (done.code, f"fits a chip: {'no' if code else 'yes'}" in done.out) == (code, True)
        assert ("half of it is silent" in done.err) == bool(code)
        assert json.loads(run(*words, "--json", *strict).out)["fits"] == (not code)
    warned.clear()
    assert run(*words, "--strict").code == 0


@pytest.mark.parametrize(
    "options", [("--steps", 5), ("--input-bits", 1), ("--steps", 5, "--input-bits", 2, "--encoding", "latency")]
)
def test_run(run: Run, own: tuple[str, Path], options: tuple[Any, ...]) -> None:
    refused(run, ("run", own[1]), *options)


@pytest.mark.parametrize(
    "options",
    [
        ("--host", "ethernet", "--address", "here", "--partition", "a", "--board", "b", "--generation", "N3C1"),
        ("--partition", "a"),
    ],
)
def test_deploy(run: Run, own: tuple[str, Path], options: tuple[Any, ...]) -> None:
    refused(run, ("deploy", own[1], "--target", own[0]), *options)


def test_deploy_brings_back_what_a_board_has(run: Run, own: tuple[str, Path]) -> None:
    words = ("deploy", own[1], "--target", own[0])
    if own[0] == "dynapse2":
        for options in (("--record", "all"), ("--record", "nonsense"), ("--probes", "power"), ("--probes", "none")):
            refused(run, words, *options)
    else:
        for options in (("--record", "nonsense"), ("--probes", "memory"), ("--probes", "power,activity")):
            done = run(*words, *options)
            assert (done.code, f"{options[0]} {options[1]}: " in done.err) == (2, True)
        assert run(*words, "--record", "all", "--probes", "none").code == 4
    assert run(*words).code == 4  # no board
    assert "(lava-loihi, or samna)" in " ".join(run("deploy", "--help").out.replace("│", " ").split())


@pytest.mark.parametrize(
    "options",
    [
        ("--points", 5, "--steps", 3, "--input-bits", 1),
        ("--design-seed", 3),
        ("--most-chips", 100),
        ("--encoding", "rate"),
        ("--ray", "auto"),
    ],
)
def test_sweep(run: Run, own: tuple[str, Path], options: tuple[Any, ...], tmp_path: Path) -> None:
    words = ("sweep", own[1], "-o", tmp_path / "study.sqlite")
    if own[0] == "dynapse2":
        refused(run, words, *options)
    else:
        done = run(*words, *options)
        assert (done.code, "made for a Xylo, a digital chip" in done.err) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_calibrate(run: Run, own: tuple[str, Path], tmp_path: Path) -> None:
    done = run("calibrate", own[1], "-o", tmp_path / "study.sqlite")
    told = "made for a Xylo, a digital chip"
    if own[0] == "dynapse2":
        told = "a DYNAP-SE2 artifact; calibrate takes a model.pt with --chip dynapse2"
    assert (done.code, done.err.startswith(f"error: {own[1]}: {told}")) == (2, True), done.err
    assert "artifact" not in run("calibrate", "--help").out.split("--chip")[0]


@pytest.mark.parametrize(
    ("preset", "settings", "target"),
    [
        ("digits", [], "lava"),
        ("xylo_digits", [], "xylo --chip xylo-a3"),
        ("xylo_n-mnist_recurrent", [], "xylo --chip xylo-a3"),
        ("dynapse2_digits", [], "dynapse2"),
        ("dynapse2_n-mnist", [], "dynapse2"),
        ("digits", ["network.reset=subtract"], "rockpool"),
        ("digits", ["network.reset=subtract", "network.kind=mlp", "data.scan=rows"], "xylo --chip xylo-a3"),
    ],
)
def test_train_names_the_target_that_takes_the_network(preset: str, settings: list[str], target: str) -> None:
    assert _target(load_config(None, settings, preset=preset)) == target
