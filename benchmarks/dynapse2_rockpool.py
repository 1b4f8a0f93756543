"""Rockpool's own way of putting a float network onto DYNAP-SE2's simulator, for comparison."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from neurodeploy.export.dynapse2_simulator import without_samna
from neurodeploy.ir.populations import PopulationNetwork
from neurodeploy.ir.program import INPUT

with without_samna():
    import jax
    from rockpool.devices.dynapse import autoencoder_quantization, dynapsim_net_from_spec, mapper
    from rockpool.nn.combinators import Sequential
    from rockpool.nn.modules import LIFTorch, LinearTorch

DT = 1e-3


def mapped_decisions(
    network: PopulationNetwork, test: NDArray[Any], edges: dict[str, tuple[int, int]], way: str
) -> tuple[NDArray[np.int64], float]:
    """(decisions, spikes of an output in a step) of a network mapped by Rockpool.

    Weights are in thresholds, of which LIFTorch has 1; a current without memory becomes one of a step, its area kept.

    Args:
        test: (steps, B, channels).
        way: "float" (weights as they are) or "autoencoder" (Rockpool's default quantisation).
    """
    specification = mapper(_module(network).as_graph())
    if way == "autoencoder":
        learned = autoencoder_quantization(**specification)
        base = np.stack([learned[f"Iw_{bit}"] for bit in range(4)], axis=-1)
        core = np.asarray(specification["core_map"]).astype(int)
        for name in ("in", "rec"):
            # One matrix per core, zero elsewhere; the bits of a code name base currents, in ampere.
            codes = np.sum(np.asarray(learned[f"weights_{name}"]), axis=0).astype(int)
            sign = np.sum(np.asarray(learned[f"sign_{name}"]), axis=0)
            bits = (codes[..., None] >> np.arange(4)) & 1
            current = (bits * base[core][None]).sum(axis=-1) * np.sign(sign)
            specification[f"weights_{name}"] = current / specification["Iscale"]
    simulator = dynapsim_net_from_spec(**specification)
    raster = np.ascontiguousarray(test.transpose(1, 0, 2), dtype=np.float32)
    latency = len(network.populations) - 1
    padded = np.concatenate([raster, np.zeros((len(raster), latency, raster.shape[2]), np.float32)], axis=1)
    spikes = np.asarray(jax.jit(lambda data: simulator(data)[0])(padded))
    start, stop = edges[network.output.name]
    output = spikes[..., start:stop]
    return output.sum(axis=1).argmax(axis=1), float(output.mean())


def _module(network: PopulationNetwork) -> Any:
    layers = []
    for one in network.populations:
        (link,) = network.into(one.name)
        kept = np.exp(-1.0) if one.current_decay.max() == 0 else float(one.current_decay.mean())
        scale = network.input.scale if link.source == INPUT else 1.0
        # LIFTorch: i = kept (i + x); 1 / (1 - alpha) steps are kept of ours, kept / (1 - kept) of its.
        area = (1 - kept) / kept / (1 - float(one.current_decay.mean()))
        weight = torch.from_numpy(link.weight * scale / one.threshold * area).float()
        layers.append(LinearTorch(weight.shape, weight=weight, has_bias=False))
        layers.append(
            LIFTorch(one.size, tau_mem=-DT / np.log(float(one.decay.mean())), tau_syn=-DT / np.log(kept), dt=DT)
        )
    return Sequential(*layers)
