"""What NIR nodes mean together with the nodes before them: gains of readouts, biases before currents and delays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from neurodeploy.errors import UsageError
from neurodeploy.importing.nir_graph import Link
from neurodeploy.importing.nir_nodes import Taken
from neurodeploy.ir.network import Edge
from neurodeploy.ir.nodes import FIRING, Conv2d, CubaLIF, Input, Linear, Node


def gained(taken: Mapping[str, Taken], nodes: Mapping[str, Node], links: Sequence[Link]) -> dict[str, Node]:
    """The nodes, with the gain of a readout in the weights before it, and biases before currents refused."""
    changed = dict(nodes)
    for name, one in taken.items():
        sources = [link.source for link in links if link.target == name]
        if isinstance(one.node, CubaLIF) and one.node.current_decay:
            _refuse_bias(name, nodes, links)
        if one.gain == 1:
            continue
        for source in sources:
            weights = changed[source]
            alone = sum(link.source == source for link in links) == 1
            if not isinstance(weights, Linear | Conv2d) or not alone:
                raise UsageError(
                    f"node {name}: multiplies its input by {one.gain:g} (r dt / tau), which can go into the weights "
                    f"before it only where nothing else reads them; {source} is read elsewhere, or has none"
                )
            changed[source] = replace(weights, weight=weights.weight * one.gain, bias=weights.bias * one.gain)
    return changed


def refuse_late_biases(nodes: Mapping[str, Node], links: Sequence[Link]) -> None:
    """Raises UsageError where a Delay node holds back a bias: a bias here acts from the first step on."""
    for link in links:
        late = biased_before(nodes, links, [link.source]) if link.delay else []
        if late:
            raise UsageError(
                f"edge {link.source} -> {link.target}: a Delay of {link.delay} steps holds back the bias of {late[0]}, "
                f"which acts from the first step on here; put the Delay before {late[0]}"
            )


def _refuse_bias(name: str, nodes: Mapping[str, Node], links: Sequence[Link]) -> None:
    for source in biased_before(nodes, links, [link.source for link in links if link.target == name]):
        raise UsageError(
            f"node {name}: its current filters the bias of {source}, where a bias acts on the potential here; "
            "only networks without such a bias can be taken"
        )


def biased_before(nodes: Mapping[str, Node], links: Sequence[Link | Edge], names: Sequence[str]) -> list[str]:
    """Nodes with a bias among these and those before them, up to neurons and the input."""
    pending, seen, found = list(names), set(), []
    while pending:
        name = pending.pop()
        node = nodes[name]
        if name in seen or isinstance(node, (*FIRING, Input)):
            continue
        seen.add(name)
        if isinstance(node, Linear | Conv2d) and node.bias.any():
            found.append(name)
        pending += [link.source for link in links if link.target == name]
    return found
