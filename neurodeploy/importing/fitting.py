"""An imported Network and the data set that it is judged on: the same shape, scale and bits of the input."""

from __future__ import annotations

import math
from dataclasses import replace

from neurodeploy.data.dataset import DataSet
from neurodeploy.data.matching import same_scale, unlike
from neurodeploy.errors import UsageError
from neurodeploy.importing.nir import ImportedNetwork
from neurodeploy.ir.network import Edge, Network
from neurodeploy.ir.nodes import Flatten, Input, Node


def fitted(imported: ImportedNetwork, data: DataSet, name: str) -> Network:
    """The Network with the data set's input.

    A file that does not say scale or bits gets the data set's; a scale that differs from the data set's by less than
    people type counts as it. Where the network takes n values and the data set has (C, H, W), a Flatten comes in
    between, row-major, as every framework flattens.

    Args:
        name: of the data set, for messages.

    Raises:
        UsageError: where shapes, scales, bits or classes do not go together.
    """
    network, source = imported.network, imported.network.input
    wanted = data.input
    scale = source.scale if imported.scale_known else None
    bits = source.bits if imported.bits_known else None
    wrong = unlike(data, bits, scale, math.prod(network.shapes[network.readout]))
    if wrong:
        raise UsageError(f"--data {name}: {'; '.join(wrong)}{_way_out(bits, scale, wanted)}")
    if source.shape == wanted.shape:
        return _with_input(network, wanted)
    if len(source.shape) != 1 or math.prod(source.shape) != math.prod(wanted.shape):
        raise UsageError(f"--data {name}: samples of shape {wanted.shape}, the network takes {source.shape}")
    return _with_flatten(network, wanted)


def _way_out(bits: int | None, scale: float | None, wanted: Input) -> str:
    """What to type where bits or scale are in the way: of a scale alone, the bits to which images have it."""
    if (bits is None or bits == wanted.bits) and (scale is None or same_scale(scale, wanted.scale)):
        return ""
    if scale is None:
        return f"; give --input-bits {wanted.bits}"
    fitting = [n for n in range(1, 9) if same_scale(scale, 1 / (2**n - 1))] if bits is None else []
    if fitting:
        return f"; give --input-bits {fitting[0]} to have the samples rounded, or --input-scale {wanted.scale:.9g}"
    return f"; give --input-scale {wanted.scale:.9g}" if bits is None else "; give --input-bits and --input-scale"


def _with_input(network: Network, source: Input) -> Network:
    nodes = {name: source if isinstance(node, Input) else node for name, node in network.nodes.items()}
    return Network(nodes, network.edges, network.steps)


def _with_flatten(network: Network, source: Input) -> Network:
    (own,) = (name for name, node in network.nodes.items() if isinstance(node, Input))
    flat = f"{own}.flat"
    while flat in network.nodes:
        flat += "_"
    nodes: dict[str, Node] = {own: source, flat: Flatten()}
    nodes |= {name: node for name, node in network.nodes.items() if name != own}
    edges = [replace(edge, source=flat) if edge.source == own else edge for edge in network.edges]
    return Network(nodes, (Edge(own, flat), *edges), network.steps)
