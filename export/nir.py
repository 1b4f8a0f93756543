"""NIR, the Neuromorphic Intermediate Representation: a file format of graphs that many simulators read.

Nothing runs here: the target says whether a network can be written, and `graph.nir` lies in every artifact whose
network can. How steps become continuous time is told in `neurodeploy.importing.nir_dialect`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from importlib import metadata, util
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import DesignRuleError, MissingBackendError, UsageError
from neurodeploy.export.target import Backend, Target
from neurodeploy.importing import nir_dialect as dialect
from neurodeploy.importing.nir_paths import biased_before
from neurodeploy.ir.arrays import FloatArray, Shape
from neurodeploy.ir.network import Edge, Network
from neurodeploy.ir.nodes import (
    LIF,
    AvgPool2d,
    Conv2d,
    CubaLIF,
    Flatten,
    Input,
    Linear,
    MembraneReadout,
    Node,
    SpikeCountReadout,
    SumPool2d,
)
from neurodeploy.ir.program import FloatNeurons, Program
from neurodeploy.simulate.recording import Recording

GRAPH_FILE = "graph.nir"
_INSTALL = "pip install 'nir>=1.0.8'"
_SUBTRACTS = "reset 'subtract': NIR's neurons go to v_reset; train with reset 'zero'"
_AT_THRESHOLD = "fires at the threshold: NIR's neurons fire above it (v > v_threshold)"


def reasons(network: Network) -> list[str]:
    """Why a network is not expressible in NIR, with node names; empty where it is."""
    found = [f"node {name}: {text}" for name, node in network.nodes.items() for text in _reasons(network, name, node)]
    doubled = [edge for edge, count in Counter(network.edges).items() if count > 1]
    found += [f"edge {edge.source} -> {edge.target}: there more than once; double the weights" for edge in doubled]
    for edge in network.edges:
        late = edge.delay and not _waits_plainly(network, edge)
        biased = sorted(biased_before(network.nodes, network.edges, [edge.source])) if late else []
        if biased:
            found.append(
                f"edge {edge.source} -> {edge.target}: the bias of {', '.join(biased)} acts from the first step here, "
                "but after the delay in NIR; delay what it reads instead"
            )
    return found


def to_nir(network: Network, dt: float = dialect.DT) -> Any:
    """The nir.NIRGraph of a network, in double precision.

    Args:
        dt: seconds per step.

    Raises:
        DesignRuleError: with all `reasons`.
        MissingBackendError: where the package nir is not installed.
    """
    import nir

    found = reasons(network)
    if found:
        raise DesignRuleError("nir", found)
    nodes: dict[str, Any] = {name: _node(network, name, dt) for name in network.nodes}
    edges: list[tuple[str, str]] = []
    delayed: list[tuple[str, str]] = []
    for edge in network.edges:
        pair = (edge.source, edge.target)
        if _waits_plainly(network, edge):
            delayed.append(pair)
        elif edge.delay:
            name = _free(f"{edge.source}.delay.{edge.target}", nodes)
            nodes[name] = nir.Delay(delay=np.full(network.shapes[edge.source], edge.delay * dt))
            edges += [(edge.source, name), (name, edge.target)]
            continue
        edges.append(pair)
    readout = network.readout
    if isinstance(network.nodes[readout], MembraneReadout):
        output = _free("output", nodes)
        nodes[output] = nir.Output(output_type={"output": np.array(network.shapes[readout])})
        edges.append((readout, output))
    hints: dict[str, Any] = {
        dialect.STEPS: network.steps,
        dialect.DT_HINT: dt,
        dialect.SCALE: network.input.scale,
        dialect.BITS: network.input.bits,
    }
    if delayed:
        hints[dialect.DELAYED] = delayed
    # The library's own check has wrong shapes for groups and for kernels that are not square; ours were inferred.
    return nir.NIRGraph(nodes=nodes, edges=edges, metadata=hints, type_check=False)


def write_graph(network: Network, folder: Path, dt: float = dialect.DT) -> list[str]:
    """Writes `graph.nir` into a folder where that is possible, and returns why not."""
    found = reasons(network)
    if not found and not _installed():
        found = [f"the package nir is not installed ({_INSTALL})"]
    if not found:
        write_nir(network, folder / GRAPH_FILE, dt)
    return [f"{GRAPH_FILE}: {text}" for text in found]


def write_nir(network: Network, path: Path, dt: float = dialect.DT) -> None:
    """Writes one `.nir` file; errors as `to_nir`."""
    if not _installed():
        raise MissingBackendError(f"NIR files need the package nir: {_INSTALL}")
    import nir

    nir.write(path, to_nir(network, dt))


# --- nodes --------------------------------------------------------------------------------------------------------


def _reasons(network: Network, name: str, node: Node) -> Iterator[str]:
    if isinstance(node, LIF | CubaLIF):
        if node.reset != "zero":
            yield _SUBTRACTS
        if node.fires_at_threshold:
            yield _AT_THRESHOLD
    if isinstance(node, CubaLIF):
        if node.most_spikes > 1:
            yield f"neurons fire up to {node.most_spikes} times in a step, in NIR once"
        for what in ("decay", "current_decay"):
            if getattr(node, what) == 1:
                yield f"{what.replace('_', ' ')} 1: NIR's CubaLIF has no infinite time constant"
        if node.current_decay:
            sources = [edge.source for edge in network.incoming(name)]
            biased = sorted(biased_before(network.nodes, network.edges, sources))
            if biased:
                yield (
                    f"the bias of {', '.join(biased)} acts on the potential here, but on the current in NIR; "
                    "train without bias"
                )


def _node(network: Network, name: str, dt: float) -> Any:
    import nir

    node, shape = network.nodes[name], network.shapes[name]
    arriving = _arriving(network, name)
    if isinstance(node, Input):
        return nir.Input(input_type={"input": np.array(shape)})
    if isinstance(node, SpikeCountReadout):
        return nir.Output(output_type={"output": np.array(shape)})
    if isinstance(node, Linear):
        return nir.Affine(weight=_own(node.weight), bias=_own(node.bias))
    if isinstance(node, Conv2d):
        return nir.Conv2d(
            input_shape=arriving[1:],
            weight=_own(node.weight),
            stride=node.stride,
            padding=node.padding,
            dilation=node.dilation,
            groups=node.groups,
            bias=_own(node.bias),
        )
    if isinstance(node, SumPool2d | AvgPool2d):
        window = np.array([node.kernel, node.kernel])
        kind = nir.SumPool2d if isinstance(node, SumPool2d) else nir.AvgPool2d
        return kind(kernel_size=window, stride=window.copy(), padding=np.zeros(2, dtype=np.int64))
    if isinstance(node, Flatten):
        return nir.Flatten(input_type={"input": np.array(arriving)}, start_dim=0, end_dim=-1)
    return _neurons(node, shape, dt)


def _neurons(node: Node, shape: Shape, dt: float) -> Any:
    import nir

    def full(value: float) -> FloatArray:
        return np.full(shape, float(value))

    assert isinstance(node, LIF | CubaLIF | MembraneReadout)  # `_node` has taken the others
    hints: dict[str, Any] = {dialect.DECAY: float(node.decay)}
    firing = {}
    if isinstance(node, LIF | CubaLIF):
        firing = {"v_threshold": full(node.threshold), "v_reset": full(0)}
    if node.decay == 1:
        kind = nir.IF if firing else nir.I
        return kind(r=full(1 / dt), **firing, metadata=hints)
    tau = dt / (1 - node.decay)
    if isinstance(node, CubaLIF):
        synaptic = dt / (1 - node.current_decay)
        hints[dialect.CURRENT_DECAY] = float(node.current_decay)
        times = {"tau_mem": full(tau), "tau_syn": full(synaptic), "w_in": full(synaptic / dt)}
        return nir.CubaLIF(**times, r=full(tau / dt), v_leak=full(0), **firing, metadata=hints)
    kind = nir.LIF if firing else nir.LI
    return kind(tau=full(tau), r=full(tau / dt), v_leak=full(0), **firing, metadata=hints)


def _arriving(network: Network, name: str) -> Shape:
    edges = network.incoming(name)
    return network.shapes[edges[0].source] if edges else ()


def _own(values: FloatArray) -> FloatArray:
    return np.array(values)  # the library changes what it is given


def _waits_plainly(network: Network, edge: Edge) -> bool:
    """Whether an edge with a delay is written as a plain one, which readers let wait as it closes a loop."""
    direct = any((other.source, other.target, other.delay) == (edge.source, edge.target, 0) for other in network.edges)
    return edge.delay == 1 and not direct and _closes_a_loop(network, edge)


def _closes_a_loop(network: Network, edge: Edge) -> bool:
    """Whether the edge's source can be reached from its target."""
    pending, seen = [edge.target], set()
    while pending:
        name = pending.pop()
        if name == edge.source:
            return True
        if name not in seen:
            seen.add(name)
            pending += [other.target for other in network.edges if other.source == name]
    return False


