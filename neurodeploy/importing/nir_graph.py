"""The shape of a NIR graph: subgraphs written out, delays moved onto edges, loops given their step of delay."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from neurodeploy.errors import UsageError

_MOST_EDGES = 100_000


class Link(NamedTuple):
    """An edge with its delay in steps."""

    source: str
    target: str
    delay: int = 0


def flattened(graph: Any, dt: float) -> tuple[dict[str, Any], list[Link]]:
    """(nodes, links) of a nir.NIRGraph without subgraphs and Delay nodes; "a.b" is node b of subgraph a.

    Raises:
        UsageError: for edges to nowhere, doubled edges, delays that are not whole steps or differ between neurons, and
            nodes of different graphs that would get one name.
    """
    for full, count in Counter(_full_names(graph, "")).items():
        if count > 1:
            raise UsageError(f"node {full}: {count} nodes get this name where subgraphs are written out; rename one")
    nodes, links, passed = _written_out(graph, "")
    waits = {name: _steps(name, node, dt) for name, node in nodes.items() if type(node).__name__ == "Delay"}
    for name in [*passed, *waits]:
        links = _without(name, links, waits.get(name, 0))
        nodes.pop(name, None)
    for link in links:
        for name in link[:2]:
            if name not in nodes:
                raise UsageError(f"edge {link.source!r} -> {link.target!r}: there is no node {name!r}")
    if len(set(links)) != len(links):
        doubled = next(link for link, count in Counter(links).items() if count > 1)
        raise UsageError(f"edge {doubled.source} -> {doubled.target}: there more than once")
    return nodes, links


def close_loops(links: Sequence[Link], start: str, known: set[tuple[str, str]]) -> list[Link]:
    """The links, with a delay of one step on those that close a loop without delay.

    Args:
        known: (source, target) of edges that are said to wait one step; those that are not in a loop are ignored.
    """
    plain = {(link.source, link.target) for link in links if link.delay == 0}
    waiting = {pair for pair in known & plain if _reaches(links, pair[1], pair[0])}
    waiting |= _closing([link for link in links if link.delay == 0 and link[:2] not in waiting], start)
    return [link._replace(delay=1) if link[:2] in waiting and link.delay == 0 else link for link in links]


def _full_names(graph: Any, prefix: str) -> Iterator[str]:
    """Of every node, subgraphs included; "a.b" may be a node's own name, or node b of subgraph a."""
    for name, node in graph.nodes.items():
        yield prefix + name
        if type(node).__name__ == "NIRGraph":
            yield from _full_names(node, f"{prefix}{name}.")


def _written_out(graph: Any, prefix: str) -> tuple[dict[str, Any], list[Link], list[str]]:
    """Nodes, links and the names that only pass on: a subgraph's own name, its inputs and outputs."""
    nodes: dict[str, Any] = {}
    links, passed = [Link(prefix + source, prefix + target) for source, target in graph.edges], []
    for name, node in graph.nodes.items():
        full = prefix + name
        if type(node).__name__ != "NIRGraph":
            nodes[full] = node
            continue
        inner, between, inside = _written_out(node, f"{full}.")
        ends = {
            kind: [f"{full}.{key}" for key, one in node.nodes.items() if type(one).__name__ == kind]
            for kind in ("Input", "Output")
        }
        if len(ends["Input"]) != 1 or len(ends["Output"]) != 1:
            raise UsageError(f"node {full}: a subgraph with exactly one Input and one Output is expected")
        links = [
            link._replace(
                source=ends["Output"][0] if link.source == full else link.source,
                target=ends["Input"][0] if link.target == full else link.target,
            )
            for link in links
        ]
        nodes |= inner
        links += between
        passed += [*inside, *ends["Input"], *ends["Output"]]
        if len(links) > _MOST_EDGES:
            raise UsageError(f"more than {_MOST_EDGES} edges")
    return nodes, links, passed


def _without(name: str, links: list[Link], wait: int) -> list[Link]:
    """Every way through a node that only passes on, as a link."""
    arriving = [link for link in links if link.target == name]
    if any(link.source == name for link in arriving):
        raise UsageError(f"node {name}: a loop in which there are no neurons")
    kept: list[Link] = []
    for link in links:
        if link.source == name:
            kept += [Link(one.source, link.target, one.delay + wait + link.delay) for one in arriving]
        elif link.target != name:
            kept.append(link)
    if len(kept) > _MOST_EDGES:
        raise UsageError(f"more than {_MOST_EDGES} edges")
    return kept


def _steps(name: str, node: Any, dt: float) -> int:
    values = np.unique(np.asarray(node.delay, dtype=np.float64))
    if len(values) != 1 or values[0] < 0:
        raise UsageError(f"node {name}: delays differ between neurons or are negative; one per node is expected")
    steps = float(values[0]) / dt
    if abs(steps - round(steps)) > 1e-6 * max(1.0, steps):
        raise UsageError(f"node {name}: a delay of {values[0]:g} s is {steps:g} steps of {dt:g} s, not a whole number")
    return round(steps)


def _closing(links: Sequence[Link], start: str) -> set[tuple[str, str]]:
    """Edges that lead back onto the path from `start`, depth-first in the order of the edges; then from the rest."""
    following: dict[str, list[str]] = {}
    for link in links:
        following.setdefault(link.source, []).append(link.target)
    found: set[tuple[str, str]] = set()
    state: dict[str, str] = {}
    for root in [start, *following]:
        if root in state:
            continue
        path = [(root, iter(following.get(root, [])))]
        state[root] = "open"
        while path:
            name, rest = path[-1]
            target = next(rest, None)
            if target is None:
                state[name] = "closed"
                path.pop()
            elif target not in state:
                state[target] = "open"
                path.append((target, iter(following.get(target, []))))
            elif state[target] == "open":
                found.add((name, target))
    return found


def _reaches(links: Sequence[Link], start: str, end: str) -> bool:
    pending, seen = [start], set()
    while pending:
        name = pending.pop()
        if name == end:
            return True
        if name not in seen:
            seen.add(name)
            pending += [link.target for link in links if link.source == name]
    return False
