"""An imported Network and the data set that it is judged on: the same shape, scale and bits of the input."""

from __future__ import annotations

import math
from dataclasses import replace

from neurodeploy.data.dataset import DataSet
from neurodeploy.errors import UsageError
from neurodeploy.importing.nir import ImportedNetwork
from neurodeploy.ir.network import Edge, Network
from neurodeploy.ir.nodes import Flatten, Input, Node

_TYPED = 1e-6  # relative: nobody types all digits of 1 / 255


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
    scale = source.scale if imported.scale_known else wanted.scale
    bits = source.bits if imported.bits_known else wanted.bits
    if bits != wanted.bits or not math.isclose(scale, wanted.scale, rel_tol=_TYPED):
        raise UsageError(
            f"--data {name}: integers of {wanted.bits} bits with scale {wanted.scale:.9g}, the network takes "
            f"{bits} bits with scale {scale:.9g}; give --input-bits and --input-scale"
        )
    classes = math.prod(network.shapes[network.readout])
    if classes < data.classes:
        raise UsageError(f"--data {name}: {data.classes} classes, the network tells {classes} apart")
    if source.shape == wanted.shape:
        return _with_input(network, wanted)
    if len(source.shape) != 1 or math.prod(source.shape) != math.prod(wanted.shape):
        raise UsageError(f"--data {name}: samples of shape {wanted.shape}, the network takes {source.shape}")
    return _with_flatten(network, wanted)


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
