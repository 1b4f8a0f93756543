"""What Lava's processes can hold: everything in a program that they would refuse, or compute otherwise.

The register widths are those that lava-nc 0.10.0 documents in lava/proc/lif/models.py and lava/proc/dense/models.py;
lava-nc itself does not check them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from neurodeploy.export import lava_job
from neurodeploy.export.lava_weights import SMALLEST_EXPONENT, dense_terms
from neurodeploy.inspect.headroom import highest_readout
from neurodeploy.ir.program import BIAS_MANTISSA as BIAS_MANTISSA
from neurodeploy.ir.program import (
    DECAY_ONE,
    INPUT,
    STATE_LIMIT,
    VOLTAGE_UNIT_BITS,
    FixedPointNeurons,
    Layer,
    Program,
)
from neurodeploy.ir.program import THRESHOLD_MAX as THRESHOLD_MAX
from neurodeploy.ir.synapses import ConvSynapses, Synapses, extreme_sums

VOLTAGE_DECAY_MAX = 2**12 - 1
CURRENT_DECAY = (1, 2**12)  # du of 12 bits, plus the hidden 1
WEIGHT = (-(2**7), 2**7 - 1)
INT32_MAX = 2**31 - 1


def violations(program: Program) -> list[str]:
    """Everything in a program that Lava's processes cannot hold or would compute otherwise, with layer names."""
    if not program.fixed_point:
        return [f"made for the chip {program.chip}, whose neurons are not fixed-point: quantise for the chip loihi2"]
    found = [f"layer {layer.name}: {text}" for layer in program.layers for text in _layer_violations(layer, program)]
    if lava_job.lags(program) is None:
        found += [f"layer {target}: {text}" for target, text in _feedback(program)]
    return found


def _feedback(program: Program) -> list[tuple[str, str]]:
    """(layer, what is wrong) for every synapse that comes back from a later layer."""
    order = [layer.name for layer in program.layers]
    return [
        (
            layer.name,
            f"feedback from {one.source} with a delay of {lava_job.shortest_delay(one)}: every synapse in Lava takes a "
            "step, so that the delays around a loop must add up to at least one step for each layer in it",
        )
        for index, layer in enumerate(program.layers)
        for one in layer.synapses
        if one.source in order[index + 1 :]
    ]


def _layer_violations(layer: Layer, program: Program) -> list[str]:
    neurons = layer.neurons
    assert isinstance(neurons, FixedPointNeurons)  # `violations` has checked the program
    found = []
    ranges = (
        ("threshold", neurons.threshold, 0, THRESHOLD_MAX),
        ("voltage decay", neurons.voltage_decay, 0, VOLTAGE_DECAY_MAX),
        ("current decay", neurons.current_decay, *CURRENT_DECAY),
        ("bias mantissa", neurons.bias_mantissa, *BIAS_MANTISSA),
    )
    for what, values, low, high in ranges:
        if values.min() < low or values.max() > high:
            found.append(f"{what} {_span(values)}: allowed are {low} to {high}")
    for synapses in layer.synapses:
        found += [f"synapses {synapses.name}: {text}" for text in _synapse_violations(synapses, program)]
    largest = largest_current(layer, program)
    if largest > INT32_MAX:
        found.append(f"the current may reach ±{largest:.0f}: Lava's 32-bit arithmetic holds ±{INT32_MAX}")
    if not layer.fires:
        highest = highest_readout(layer, program)
        if highest > THRESHOLD_MAX << VOLTAGE_UNIT_BITS:
            found.append(
                f"the readout's voltage may reach {highest:.0f}, where Lava's neuron fires and resets it "
                f"(above {THRESHOLD_MAX << VOLTAGE_UNIT_BITS}): use smaller weights"
            )
    return found


def largest_current(layer: Layer, program: Program) -> float:
    """Bound of a layer's |u| before it wraps, in voltage units."""
    neurons = layer.neurons
    assert isinstance(neurons, FixedPointNeurons)  # of a fixed-point program
    arriving = 0.0
    for one in layer.synapses:
        low, high = extreme_sums(one, 0, _highest(one, program))
        arriving += min(max(-low, high), STATE_LIMIT if isinstance(one, ConvSynapses) else INT32_MAX)
    kept = float(DECAY_ONE - neurons.current_decay.min()) / DECAY_ONE
    added = arriving * 2**VOLTAGE_UNIT_BITS
    largest: float = added
    current: float = added
    for _ in range(program.steps - 1 if kept else 0):
        current = kept * (max(STATE_LIMIT, current - 2 * STATE_LIMIT) if current > STATE_LIMIT else current) + added
        if current <= largest:
            break
        largest = current
    return largest


def _synapse_violations(synapses: Synapses, program: Program) -> list[str]:
    found = []
    written = lava_job.written_out(synapses, program)
    held = written
    if isinstance(written, ConvSynapses):
        step = 1 if (written.weight % 2).any() else 2  # lava-dl's own: 8 bits with sign, doubled
        if written.weight.min() < step * WEIGHT[0] or written.weight.max() > step * WEIGHT[1]:
            found.append(
                f"weights {_span(written.weight)}: 8 bits with sign hold {WEIGHT[0]} to {WEIGHT[1]}, or even numbers "
                f"from {2 * WEIGHT[0]} to {2 * WEIGHT[1]}"
            )
    else:
        terms = dense_terms(written.weight, written.weight_exponent)
        if terms is None:
            found.append(
                f"weights {_span(written.weight)} with weight exponent {written.weight_exponent}: 8 bits with sign "
                f"hold {WEIGHT[0]} to {WEIGHT[1]} with exponents {SMALLEST_EXPONENT + 1} to 7, and with any exponent "
                "even numbers from -256 to 254, or numbers of one sign up to 255"
            )
        held = replace(written, weight=written.weight if terms is None else terms.weights, weight_exponent=0)
    low, high = extreme_sums(held, 0, _highest(held, program))
    if max(-low, high) > INT32_MAX:
        found.append(f"weighted sums may reach ±{max(-low, high):.0f} in Lava, beyond its 32-bit arithmetic")
    if isinstance(written, ConvSynapses):
        geometry = {
            "kernel": written.weight.shape[2:],
            "stride": written.stride,
            "padding": written.padding,
            "dilation": written.dilation,
        }
        for what, values in geometry.items():
            if max(values) > lava_job.GEOMETRY_MAX:
                pooling = " with its pooling written out" if synapses.pool > 1 else ""
                found.append(f"{what} {values}{pooling}: Lava holds up to {lava_job.GEOMETRY_MAX}")
    return found


def _span(values: NDArray[Any]) -> str:
    return str(values.min()) if values.min() == values.max() else f"{values.min()} to {values.max()}"


def _highest(synapses: Synapses, program: Program) -> int:
    return int(2**program.input.bits - 1) if synapses.source == INPUT else 1
