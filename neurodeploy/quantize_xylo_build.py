"""From decided shifts, dashes and gains to the integers of a XyloNetwork.

Each hidden neuron has a scale s of its own, the float network's unit of potential per unit of the chip's state:

    weight_int = round(weight * area / (s 2^shift))
    bias_int = round(bias / s)
    threshold_int = floor(threshold * gain / s) + 1    (ceil where the neuron fires at its threshold, round where it may
                                                        fire several times in a step)

s is the finest at which the neuron's largest weight is 127 or less, its threshold and bias fit 16 bits, and what its
state reached in the float network fills at most half of the 16 bits. `area` makes a current bring as much in all as it
does in the float network: one that keeps b = 1 - 2^-dash, and loses some before it is integrated for the first time,
brings b / (1 - b) per unit, one that keeps beta and loses nothing first brings 1 / (1 - beta):

    area = (1 - b) / (b (1 - beta))

A current without memory (beta = 0) gets dash 1: half of it comes in the first step, a quarter in the second, and so on.
Dash 0 would let nothing through. The chip fires where its state equals the threshold: one unit above is what a neuron
that fires past its threshold means. Direct populations (`neurodeploy.ir.xylo_direct`) have 1 / b in the place of
`area`, and a weight of -threshold * gain from each neuron to itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from neurodeploy.ir.arrays import FloatArray, IntArray
from neurodeploy.ir.populations import Population
from neurodeploy.ir.xylo import NO_ALIAS, STATE_MAX, STATE_MIN, WEIGHT_MAX, XyloNetwork
from neurodeploy.ir.xylo_layout import Layout, gathered
from neurodeploy.quantize_xylo_rounding import Gram, compensated

_HEADROOM = 2.0  # a state may reach this many times what it reached on the calibration data
_LEAST = 1e-12
_WHOLE = 1e-9  # relative: thresholds that are whole numbers but for the scale's own rounding
_UNITS_LOST = 4.0  # of a threshold, by states that lose at least 1 per step between one spike and the next


@dataclass(frozen=True, eq=False)
class Setting:
    """What is decided for one population of n neurons with K synapses.

    Attributes:
        dash_mem: (n,); dash_syn: (K, n).
        gain: (n,), factor on the threshold.
    """

    dash_mem: IntArray
    dash_syn: IntArray
    gain: FloatArray


@dataclass(frozen=True)
class Shifts:
    """Left shifts of the weights of inputs, of hidden neurons and of outputs."""

    into: int = 0
    among: int = 0
    out: int = 0


@dataclass(frozen=True, eq=False)
class Exact:
    """The numbers before rounding, in units of the chip; shapes as those of XyloNetwork."""

    into: FloatArray
    among: FloatArray
    out: FloatArray
    threshold: FloatArray
    threshold_out: FloatArray
    bias: FloatArray
    bias_out: FloatArray


def area(dash: IntArray, current_decay: FloatArray) -> FloatArray:
    """The factor on weights that keeps the area of a current; 1 / b at a dash whose b is the current's own decay."""
    kept = 1 - 2.0 ** -np.asarray(dash, dtype=np.float64)
    return np.asarray((1 - kept) / (kept * (1 - current_decay)))


