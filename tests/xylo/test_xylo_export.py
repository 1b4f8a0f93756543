"""Artifact folders, and the way from a trained model to the proof."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from xylo_networks import FIELDS, random_events, random_network

from neurodeploy import deployment_xylo
from neurodeploy.config import load_config
from neurodeploy.errors import DesignRuleError, FileFormatError, MissingBackendError, UsageError
from neurodeploy.experiment import train_model
from neurodeploy.export import xylo
from neurodeploy.export.xylo_folder import XyloArtifact, golden_of, is_xylo, load_xylo, save_xylo
from neurodeploy.export.xylo_rockpool import quantised
from neurodeploy.ir.xylo import XyloNetwork
from neurodeploy.simulate import xylo_engine

ARRAYS = [name for name, kind in XyloNetwork.__annotations__.items() if kind == "IntArray"]
OTHERS = ("chip", "steps", "weight_shift_in", "weight_shift_rec", "weight_shift_out", "readout", "blocks", "latency")


def artifact(seed: int = 0, **given: Any) -> XyloArtifact:
    rng = np.random.default_rng(seed)
    network = random_network(rng, **given)
    return XyloArtifact(network, golden_of(network, random_events(rng, network, 5), np.arange(5)), {"a": [1, "b"]})


def equal(first: XyloNetwork, second: XyloNetwork) -> bool:
    same = all(np.array_equal(getattr(first, name), getattr(second, name)) for name in ARRAYS)
    same &= all(getattr(first, name) == getattr(second, name) for name in OTHERS)
    inputs = [(one.input.shape, one.input.scale, one.input.bits) for one in (first, second)]
    return same and inputs[0] == inputs[1]


@pytest.mark.parametrize("seed", range(4))
def test_a_folder_is_read_back_as_it_was(seed: int, tmp_path: Path) -> None:
    one = artifact(seed, wild=seed % 2 == 1)
    omitted = save_xylo(one, tmp_path / "out")
    again = load_xylo(tmp_path / "out")
    assert equal(one.network, again.network)
    for name in ("inputs", "labels", "readout", "output_spikes"):
        assert np.array_equal(getattr(one.golden, name), getattr(again.golden, name))
    assert again.facts == {"a": [1, "b"]}
    assert omitted == ["a samna configuration: made by Rockpool's config_from_specification where samna is installed"]
    assert is_xylo(tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "manifest.json",
        "network.safetensors",
        "golden.safetensors",
        "xylo_specification.json",
    }


def test_a_folder_takes_the_place_of_one_of_its_kind_only(tmp_path: Path) -> None:
    save_xylo(artifact(0), tmp_path / "out")
    save_xylo(artifact(1), tmp_path / "out")
    assert equal(load_xylo(tmp_path / "out").network, artifact(1).network)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years", encoding="utf-8")
    with pytest.raises(UsageError, match="exists and is not a Xylo artifact"):
        save_xylo(artifact(0), tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.tex").read_text(encoding="utf-8") == "years"
    assert not is_xylo(tmp_path / "mine")


def rewritten(folder: Path, change: Any) -> None:
    """The manifest changed, hashes as they are."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    change(manifest)
    path.write_text(json.dumps(manifest), encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda m: m.update(format="other"), "not a neurodeploy-xylo manifest"),
        (lambda m: m.update(version=2), "version 2, this program reads 1"),
        (lambda m: m.pop("network"), "network is missing"),
        (lambda m: m.update(chip=3), "chip is missing or not a str"),
        (lambda m: m["files"].pop("network.safetensors"), "changed since it was exported"),
        (lambda m: m["network"].update(steps="9"), "steps: an integer is expected, this is a str"),
        (lambda m: m["network"].update(steps=True), "an integer is expected, this is a bool"),
        (lambda m: m["network"].update(latency=10**9), "golden output_spikes"),
        (lambda m: m["network"].update(readout=[]), "readout must be a text"),
        (lambda m: m["network"].update(readout="sum"), "membrane and spike_count"),
        (lambda m: m["network"].update(blocks=[["a", 0]]), "a name and three integers"),
        (lambda m: m["network"].update(blocks=[["a", 0, 999999999, 0]]), "without gaps"),
        (lambda m: m["network"]["input"].update(scale=True), "input.scale: a number is expected"),
        (lambda m: m["network"]["input"].update(scale=10**400), "not a valid Xylo artifact"),
        (lambda m: m["network"]["input"].update(shape=[10**12]), "channels"),
        (lambda m: m["network"].pop("input"), "not a valid Xylo artifact"),
    ],
)
def test_a_hostile_manifest_is_refused(change: Any, told: str, tmp_path: Path) -> None:
    save_xylo(artifact(), tmp_path / "out")
    rewritten(tmp_path / "out", change)
    with pytest.raises(FileFormatError, match=told):
        load_xylo(tmp_path / "out")


