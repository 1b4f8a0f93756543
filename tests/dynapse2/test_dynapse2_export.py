"""Memories, artifact folders, backends and the board of DYNAP-SE2."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dynapse2_networks import chip_network, events

from neurodeploy import deployment_dynapse2 as deployment
from neurodeploy.errors import DesignRuleError, FileFormatError, MissingBackendError, UsageError
from neurodeploy.export import dynapse2
from neurodeploy.export.dynapse2_folder import (
    Dynapse2Artifact,
    golden_of,
    is_dynapse2,
    load_dynapse2,
    save_dynapse2,
)
from neurodeploy.export.dynapse2_memory import OUTSIDE, input_destinations, memories
from neurodeploy.hw_models.dynapse2_mismatch import preset
from neurodeploy.hw_models.dynapse2_network import Dynapse2Network

TESTS = Path(__file__).resolve().parents[1]


def artifact(network: Dynapse2Network | None = None) -> Dynapse2Artifact:
    network = network or chip_network(1)
    return Dynapse2Artifact(network, golden_of(network, events(network, 6), np.arange(6) % 3), {"note": "a test"})


def test_memories_hold_the_network() -> None:
    """Read back: tags name sources, masks weights, destinations the cores where the tag is known."""
    network = chip_network(3, recurrent=True)
    channels = network.input.shape[0]
    codes_in, codes_rec = np.zeros_like(network.codes_in), np.zeros_like(network.codes_rec)
    found = memories(network)
    for core, one in enumerate(found):
        assert (one["chip"], one["core"]) == (0, core)
        assert one["biases"]["Ispkthr"] == network.biases["Ispkthr"][core]
        assert [one["biases"][f"Iw_{bit}"] for bit in range(4)] == network.base[core].tolist()
        for neuron in one["neurons"]:
            for tag, sign, mask in neuron["synapses"]:
                if tag < channels:
                    codes_in[tag, neuron["neuron"]] = sign * mask
                else:
                    codes_rec[tag - channels, neuron["neuron"]] = sign * mask
    assert np.array_equal(codes_in, network.codes_in)
    assert np.array_equal(codes_rec, network.codes_rec)
    for one in found:
        for neuron in one["neurons"]:
            number = neuron["neuron"]
            reached = {int(core) for core in network.core[network.codes_rec[number] != 0]}
            inside = [sent for sent in neuron["destinations"] if sent[0] != OUTSIDE]
            named = {core for _, cores, _ in inside for core, there in enumerate(cores) if there}
            assert named == reached
            assert {tag for _, _, tag in inside} <= {channels + number}
            watched = [sent[2] for sent in neuron["destinations"] if sent[0] == OUTSIDE]
            is_output = network.output.start <= number < network.output.stop
            assert watched == ([number - network.output.start] if is_output else [])


def test_inputs_go_where_their_synapses_are() -> None:
    network = chip_network(2)
    for channel, places in input_destinations(network).items():
        reached = set(network.core[network.codes_in[channel] != 0].tolist())
        assert {core for _, cores, _ in places for core, there in enumerate(cores) if there} == reached
        assert all(chip == 0 and tag == channel for chip, _, tag in places)


def test_memories_are_rockpools_for_one_core() -> None:
    """Rockpool's allocator is right where there is one core: the same synapses and destinations."""
    pytest.importorskip("jax", reason="needs jax: the extra `dynapse2`")
    from neurodeploy.export.dynapse2_simulator import without_samna

    two = chip_network(0, sizes=(20, 12, 4))
    biases = {name: values[:1] for name, values in two.biases.items()}
    network = replace(two, core=np.zeros(16, dtype=np.int64), base=two.base[:1], biases=biases)
    with without_samna():
        from rockpool.devices.dynapse.hardware.config.allocator import WeightAllocator

        theirs = WeightAllocator(
            weights_in=np.abs(network.codes_in),
            weights_rec=np.abs(network.codes_rec),
            sign_in=np.sign(network.codes_in),
            sign_rec=np.sign(network.codes_rec),
            core_map=network.core.tolist(),
        )
        cam, sram = theirs.CAM_content(), theirs.SRAM_content(monitor_neurons=list(range(16)))
    (mine,) = memories(network)
    for neuron in mine["neurons"]:
        number = neuron["neuron"]
        entries = {
            (int(one.tag), 1 if one.dendrite.name == "ampa" else -1, sum(bit << i for i, bit in enumerate(one.weight)))
            for one in cam[number]
            if any(one.weight)
        }
        assert entries == {(tag, sign, mask) for tag, sign, mask in neuron["synapses"]}
        sent = {(int(one.x_hop), tuple(map(bool, one.core)), int(one.tag)) for one in sram[number] if any(one.core)}
        mine_sent = {(hops, tuple(cores), tag) for hops, cores, tag in neuron["destinations"] if hops != OUTSIDE}
        assert mine_sent <= sent
        assert len(sent - mine_sent) == 1  # Rockpool watches every neuron


