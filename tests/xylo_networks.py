"""Random networks for Xylo and input for them, and what a Xylo computes, written once more in plain integers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.ir.nodes import Input
from neurodeploy.ir.xylo import XyloNetwork

FIELDS = ("spikes", "currents", "potentials", "output_spikes", "output_currents", "output_potentials", "readout")


def random_network(rng: np.random.Generator, *, wild: bool = False, chip: str = "xylo-a2", **given: Any) -> XyloNetwork:
    """A small network that fires; a wild one saturates its registers and fires many times in a step."""
    channels, hidden, outputs = int(rng.integers(1, 17)), int(rng.integers(2, 33)), int(rng.integers(1, 9))
    synapses, highest = int(rng.integers(1, 3)), 128 if wild else 40

    def weights(*shape: int) -> NDArray[np.int64]:
        return rng.integers(-highest, highest, shape) * (rng.random(shape) < rng.uniform(0.2, 1))

    aliases = np.where(rng.random(hidden) < 0.3, rng.integers(0, hidden, hidden), -1)
    aliases[aliases == np.arange(hidden)] = -1
    largest = int(rng.choice([300, 3000, 32767])) if wild else 900
    values: dict[str, Any] = {
        "chip": chip,
        "steps": int(rng.integers(4, 25)),
        "input": Input((channels,), 1.0, int(rng.integers(1, 5))),
        "weights_in": weights(channels, hidden, synapses) + (0 if wild else 8),
        "weights_rec": weights(hidden, hidden, synapses) // 4,
        "weights_out": weights(hidden, outputs) + (0 if wild else 8),
        "dash_mem": rng.integers(0, 16, hidden),
        "dash_syn": rng.integers(0 if wild else 1, 16 if wild else 5, (hidden, synapses)),
        "threshold": rng.integers(1 if wild else 100, largest + 1, hidden),
        "bias": rng.integers(-largest, largest + 1, hidden) // (1 if wild else 20) * int(rng.integers(0, 2)),
        "dash_mem_out": rng.integers(0, 16, outputs),
        "dash_syn_out": rng.integers(1, 6, outputs),
        "threshold_out": rng.integers(100, 3000, outputs),
        "bias_out": rng.integers(-50, 51, outputs) * int(rng.integers(0, 2)),
        "aliases": aliases if rng.random() < 0.5 else np.full(hidden, -1),
        "weight_shift_in": int(rng.integers(0, 8 if wild else 3)),
        "weight_shift_rec": int(rng.integers(0, 8 if wild else 2)),
        "weight_shift_out": int(rng.integers(0, 8 if wild else 3)),
        "readout": str(rng.choice(["spike_count", "membrane"])),
        "latency": int(rng.integers(0, 3)),
    }
    return XyloNetwork(**(values | given))


def random_events(rng: np.random.Generator, network: XyloNetwork, batch: int = 2) -> NDArray[np.int64]:
    """(steps, batch, channels), with silent steps among them."""
    shape = (network.steps, batch, network.input.shape[0])
    there = rng.random((network.steps, batch, 1)) < rng.uniform(0.3, 1)
    return rng.integers(0, 2**network.input.bits, shape) * (rng.random(shape) < 0.5) * there


def _cut(value: int) -> int:
    return max(-32768, min(32767, value))


def _wrapped(value: int) -> int:
    return (value + 32768) % 65536 - 32768


def _lost(value: int, dash: int) -> int:
    return value >> dash or (value > 0) - (value < 0)


class _Neuron:
    def __init__(self, threshold: int, dash_mem: int, dash_syn: list[int], bias: int) -> None:
        self.threshold, self.dash_mem, self.dash_syn, self.bias = threshold, dash_mem, dash_syn, bias
        self.current, self.potential = [0] * len(dash_syn), 0

    def receive(self, synapse: int, weight: int, times: int) -> None:
        for _ in range(times):
            self.current[synapse] = _cut(self.current[synapse] + weight)

    def step(self, spikes: int, most: int) -> int:
        self.current = [value - _lost(value, dash) for value, dash in zip(self.current, self.dash_syn, strict=True)]
        change = _cut(_wrapped(-_lost(self.potential, self.dash_mem)) + sum(self.current))
        self.potential = _cut(self.potential + _cut(change + self.bias))
        while self.potential >= self.threshold and spikes < most:
            spikes, self.potential = spikes + 1, self.potential - self.threshold
        return spikes


def plain_run(network: XyloNetwork, events: NDArray[Any]) -> dict[str, NDArray[np.int64]]:
    """`FIELDS` of one sample, (T, …) each; events (steps, channels). One event, one neuron, one step at a time."""
    n = network
    hidden = [
        _Neuron(int(n.threshold[j]), int(n.dash_mem[j]), n.dash_syn[j].tolist(), int(n.bias[j]))
        for j in range(n.hidden)
    ]
    output = [
        _Neuron(int(n.threshold_out[j]), int(n.dash_mem_out[j]), [int(n.dash_syn_out[j])], int(n.bias_out[j]))
        for j in range(n.outputs)
    ]
    spikes, kept = [0] * n.hidden, {name: [] for name in FIELDS[:-1]}
    for step in range(n.steps + n.latency):
        for channel, count in enumerate(events[step].tolist() if step < n.steps else []):
            for (j, k), weight in np.ndenumerate(n.weights_in[channel]):
                hidden[j].receive(k, int(weight) * 2**n.weight_shift_in, count)
        for source, count in enumerate(spikes):
            for (j, k), weight in np.ndenumerate(n.weights_rec[source]):
                hidden[j].receive(k, int(weight) * 2**n.weight_shift_rec, count)
            for j, weight in enumerate(n.weights_out[source].tolist()):
                output[j].receive(0, weight * 2**n.weight_shift_out, count)
        spikes = [0] * n.hidden
        for j, neuron in enumerate(hidden):
            spikes[j] = neuron.step(spikes[j], 31)
            if n.aliases[j] >= 0:
                spikes[n.aliases[j]] = min(31, spikes[n.aliases[j]] + spikes[j])
        kept["output_spikes"].append([neuron.step(0, 1) for neuron in output])
        kept["spikes"].append(list(spikes))
        kept["currents"].append([list(neuron.current) for neuron in hidden])
        kept["potentials"].append([neuron.potential for neuron in hidden])
        kept["output_currents"].append([neuron.current[0] for neuron in output])
        kept["output_potentials"].append([neuron.potential for neuron in output])
    found = {name: np.array(values) for name, values in kept.items()}
    counted = "output_spikes" if n.readout == "spike_count" else "output_potentials"
    return found | {"readout": found[counted][n.latency :].sum(axis=0)}
