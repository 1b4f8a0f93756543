"""model.pt: a plain dictionary of tensors and primitives, read with `weights_only=True`, never a pickled module."""

from __future__ import annotations

import math
import pickle
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from neurodeploy.config import ExperimentConfig, parse_config
from neurodeploy.data.dataset import DataSet, Split
from neurodeploy.errors import FileFormatError, NeurodeployError, UsageError
from neurodeploy.files import MODEL_FORMAT, replaced
from neurodeploy.ir.network import Network
from neurodeploy.ir.nodes import Input
from neurodeploy.snn.graph_file import decode_graph, encode_graph
from neurodeploy.snn.networks import build
from neurodeploy.snn.spiking_network import SpikingNetwork
from neurodeploy.snn.trained_scales import TrainedScales, decode_scales, encode_scales

FORMAT = MODEL_FORMAT
_ENTRIES = {"format", "version", "config", "input", "classes", "state", "graph", "metrics", "history", "scales"}
_ENTRIES |= {"temporal", "samples"}
VERSION = 2  # 1 knew no samples that change over time
_MOST_CLASSES, _LARGEST_INPUT = 10**5, 10**7  # what a damaged or hostile file may claim
_CALIBRATION_SAMPLES = 128  # training images kept in the file, on which scales are chosen at export
_GOLDEN_SAMPLES = 32  # test images kept in the file, on which exports are proved


@dataclass(frozen=True, eq=False)
class Model:
    """A trained network with all that exporting it needs.

    Attributes:
        network: as it was trained, or a Network that was imported.
        metrics: test_accuracy, validation_accuracy and what else training reports.
        history: one dictionary per epoch.
        calibration: some training images.
        golden: some test images.
        scales: those of training with the rounding of a chip; None where it was trained without, or the file is older.
    """

    network: SpikingNetwork | Network
    config: ExperimentConfig
    classes: int
    metrics: dict[str, Any]
    history: list[dict[str, float]]
    calibration: Split
    golden: Split
    scales: TrainedScales | None = None


def check_sizes(classes: int, source: Input) -> None:
    """Raises UsageError where a model of so many classes, or of an input of that size, would not be read back."""
    if not 2 <= classes <= _MOST_CLASSES or np.prod(source.shape, dtype=object) > _LARGEST_INPUT:
        raise UsageError(
            f"{classes} classes, input {source.shape}: out of range; a model has 2 to {_MOST_CLASSES} classes, and up "
            f"to {_LARGEST_INPUT} values of input"
        )


def make_model(
    network: SpikingNetwork | Network,
    config: ExperimentConfig,
    data: DataSet,
    metrics: dict[str, Any],
    history: list[dict[str, float]],
    scales: TrainedScales | None = None,
) -> Model:
    """The Model of a trained network, with the samples that go into its file.

    Raises:
        UsageError: where the data set has too few or too many classes for a model.
    """
    check_sizes(data.classes, network.input)
    taken = (data.train.take(slice(_CALIBRATION_SAMPLES)), data.test.take(slice(_GOLDEN_SAMPLES)))
    # Plain splits: rate and latency are encoded here, once.
    calibration, golden = (Split(part.samples, part.labels, part.temporal) for part in taken)
    return Model(network, config, data.classes, metrics, history, calibration, golden, scales)


