"""NIR files as Networks: exactly where NIR and a Network mean the same, refused with node and reason where not.

What NIR leaves open is settled in `neurodeploy.importing.nir_dialect`. A loop of edges without a delay waits one step
at the edge that closes it, found depth-first from the input in the order of the edges.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np

from neurodeploy.config import MOST_STEPS
from neurodeploy.errors import FileFormatError, MissingBackendError, UsageError
from neurodeploy.importing import nir_dialect as dialect
from neurodeploy.importing.hdf5 import Limits, Tree, read_tree
from neurodeploy.importing.nir_graph import Link, close_loops, flattened
from neurodeploy.importing.nir_nodes import Reading, Taken, take
from neurodeploy.importing.nir_paths import gained, refuse_late_biases
from neurodeploy.importing.nir_pools import pools_folded
from neurodeploy.ir.network import Edge, Network
from neurodeploy.ir.nodes import Input, MembraneReadout, Node, SpikeCountReadout

_STATELESS = ("Input", "Output", "Affine", "Linear", "Conv2d", "SumPool2d", "AvgPool2d", "Flatten")
_KNOWN = (*_STATELESS, "Delay", "IF", "LIF", "CubaLIF", "I", "LI", "NIRGraph")
_REFUSED = {
    "Conv1d": "networks here have two-dimensional convolutions; write it as Conv2d of height 1",
    "CubaLI": "a membrane readout here has no current; put an LI node in its place",
    "Scale": "fold the factors into the weights before it",
    "Threshold": "it has no state; put LIF or IF nodes in its place",
}


@dataclass(frozen=True, eq=False)
class ImportedNetwork:
    """A Network from a file.

    Attributes:
        dt: seconds per step at which it was read.
        scale_known, bits_known: whether the file or the caller says scale and bits of the input.
        notes: what was settled that the file leaves open.
    """

    network: Network
    dt: float
    scale_known: bool
    bits_known: bool
    notes: tuple[str, ...]


def read_nir(
    path: Path,
    *,
    dt: float | None = None,
    discretisation: str = "euler",
    steps: int | None = None,
    input_scale: float | None = None,
    input_bits: int | None = None,
    limits: Limits | None = None,
) -> ImportedNetwork:
    """Reads a `.nir` file.

    Args:
        dt: seconds per step; without it what the file's metadata say, or 1e-4.
        discretisation: "euler" or "exponential"; see `neurodeploy.importing.nir_dialect`.
        steps: time steps T; without it what the file's metadata say.
        input_scale, input_bits: of the Input (a value is an integer of so many bits times the scale); without them
            what the metadata say, or 1 and 1: spikes.

    Raises:
        FileFormatError: naming file and node, for damaged or hostile files and for what a Network cannot express.
        UsageError: where the number of steps is not known, or an option is out of range.
        MissingBackendError: where the package nir is not installed.
    """
    if discretisation not in dialect.DISCRETISATIONS:
        raise UsageError(f"--discretisation {discretisation}: allowed are {', '.join(dialect.DISCRETISATIONS)}")
    tree = read_tree(path, limits)
    try:
        graph = _graph(tree)
        hints = graph.metadata if isinstance(graph.metadata, dict) else {}
        step = _number("--dt", dt, hints, dialect.DT_HINT, dialect.DT)
        if not (np.isfinite(step) and step > 0):
            raise _OptionError(f"--dt {step}: must be positive")
        count = _number("--steps", steps, hints, dialect.STEPS, 0)
        if not 1 <= count <= MOST_STEPS or count != int(count):
            asked = f"{count:g}" if count else "for how many"
            raise _OptionError(f"{asked} time steps? Give --steps, 1 to {MOST_STEPS}")
        scale = _number("--input-scale", input_scale, hints, dialect.SCALE, 1.0)
        bits = _number("--input-bits", input_bits, hints, dialect.BITS, 1)
        network, folded = _network(graph, Reading(step, discretisation), int(count), scale, int(bits), hints)
    except _OptionError as error:
        raise UsageError(f"{path}: {error}") from error
    except UsageError as error:
        raise FileFormatError(f"{path}: {error}") from error
    source = "as the file says" if dt is None and dialect.DT_HINT in hints else "NIR itself states none"
    notes = (f"one step is {step:g} s ({source}), neurons by the {discretisation} rule", *folded)
    scale_known = input_scale is not None or dialect.SCALE in hints
    bits_known = input_bits is not None or dialect.BITS in hints
    return ImportedNetwork(network, step, scale_known, bits_known, notes)


class _OptionError(UsageError):
    """What the user must say, because the file does not."""


def _number(option: str, given: float | None, hints: Mapping[str, Any], key: str, default: float) -> float:
    """What is typed, else what the file's metadata say, else the default."""
    if given is not None:
        return given
    hint = np.asarray(hints.get(key, default))
    if hint.size != 1 or hint.dtype.kind not in "iuf":
        raise UsageError(f"metadata {key}: one number is expected; give {option}")
    return float(hint.item()) if hint.dtype.kind == "f" else int(hint.item())


