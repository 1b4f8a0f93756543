"""Whole networks with currents, delays, events and residual sums in Lava: every spike and voltage of every layer.

All of them run in one start of Lava.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from neurodeploy import hw_models
from neurodeploy.compare import compare
from neurodeploy.export import lava, lava_job, netx
from neurodeploy.ir.arrays import frozen_ints
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
from neurodeploy.ir.program import FixedPointNeurons, Program
from neurodeploy.ir.synapses import ConvSynapses, DenseSynapses, longest_delay
from neurodeploy.quantize import quantize
from neurodeploy.simulate import reference
from neurodeploy.simulate.recording import Recording

pytestmark = pytest.mark.lava
Made = tuple[Program, NDArray[Any]]


class _Draw:
    """Random nodes."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def cuba(self, share: float = 1.0) -> CubaLIF:
        kept, current = self.rng.uniform(0.4, 0.95), self.rng.uniform(0.2, 0.8)
        return CubaLIF(float(kept), float(current), float(self.rng.uniform(0.6, 1.2)) * share)

    def linear(self, out: int, features: int) -> Linear:
        weight = self.rng.normal(0.05, 1.0, (out, features)) / np.sqrt(features)
        return Linear(weight, self.rng.normal(0.05, 0.05, out))

    def conv(self, out: int, channels: int, **geometry: Any) -> Conv2d:
        weight = self.rng.normal(0.05, 1.0, (out, channels, 3, 3)) / np.sqrt(9 * channels)
        return Conv2d(weight, self.rng.normal(0.05, 0.05, out), padding=(1, 1), **geometry)

    def events(self, steps: int, batch: int, *shape: int, bits: int = 1) -> NDArray[Any]:
        """Sparse spikes that come and go, as an event camera's."""
        busy = self.rng.uniform(0.02, 0.6, (steps, batch, *[1] * len(shape)))
        return (self.rng.random((steps, batch, *shape)) < busy) * self.rng.integers(1, 2**bits, (steps, batch, *shape))


def network(edges: str, steps: int, **nodes: Node) -> Network:
    """Edges as "a>b b>3>c", the number in between a delay."""
    parts = [text.split(">") for text in edges.split()]
    return Network(nodes, tuple(Edge(p[0], p[-1], int(p[1]) if len(p) > 2 else 0) for p in parts), steps)


def event_residual(seed: int) -> Made:
    """Two channels of events, a residual block of neurons with currents, pooling, a membrane readout."""
    d = _Draw(seed)
    made = network(
        "x>stem stem>a a>one one>b b>two two>c a>c c>pool pool>flat flat>fc fc>out",
        7, x=Input((2, 8, 6)), stem=d.conv(4, 2), a=d.cuba(), one=d.conv(4, 4), b=d.cuba(), two=d.conv(4, 4),
        c=d.cuba(), pool=SumPool2d(2), flat=Flatten(), fc=d.linear(5, 48), out=MembraneReadout(0.9),
    )  # fmt: skip
    return quantize(made, hw_models.chip("loihi2")), d.events(7, 3, 2, 8, 6)


def recurrent(seed: int) -> Made:
    """Recurrence with one step, feedback through another population after four, the input again after five."""
    d = _Draw(seed)
    made = network(
        "x>fc fc>a a>rec rec>1>a a>to to>k k>back back>4>a x>5>late late>k a>last last>out out>count",
        12, x=Input((6,), 1 / 15, 4), fc=d.linear(8, 6), a=d.cuba(0.5), rec=d.linear(8, 8), to=d.linear(5, 8),
        k=d.cuba(0.5), back=d.linear(8, 5), late=d.linear(5, 6), last=d.linear(4, 8), out=LIF(0.8, 0.4),
        count=SpikeCountReadout(),
    )  # fmt: skip
    return quantize(made, hw_models.chip("loihi2")), d.events(12, 3, 6, bits=4)


def delayed_convolutions(seed: int) -> Made:
    """Convolutions whose input is late by two and three steps, beside a straight way; averages over windows."""
    d = _Draw(seed)
    made = network(
        "x>stem stem>a a>2>one one>b a>pool pool>3>half half>c b>down down>c c>flat flat>fc fc>out out>count",
        9, x=Input((1, 6, 8), 1 / 255, 8), stem=d.conv(3, 1), a=d.cuba(0.6), one=d.conv(3, 3), b=d.cuba(),
        pool=AvgPool2d(2), half=d.conv(2, 3), down=d.conv(2, 3, stride=(2, 2)), c=d.cuba(0.5), flat=Flatten(),
        fc=d.linear(5, 24), out=d.cuba(0.4), count=SpikeCountReadout(),
    )  # fmt: skip
    return quantize(made, hw_models.chip("loihi2")), d.events(9, 2, 1, 6, 8, bits=8)