def test_a_folder_is_read_back_whole(tmp_path: Path) -> None:
    made = artifact()
    assert save_dynapse2(made, tmp_path / "out") == []
    assert is_dynapse2(tmp_path / "out")
    read = load_dynapse2(tmp_path / "out")
    for name in ("codes_in", "codes_rec", "core", "base"):
        assert np.array_equal(getattr(read.network, name), getattr(made.network, name))
    assert all(np.array_equal(read.network.biases[name], made.network.biases[name]) for name in made.network.biases)
    assert (read.network.blocks, read.network.dt) == (made.network.blocks, made.network.dt)
    assert read.network.input.shape == made.network.input.shape
    assert np.array_equal(read.golden.output_spikes, made.golden.output_spikes)
    written = json.loads((tmp_path / "out" / dynapse2.MEMORIES).read_text())
    assert len(written["cores"]) == 2
    save_dynapse2(made, tmp_path / "out")  # in the place of its own kind


def test_a_folder_of_others_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("…")
    with pytest.raises(UsageError, match="mine"):
        save_dynapse2(artifact(), tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "…"


def _manifest(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = folder / "manifest.json"
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return spoil


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "network.safetensors").unlink(), "missing"),
        (lambda folder: (folder / "golden.safetensors").write_bytes(b"x"), "changed since"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "damaged"),
        (lambda folder: (folder / "manifest.json").write_text("[" * 10**5), "damaged"),
        (_manifest(lambda m: m.update(version=99)), "version 99"),
        (_manifest(lambda m: m.update(format="other")), "not a neurodeploy-dynapse2"),
        (_manifest(lambda m: m.update(chip="dynapse9")), "dynapse9"),
        (_manifest(lambda m: m["network"].update(steps=True)), "steps: an integer"),
        (_manifest(lambda m: m["network"].update(steps=10**9)), "at most"),
        (_manifest(lambda m: m["network"].update(dt="fast")), "dt: a number"),
        (_manifest(lambda m: m["network"].update(blocks=[["a", 0, 1, 0]])), "gaps"),
        (_manifest(lambda m: m["network"].update(blocks=[[1, 2]])), "a block is"),
        (_manifest(lambda m: m["network"].pop("input")), "input"),
        (_manifest(lambda m: m.pop("facts")), "facts is missing"),
    ],
)
def test_damaged_and_hostile_folders(tmp_path: Path, spoil: Callable[[Path], None], message: str) -> None:
    save_dynapse2(artifact(), tmp_path / "out")
    spoil(tmp_path / "out")
    with pytest.raises(FileFormatError, match=message) as raised:
        load_dynapse2(tmp_path / "out")
    assert raised.value.exit_code == 2


