"""`neurodeploy import`: from a NIR file to a model file that every command takes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from importing.test_nir import check_equal
from writers import write_npz

from neurodeploy import hw_models
from neurodeploy.export.nir import write_nir
from neurodeploy.importing.nir import read_nir
from neurodeploy.ir.artifact import load_artifact
from neurodeploy.ir.network import Edge, Network, sequential
from neurodeploy.ir.nodes import LIF, Conv2d, Flatten, Input, Linear, MembraneReadout
from neurodeploy.quantize import quantize
from neurodeploy.simulate import reference
from neurodeploy.snn.model_file import Model, load_model
from neurodeploy.snn.trace import trace


@pytest.fixture(scope="module")
def digits_graph(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits network of the other tests, as a NIR file."""
    path = tmp_path_factory.mktemp("nir") / "digits.nir"
    write_nir(trace(model.network), path)
    return path


@pytest.fixture(scope="module")
def imported(digits_graph: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its model file."""
    from neurodeploy.imported_model import make_imported
    from neurodeploy.snn.model_file import save_model

    path = tmp_path_factory.mktemp("imported") / "imported.pt"
    made, _ = make_imported(read_nir(digits_graph), "digits.nir", "digits", None, "direct", 50)
    save_model(made, path)
    return path


def test_import_writes_what_load_model_reads(run: Any, digits_graph: Path, model: Model, tmp_path: Path) -> None:
    outcome = run("import", digits_graph, "--data", "digits", "-o", tmp_path / "m.pt", "--samples", 40, "--json")
    assert outcome.code == 0, outcome
    told = json.loads(outcome.out)
    loaded = load_model(tmp_path / "m.pt")
    network = trace(model.network)
    check_equal(trace(loaded.network), network)
    test = loaded.golden.take(slice(40))
    assert (loaded.metrics["imported_from"], loaded.metrics["test_images"]) == ("digits.nir", 40)
    assert told["nodes"][0]["node"] == network.order[0]
    assert told["metrics"]["test_accuracy"] == loaded.metrics["test_accuracy"]
    np.testing.assert_array_equal(test.samples, model.golden.take(slice(40)).samples)
    program = quantize(network, hw_models.chip("ideal"))
    right = reference.run(program, test.inputs).decisions == test.labels
    assert abs(right.sum() - 40 * loaded.metrics["test_accuracy"]) <= 40 - len(test)


def test_every_command_takes_an_imported_model(run: Any, imported: Path, model: Model, tmp_path: Path) -> None:
    found = json.loads(run("inspect", imported, "--target", "lava", "--load", "--json").out)
    assert (found["fits"], found["load"]["learnable_parameters"]) == (True, None)
    outcome = run("export", imported, "--target", "lava", "-o", tmp_path / "out")
    assert outcome.code == 0, outcome
    program = load_artifact(tmp_path / "out").program
    own = quantize(trace(model.network), hw_models.chip("loihi2"), model.calibration.inputs)
    for one, other in zip(program.layers, own.layers, strict=True):
        np.testing.assert_array_equal(one.synapses[0].weight, other.synapses[0].weight)
    assert run("run", tmp_path / "out", "--samples", 4).code == 0
    words = ("--chip", "loihi2", "--noise", "mismatch=0,0.3", "--chips", "2", "--samples", "20")
    outcome = run("sweep", imported, *words, "-o", tmp_path / "s.sqlite", "--json")
    assert outcome.code == 0, outcome
    assert [row["level"] for row in json.loads(outcome.out)] == [0.0, 0.3]


@pytest.mark.parametrize("target", ["lava", "rockpool", "nir"])
def test_every_artifact_holds_the_network_as_nir(
    run: Any, imported: Path, model: Model, target: str, tmp_path: Path
) -> None:
    outcome = run("export", imported, "--target", target, "-o", tmp_path / "out", "--json")
    assert outcome.code == 0, outcome
    assert "graph.nir" in json.loads(outcome.out)["files"]
    check_equal(read_nir(tmp_path / "out" / "graph.nir").network, trace(model.network))
    assert load_artifact(tmp_path / "out").target == target  # graph.nir is among the files whose hash is checked
    (tmp_path / "out" / "graph.nir").write_bytes(b"changed")
    assert run("run", tmp_path / "out").code == 2


def test_what_nir_cannot_hold_is_left_out_with_the_reason(
    run: Any, settled_model: Callable[..., Model], tmp_path: Path
) -> None:
    from neurodeploy.deployment import export_model

    subtracts = settled_model(reset="subtract")
    _, omitted = export_model(subtracts, "rockpool", tmp_path / "out")
    assert any(text.startswith("graph.nir: node lif1: reset 'subtract'") for text in omitted)
    assert not (tmp_path / "out" / "graph.nir").exists()


def foreign(path: Path, *, steps: int = 3, source: Input | None = None) -> Network:
    """A file that says nothing but what NIR has: 64 values, three classes."""
    import nir

    from neurodeploy.export.nir import to_nir

    rng = np.random.default_rng(0)
    fc = Linear(rng.normal(size=(12, 64)) * 0.2, np.zeros(12))
    out = Linear(rng.normal(size=(3, 12)), np.zeros(3))
    chain = [
        ("in", source or Input((64,))),
        ("fc", fc),
        ("lif", LIF(0.8, 0.4)),
        ("fc2", out),
        ("li", MembraneReadout()),
    ]
    network = sequential(chain, steps)
    graph = to_nir(network)
    graph.metadata = {}
    nir.write(path, graph)
    return network


def test_scale_bits_and_shape_come_from_the_data_where_the_file_says_none(run: Any, tmp_path: Path) -> None:
    network = foreign(tmp_path / "n.nir")
    images, labels = write_npz(tmp_path / "mine.npz", (8, 8), temporal=False)["test"]
    outcome = run("import", tmp_path / "n.nir", "--data", tmp_path / "mine.npz", "--steps", 5, "--json")
    assert outcome.code == 0, outcome
    loaded = load_model(tmp_path / "n.pt")
    read = trace(loaded.network)
    assert (read.input.shape, read.input.bits, read.input.scale, read.steps) == ((1, 8, 8), 8, 1 / 255, 5)
    assert read.edges[:2] == (Edge("in", "in.flat"), Edge("in.flat", "fc"))
    flat, fc, out = (read.nodes[name] for name in ("in.flat", "fc", "fc2"))
    assert isinstance(flat, Flatten)
    assert isinstance(fc, Linear)
    assert isinstance(out, Linear)
    np.testing.assert_array_equal(fc.weight, network.nodes["fc"].weight)  # type: ignore[union-attr]
    u, v, total = np.zeros((10, 12)), np.zeros((10, 3)), np.zeros((10, 3))
    for _ in range(5):
        u = 0.8 * u + images.reshape(10, 64) / 255 @ fc.weight.T
        spikes, u = u > 0.4, np.where(u > 0.4, 0, u)
        v = v + spikes @ out.weight.T
        total += v
    assert loaded.metrics["test_accuracy"] == (total.argmax(axis=1) == labels).mean()


@pytest.mark.parametrize(
    ("words", "bits"),
    [
        (("--input-bits", 3), 3),
        (("--input-scale", 1 / 255), 8),
        (("--input-scale", "0.00392157"), 8),  # 1 / 255 as people type it
        (("--input-bits", 3, "--input-scale", "0.1428571"), 3),
    ],
)
def test_what_is_not_typed_of_bits_and_scale_comes_from_the_data(
    run: Any, words: tuple[Any, ...], bits: int, tmp_path: Path
) -> None:
    foreign(tmp_path / "n.nir")
    images, _ = write_npz(tmp_path / "mine.npz", (8, 8), temporal=False)["test"]
    outcome = run("import", tmp_path / "n.nir", "--data", tmp_path / "mine.npz", "--steps", 5, *words)
    assert outcome.code == 0, outcome
    loaded = load_model(tmp_path / "n.pt")
    source = trace(loaded.network).input
    assert (source.bits, source.scale) == (bits, 1 / (2**bits - 1))
    wanted = np.rint(images[: len(loaded.golden)] / 255 * (2**bits - 1)).reshape(-1, 64)
    np.testing.assert_array_equal(loaded.golden.samples.reshape(-1, 64), wanted)


def test_what_does_not_go_together_is_one_clear_error(run: Any, tmp_path: Path) -> None:
    foreign(tmp_path / "n.nir")
    write_npz(tmp_path / "mine.npz", (8, 8), temporal=False)
    write_npz(tmp_path / "other.npz", (7, 8), temporal=False)
    many = np.arange(20) % 5
    write_npz(tmp_path / "many.npz", (8, 8), temporal=False, train_labels=many)
    good = ("--data", tmp_path / "mine.npz", "--steps", 5)
    for graph, words, says in (
        ("n.nir", ("--steps", 5), "Missing option '--data'"),
        ("n.nir", good[:2], "Give --steps"),
        ("n.nir", (*good, "--discretisation", "magic"), "allowed are euler, exponential"),
        ("n.nir", (*good, "--dt", 1e-6 * 0), "--dt 0.0: must be positive"),
        (
            "n.nir",
            (*good, "--input-scale", 0.5),
            "integers of scale 0.00392156863, the network takes scale 0.5; give --input-scale 0.00392156863\n",
        ),
        ("n.nir", (*good, "--input-scale", 0.003922), "0.00392156863, the network takes scale 0.003922; give"),
        (
            "n.nir",
            (*good, "--input-scale", 1),
            "integers of scale 0.00392156863, the network takes scale 1; give --input-bits 1 to have",
        ),
        (
            "n.nir",
            (*good, "--input-scale", 1, "--input-bits", 8),
            "of 8 bits with scale 0.00392156863, the network takes 8 bits with scale 1; give --input-bits and --in",
        ),
        (
            "n.nir",
            (*good, "--encoding", "rate", "--input-bits", 8),
            "integers of 1 bits, the network takes 8 bits; give --input-bits 1\n",
        ),
        ("n.nir", ("--data", tmp_path / "other.npz", "--steps", 5), "shape (1, 7, 8), the network takes (64,)"),
        ("n.nir", ("--data", tmp_path / "many.npz", "--steps", 5), "5 classes, the network tells 3 apart"),
        ("n.nir", (*good, "--encoding", "loud"), "unknown encoding 'loud'"),
        ("absent.nir", good, "there is no such file"),
        ("net.net", good, "neurodeploy run"),
    ):  # fmt: skip
        outcome = run("import", tmp_path / graph, *words, "-o", tmp_path / "m.pt")
        assert (outcome.code, outcome.out) == (2, ""), outcome
        assert says in outcome.err, outcome.err
        assert not (tmp_path / "m.pt").exists()


def text(old: str, new: str) -> Callable[[dict[str, Any]], None]:
    def change(graph: dict[str, Any]) -> None:
        assert old in graph["text"]
        graph["text"] = graph["text"].replace(old, new)

    return change


def weight(tensor: torch.Tensor) -> Callable[[dict[str, Any]], None]:
    return lambda graph: graph["arrays"].update({"network.nodes.linear2.weight": tensor})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda graph: graph.update(text="{"), "damaged text"),
        (lambda graph: graph.update(text=3), "a text and arrays"),
        (lambda graph: graph.update(arrays=[]), "there are no arrays"),
        (lambda graph: graph["arrays"].clear(), "not a valid Network"),
        (text('"type": "LIF"', '"type": "Popen"'), "not a valid Network"),
        (text('"steps": 4', '"steps": 5'), "another input, number of steps"),
        (weight(torch.zeros(1).double().expand(32, 10**6)), "claims more values than it holds"),
        (weight(torch.zeros(3, 3).double()), "not a valid Network"),
        (weight(torch.zeros(3).bfloat16()), "a tensor of numbers is expected"),
    ],
)
def test_a_hostile_graph_in_a_model_file(change: Any, says: str, imported: Path, tmp_path: Path, run: Any) -> None:
    content = torch.load(imported, weights_only=True)
    change(content["graph"])
    torch.save(content, tmp_path / "bad.pt")
    outcome = run("inspect", tmp_path / "bad.pt", "--target", "lava")
    assert outcome.code == 2
    assert says in outcome.err
    assert outcome.err.count("\n") == 1


def test_a_grouped_convolution_goes_the_whole_way(run: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    nodes = [
        ("in", Input((2, 6, 6), 1 / 255, 8)),
        ("conv", Conv2d(rng.normal(size=(4, 1, 3, 2)), rng.normal(size=4) * 0.1, (2, 1), (1, 0), (1, 2), 2)),
        ("lif", LIF(0.5, 0.7)),
        ("flat", Flatten()),
        ("fc", Linear(rng.normal(size=(3, 48)), np.zeros(3))),
        ("out", MembraneReadout(0.9)),
    ]
    write_nir(sequential(nodes, 4), tmp_path / "n.nir")
    write_npz(tmp_path / "mine.npz", (2, 6, 6), temporal=False)
    assert run("import", tmp_path / "n.nir", "--data", tmp_path / "mine.npz", "-o", tmp_path / "m.pt").code == 0
    outcome = run("export", tmp_path / "m.pt", "--target", "lava", "-o", tmp_path / "out")
    assert outcome.code == 0, outcome
    assert run("run", tmp_path / "out").code == 0
    check_equal(read_nir(tmp_path / "out" / "graph.nir").network, sequential(nodes, 4))
