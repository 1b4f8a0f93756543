"""SynSense Xylo: a XyloNetwork in SynSense's own simulator, and as the arguments of Rockpool's tools.

The simulator is the package `xylosim`, which Rockpool's XyloSim wraps. It is imported by itself, because Rockpool's
Xylo package imports `samna`, whose stub on PyPI installs a package from the network when it is imported.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import DesignRuleError, MissingBackendError
from neurodeploy.export.target import Backend
from neurodeploy.hw_models.xylo import xylo_chip
from neurodeploy.hw_models.xylo_rules import demand, violations
from neurodeploy.ir.xylo import XyloNetwork
from neurodeploy.simulate.xylo import XyloRecording, check_inputs, summed

NAME = "xylo"
TITLE = "SynSense Xylo (xylosim 0.1.3, the simulator behind Rockpool's XyloSim)"
CHIP = "xylo-a2"
SPECIFICATION = "xylo_specification.json"
_PACKAGE = "xylosim"
_INSTALL = "pip install 'xylosim==0.1.3' (needs a C++ compiler)"


def backend() -> Backend:
    """Whether xylosim is installed; reads package metadata only, and imports nothing."""
    try:
        found = importlib.metadata.distribution(_PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return Backend(None, f"{_PACKAGE} is not installed; {_INSTALL}")
    if found.version != "0.1.3":
        return Backend(None, f"{_PACKAGE} {found.version} is installed, 0.1.3 is known; {_INSTALL}")
    return Backend(found.version, str(found.locate_file(_PACKAGE)))


def run(network: XyloNetwork, inputs: NDArray[Any], *, limits: bool = True) -> XyloRecording:
    """Runs a network in xylosim, sample after sample.

    Args:
        inputs: integers, (B, channels) shown at every step, or (steps, B, channels).
        limits: refuse what the chip cannot hold; the simulator itself would run it.

    Raises:
        MissingBackendError: where xylosim is not installed.
        DesignRuleError: naming every limit of the chip that the network violates.
        UsageError: where the input does not suit the network.
    """
    found = backend()
    if found.version is None:
        raise MissingBackendError(found.detail)
    broken = violations(network, xylo_chip(network.chip)) if limits else []
    if broken:
        raise DesignRuleError(network.chip, broken)
    events = check_inputs(network, inputs)
    layer, _owned = _layer(network)  # it holds pointers to the synapses: they must live as long
    parts: list[tuple[Any, ...]] = []
    for sample in range(events.shape[1]):
        layer.reset_all()
        put_out = layer.evolve(events[:, sample].tolist())
        current = np.array(layer.rec_i_syn, dtype=np.int16).T[..., None]
        if network.synapses == 2:
            current = np.concatenate([current, np.array(layer.rec_i_syn2, dtype=np.int16).T[..., None]], axis=2)
        parts.append(
            (
                np.array(layer.rec_recurrent_spikes, dtype=np.uint8),
                current,
                np.array(layer.rec_v_mem, dtype=np.int16).T,
                np.array(put_out, dtype=np.uint8),
                np.array(layer.rec_i_syn_out, dtype=np.int16).T,
                np.array(layer.rec_v_mem_out, dtype=np.int16).T,
            )
        )
    stacked = [np.stack(part, axis=1) for part in zip(*parts, strict=True)]
    return XyloRecording(*stacked, summed(network, stacked[3], stacked[5]))  # type: ignore[call-arg]  # six arrays


def write(network: XyloNetwork, folder: Path) -> list[str]:
    """Writes `xylo_specification.json`: the arguments of Rockpool's `config_from_specification` for the chip.

    On a machine with Rockpool, samna and the board:

        described = json.loads(Path("xylo_specification.json").read_text())
        arrays = {name: numpy.array(values) for name, values in described["arguments"].items() if name != "aliases"}
        tools = importlib.import_module(described["rockpool"])
        config, valid, message = tools.config_from_specification(**arrays, aliases=described["arguments"]["aliases"])

    Returns:
        What was left out, with the reason; where the network breaks a rule, no file is written and these are the rules.
    """
    chip = xylo_chip(network.chip)
    broken = violations(network, chip)
    if broken:
        return [f"{SPECIFICATION}: {text}" for text in broken]
    described = {
        "schema": 1,
        "chip": chip.name,
        "rockpool": chip.rockpool,
        "steps": network.steps,
        "latency": network.latency,
        "readout": network.readout,
        "layers": [[block.name, block.start, block.stop, block.latency] for block in network.blocks],
        "arguments": {name: _plain(values) for name, values in specification(network).items()},
    }
    (folder / SPECIFICATION).write_text(json.dumps(described) + "\n", encoding="utf-8")
    return ["a samna configuration: made by Rockpool's config_from_specification where samna is installed"]


def specification(network: XyloNetwork) -> dict[str, Any]:
    """The keyword arguments of Rockpool's `config_from_specification`.

    Rockpool's XyloSim.from_specification takes the same, with `bias` in the place of `bias_hidden`. (The names matter:
    config_from_specification takes any, and what Rockpool's mapper calls `bias` it drops without a word.)
    """
    chip, needed = xylo_chip(network.chip), demand(network)
    into, out = network.weights_in, network.weights_out
    if chip.input_targets < chip.hidden:  # matrices of the hidden neurons that can be reached, from either end
        into, out = into[:, : needed.input_end], out[network.hidden - needed.output_start :]
    found = {
        "weights_in": into,
        "weights_rec": network.weights_rec,
        "weights_out": out,
        "dash_mem": network.dash_mem,
        "dash_mem_out": network.dash_mem_out,
        "dash_syn": network.dash_syn[:, 0],
        "dash_syn_out": network.dash_syn_out,
        "threshold": network.threshold,
        "threshold_out": network.threshold_out,
        "bias_hidden": network.bias,
        "bias_out": network.bias_out,
        "weight_shift_in": network.weight_shift_in,
        "weight_shift_rec": network.weight_shift_rec,
        "weight_shift_out": network.weight_shift_out,
        "aliases": _aliases(network),
    }
    return found | ({"dash_syn_2": network.dash_syn[:, 1]} if network.synapses == 2 else {})


def _plain(values: Any) -> Any:
    return values.tolist() if isinstance(values, np.ndarray) else values


def _aliases(network: XyloNetwork) -> list[list[int]]:
    return [[int(alias)] if alias >= 0 else [] for alias in network.aliases]


def _layer(network: XyloNetwork) -> tuple[Any, Any]:
    """xylosim's layer, and the synapses that it points to."""
    vendor = importlib.import_module("xylosim.v2")

    def connections(weights: NDArray[Any]) -> list[list[Any]]:
        return [
            [
                vendor.XyloSynapse(int(target), int(synapse), int(row[target, synapse]))
                for target, synapse in np.argwhere(row)
            ]
            for row in weights
        ]

    into, among = connections(network.weights_in), connections(network.weights_rec)
    out = connections(network.weights_out[:, :, None])
    layer = vendor.XyloLayer(
        synapses_in=into,
        synapses_rec=among,
        synapses_out=out,
        aliases=_aliases(network),
        threshold=network.threshold.tolist(),
        threshold_out=network.threshold_out.tolist(),
        has_bias=bool(network.bias.any() or network.bias_out.any()),
        bias=network.bias.tolist(),
        bias_out=network.bias_out.tolist(),
        weight_shift_inp=network.weight_shift_in,
        weight_shift_rec=network.weight_shift_rec,
        weight_shift_out=network.weight_shift_out,
        dash_mem=network.dash_mem.tolist(),
        dash_mem_out=network.dash_mem_out.tolist(),
        dash_syns=network.dash_syn.tolist(),
        dash_syns_out=network.dash_syn_out[:, None].tolist(),
        name="neurodeploy",
    )
    return layer, (into, among, out)