def exact(layout: Layout, settings: Mapping[str, Setting], shifts: Shifts, highest: Mapping[str, FloatArray]) -> Exact:
    """The numbers of these decisions.

    Args:
        highest: population -> (n,), the largest magnitude of its states in the float network.
    """
    output = layout.network.output
    names = [block.name for block in layout.blocks]
    factor = np.concatenate([_factor(layout, name, settings[name]) for name in names], axis=1).T
    into, among = layout.weights_in * factor, layout.weights_rec * factor
    threshold = gathered(layout, "threshold") * np.concatenate([settings[name].gain for name in names])
    for block in layout.blocks:
        if block.name in layout.direct:
            itself = np.arange(block.start, block.stop)
            among[itself, itself, 0] -= threshold[itself]
    bias, reached = gathered(layout, "bias"), np.concatenate([highest[name] for name in names])
    fitting = np.maximum(_largest(into) / 2**shifts.into, _largest(among) / 2**shifts.among) / WEIGHT_MAX
    scale = _scale(fitting, threshold, bias, reached)
    out = layout.weights_out * _factor(layout, output.name, settings[output.name])[0]
    threshold_out = output.threshold * settings[output.name].gain
    bias_out = _grown_bias(layout) if output.name in layout.direct else output.bias
    fitting_out = np.abs(out).max(axis=0) / 2**shifts.out / WEIGHT_MAX
    scale_out = _scale(fitting_out, threshold_out if output.fires else 0.0, bias_out, highest[output.name])
    if not output.fires:  # potentials of different classes are compared: they share a unit
        scale_out = np.full_like(scale_out, scale_out.max())
    return Exact(
        into / (scale[:, None] * 2**shifts.into),
        among / (scale[:, None] * 2**shifts.among),
        out / (scale_out * 2**shifts.out),
        threshold / scale,
        threshold_out / scale_out,
        bias / scale,
        bias_out / scale_out,
    )


def build(
    layout: Layout,
    settings: Mapping[str, Setting],
    shifts: Shifts,
    highest: Mapping[str, FloatArray],
    chip: str,
    grams: Mapping[str, Gram] = MappingProxyType({}),
) -> XyloNetwork:
    """The XyloNetwork of these decisions; arguments as `exact`.

    Args:
        grams: of populations whose weights are rounded so that errors cancel, the others' to the nearest.
    """
    numbers = exact(layout, settings, shifts, highest)
    populations = [layout.network.population(block.name) for block in layout.blocks]
    edges = np.cumsum([one.size for one in populations])[:-1]
    thresholds = zip(populations, np.split(numbers.threshold, edges), strict=True)
    weights_in, weights_rec, weights_out = _rounded(layout, numbers, shifts, grams)
    names, output = [block.name for block in layout.blocks], layout.network.output
    return XyloNetwork(
        chip=chip,
        steps=layout.network.steps,
        input=layout.network.input,
        weights_in=weights_in,
        weights_rec=weights_rec,
        weights_out=weights_out,
        dash_mem=np.concatenate([settings[name].dash_mem for name in names]),
        dash_syn=np.concatenate([_padded(layout, settings[name].dash_syn) for name in names], axis=1).T,
        threshold=np.concatenate([_threshold(*one) for one in thresholds]),
        bias=_bias(numbers.bias),
        dash_mem_out=settings[output.name].dash_mem,
        dash_syn_out=settings[output.name].dash_syn[0],
        threshold_out=_threshold(output, numbers.threshold_out),
        bias_out=_bias(numbers.bias_out),
        aliases=np.full(len(numbers.threshold), NO_ALIAS),
        weight_shift_in=shifts.into,
        weight_shift_rec=shifts.among,
        weight_shift_out=shifts.out,
        readout=layout.network.readout,
        blocks=layout.blocks,
        latency=layout.latency,
    )


def _rounded(
    layout: Layout, numbers: Exact, shifts: Shifts, grams: Mapping[str, Gram]
) -> tuple[IntArray, IntArray, IntArray]:
    channels = len(numbers.into)
    meant = np.concatenate([numbers.into, numbers.among])
    units = np.where(np.arange(len(meant)) < channels, 2.0**shifts.into, 2.0**shifts.among)
    rounded, out, output = _weights(meant), _weights(numbers.out), layout.network.output.name
    for block in layout.blocks:
        if block.name in grams:
            mine = (slice(None), slice(block.start, block.stop), 0)
            rounded[mine] = compensated(meant[mine], units, grams[block.name])
    if output in grams:
        out = compensated(numbers.out, np.full(len(out), 2.0**shifts.out), grams[output])
    return rounded[:channels], rounded[channels:], out


