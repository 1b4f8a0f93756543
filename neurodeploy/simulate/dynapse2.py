"""A Dynapse2Network step by step, in NumPy: the equations in the open, and what every simulator of it shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import UsageError
from neurodeploy.hw_models.dynapse2_mismatch import Realised, nominal
from neurodeploy.hw_models.dynapse2_network import Block, Dynapse2Network
from neurodeploy.hw_models.random import step_normals
from neurodeploy.simulate.recording import Recording

Array = NDArray[Any]
SCALE = 1e-8  # ampere: the unit of weight currents in simulators, Rockpool's default Iscale
_MOST = 255  # events of a channel in a step that fit what events are kept in


@dataclass(frozen=True)
class Thermal:
    """Noise on the weight current of every neuron, drawn at each step of the chip; ours, DynapSim has none.

        I_w = I_w + level * rheobase * N(0, 1)

    with `rheobase_weight` the weight current that, within one step and from a membrane far above Igain_mem, lifts it by
    the threshold.
    """

    level: float
    chip_id: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.level) and self.level >= 0):
            raise UsageError(f"thermal noise: level {self.level}, a finite number from 0 on is expected")


@dataclass(frozen=True, eq=False)
class Dynapse2Recording:
    """What a run puts out, per step of the chip.

    Attributes:
        spikes: (chip steps, B, neurons), or of the outputs alone where nothing was recorded.
        membranes: (chip steps, B, neurons) ampere, before the reset; no steps where nothing was recorded.
        synapses: (chip steps, B, neurons) ampere.
        readout: (B, outputs), spikes of the outputs.
    """

    spikes: NDArray[np.uint8]
    membranes: NDArray[np.float32]
    synapses: NDArray[np.float32]
    readout: NDArray[np.int64]

    @property
    def decisions(self) -> NDArray[np.int64]:
        """(B,) the class with the largest readout; the lowest of equals."""
        return np.asarray(self.readout.argmax(axis=-1), dtype=np.int64)

    def counts(self, block: Block) -> NDArray[np.int64]:
        """(B, neurons of the block), spikes in all."""
        return np.asarray(self.spikes[..., block.start : block.stop].sum(axis=0, dtype=np.int64))

    def by_block(self, network: Dynapse2Network) -> Recording:
        """The same by layers, as `compare` takes it; membranes in ampere."""
        spikes = {one.name: self.spikes[..., one.start : one.stop] for one in network.blocks}
        voltages = {one.name: self.membranes[..., one.start : one.stop] for one in network.blocks}
        return Recording(spikes, voltages, self.readout.astype(np.float64))


def check_inputs(network: Dynapse2Network, inputs: Array) -> NDArray[np.uint8]:
    """Events (steps, B, channels), contiguous.

    Raises:
        UsageError: where shape or values do not suit the network.
    """
    if inputs.ndim not in (2, 3) or inputs.shape[-1:] != network.input.shape or inputs.size == 0:
        raise UsageError(f"input of shape {inputs.shape}: (samples, {network.input.shape[0]}), or with steps before it")
    if inputs.ndim == 3 and len(inputs) != network.steps:
        raise UsageError(f"input has {len(inputs)} steps, the network {network.steps}")
    if inputs.dtype.kind not in "iub" or inputs.min() < 0 or inputs.max() > _MOST:
        raise UsageError(f"input: whole numbers of events from 0 to {_MOST} are expected")
    events = inputs if inputs.ndim == 3 else np.broadcast_to(inputs, (network.steps, *inputs.shape))
    return np.ascontiguousarray(events, dtype=np.uint8)


def coefficients(chip: Realised) -> dict[str, NDArray[np.float32]]:
    """What a step is computed with, name -> (neurons,), in float32 and in DynapSim's order of operations.

    1 - exp(-t_pulse / tau) of a short pulse keeps four digits in float32: it is DynapSim's number that is wanted here.
    """
    v = {name: values.astype(np.float32) for name, values in chip.values.items()}
    one = np.float32(1)
    kappa = (v["kappa_n"] + v["kappa_p"]) / np.float32(2)
    clipped = {name: np.maximum(v[name], v["io"]) for name in v if name.startswith(("Itau", "Igain"))}
    dt = np.full(chip.network.neurons, chip.network.dt, dtype=np.float32)
    thermal = v["ut"] / kappa
    tau_syn = thermal * v["c_syn"] / clipped["Itau_syn"]
    tau_ahp = thermal * v["c_ahp"] / clipped["Itau_ahp"]
    pulse = v["vth"] * v["c_pulse"] / v["Ipulse"]
    pulse_ahp = v["vth"] * v["c_pulse_ahp"] / v["Ipulse_ahp"]
    charge_ahp = one - np.exp(-pulse_ahp / tau_ahp)
    square = kappa * kappa
    return {
        "dt": dt,
        "io": v["io"],
        "kept_syn": np.exp(-dt / tau_syn),
        "charge_syn": one - np.exp(-pulse / tau_syn),
        "gain_syn": clipped["Igain_syn"] / clipped["Itau_syn"] * np.float32(SCALE),
        "kept_ahp": np.exp(-dt / tau_ahp),
        "charge_ahp": charge_ahp * (clipped["Igain_ahp"] / clipped["Itau_ahp"]) * v["Iw_ahp"],
        "leak": clipped["Itau_mem"],
        "idc": v["Idc"],
        "gain_mem": clipped["Igain_mem"],
        "gain_over_leak": clipped["Igain_mem"] / clipped["Itau_mem"],
        "tau_factor": thermal * v["c_mem"],
        "exponent": square / (kappa + one) / kappa,
        "threshold": v["Ispkthr"],
        "refractory": v["vth"] * v["c_ref"] / v["Iref"],
    }


def rheobase_weight(chip: Realised) -> NDArray[np.float64]:
    """(neurons,) ampere: the weight current of `Thermal`, Ispkthr Itau_mem tau_mem / (Igain_mem dt g).

    g = (1 - exp(-t_pulse / tau_syn)) Igain_syn / Itau_syn is the synaptic current per weight current.
    """
    found = {name: values.astype(np.float64) for name, values in coefficients(chip).items()}
    tau = found["tau_factor"] / found["leak"]
    gain = found["charge_syn"] * found["gain_syn"] / SCALE
    return np.asarray(found["threshold"] / found["gain_over_leak"] * tau / found["dt"] / gain)


def thermal_currents(network: Dynapse2Network, thermal: Thermal, first: int, count: int) -> NDArray[np.float32]:
    """(chip steps, count, neurons) in units of SCALE, for samples first … first + count - 1."""
    size = (thermal.level * rheobase_weight(nominal(network)) / SCALE).astype(np.float32)
    drawn = np.empty((network.chip_steps, count, network.neurons), dtype=np.float32)
    for step in range(network.chip_steps):
        name = (thermal.seed, thermal.chip_id, "dynapse2", "thermal", step)
        drawn[step] = step_normals(first, count, network.neurons, *name)
    return drawn * size


def recording_of(
    network: Dynapse2Network, spikes: NDArray[np.uint8], membranes: Array, synapses: Array, *, keep: bool
) -> Dynapse2Recording:
    """The recording of a simulator's arrays, (chip steps, B, neurons)."""
    output = spikes[..., network.output.start : network.output.stop]
    readout = output.sum(axis=0, dtype=np.int64)
    return Dynapse2Recording(spikes if keep else output.copy(), membranes, synapses, readout)