# --- the library's nodes ------------------------------------------------------------------------------------------


def _graph(tree: Tree) -> Any:
    """nir.NIRGraph from what was read and checked."""
    if util.find_spec("nir") is None:
        raise MissingBackendError("NIR files need the package nir: pip install 'nir>=1.0.8'")
    content = tree.get("node")
    if not isinstance(content, dict):
        raise UsageError("no group `node`: not a NIR file")
    kind = _kind(content, "graph")
    if kind != "NIRGraph":
        raise UsageError(f"holds a node of type {kind}, a NIRGraph is expected")
    return _built(_plain(content, "graph"), "graph")


def _built(plain: dict[str, Any], where: str) -> Any:
    import nir

    try:
        return nir.dict2NIRNode(dict(plain))  # it takes the dictionary apart
    except (AssertionError, TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
        reason = " ".join(f"{type(error).__name__} {error}".split())[:200]
        raise UsageError(f"node {where}: the package nir does not take it ({reason})") from error


def _plain(content: Tree, where: str) -> dict[str, Any]:
    """One node's fields as the package nir takes them, after its type was checked."""
    kind = _kind(content, where)
    fields = {name: _value(item) for name, item in content.items()}
    if kind == "NIRGraph":
        nodes, edges = content.get("nodes"), content.get("edges")
        if not isinstance(nodes, dict) or any(not isinstance(node, dict) for node in nodes.values()):
            raise UsageError(f"node {where}: nodes are missing")
        if not isinstance(edges, np.ndarray) or (edges.size and (edges.dtype != object or edges.ndim != 2)):
            raise UsageError(f"node {where}: edges are missing, or not pairs of names")
        if edges.size and edges.shape[1] != 2:
            raise UsageError(f"node {where}: edges are not pairs of names")
        fields["nodes"] = {name: _plain(node, name) for name, node in nodes.items() if isinstance(node, dict)}
        fields["edges"] = [(str(source), str(target)) for source, target in edges] if edges.size else []
        fields["type_check"] = False  # the library's shapes are wrong for groups and for kernels that are not square
    else:
        _built(fields, where)  # for its complaints, which would not name the node where the whole graph is built
    return fields


def _kind(content: Tree, where: str) -> str:
    kind = content.get("type")
    if not isinstance(kind, np.ndarray) or kind.dtype != object or kind.ndim:
        raise UsageError(f"node {where}: has no type")
    name = str(kind.item())
    if name in _REFUSED:
        raise UsageError(f"node {where} is a {name}: {_REFUSED[name]}")
    if name not in _KNOWN:
        raise UsageError(f"node {where} is of type {name!r}; known are {', '.join(_KNOWN)}")
    return name


def _value(item: Any) -> Any:
    if isinstance(item, dict):
        return {name: _value(value) for name, value in item.items()}
    return item.item() if item.dtype == object and item.ndim == 0 else item


# --- the Network --------------------------------------------------------------------------------------------------


def _network(
    graph: Any, reading: Reading, steps: int, scale: float, bits: int, hints: Mapping[str, Any]
) -> tuple[Network, list[str]]:
    """The network, and what was settled on the way."""
    found, links = flattened(graph, reading.dt)
    taken = {name: take(name, node, reading) for name, node in found.items() if type(node).__name__ != "Output"}
    nodes: dict[str, Node] = {name: one.node for name, one in taken.items()}
    inputs = [name for name, node in nodes.items() if isinstance(node, Input)]
    if len(inputs) != 1:
        raise UsageError(f"a network has exactly one Input, found {', '.join(inputs) or 'none'}")
    nodes[inputs[0]] = Input(nodes[inputs[0]].output_shape(()), scale, bits)
    nodes, links = _with_readout(found, taken, nodes, links)
    nodes, links, notes = pools_folded(nodes, links)
    refuse_late_biases(nodes, links)
    nodes = gained(taken, nodes, links)
    edges = [Edge(*link) for link in close_loops(links, inputs[0], _pairs(hints.get(dialect.DELAYED)))]
    order = dict.fromkeys(name for edge in edges for name in (edge.source, edge.target))
    unused = [name for name in nodes if name not in order]
    if unused:
        raise UsageError(f"node {unused[0]}: no edge leads to it or from it")
    try:
        network = Network({name: nodes[name] for name in order}, tuple(edges), steps)
    except UsageError as error:  # of a kernel that the file does not have, perhaps
        made = [note.text for note in notes if str(error).startswith(f"node {note.convolution}: ")]
        raise UsageError("; ".join([str(error), *made])) from error
    _check_shapes(network, taken)
    return network, [note.text for note in notes]


def _with_readout(
    found: Mapping[str, Any], taken: Mapping[str, Taken], nodes: dict[str, Node], links: list[Link]
) -> tuple[dict[str, Node], list[Link]]:
    """The Output as a spike count of the neurons before it, or left out behind neurons that do not fire."""
    outputs = [name for name, node in found.items() if type(node).__name__ == "Output"]
    arriving = [link for link in links if link.target in outputs]
    if len(outputs) != 1 or len(arriving) != 1 or any(link.source in outputs for link in links):
        raise UsageError(
            f"a network has exactly one Output, which one node feeds; found {', '.join(outputs) or 'none'}"
        )
    output, source = outputs[0], arriving[0].source
    for name, node in nodes.items():
        if isinstance(node, MembraneReadout) and name != source:
            raise UsageError(
                f"node {name}: LI and I are taken where the Output reads them alone; put LIF or IF nodes in its place"
            )
    if isinstance(nodes[source], MembraneReadout):
        if arriving[0].delay:
            raise UsageError(f"node {output}: a readout cannot be delayed")
        return nodes, [link for link in links if link.target != output]
    if not taken[source].neurons:
        raise UsageError(f"node {output}: reads {source}, where neurons (LIF, IF, LI or I) are expected")
    return nodes | {output: SpikeCountReadout()}, links


def _pairs(hint: Any) -> set[tuple[str, str]]:
    pairs = np.asarray(hint if hint is not None else [])
    if not pairs.size:
        return set()
    if pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.dtype != object:
        raise UsageError(f"metadata {dialect.DELAYED}: pairs of names are expected")
    return {(str(source), str(target)) for source, target in pairs}


def _check_shapes(network: Network, taken: Mapping[str, Taken]) -> None:
    """Parameters of neurons in the file have the shape of the layer, or are one number."""
    for name, one in taken.items():
        if one.neurons and one.shape not in ((), (1,), network.shapes[name]):
            raise UsageError(f"node {name}: parameters of shape {one.shape}, its neurons have {network.shapes[name]}")