def test_altered_missing_and_damaged_files_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    with pytest.raises(FileFormatError, match="missing, or not a file"):
        load_xylo(folder)
    save_xylo(artifact(), folder)
    arrays = load_file(folder / "network.safetensors")
    save_file(arrays | {"threshold": arrays["threshold"] + 1}, folder / "network.safetensors")
    with pytest.raises(FileFormatError, match=r"network\.safetensors: changed since it was exported"):
        load_xylo(folder)

    def trusted(name: str, content: dict[str, np.ndarray]) -> None:
        save_file(content, folder / name)
        digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        rewritten(folder, lambda m: m["files"].update({name: digest}))

    trusted("network.safetensors", arrays | {"threshold": arrays["threshold"].astype(np.float32)})
    with pytest.raises(FileFormatError, match="integers expected"):
        load_xylo(folder)
    trusted("network.safetensors", arrays | {"threshold": arrays["threshold"][:-1]})
    with pytest.raises(FileFormatError, match="not a valid Xylo artifact"):
        load_xylo(folder)
    trusted("network.safetensors", {name: values for name, values in arrays.items() if name != "bias"})
    with pytest.raises(FileFormatError, match="are expected"):
        load_xylo(folder)
    trusted("network.safetensors", arrays)
    golden = load_file(folder / "golden.safetensors")
    trusted("golden.safetensors", golden | {"labels": golden["labels"][:-1]})
    with pytest.raises(FileFormatError, match=r"golden readout of shape \(5, \d\)"):
        load_xylo(folder)
    trusted("golden.safetensors", golden | {"inputs": golden["inputs"] + 99})
    with pytest.raises(FileFormatError, match="allowed are 0 to"):
        load_xylo(folder)
    (folder / "manifest.json").write_bytes(b"{\xff")
    with pytest.raises(FileFormatError, match="damaged"):
        load_xylo(folder)


def test_the_specification_file_holds_rockpool_s_arguments(tmp_path: Path) -> None:
    one = artifact(3)
    save_xylo(one, tmp_path / "out")
    described = json.loads((tmp_path / "out" / "xylo_specification.json").read_text(encoding="utf-8"))
    assert (described["chip"], described["rockpool"]) == ("xylo-a2", "rockpool.devices.xylo.syns61201")
    arguments = described["arguments"]
    assert arguments["bias_hidden"] == one.network.bias.tolist()
    again = quantised(
        arguments, one.network.steps, "xylo-a2", one.network.input.bits, one.network.readout, one.network.latency
    )
    assert equal(again, replace(one.network, blocks=()))


def test_newer_chips_get_the_matrices_of_the_neurons_that_are_reached() -> None:
    network = random_network(np.random.default_rng(5), chip="xylo-a3")
    into, out = np.array(network.weights_in), np.array(network.weights_out)
    into[:, -2:], into[0, -3, 0] = 0, 1
    out[:3], out[3, 0] = 0, 1
    trimmed = xylo.specification(replace(network, weights_in=into, weights_out=out))
    assert trimmed["weights_in"].shape[1] == network.hidden - 2
    assert trimmed["weights_out"].shape[0] == network.hidden - 3
    whole = xylo.specification(network)
    assert whole["weights_in"].shape == network.weights_in.shape


