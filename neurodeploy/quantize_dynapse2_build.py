"""From decided gains, time constants and thresholds to the codes and currents of a Dynapse2Network.

A neuron's weights are taken in thresholds, so that neurons with thresholds of their own share a core's without loss. A
weight of one threshold gets the weight current `gain` times the one that, in one step and from a membrane far above
Igain_mem, lifts the membrane by Ispkthr (`neurodeploy.simulate.dynapse2.rheobase_weight`). A membrane that keeps
`decay` over a step of the network gets, for forward Euler over its `substeps` steps of the chip,

    tau_mem = slowness dt / (1 - decay^(1 / substeps))

and a current that keeps `current_decay` over a step of the network brings as much in all as it does there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from neurodeploy.hw_models.dynapse2 import Bias, Dynapse2Chip
from neurodeploy.hw_models.dynapse2_network import SHARED, Block, Dynapse2Network
from neurodeploy.hw_models.dynapse2_placement import Placement
from neurodeploy.ir.arrays import FloatArray, IntArray
from neurodeploy.ir.populations import Population, PopulationNetwork
from neurodeploy.ir.program import INPUT
from neurodeploy.quantize_dynapse2_weights import Fitted, fit

STEP = 1e-3  # second, of the chip
MEMBRANE_GAIN = 1e-12  # ampere: twice the dark current, so that the membrane is near a linear filter early on
SYNAPSE_GAIN = 100.0  # Igain_syn / Itau_syn, Rockpool's default
REFRACTORY = 0.5  # of a step: silences one step, and two where Iref is drawn at less than half of what is meant
WITHOUT_MEMORY = 0.25  # of a step: time constant of a current that is gone by the next step (2 % are left)
_LONGEST = 1e3  # steps, of a membrane that loses nothing


@dataclass(frozen=True)
class Setting:
    """What is decided for a layer.

    Attributes:
        gain: factor on weights.
        slowness: factor on the membrane's time constant.
        threshold: Ispkthr, ampere.
    """

    gain: float = 1.0
    slowness: float = 1.0
    threshold: float = 3e-10


@dataclass(frozen=True, eq=False)
class Weights:
    """The synapses of a network in thresholds, and what its cores store of them.

    Attributes:
        codes_in, codes_rec: as in Dynapse2Network.
        fitted: one per core; `base` in thresholds.
    """

    codes_in: IntArray
    codes_rec: IntArray
    fitted: tuple[Fitted, ...]


def in_thresholds(network: PopulationNetwork) -> tuple[FloatArray, FloatArray]:
    """(channels, neurons) and (neurons, neurons): all synapses, divided by the threshold of their neuron."""
    edges = edges_of(network)
    total = sum(one.size for one in network.populations)
    into, among = np.zeros((network.input.shape[0], total)), np.zeros((total, total))
    for one in network.projections:
        start, stop = edges[one.target]
        scaled = one.weight / network.population(one.target).threshold
        if one.source == INPUT:
            into[:, start:stop] += scaled * network.input.scale
        else:
            among[slice(*edges[one.source]), start:stop] += scaled
    return into, among


def edges_of(network: PopulationNetwork) -> dict[str, tuple[int, int]]:
    """Layer -> its first neuron, and the one after its last."""
    ends = np.cumsum([0, *(one.size for one in network.populations)]).tolist()
    return {one.name: (ends[i], ends[i + 1]) for i, one in enumerate(network.populations)}


def fit_weights(
    network: PopulationNetwork, placement: Placement, importance: tuple[FloatArray, FloatArray] | None = None
) -> Weights:
    """Codes and base currents of every core.

    Args:
        importance: (channels,) and (neurons,), of the weights of a source; None for all alike.
    """
    parts = in_thresholds(network)
    codes = tuple(np.zeros(part.shape, dtype=np.int64) for part in parts)
    fitted = []
    for core in range(placement.cores):
        mine = placement.core == core
        stacked = np.concatenate([part[:, mine] for part in parts])
        shares = None if importance is None else np.concatenate(importance)[:, None] * np.ones(stacked.shape)
        one = fit(stacked, shares)
        codes[0][:, mine], codes[1][:, mine] = np.split(one.codes, [len(parts[0])])
        fitted.append(one)
    return Weights(codes[0], codes[1], tuple(fitted))


def build(
    network: PopulationNetwork,
    chip: Dynapse2Chip,
    placement: Placement,
    weights: Weights,
    settings: Mapping[str, Setting],
    substeps: int,
) -> Dynapse2Network:
    """The network of these decisions, its currents within the ranges of the chip's bias generator."""
    layout = chip.layout
    biases = {n: np.full(placement.cores, _within(chip.biases[n].default, chip.biases[n])) for n in SHARED}
    base = np.zeros((placement.cores, len(weights.fitted[0].base)))
    for core in range(placement.cores):
        population = network.population(placement.layer_of[core])
        setting = settings[population.name]
        tau_mem = setting.slowness * STEP / max(1 - _decay(population) ** (1 / substeps), 1 / _LONGEST)
        leak_mem = layout.leak(tau_mem, layout.c_mem)
        leak_syn = layout.leak(_tau_syn(population, substeps), layout.c_syn)
        own = {
            "Itau_mem": leak_mem,
            "Igain_mem": MEMBRANE_GAIN,
            "Ispkthr": setting.threshold,
            "Itau_syn": leak_syn,
            "Igain_syn": SYNAPSE_GAIN * leak_syn,
            "Iref": layout.pulse(REFRACTORY * STEP, layout.c_ref),
        }
        for name, current in own.items():
            biases[name][core] = _within(current, chip.biases[name])
        lift = setting.gain * _weight_of_a_threshold({name: float(biases[name][core]) for name in biases}, chip)
        lift *= _same_area(population, float(biases["Itau_syn"][core]), chip)
        wanted = weights.fitted[core].base * lift
        base[core] = [_within(current, chip.biases[f"Iw_{bit}"]) for bit, current in enumerate(wanted)]
    return Dynapse2Network(
        chip=chip.name,
        steps=network.steps,
        substeps=substeps,
        dt=STEP,
        input=network.input,
        codes_in=weights.codes_in,
        codes_rec=weights.codes_rec,
        core=placement.core,
        base=base,
        biases=biases,
        blocks=tuple(
            Block(name, start, stop, placement.latency[name]) for name, (start, stop) in edges_of(network).items()
        ),
    )