@pytest.mark.parametrize("backend", ["reference", "engine", "dynapse2"])
def test_backends_agree(backend: str) -> None:
    if backend == "dynapse2":
        pytest.importorskip("jax", reason="needs jax: the extra `dynapse2`")
    proof = deployment.prove(artifact(), backend)
    assert proof["agrees"]
    assert proof["mismatched_spikes"] <= proof["tolerated_spikes"]
    assert [row["layer"] for row in proof["layers"]] == ["hidden", "output"]
    assert all(0.01 < row["firing_rate"] < 0.95 and row["largest_membrane_error"] < 5e-4 for row in proof["layers"])


def test_a_difference_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def other(network: Dynapse2Network, inputs: Any) -> Any:
        return deployment.dynapse2_engine.run(replace(network, base=network.base * 1.3), inputs)

    monkeypatch.setattr(deployment, "runner", lambda backend: other)
    proof = deployment.prove(artifact(), "engine")
    assert not proof["agrees"]
    assert proof["mismatched_spikes"] > proof["tolerated_spikes"]


def test_an_altered_artifact_is_noticed() -> None:
    made = artifact()
    other = replace(made, golden=replace(made.golden, readout=np.roll(made.golden.readout, 1, axis=1)))
    with pytest.raises(UsageError, match="it was altered"):
        deployment.prove(other, "engine")
    with pytest.raises(UsageError, match="known: dynapse2, engine, reference"):
        deployment.prove(made, "dynapse")


def test_chips_are_the_same_on_every_backend() -> None:
    pytest.importorskip("jax", reason="needs jax: the extra `dynapse2`")
    network = chip_network(1)
    shown, labels = events(network, 30), np.arange(30) % network.outputs
    mismatch = preset("buechel-20").mismatch
    ours, theirs = (
        deployment.accuracies(network, mismatch, shown, labels, 4, thermal=0.05, backend=backend)
        for backend in ("engine", "dynapse2")
    )
    assert np.abs(ours - theirs).max() <= 1 / 30
    assert np.array_equal(ours, deployment.accuracies(network, mismatch, shown, labels, 4, thermal=0.05))


def test_the_simulator_refuses_what_the_chip_cannot_hold() -> None:
    pytest.importorskip("jax", reason="needs jax: the extra `dynapse2`")
    network = chip_network(0, sizes=(70, 5, 3))
    full = replace(network, codes_in=np.ones_like(network.codes_in))
    with pytest.raises(DesignRuleError, match="read up to 7"):
        dynapse2.run(full, events(full, 2))
    assert dynapse2.run(full, events(full, 2), limits=False).readout.shape == (2, 3)


@pytest.mark.parametrize("absent", ["rockpool", "jax"])
def test_what_is_missing_is_said_with_the_command(monkeypatch: pytest.MonkeyPatch, absent: str) -> None:
    import importlib.metadata

    real = importlib.metadata.version

    def version(package: str) -> str:
        if package == absent:
            raise importlib.metadata.PackageNotFoundError(package)
        return "3.1.0" if package == "rockpool" else real(package) if package != "jaxlib" else "0"

    monkeypatch.setattr(importlib.metadata, "version", version)
    with pytest.raises(MissingBackendError, match=rf"{absent} is not installed; pip install .*dynapse2") as raised:
        dynapse2.run(chip_network(0), np.zeros((1, 1)))
    assert raised.value.exit_code == 4


def test_simulating_imports_no_samna() -> None:
    """In a process of its own, with a samna on the path that would say so."""
    pytest.importorskip("jax", reason="needs jax: the extra `dynapse2`")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import builtins; real = builtins.__import__\n"
        "def watch(name, *rest, **named):\n"
        "    if name.split('.')[0] == 'samna' and sys.modules.get('samna', 0) is not None: sys.exit('samna imported')\n"
        "    return real(name, *rest, **named)\n"
        "builtins.__import__ = watch\n"
        "from dynapse2_networks import chip_network, events\n"
        "from neurodeploy.export import dynapse2\n"
        "network = chip_network(0)\n"
        "print(dynapse2.run(network, events(network, 2), limits=False).readout.shape[0], 'samna' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(TESTS)], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "2 False", done.stderr