def _free(name: str, taken: dict[str, Any]) -> str:
    while name in taken:
        name += "_"
    return name


# --- target -------------------------------------------------------------------------------------------------------


def violations(program: Program) -> list[str]:
    """What of a program's neurons NIR has no word for. Biases before currents are checked when the graph is written."""
    if program.fixed_point:
        return [f"made for the chip {program.chip}, whose neurons round; NIR states real numbers: use the chip ideal"]
    found = []
    for layer in program.layers:
        assert isinstance(layer.neurons, FloatNeurons)  # the program is not fixed-point
        if layer.fires and layer.neurons.reset == "subtract":
            found.append(f"layer {layer.name}: {_SUBTRACTS}")
        if layer.fires and layer.neurons.fires_at_threshold:
            found.append(f"layer {layer.name}: {_AT_THRESHOLD}")
    return found


def _write_nothing(program: Program, folder: Path) -> list[str]:
    """The target's own file is the artifact's `graph.nir`, which is made from the Network."""
    return []


def _run(program: Program, inputs: NDArray[Any]) -> Recording:
    raise UsageError(
        f"--backend nir: NIR is a file, which nothing runs here; load {GRAPH_FILE} in snnTorch, SpikingJelly, Norse or "
        "another reader; reference and engine run the artifact"
    )


def _installed() -> bool:
    return util.find_spec("nir") is not None


def _backend() -> Backend:
    if not _installed():
        return Backend(None, _INSTALL)
    return Backend(metadata.version("nir"), "writes files; nothing runs them here")


TARGET = Target(
    name="nir",
    title="NIR file for snnTorch, SpikingJelly, Norse and other readers; nothing runs it here",
    chip="ideal",
    violations=violations,
    write=_write_nothing,
    run=_run,
    variants=MappingProxyType({}),
    backend=_backend,
)
