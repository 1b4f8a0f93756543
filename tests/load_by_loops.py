"""Connections and events of a small network, counted by loops over every output, tap, step and sample."""

from __future__ import annotations

from typing import Any

import numpy as np

from neurodeploy.hw_models import chip
from neurodeploy.ir.network import Edge, Network
from neurodeploy.ir.nodes import (
    LIF,
    AvgPool2d,
    Conv2d,
    Flatten,
    Input,
    Linear,
    MembraneReadout,
)
from neurodeploy.quantize import quantize
from neurodeploy.simulate import reference
from neurodeploy.simulate.recording import Recording

STEPS, BATCH = 4, 3
Array = np.ndarray[Any, Any]


def small_network(seed: int = 0, bits: int = 4, reset: str = "subtract") -> Network:
    """conv (stride, padding) -> a -> pool -> conv (groups, dilation) -> b, plus a's shortcut -> fc -> c, recurrent."""
    rng = np.random.default_rng(seed)
    first = Conv2d(rng.normal(0.05, 0.6, (4, 2, 3, 3)), rng.normal(0.1, 0.1, 4), (2, 1), (1, 1))
    second = Conv2d(rng.normal(0.1, 0.8, (4, 2, 2, 3)), np.array([0.1, 0.0, 0.2, 0.0]), (1, 2), (1, 2), (1, 2), 2)
    weight = rng.normal(0.05, 0.6, (6, 24))
    weight[np.abs(weight) < 0.1] = 0
    nodes = {
        "image": Input((2, 8, 6), 1.0 if bits == 1 else 1 / 15, bits),
        "conv1": first,
        "a": LIF(0.75, 0.5, reset),  # type: ignore[arg-type]
        "pool": AvgPool2d(2),
        "conv2": second,
        "b": LIF(1.0, 0.4, reset),  # type: ignore[arg-type]
        "flat": Flatten(),
        "fc": Linear(weight[:, :24], np.zeros(6)),
        "c": LIF(0.5, 0.3, reset),  # type: ignore[arg-type]
        "back": Linear(rng.normal(0, 0.3, (6, 6)), np.zeros(6)),
        "last": Linear(rng.normal(0, 1, (3, 6)), rng.normal(0, 1, 3)),
        "out": MembraneReadout(0.9),
    }
    names = ["image conv1", "conv1 a", "a pool", "pool conv2", "conv2 b", "b flat", "flat fc", "fc c", "c back"]
    edges = [Edge(*name.split()) for name in (*names, "c last", "last out")]
    return Network(nodes, (*edges, Edge("back", "c", 1)), STEPS)


def random_inputs(network: Network, static: bool, seed: int = 1) -> Array:
    shape = (BATCH, *network.input.shape) if static else (STEPS, BATCH, *network.input.shape)
    return np.random.default_rng(seed).integers(0, 2**network.input.bits, shape)


def run_floats(network: Network, inputs: Array) -> Recording:
    recording = reference.run(quantize(network, chip("mixed-signal")), inputs)
    assert all(0.05 < rate < 0.95 for rate in recording.firing_rates().values()), recording.firing_rates()
    return recording


def convolved(node: Conv2d, values: Array, present: Array) -> tuple[int, int]:
    """(connections, Σ values over connections) of one frame (C, H, W), output by output and tap by tap."""
    outputs, per_group, high, wide = node.weight.shape
    connections = events = 0
    _, rows, columns = node.output_shape(values.shape)
    for output in range(outputs):
        group = output // (outputs // node.groups)
        for row in range(rows):
            for column in range(columns):
                for channel in range(per_group):
                    for down in range(high):
                        for right in range(wide):
                            y = row * node.stride[0] - node.padding[0] + down * node.dilation[0]
                            x = column * node.stride[1] - node.padding[1] + right * node.dilation[1]
                            inside = 0 <= y < values.shape[1] and 0 <= x < values.shape[2]
                            if inside and present[output, channel, down, right]:
                                connections += 1
                                events += int(values[group * per_group + channel, y, x])
    return connections, events


def connected(weight: Array, values: Array, present: Array) -> tuple[int, int]:
    connections = events = 0
    for output in range(weight.shape[0]):
        for feature in range(weight.shape[1]):
            if present[output, feature]:
                connections += 1
                events += int(values[feature])
    return connections, events


def counted(node: Conv2d | Linear, frames: Array, present: Array | None = None) -> tuple[int, float]:
    """(connections, events per sample) of frames (F, B, …)."""
    shown = np.ones(node.weight.shape, bool) if present is None else present
    connections, events = 0, 0
    for step in range(frames.shape[0]):
        for sample in range(frames.shape[1]):
            if isinstance(node, Conv2d):
                connections, more = convolved(node, frames[step, sample], shown)
            else:
                connections, more = connected(node.weight, frames[step, sample].ravel(), shown)
            events += more
    return connections, events / frames.shape[1]
