"""Between float networks and the dictionaries that Rockpool's Xylo mapper puts out and its quantisers take.

Rockpool's LIFTorch loses some of a current before it is integrated: i[t] = exp(-dt/tau) (i[t-1] + x[t]), the chip's own
order. A `Population` loses nothing first, so that weights are multiplied by exp(-dt/tau) on the way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import UsageError
from neurodeploy.ir.arrays import FloatArray, IntArray
from neurodeploy.ir.nodes import Input
from neurodeploy.ir.populations import Population, PopulationNetwork, Projection
from neurodeploy.ir.program import INPUT, ReadoutKind
from neurodeploy.ir.xylo import HIDDEN_EVENTS, NO_ALIAS, XyloNetwork
from neurodeploy.ir.xylo_layout import Layout, gathered

OUTPUT = "output"
_SHIFTS = ("weight_shift_in", "weight_shift_rec", "weight_shift_out")
_ARRAYS = ("weights_in", "weights_rec", "weights_out", "threshold", "threshold_out")
_DASHES = ("dash_mem", "dash_mem_out", "dash_syn", "dash_syn_out")


def from_specification(specification: Mapping[str, Any], steps: int, bits: int = 4) -> PopulationNetwork:
    """The float network of what a mapper puts out with `weight_dtype`, `threshold_dtype` and `dash_dtype` "float".

    Its dash is log2(tau / dt). Hidden neurons become layers by their distance from the input; connections between them
    and to the output take one step, as on the chip.

    Args:
        steps: time steps of the input.
        bits: of the input's integers.

    Raises:
        UsageError: naming what is missing, of another shape, or not finite.
    """
    missing = [name for name in (*_ARRAYS, *_DASHES) if name not in specification]
    if missing:
        raise UsageError(f"specification: no {', no '.join(missing)}; Rockpool's Xylo mapper puts them out")
    if any(len(one) for one in specification.get("aliases") or ()):
        raise UsageError("specification: aliases have no counterpart in a float network; map it without Residual")
    arrays = {name: _numbers(name, specification[name]) for name in (*_ARRAYS, *_DASHES)}
    into, among = (_by_synapse(arrays[name]) for name in ("weights_in", "weights_rec"))
    hidden, outputs = arrays["threshold"].size, arrays["threshold_out"].size
    expected = {
        "weights_in": (*into.shape[:1], hidden),
        "weights_rec": (hidden, hidden),
        "weights_out": (hidden, outputs),
    }
    for name, shape in expected.items():
        if arrays[name].shape[:2] != shape:
            raise UsageError(f"specification: {name} of shape {arrays[name].shape}, {shape} expected")
    dash_syn = [arrays["dash_syn"]]
    if into.shape[2] == 2:
        dash_syn.append(_numbers("dash_syn_2", specification.get("dash_syn_2", np.ones(hidden))))
    kept_currents, kept = np.stack([_kept(dash) for dash in dash_syn]), _kept(arrays["dash_mem"])
    bias, bias_out = (
        _numbers(name, specification.get(name, np.zeros(count)))
        for name, count in (("bias", hidden), ("bias_out", outputs))
    )
    layers = _layers(into, among)
    populations, projections = [], []
    for number, members in enumerate(layers, 1):
        name = f"hidden{number}"
        values = (kept[members], kept_currents[:, members], arrays["threshold"][members], bias[members])
        populations.append(Population(name, *values, most=HIDDEN_EVENTS))
        for synapse in range(into.shape[2]):
            factor = kept_currents[synapse, members]
            projections.append(Projection(INPUT, name, into[:, members, synapse] * factor, synapse))
            for other, sources in enumerate(layers, 1):
                weight = among[np.ix_(sources, members)][..., synapse] * factor
                projections.append(Projection(f"hidden{other}", name, weight, synapse, delay=1))
    factor = _kept(arrays["dash_syn_out"])
    for number, members in enumerate(layers, 1):
        projections.append(Projection(f"hidden{number}", OUTPUT, arrays["weights_out"][members] * factor, delay=1))
    last = (_kept(arrays["dash_mem_out"]), factor[None], arrays["threshold_out"], bias_out)
    populations.append(Population(OUTPUT, *last, most=HIDDEN_EVENTS))  # on the chip at most once: that is a difference
    used = tuple(one for one in projections if one.weight.any())
    return PopulationNetwork(Input((len(into),), 1.0, bits), tuple(populations), used, "spike_count", steps)


def to_specification(layout: Layout) -> dict[str, Any]:
    """The arguments of Rockpool's `global_quantize` and `channel_quantize` for a network laid out.

    A current without memory has a tau of which Rockpool's rounding makes a dash of 0. Outputs that are read as
    potentials get a threshold of twice the sum of their weights.
    """
    network, output = layout.network, layout.network.output
    currents = np.concatenate([network.population(block.name).current_decay[:1] for block in layout.blocks], axis=1)[0]
    after, after_out = (
        np.where(currents > 0, currents, 1),
        np.where(output.current_decay > 0, output.current_decay, 1)[0],
    )
    return {
        "weights_in": layout.weights_in / after[:, None],
        "weights_rec": layout.weights_rec / after[:, None],
        "weights_out": layout.weights_out / after_out,
        "threshold": gathered(layout, "threshold"),
        "threshold_out": output.threshold if output.fires else 2 * np.abs(layout.weights_out).sum(axis=0),
        "dash_mem": _dash(gathered(layout, "decay")),
        "dash_mem_out": _dash(output.decay),
        "dash_syn": _dash(currents),
        "dash_syn_2": np.zeros(len(currents)),
        "dash_syn_out": _dash(output.current_decay[0]),
        "bias": gathered(layout, "bias"),
        "bias_out": output.bias.copy(),
    }


def quantised(
    specification: Mapping[str, Any],
    steps: int,
    chip: str,
    bits: int = 4,
    readout: ReadoutKind = "spike_count",
    latency: int = 0,
) -> XyloNetwork:
    """The XyloNetwork of an integer specification, such as Rockpool's quantisers make.

    Args:
        steps: time steps of the input; bits: of its integers.
        readout, latency: see `XyloNetwork`.

    Raises:
        UsageError: naming what is missing, or that no Xylo can hold.
    """
    missing = [name for name in (*_ARRAYS, *_DASHES) if name not in specification]
    if missing:
        raise UsageError(f"specification: no {', no '.join(missing)}")
    into, among = (_by_synapse(_whole(name, specification[name])) for name in ("weights_in", "weights_rec"))
    threshold, threshold_out = (_whole(name, specification[name]) for name in ("threshold", "threshold_out"))
    dash_syn = [_whole("dash_syn", specification["dash_syn"])]
    if into.shape[2] == 2:
        dash_syn.append(_whole("dash_syn_2", specification.get("dash_syn_2", np.ones(threshold.size))))
    hidden_bias = specification.get("bias_hidden", specification.get("bias", np.zeros(threshold.size)))
    aliases = np.full(threshold.size, NO_ALIAS)
    for neuron, targets in enumerate(specification.get("aliases") or ()):
        if len(targets) > 1 or neuron >= threshold.size:
            raise UsageError(f"specification: aliases of neuron {neuron} are {targets}; Xylo has one for each neuron")
        aliases[neuron] = targets[0] if len(targets) else NO_ALIAS
    shifts: dict[str, Any] = {name: int(specification.get(name, 0)) for name in _SHIFTS}
    return XyloNetwork(
        chip=chip,
        steps=steps,
        input=Input((len(into),), 1.0, bits),
        weights_in=into,
        weights_rec=among,
        weights_out=_whole("weights_out", specification["weights_out"]),
        dash_mem=_whole("dash_mem", specification["dash_mem"]),
        dash_syn=np.stack(dash_syn, axis=1),
        threshold=threshold,
        bias=_whole("bias", hidden_bias),
        dash_mem_out=_whole("dash_mem_out", specification["dash_mem_out"]),
        dash_syn_out=_whole("dash_syn_out", specification["dash_syn_out"]),
        threshold_out=threshold_out,
        bias_out=_whole("bias_out", specification.get("bias_out", np.zeros(threshold_out.size))),
        aliases=aliases,
        readout=readout,
        latency=latency,
        **shifts,
    )


def _whole(name: str, values: Any) -> IntArray:
    numbers = _numbers(name, values)
    if (numbers != np.rint(numbers)).any():
        raise UsageError(f"specification: {name} must be integers; quantise first")
    return numbers.astype(np.int64)


def _kept(dash: FloatArray) -> FloatArray:
    """exp(-dt / tau), with dash = log2(tau / dt)."""
    return np.exp(-(2.0**-dash))


def _dash(decay: FloatArray) -> FloatArray:
    """log2(tau / dt), 15 and more where nothing is lost, 0 where nothing is kept."""
    with np.errstate(divide="ignore"):
        return np.clip(-np.log2(-np.log(np.minimum(decay, 1 - 2.0**-15))), 0, 15)


def _numbers(name: str, values: Any) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0 or not np.isfinite(array).all():
        raise UsageError(f"specification: {name} of shape {array.shape} must be finite numbers, and not empty")
    return array


def _by_synapse(weights: NDArray[Any]) -> NDArray[Any]:
    """(sources, targets, synapses), from that or from (sources, targets)."""
    if weights.ndim not in (2, 3) or (weights.ndim == 3 and weights.shape[2] not in (1, 2)):
        raise UsageError(f"specification: weights of shape {weights.shape}: (sources, targets[, 1 or 2]) expected")
    return weights if weights.ndim == 3 else weights[:, :, None]


def _layers(into: FloatArray, among: FloatArray) -> list[NDArray[np.int64]]:
    """Hidden neurons by their distance from the input; those that it does not reach are the last."""
    reached = (into != 0).any(axis=(0, 2))
    connected, known, layers = (among != 0).any(axis=2), np.zeros(len(among), dtype=bool), []
    while (reached & ~known).any():
        layers.append(np.flatnonzero(reached & ~known))
        known |= reached
        reached = connected[known].any(axis=0)
    return [*layers, np.flatnonzero(~known)] if not known.all() else layers