def delayed_chain(seed: int) -> Made:
    """What a `.net` file holds: currents, a delay per connection and one per synapse."""
    d = _Draw(seed)
    made = network(
        "x>conv conv>a a>flat flat>fc fc>2>b b>mid mid>c c>last last>out",
        10, x=Input((2, 6, 6)), conv=d.conv(3, 2, stride=(2, 2)), a=d.cuba(0.6), flat=Flatten(), fc=d.linear(8, 27),
        b=d.cuba(0.5), mid=d.linear(8, 8), c=d.cuba(0.5), last=d.linear(4, 8), out=MembraneReadout(0.8),
    )  # fmt: skip
    program = quantize(made, hw_models.chip("loihi2"))
    layers = list(program.layers)
    (middle,) = layers[2].synapses
    assert isinstance(middle, DenseSynapses)
    own = replace(middle, delay=1, delays=frozen_ints(d.rng.integers(0, 5, middle.weight.shape)))
    layers[2] = replace(layers[2], synapses=(own,))
    return replace(program, layers=tuple(layers)), d.events(10, 3, 2, 6, 6)


NETWORKS: dict[str, Callable[[int], Made]] = {
    "event-residual": event_residual,
    "recurrent": recurrent,
    "delayed-convolutions": delayed_convolutions,
    "delayed-chain": delayed_chain,
}


def lively(build: Callable[[int], Made]) -> Made:
    """The first seed with which every layer fires in 5 to 95 % of its neuron-steps."""
    for seed in range(200):
        program, inputs = build(seed)
        rates = reference.run(program, inputs).firing_rates()
        if all(0.05 < rate < 0.95 for rate in rates.values()) and not lava.violations(program):
            return program, inputs
    raise AssertionError(f"{build.__name__}: no lively network")


def same(program: Program, inputs: NDArray[Any], got: Recording, name: str) -> None:
    expected = reference.run(program, inputs)
    found = compare(expected, got)
    assert (found.mismatched_spikes, found.mismatched_voltages) == (0, 0), f"{name}: {found.first}"
    np.testing.assert_array_equal(got.readout, expected.readout)
    assert list(got.potentials) == [layer.name for layer in program.layers]


@pytest.fixture(scope="module")
def cases() -> dict[str, Made]:
    found = lava.TARGET.backend()
    if found.version is None:  # equality that was not tried must not look like equality
        pytest.fail(found.detail, pytrace=False)
    return {name: lively(build) for name, build in NETWORKS.items()}


def test_every_layer_is_the_references(cases: dict[str, Made]) -> None:
    for name, got in zip(cases, lava.run_many(list(cases.values())), strict=True):
        same(*cases[name], got, name)


def test_the_networks_have_what_they_are_for(cases: dict[str, Made]) -> None:
    for program, inputs in cases.values():
        decays = [
            layer.neurons.current_decay for layer in program.layers if isinstance(layer.neurons, FixedPointNeurons)
        ]
        assert sum(int(decay) < 4096 for decay in decays) >= 2
        assert inputs.shape[1] > 1  # samples follow each other
    assert [len(layer.synapses) for layer in cases["event-residual"][0].layers] == [1, 1, 2, 1]
    delays = {name: [longest_delay(s) for layer in program.layers for s in layer.synapses]
              for name, (program, _) in cases.items()}  # fmt: skip
    assert max(delays["recurrent"]) == 5
    assert sum(isinstance(s, ConvSynapses) and s.delay > 1 for layer in cases["delayed-convolutions"][0].layers
               for s in layer.synapses) == 2  # fmt: skip
    assert delays["delayed-chain"] == [2, 0, 5, 0]  # what is fed late needs not come after
    waits = [one["wait"] for one in lava_job.describe(cases["delayed-convolutions"][0])[0]["synapses"]]
    assert max(waits) == 2  # through neurons that repeat spikes


def test_a_net_file_with_currents_and_delays_means_the_same_in_netx(cases: dict[str, Made]) -> None:
    program, inputs = cases["delayed-chain"]
    assert netx.reasons(program) == []
    same(program, inputs, lava.run_netx(program, inputs), "net")
