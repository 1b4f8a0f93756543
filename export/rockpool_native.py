"""The plain form of a network in Rockpool: its own LIFTorch modules, with nothing of ours in them. Imports rockpool.

LIFTorch loses some of a current before it is integrated, I[t] = beta (I[t-1] + x[t]); a `Population` loses nothing
first, i[t] = beta i[t-1] + x[t]. Weights are divided by beta, so that I = i but for the rounding of double precision.
Synaptic time constants, several synapses per neuron, recurrence, subtractive reset and several spikes a step are
LIFTorch's own; the modules have `as_graph()`, from which Rockpool's mappers for Xylo and DYNAP-SE2 start.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rockpool.nn.combinators.sequential import TorchSequential
from rockpool.nn.modules.torch import LIFTorch, LinearTorch, TorchModule
from rockpool.nn.modules.torch.lif_torch import StepPWL

from neurodeploy.errors import DesignRuleError, NeurodeployError
from neurodeploy.export.rockpool_json import TIME_STEP
from neurodeploy.export.rockpool_modules import double_precision
from neurodeploy.ir.arrays import FloatArray
from neurodeploy.ir.populations import Population, PopulationNetwork, Projection
from neurodeploy.ir.program import INPUT

MOST_SPIKES = 2**16  # of a neuron in a step, LIFTorch's default


def violations(network: PopulationNetwork) -> list[str]:
    """Everything in a network that a chain of LIFTorch modules is not, with layer names."""
    found, before = [], INPUT
    for one in network.populations:
        if one.reset != "subtract":
            found.append(f"layer {one.name}: reset {one.reset!r}, LIFTorch subtracts the threshold; train with that")
        if not one.fires:
            found.append(f"layer {one.name}: does not fire; LIFTorch does: use readout spike_count")
        if one.current_decay.min() <= 0:
            found.append(f"layer {one.name}: a current without memory; give it a time constant (network.current_decay)")
        if one.decay.min() <= 0:
            found.append(f"layer {one.name}: a potential that keeps nothing has no time constant")
        for projection in network.into(one.name):
            own = projection.source == one.name and projection.delay == 1
            if not own and (projection.source, projection.delay) != (before, 0):
                found.append(
                    f"layer {one.name}: what comes from {projection.source} with a delay of {projection.delay}; a "
                    f"chain takes {before} without delay, and a layer's own spikes of one step before"
                )
        before = one.name
    return found


def modules(network: PopulationNetwork) -> TorchSequential:
    """LinearTorch and LIFTorch in turn, in double precision; to be run where that is torch's default type.

    Raises:
        DesignRuleError: naming everything that a chain of LIFTorch modules is not.
    """
    broken = violations(network)
    if broken:
        raise DesignRuleError("Rockpool's LIFTorch", broken)
    parts: OrderedDict[str, TorchModule] = OrderedDict()
    for index, one in enumerate(network.populations):
        scale = network.input.scale if index == 0 else 1.0
        arriving = [p for p in network.into(one.name) if p.source != one.name]
        weight = torch.from_numpy(_weights(one, arriving) * scale)
        parts[f"weights_{index}"] = linear = LinearTorch(shape=tuple(weight.shape), weight=weight)
        linear.weight.data = weight
        parts[f"neurons_{index}"] = _neurons(one, [p for p in network.into(one.name) if p.source == one.name])
    return TorchSequential(parts)


def run(network: PopulationNetwork, inputs: NDArray[Any]) -> dict[str, NDArray[np.int64]]:
    """Population -> spikes (T, B, n), for integers (T, B, channels); errors as `modules`."""
    with double_precision(), torch.no_grad(), torch.random.fork_rng(devices=[]):
        return spikes_of(network, modules(network), inputs)


def spikes_of(
    network: PopulationNetwork, sequential: TorchSequential, inputs: NDArray[Any]
) -> dict[str, NDArray[np.int64]]:
    """What the modules of a network put out; they start at rest. Rockpool by itself goes on from where it was."""
    sequential.reset_state()
    raster = torch.from_numpy(np.ascontiguousarray(inputs.swapaxes(0, 1))).to(sequential["weights_0"].weight.dtype)
    _, _, record = sequential(raster, record=True)
    return {
        one.name: record[f"neurons_{index}_output"].numpy().swapaxes(0, 1).astype(np.int64)
        for index, one in enumerate(network.populations)
    }


def save(network: PopulationNetwork, path: Path) -> None:
    """Writes Rockpool's own JSON of the modules, loads it into new ones, and checks that they are the same.

    Rockpool's `load` makes every number a float32: what is compared is rounded to that.

    Raises:
        DesignRuleError: as `modules`.
        NeurodeployError: where a number came back as another.
    """
    written = modules(network)
    written.save(str(path))
    again = modules(network)
    for parameter in again.parameters().astorch():
        parameter.data = torch.zeros_like(parameter)
    again.load(str(path))
    pairs = zip(written.named_parameters(), again.named_parameters(), strict=True)
    changed = [name for (name, one), (_, other) in pairs if not torch.equal(one.float(), other.float())]
    if changed:
        raise NeurodeployError(f"{path}: {', '.join(changed)} came back as other numbers than were written")


class DoubleStep(StepPWL):  # type: ignore[misc]
    """Rockpool's StepPWL, whose spikes are float32 whatever it is given, so that double precision ends there."""

    @staticmethod
    def forward(ctx: Any, potential: torch.Tensor, *settings: torch.Tensor) -> torch.Tensor:
        """How often the threshold goes into the potential, in the type of the potential."""
        spikes: torch.Tensor = StepPWL.forward(ctx, potential, *settings)
        return spikes.to(potential.dtype)


def _neurons(one: Population, own: list[Projection]) -> TorchModule:
    tau_mem, tau_syn = (-TIME_STEP / np.log(values) for values in (one.decay, one.current_decay.T))
    settings: dict[str, Any] = {"tau_mem": tau_mem, "tau_syn": tau_syn, "threshold": one.threshold, "bias": one.bias}
    if own:
        settings["w_rec"] = _weights(one, own)
    tensors = {name: torch.from_numpy(np.array(values)) for name, values in settings.items()}
    neurons = LIFTorch(
        (one.synapses * one.size, one.size),
        has_rec=bool(own),
        max_spikes_per_dt=torch.tensor(float(one.most)),
        dt=TIME_STEP,
        spike_generation_fn=DoubleStep,
        **tensors,
    )
    for name, values in tensors.items():
        getattr(neurons, name).data = values
    if not own:
        del neurons.w_rec  # else every step multiplies the spikes with these zeros
    return neurons


def _weights(one: Population, arriving: list[Projection]) -> FloatArray:
    """(sources, targets × synapses), the synapses of a neuron side by side, each divided by its beta."""
    sources = arriving[0].weight.shape[0] if arriving else 0
    weights = np.zeros((sources, one.size, one.synapses))
    for projection in arriving:
        weights[:, :, projection.synapse] += projection.weight / one.current_decay[projection.synapse]
    return weights.reshape(sources, -1)
