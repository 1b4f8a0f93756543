"""An imported Network and the data set that it is judged on: the same shape, scale and bits of the input."""

from __future__ import annotations

import math
from dataclasses import replace

from neurodeploy.data.dataset import DataSet
from neurodeploy.errors import UsageError
from neurodeploy.importing.nir import ImportedNetwork
from neurodeploy.ir.network import Edge, Network
from neurodeploy.ir.nodes import Flatten, Input, Node


def fitted(imported: ImportedNetwork, data: DataSet, name: str) -> Network:
    """The Network with the data set's input.

    A file that does not say scale and bits gets the data set's. Where the network takes n values and the data set has
    (C, H, W), a Flatten comes in between, row-major, as every framework flattens.

    Args:
        name: of the data set, for messages.

    Raises:
        UsageError: where shapes, scales, bits or classes do not go together.
    """
    network, source = imported.network, imported.network.input
    wanted = Input(data.input.shape, source.scale, source.bits) if imported.input_known else data.input
    if (wanted.scale, wanted.bits) != (data.input.scale, data.input.bits):
        raise UsageError(
            f"--data {name}: integers of {data.input.bits} bits with scale {data.input.scale:g}, the network takes "
            f"{wanted.bits} bits with scale {wanted.scale:g}; give --input-bits and --input-scale"
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