def rounding_errors(numbers: Exact, shifts: Shifts) -> tuple[float, float]:
    """(hidden, output): mean square error of weights relative to their neuron's, and what is lost for want of units.

    A state that loses at least 1 a step loses about `_UNITS_LOST` of its threshold's units: that is an error too.
    """
    parts = ((numbers.into, 2.0**shifts.into), (numbers.among, 2.0**shifts.among))
    meant = np.concatenate([part * unit for part, unit in parts])
    stored = np.concatenate([_weights(part) * unit for part, unit in parts])
    hidden = _relative_error(meant, stored, (0, 2), numbers.threshold)
    return hidden, _relative_error(numbers.out, _weights(numbers.out), (0,), numbers.threshold_out)


def _relative_error(meant: FloatArray, stored: FloatArray, over: tuple[int, ...], threshold: FloatArray) -> float:
    """Mean over neurons; `over` are the axes of a neuron's weights."""
    size = np.maximum((meant**2).sum(axis=over), _LEAST)
    return float(np.mean(((stored - meant) ** 2).sum(axis=over) / size + (_UNITS_LOST / threshold) ** 2))


def _factor(layout: Layout, name: str, setting: Setting) -> FloatArray:
    """(synapses, n), the factor on weights; 1 for synapses that the population does not have."""
    if name in layout.direct:
        factor = np.asarray(1 / (1 - 2.0**-setting.dash_syn))
    else:
        factor = area(setting.dash_syn, layout.network.population(name).current_decay)
    return np.concatenate([factor, np.ones((layout.weights_in.shape[2] - len(factor), factor.shape[1]))])


def _grown_bias(layout: Layout) -> FloatArray:
    """(outputs,), what a bias has added up to after t steps, bias (1 - decay^t) / (1 - decay), mean over steps."""
    output = layout.network.output
    grown = np.cumsum(output.decay[None] ** np.arange(layout.network.steps)[:, None], axis=0)
    return np.asarray(output.bias * grown.mean(axis=0))


def _padded(layout: Layout, dash: IntArray) -> IntArray:
    """(synapses, n), with a dash for synapses that the population does not have."""
    return np.concatenate([dash, np.ones((layout.weights_in.shape[2] - len(dash), dash.shape[1]), dtype=np.int64)])


def _largest(weights: FloatArray) -> FloatArray:
    """(hidden,), over sources and synapses."""
    return np.asarray(np.abs(weights).max(axis=(0, 2)))


def _scale(fitting: FloatArray, threshold: FloatArray | float, bias: FloatArray, reached: FloatArray) -> FloatArray:
    """(n,), the finest scale at which all registers hold."""
    held = np.maximum(np.maximum(threshold, np.abs(bias)), _HEADROOM * reached) / STATE_MAX
    scale = np.maximum(fitting, held)
    return np.where(scale > 0, scale, 1.0)


def _weights(meant: FloatArray) -> Any:  # integers, which take part in float arithmetic
    return np.clip(np.rint(meant), -WEIGHT_MAX, WEIGHT_MAX).astype(np.int64)


def _bias(meant: FloatArray) -> IntArray:
    return np.clip(np.rint(meant), STATE_MIN, STATE_MAX).astype(np.int64)


def _threshold(population: Population, meant: FloatArray) -> IntArray:
    """The least state at which a neuron fires; at least 1, and the largest for neurons that never fire."""
    meant = np.minimum(meant, STATE_MAX)
    nearest = np.rint(meant)
    if population.most == 1:
        whole = np.where(np.isclose(meant, nearest, rtol=_WHOLE, atol=0), nearest, meant)
        nearest = np.ceil(whole) if population.fires_at_threshold else np.floor(whole) + 1
    return np.clip(nearest, 1, STATE_MAX).astype(np.int64)