def save_model(model: Model, path: Path) -> None:
    """Writes the file under another name first, so that a kill leaves the one before it whole.

    Raises:
        NeurodeployError: metrics or a history that no model file may hold (tensors, say), or a failed write.
    """
    source = model.network.input
    try:
        metrics, history = _plain(model.metrics, "metrics"), _plain(model.history, "history", finite=False)
    except ValueError as error:
        raise NeurodeployError(f"{path}: not written: {error}") from error
    content = {
        "format": FORMAT,
        "version": VERSION,
        "config": model.config.model_dump(mode="json"),
        "input": {"shape": list(source.shape), "scale": source.scale, "bits": source.bits},
        "classes": model.classes,
        **_encode_network(model.network),
        "metrics": metrics,
        "history": history,
        **({} if model.scales is None else {"scales": encode_scales(model.scales)}),
        "temporal": model.calibration.temporal,
        "samples": {
            name: torch.from_numpy(np.ascontiguousarray(values))
            for name, values in (
                ("calibration", model.calibration.samples),
                ("calibration_labels", model.calibration.labels),
                ("golden", model.golden.samples),
                ("golden_labels", model.golden.labels),
            )
        },
    }
    try:
        with replaced(path) as partial:
            torch.save(content, partial)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        raise NeurodeployError(f"{path}: {error}; the file is as it was before") from error


def load_model(path: Path) -> Model:
    """Reads and checks a file; nothing in it is executed.

    Raises:
        FileFormatError: where it is damaged, holds pickled objects, or is not ours.
    """
    content = _read(path)
    try:
        return _decode(content)
    except (UsageError, KeyError, TypeError, ValueError, OverflowError, RuntimeError, AttributeError) as error:
        raise FileFormatError(f"{path}: not a valid model: {' '.join(str(error).split())[:400]}") from error