def _weight_of_a_threshold(biases: Mapping[str, float], chip: Dynapse2Chip) -> float:
    """Ampere: Ispkthr tau_mem Itau_mem / (Igain_mem dt g), with g the synaptic current per weight current."""
    layout = chip.layout
    tau_syn = layout.leak(1.0, layout.c_syn) / biases["Itau_syn"]
    pulse = layout.pulse(1.0, layout.c_pulse) / biases["Ipulse"]
    per_weight = -np.expm1(-pulse / tau_syn) * biases["Igain_syn"] / biases["Itau_syn"]
    tau_mem = layout.leak(1.0, layout.c_mem) / biases["Itau_mem"]
    return float(biases["Ispkthr"] * tau_mem * biases["Itau_mem"] / (biases["Igain_mem"] * STEP * per_weight))


def _same_area(population: Population, leak: float, chip: Dynapse2Chip) -> float:
    """What makes a current bring as much in all: the chip's lasts 1 / (1 - kept) of its own steps."""
    kept = np.exp(-STEP * leak / chip.layout.leak(1.0, chip.layout.c_syn))
    return float((1 - kept) / (1 - population.current_decay.mean()))


def _decay(population: Population) -> float:
    """Neurons of a core share one: the mean."""
    return float(population.decay.mean())


def _tau_syn(population: Population, substeps: int) -> float:
    """Seconds; the current keeps `current_decay` over a step of the network."""
    kept = float(population.current_decay.mean())
    return WITHOUT_MEMORY * STEP if kept <= 0 else max(-substeps * STEP / np.log(kept), WITHOUT_MEMORY * STEP)


def _within(current: float, bias: Bias) -> float:
    return float(np.clip(current, bias.lowest, bias.highest)) if current > 0 else bias.lowest