def run(network: Dynapse2Network | Realised, inputs: Array, *, thermal: Thermal | None = None) -> Dynapse2Recording:
    """Runs a network, or a virtual chip's version of it, in float32; slow and obvious.

    Args:
        inputs: events, (B, channels) shown at every step of the network, or (steps, B, channels).
        thermal: noise on what arrives at synapses, or None.

    Raises:
        UsageError: where the input does not suit the network.
    """
    chip = nominal(network) if isinstance(network, Dynapse2Network) else network
    network, k = chip.network, coefficients(chip)
    events = check_inputs(network, inputs)
    batch, one = events.shape[1], np.float32(1)
    into, among = ((part / SCALE).astype(np.float32) for part in (chip.weights_in, chip.weights_rec))
    noise = None if thermal is None else thermal_currents(network, thermal, 0, batch)
    shape = (batch, network.neurons)
    synapse, adaptation, membrane = (np.broadcast_to(k["io"], shape).astype(np.float32) for _ in range(3))
    feedback, timer, spikes = np.ones(shape, np.float32), np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    kept: tuple[list[Array], list[Array], list[Array]] = ([], [], [])
    for step in range(network.chip_steps):
        weighted = spikes @ among
        if step % network.substeps == 0 and step // network.substeps < network.steps:
            weighted = weighted + events[step // network.substeps].astype(np.float32) @ into
        if noise is not None:
            weighted = weighted + noise[step]
        synapse = k["kept_syn"] * synapse + k["charge_syn"] * np.maximum(k["gain_syn"] * weighted, k["io"])
        adaptation = np.maximum(k["kept_ahp"] * adaptation + k["charge_ahp"] * spikes, k["io"])
        leak = k["leak"] + adaptation
        arriving = np.maximum(np.where(timer == 0, synapse - leak + k["idc"], 0), k["io"])
        change = membrane / (k["tau_factor"] / leak * (membrane + k["gain_mem"]))
        change = change * (
            k["gain_over_leak"] * (arriving - leak)
            + k["io"] * feedback / leak * (membrane + k["gain_mem"])
            - membrane * (one + adaptation / k["leak"])
        )
        membrane = np.maximum(membrane + change * k["dt"], k["io"])
        feedback = (membrane / k["io"]) ** k["exponent"]
        spikes = np.maximum(np.ceil(np.log(membrane / k["threshold"])), 0).astype(np.float32)
        timer = np.maximum(timer - k["dt"], 0)
        for place, value in zip(kept, (spikes.astype(np.uint8), membrane, synapse), strict=True):
            place.append(value)
        membrane = np.where(spikes > 0, k["io"], membrane)
        timer = np.where(spikes > 0, k["refractory"], timer)
    stacked = [np.stack(part) for part in kept]
    return recording_of(network, stacked[0], stacked[1], stacked[2], keep=True)