def read_tensors(path: Path) -> Any:
    """What `torch.save` wrote: tensors and plain values; nothing else is read, and nothing is executed.

    Raises:
        FileFormatError: where the file is damaged or holds other objects.
    """
    _check_unpacked(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about foreign pickles, which are refused
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise FileFormatError(
            f"{path}: holds Python objects that are not tensors and plain values, or is damaged; nothing was executed. "
            "Only files made by `neurodeploy train` are read"
        ) from error
    except Exception as error:  # a damaged file makes torch's reader raise any kind
        reason = " ".join(str(error).split())[:200]
        raise FileFormatError(f"{path}: damaged, truncated or not a model file ({reason})") from error


_ARCHIVE = b"PK\x03\x04"


def _check_unpacked(path: Path) -> None:
    """Whether a file unpacks to no more than it is: torch stores without compression, each part once."""
    try:
        with path.open("rb") as file:
            archive = file.read(len(_ARCHIVE)) == _ARCHIVE  # what torch takes for one, too
        with zipfile.ZipFile(path) as packed:
            parts = packed.infolist()
        largest = path.stat().st_size
    except OSError:
        return  # torch says what is wrong with it
    except (ValueError, RuntimeError, zipfile.BadZipFile) as error:
        if not archive:
            return  # nor is it unpacked by torch, which says what is wrong with it
        raise FileFormatError(f"{path}: damaged, truncated or not a model file ({error})") from error
    if any(part.compress_type != zipfile.ZIP_STORED for part in parts) or sum(p.file_size for p in parts) > largest:
        raise FileFormatError(f"{path}: unpacks to more than it is, which no file of ours does; nothing was read")


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileFormatError(f"{path}: there is no such file (made by `neurodeploy train`)")
    if _is_hdf5(path):
        raise FileFormatError(
            f"{path}: an HDF5 file, and no model; of a NIR graph `neurodeploy import {path} --data NAME` makes one, "
            "and files of lava-dl are called *.net"
        )
    content = read_tensors(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise FileFormatError(f"{path}: not a model of ours (made by `neurodeploy train`)")
    if content.get("version") != VERSION:
        raise FileFormatError(
            f"{path}: version {content.get('version')}, this program reads {VERSION}; train the model again"
        )
    return content


def _is_hdf5(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(8) == b"\x89HDF\r\n\x1a\n"


def _decode(content: dict[str, Any]) -> Model:
    unknown = sorted(str(name) for name in content.keys() - _ENTRIES)
    if unknown:
        raise ValueError(f"unknown entries: {', '.join(unknown)}")
    config = parse_config(content["config"])
    source = content["input"]
    input_node = Input(tuple(int(size) for size in source["shape"]), float(source["scale"]), int(source["bits"]))
    classes = int(content["classes"])
    check_sizes(classes, input_node)
    network = _decode_network(content, config, input_node, classes)
    samples = {name: _samples(content["samples"][name]) for name in ("calibration", "golden")}
    labels = {name: _samples(content["samples"][f"{name}_labels"]) for name in ("calibration", "golden")}
    temporal = content["temporal"]
    if not isinstance(temporal, bool):
        raise ValueError(f"temporal is {temporal!r}, not true or false")
    expected_shape = (config.network.steps, *input_node.shape) if temporal else input_node.shape
    for name, images in samples.items():
        if images.shape[1:] != expected_shape or labels[name].shape != (len(images),):
            raise ValueError(f"{name} samples of shape {images.shape} with labels of shape {labels[name].shape}")
        if images.size and (images.min() < 0 or images.max() >= 2**input_node.bits):
            raise ValueError(f"{name} samples outside the {input_node.bits} bits of the input")
    return Model(
        network,
        config,
        classes,
        _plain(dict(content["metrics"]), "metrics"),
        _plain([dict(row) for row in content["history"]], "history", finite=False),
        Split(samples["calibration"].astype(np.uint8), labels["calibration"].astype(np.int64), temporal),
        Split(samples["golden"].astype(np.uint8), labels["golden"].astype(np.int64), temporal),
        decode_scales(content["scales"], network) if "scales" in content else None,
    )


def _plain(value: Any, name: str, finite: bool = True) -> Any:
    """Values as JSON has them; raises ValueError for others, and for numbers that are not finite.

    NumPy's float64 and str_ are floats and texts to Python, but objects of their own in a file.

    Args:
        finite: False for a history, which keeps an epoch whose validation loss overflowed.
    """
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {str(key): _plain(inner, f"{name}.{key}", finite) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner, name, finite) for inner in value]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, float) and (math.isfinite(value) or not finite):
        return float(value)
    if isinstance(value, str | int):
        return str(value) if isinstance(value, str) else int(value)
    raise ValueError(f"{name}={str(value)[:80]}: texts and {'finite ' * finite}numbers are expected")


def _encode_network(network: SpikingNetwork | Network) -> dict[str, Any]:
    if isinstance(network, Network):
        return {"graph": encode_graph(network)}
    return {"state": {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}}


def _decode_network(
    content: dict[str, Any], config: ExperimentConfig, input_node: Input, classes: int
) -> SpikingNetwork | Network:
    if "graph" in content:
        graph = decode_graph(content["graph"])
        same = (graph.input.shape, graph.input.scale, graph.input.bits) == (
            input_node.shape,
            input_node.scale,
            input_node.bits,
        )
        if not same or graph.steps != config.network.steps or np.prod(graph.shapes[graph.readout]) < classes:
            raise ValueError("the imported network has another input, number of steps or classes")
        return graph
    with torch.device("meta"):  # takes no memory, whatever sizes the file claims
        expected = {name: part.shape for name, part in build(config.network, input_node, classes).state_dict().items()}
    state = content["state"]
    wrong = [name for name in expected if not _fits(state.get(name), expected[name])]
    wrong += sorted(str(name) for name in set(state) - set(expected))
    if wrong:
        raise ValueError(f"state missing, unknown or not of the configured network's shape: {', '.join(wrong)}")
    network = build(config.network, input_node, classes)
    network.load_state_dict(content["state"])
    return network.eval()


def _fits(part: Any, shape: torch.Size) -> bool:
    # Contiguous: a tensor that repeats one stored value could claim any size.
    return isinstance(part, torch.Tensor) and part.shape == shape and part.is_contiguous()


def _samples(tensor: torch.Tensor) -> NDArray[Any]:
    array = tensor.numpy()
    if array.dtype.kind not in "iu" or not array.flags.c_contiguous:
        raise ValueError(f"samples of type {array.dtype}, not contiguous or not integers")
    return np.asarray(array)