def test_a_network_that_breaks_a_rule_leaves_no_specification(tmp_path: Path) -> None:
    network = random_network(np.random.default_rng(0), chip="xylo-imu", **{})
    while network.synapses == 1:
        network = random_network(np.random.default_rng(int(network.threshold.sum())), chip="xylo-imu")
    (told,) = xylo.write(network, tmp_path)
    assert told.startswith("xylo_specification.json: hidden layers: 2 synapses per neuron, xylo-imu has 1")
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A small network trained on rows over time."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("xylo")
    patterns = rng.integers(0, 6, (3, 6, 8))
    labels = np.arange(90) % 3
    samples = np.clip(patterns[labels] + rng.integers(-1, 2, (90, 6, 8)), 0, 15).astype(np.uint8)
    parts = {"train_samples": samples[:60], "train_labels": labels[:60]}
    parts |= {"test_samples": samples[60:], "test_labels": labels[60:]}
    np.savez(folder / "rows.npz", temporal=np.array(True), **parts)
    settings = ["network.kind=mlp", "network.hidden=[12]", "network.steps=6", "network.reset=subtract", "data.bits=4"]
    settings += ["network.decay=0.75", "network.readout=membrane", "train.epochs=30", "train.threads=1"]
    settings += ["train.batch_size=8", "train.potential_deviation=0.5", "network.threshold=0.9"]
    config = load_config(None, settings, {"data.name": str(folder / "rows.npz")})
    return train_model(config, folder / "model.pt", progress=False)


def test_a_trained_model_is_exported_and_proved(model: Any, tmp_path: Path) -> None:
    exported, omitted = deployment_xylo.export_model(model, tmp_path / "out")
    assert len(omitted) == 1
    loaded = load_xylo(tmp_path / "out")
    assert equal(loaded.network, exported.network)
    assert loaded.facts["evidence"] == "bit-exact-sim"
    right = (loaded.golden.readout.argmax(axis=1) == loaded.golden.labels).mean()
    assert right > 0.8
    assert loaded.facts["agreement"] > 0.8
    for backend in deployment_xylo.BACKENDS:
        proof = deployment_xylo.prove(loaded, backend)
        assert (proof["mismatched_spikes"], proof["mismatched_voltages"], proof["first"]) == (0, 0, None)
        assert proof["samples"] == len(loaded.golden.labels)
        assert proof["chip"] == "xylo-a2"
        assert {row["layer"] for row in proof["layers"]} > {"lif1", "output", "output current"}
    with pytest.raises(UsageError, match="unknown backend 'lava'"):
        deployment_xylo.prove(loaded, "lava")


def test_a_proof_names_the_first_difference_and_altered_golden_vectors(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = deployment_xylo.prepare(model)
    golden = golden_of(prepared.network, model.golden.inputs, model.golden.labels)
    whole = XyloArtifact(prepared.network, golden, {})
    moved = replace(prepared.network, threshold=np.minimum(prepared.network.threshold + 40, 32767))
    monkeypatch.setattr(xylo_engine, "run", lambda network, inputs: xylo.run(moved, inputs, limits=False))
    proof = deployment_xylo.prove(whole, "engine")
    assert proof["mismatched_spikes"] + proof["mismatched_voltages"] > 0
    assert proof["first"].startswith("first at step")
    altered = replace(whole, golden=replace(golden, readout=golden.readout + 1))
    with pytest.raises(UsageError, match="golden vectors of this artifact do not come out"):
        deployment_xylo.prove(altered, "reference")


def test_a_model_that_does_not_fit_or_would_be_dead_is_refused(model: Any) -> None:
    with pytest.raises(UsageError, match="unknown Xylo chip"):
        deployment_xylo.prepare(model, "xylo-b1")
    prepared = deployment_xylo.prepare(model)
    network = prepared.float_network
    quiet = replace(
        network,
        projections=tuple(replace(p, weight=p.weight * 1e-6) for p in network.projections),
        populations=tuple(replace(one, bias=np.zeros(one.size)) for one in network.populations),
    )
    with pytest.raises(DesignRuleError, match="layer lif1: silent on the calibration data, and in the float network"):
        deployment_xylo.prepare_network(quiet, model.calibration.inputs)
    allowed = deployment_xylo.prepare_network(quiet, model.calibration.inputs, allow_dead=True)
    assert any("silent" in text for text in allowed.dead)
    assert [row["layer"] for row in prepared.layers][-1] == "output"


def test_the_proof_needs_the_simulator(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = deployment_xylo.prepare(model)
    whole = XyloArtifact(prepared.network, golden_of(prepared.network, model.golden.inputs, model.golden.labels), {})

    def missing(name: str) -> Any:
        raise xylo.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(xylo.importlib.metadata, "distribution", missing)
    with pytest.raises(MissingBackendError, match="xylosim is not installed"):
        deployment_xylo.prove(whole, "xylo")
    assert FIELDS[0] == "spikes"
