"""Networks for the tests of DYNAP-SE2, and its equations written again."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.hw_models.dynapse2 import BIASES, LAYOUT
from neurodeploy.hw_models.dynapse2_mismatch import Realised
from neurodeploy.hw_models.dynapse2_network import SHARED, Block, Dynapse2Network
from neurodeploy.ir.nodes import Input
from neurodeploy.ir.populations import Population, PopulationNetwork, Projection
from neurodeploy.ir.program import INPUT


def float_network(
    seed: int = 0,
    channels: int = 24,
    hidden: int = 20,
    outputs: int = 5,
    steps: int = 15,
    decay: float = 0.9,
    current_decay: float = 0.0,
    **output: Any,
) -> PopulationNetwork:
    """A float network that fires: one hidden layer, all weights there."""
    rng = np.random.default_rng(seed)

    def population(name: str, size: int, **changes: Any) -> Population:
        given = {"decay": np.full(size, decay), "current_decay": np.full((1, size), current_decay)}
        given |= {"threshold": np.full(size, 0.5), "bias": np.zeros(size), "reset": "zero"}
        return Population(name, **(given | changes))

    into = rng.normal(0.05, 0.2, (channels, hidden))
    out = rng.normal(0.08, 0.3, (hidden, outputs))
    populations = (population("hidden", hidden), population("output", outputs, **output))
    projections = (Projection(INPUT, "hidden", into), Projection("hidden", "output", out))
    readout = "spike_count" if populations[-1].fires else "membrane"
    return PopulationNetwork(Input((channels,), 1.0, 1), populations, projections, readout, steps)


def chip_network(
    seed: int = 0,
    *,
    recurrent: bool = False,
    substeps: int = 2,
    steps: int = 15,
    sizes: tuple[int, int, int] | None = None,
) -> Dynapse2Network:
    """A network with random codes and its own currents on each of two cores; it fires.

    Args:
        sizes: channels, hidden neurons and outputs; random where None. DynapSim is compiled once for each.
    """
    rng = np.random.default_rng(seed)
    drawn = tuple(int(rng.integers(*edges)) for edges in ((8, 40), (5, 40), (2, 12)))
    channels, hidden, outputs = sizes or drawn
    neurons = hidden + outputs
    codes_in = np.zeros((channels, neurons), dtype=np.int64)
    codes_in[:, :hidden] = rng.integers(-11, 16, (channels, hidden)) * (rng.random((channels, hidden)) < 0.8)
    codes_rec = np.zeros((neurons, neurons), dtype=np.int64)
    codes_rec[:hidden, hidden:] = rng.integers(-9, 16, (hidden, outputs))
    if recurrent:
        codes_rec[:hidden, :hidden] = rng.integers(-3, 4, (hidden, hidden))
    biases = {name: np.full(2, max(BIASES[name].default, BIASES[name].lowest)) for name in SHARED}
    tau_mem, tau_syn = rng.uniform(2e-3, 3e-2, 2), rng.uniform(3e-4, 5e-3, 2)
    biases["Itau_mem"] = np.array([LAYOUT.leak(tau, LAYOUT.c_mem) for tau in tau_mem])
    biases["Itau_syn"] = np.array([LAYOUT.leak(tau, LAYOUT.c_syn) for tau in tau_syn])
    biases["Igain_syn"] = 100 * biases["Itau_syn"]
    biases["Igain_mem"] = rng.uniform(0.1, 4, 2) * biases["Itau_mem"]
    biases["Ispkthr"] = 10.0 ** rng.uniform(-10, -8.5, 2)
    refractory = rng.choice([0.5, 1.5, 2.5]) * 1e-3
    biases["Iref"] = np.full(2, LAYOUT.pulse(refractory, LAYOUT.c_ref))
    core = np.repeat([0, 1], [hidden, outputs])
    # So that a code of 15 lifts a membrane by about a third of its threshold.
    lift = biases["Ispkthr"] * tau_mem * biases["Itau_mem"] / (biases["Igain_mem"] * 1e-3)
    per_weight = (1 - np.exp(-10e-6 / tau_syn)) * 100
    base = (lift / per_weight / 45)[:, None] * np.array([1, 2, 4, 8]) * rng.uniform(0.8, 1.2, (2, 4))
    blocks = (Block("hidden", 0, hidden), Block("output", hidden, neurons, 1))
    return Dynapse2Network(
        "dynapse2", steps, substeps, 1e-3, Input((channels,), 1.0, 1), codes_in, codes_rec, core, base, biases, blocks
    )


def events(network: Dynapse2Network, samples: int = 12, seed: int = 1, rate: float = 0.3) -> NDArray[np.uint8]:
    """(steps, B, channels) of spikes."""
    rng = np.random.default_rng(seed)
    return (rng.random((network.steps, samples, network.input.shape[0])) < rate).astype(np.uint8)


def fires(spikes: NDArray[Any], low: float = 0.05, high: float = 0.95) -> bool:
    """Whether a share of neuron-steps between these has spikes."""
    return bool(low / 3 <= float((spikes > 0).mean()) <= high)  # a step of the chip is half of one of the network


def again(chip: Realised, shown: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """(spikes, membranes before reset), one neuron and one sample after the other, in double precision.

    Written from the equations of Chicca et al. 2014 as Rockpool's documentation has them, independently of the package.
    """
    network = chip.network
    v = {name: np.asarray(values) for name, values in chip.values.items()}
    steps, batch, neurons = network.chip_steps, shown.shape[1], network.neurons
    spikes, membranes = np.zeros((steps, batch, neurons)), np.zeros((steps, batch, neurons))
    for sample in range(batch):
        state = [
            {"syn": v["io"][n], "ahp": v["io"][n], "mem": v["io"][n], "v": 0.0, "wait": 0.0} for n in range(neurons)
        ]
        before = np.zeros(neurons)
        for step in range(steps):
            in_step = step % network.substeps == 0 and step < network.steps * network.substeps
            arriving = shown[step // network.substeps, sample] if in_step else np.zeros(network.input.shape[0])
            now = np.zeros(neurons)
            for n in range(neurons):
                c = {name: values[n] for name, values in v.items()}
                one, kappa = state[n], (c["kappa_n"] + c["kappa_p"]) / 2
                weight = float(arriving @ chip.weights_in[:, n] + before @ chip.weights_rec[:, n])
                tau_syn = c["c_syn"] * c["ut"] / (kappa * c["Itau_syn"])
                pulse = c["vth"] * c["c_pulse"] / c["Ipulse"]
                infinite = max(c["Igain_syn"] / c["Itau_syn"] * weight, c["io"])
                one["syn"] = np.exp(-network.dt / tau_syn) * one["syn"] + (1 - np.exp(-pulse / tau_syn)) * infinite
                tau_ahp = c["c_ahp"] * c["ut"] / (kappa * c["Itau_ahp"])
                pulse = c["vth"] * c["c_pulse_ahp"] / c["Ipulse_ahp"]
                added = c["Igain_ahp"] / c["Itau_ahp"] * c["Iw_ahp"] * before[n] * (1 - np.exp(-pulse / tau_ahp))
                one["ahp"] = max(np.exp(-network.dt / tau_ahp) * one["ahp"] + added, c["io"])
                leak = c["Itau_mem"] + one["ahp"]
                current = max((one["syn"] - leak + c["Idc"]) * (one["wait"] <= 0), c["io"])
                steady = c["Igain_mem"] / c["Itau_mem"] * (current - leak)
                feedback = c["io"] * np.exp(kappa**2 / (kappa + 1) * one["v"] / c["ut"])
                push = feedback / leak * (one["mem"] + c["Igain_mem"])
                tau = c["c_mem"] * c["ut"] / (kappa * leak)
                change = one["mem"] / (tau * (one["mem"] + c["Igain_mem"]))
                change *= steady + push - one["mem"] * (1 + one["ahp"] / c["Itau_mem"])
                mem = max(one["mem"] + change * network.dt, c["io"])
                one["v"] = c["ut"] / kappa * np.log(mem / c["io"])
                one["wait"] = max(one["wait"] - network.dt, 0.0)
                membranes[step, sample, n] = mem
                if mem > c["Ispkthr"]:
                    now[n] = np.ceil(np.log(mem / c["Ispkthr"]))
                    mem, one["wait"] = c["io"], c["vth"] * c["c_ref"] / c["Iref"]
                one["mem"] = mem
            spikes[step, sample] = before = now
    return spikes, membranes
