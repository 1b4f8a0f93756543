"""Register widths: numbers that Lava's simulator takes silently, though the documented registers cannot hold them.

What a Program cannot even say needs no rule here: bias exponents outside 0 to 7, weight exponents outside -8 to 7,
delays beyond 62 and current decays beyond 4096 (Lava's du of 4095) are refused when it is made, and its weights are
integers.
"""

from __future__ import annotations

import numpy as np

from neurodeploy.hw_models.chip import ChipModel
from neurodeploy.inspect.finding import Finding, Rule
from neurodeploy.ir.arrays import IntArray
from neurodeploy.ir.program import DECAY_ONE, FixedPointNeurons, Layer, Program
from neurodeploy.ir.synapses import WEIGHT_EXPONENTS, ConvSynapses, Synapses

_LIF = "lava-nc 0.10.0, lava/proc/lif/models.py (PyLifModelBitAcc)"
_PROCESS = (
    "lava-nc 0.10.0, lava/proc/lif/process.py: one value for all neurons of a process; its simulator takes arrays"
)
_INT16 = (-(2**15), 2**15 - 1)
_CURRENT_DECAY = (1, DECAY_ONE)

THRESHOLD = Rule(
    "L2-THR-17BIT",
    "threshold, weight units",
    "violation",
    f"{_LIF}: vth of 17 bits; not checked there",
    "make the layer's scale coarser: threshold and weights shrink together",
    topic="threshold",
)
THRESHOLD_SHARED = Rule(
    "L2-THR-SHARED",
    "thresholds in one layer",
    "violation",
    _PROCESS,
    "give all neurons of the layer one threshold; what differs between neurons goes into the bias",
    topic="threshold differs",
)
DECAY = Rule(
    "L2-DECAY-12BIT",
    "voltage decay",
    "violation",
    f"{_LIF}: dv of 12 bits; not checked there",
    "use 4095, which keeps 1/4096 of the voltage; a neuron without memory is rarely meant",
    topic="voltage decay",
)
CURRENT_DECAY = Rule(
    "L2-CURRENT-DECAY-12BIT",
    "current decay (Lava's du and 1)",
    "violation",
    f"{_LIF}: du of 12 bits, to which 1 is added; not checked there",
    "use 1, which keeps all but 1/4096 of the current",
    topic="current decay",
)
DECAY_SHARED = Rule(
    "L2-DECAY-SHARED",
    "decays in one layer",
    "violation",
    _PROCESS,
    "give all neurons of the layer one decay, or split the layer",
    topic="decay differs",
)
BIAS = Rule(
    "L2-BIAS-13BIT",
    "bias mantissa",
    "violation",
    f"{_LIF}: bias_mant of 13 bits with sign; not checked there",
    "raise the bias exponent, or make the layer's scale coarser",
    topic="bias mantissa",
)
BIAS_INT16 = Rule(
    "L2-BIAS-INT16",
    "bias mantissa",
    "violation",
    f"{_LIF}: bias_mant is kept as int16, where 40000 becomes -25536 without a word",
    "raise the bias exponent, or make the layer's scale coarser",
    topic="bias mantissa",
)
BIAS_EXPONENT = Rule(
    "L2-BIAS-EXPONENT",
    "bias exponent",
    "note",
    "lava-dl 0.6.0, netx/hdf5.py: network.net knows 6 only, whole weight units",
    "nothing for Lava itself; network.net is left out where the bias is no whole weight unit",
)
WEIGHT = Rule(
    "L2-WEIGHT-8BIT",
    "weights",
    "violation",
    "lava-nc 0.10.0, lava/utils/weightutils.py: 8 bits with sign, or even numbers from -256 to 254; or, of a "
    "Dense, numbers of one sign up to 255. lava/proc/conv/models.py does not check",
    "make the layer's scale coarser, or clip the largest weights and retrain",
    topic="weights",
)
ODD_DENSE = Rule(
    "L2-WEIGHT-ODD-DENSE",
    "odd weights of dense synapses, percent",
    "note",
    "lava-nc 0.10.0, lava/utils/weightutils.py: in mixed sign mode the lowest bit is dropped, 127 becomes 126",
    "nothing: exports write 2 · weights with the weight exponent one lower, which is exact",
)
ODD_CONVOLUTION = Rule(
    "L2-WEIGHT-ODD-CONV",
    "odd weights of a convolution, percent",
    "note",
    "inferred: lava-dl 0.6.0 trains even weights from -256 to 254 only; the simulator keeps odd ones, of the chip it "
    "is not known",
    "nothing for the simulator; before a chip runs it, double weights, threshold and bias",
)
RULES = (
    THRESHOLD,
    THRESHOLD_SHARED,
    DECAY,
    CURRENT_DECAY,
    DECAY_SHARED,
    BIAS,
    BIAS_INT16,
    BIAS_EXPONENT,
    WEIGHT,
    ODD_DENSE,
    ODD_CONVOLUTION,
)


def register_findings(program: Program, chip: ChipModel) -> list[Finding]:
    """Everything that the registers of a fixed-point chip cannot hold."""
    found = []
    for layer in program.layers:
        if isinstance(layer.neurons, FixedPointNeurons):
            found += _neurons(layer, layer.neurons, chip)
            found += _synapses(layer, chip)
    return found


def _neurons(layer: Layer, neurons: FixedPointNeurons, chip: ChipModel) -> list[Finding]:
    found = []
    if chip.threshold_max is not None and neurons.threshold.max() > chip.threshold_max:
        found.append(THRESHOLD.at(layer.name, int(neurons.threshold.max()), chip.threshold_max))
    if len(np.unique(neurons.threshold)) > 1:
        found.append(THRESHOLD_SHARED.at(layer.name, len(np.unique(neurons.threshold)), 1))
    if chip.voltage_decay_max is not None and neurons.voltage_decay.max() > chip.voltage_decay_max:
        found.append(DECAY.at(layer.name, int(neurons.voltage_decay.max()), chip.voltage_decay_max))
    if outside(neurons.current_decay, _CURRENT_DECAY):
        found.append(CURRENT_DECAY.at(layer.name, int(neurons.current_decay.min()), span(_CURRENT_DECAY)))
    for values in (neurons.voltage_decay, neurons.current_decay):
        if len(np.unique(values)) > 1:
            found.append(DECAY_SHARED.at(layer.name, len(np.unique(values)), 1))
    mantissa = neurons.bias_mantissa
    if chip.bias_mantissa_max is not None and chip.bias_exponents is not None:
        allowed = (-chip.bias_mantissa_max - 1, chip.bias_mantissa_max)
        if outside(mantissa, _INT16):
            found.append(BIAS_INT16.at(layer.name, span(mantissa), span(_INT16)))
        elif outside(mantissa, allowed):
            found.append(BIAS.at(layer.name, span(mantissa), span(allowed)))
        if not chip.bias_exponents[0] <= neurons.bias_exponent <= chip.bias_exponents[1] and mantissa.any():
            found.append(BIAS_EXPONENT.at(layer.name, neurons.bias_exponent, span(chip.bias_exponents)))
    return found


def _synapses(layer: Layer, chip: ChipModel) -> list[Finding]:
    allowed = (-chip.weight_max - 1, chip.weight_max)
    found, odd = [], {ODD_DENSE: [0, 0], ODD_CONVOLUTION: [0, 0]}
    for one in layer.synapses:
        if not _holds(one, allowed):
            found.append(WEIGHT.at(layer.name, f"{one.name}: {span(one.weight)}", span(allowed)))
        count = odd[ODD_CONVOLUTION if isinstance(one, ConvSynapses) else ODD_DENSE]
        count[0] += int((one.weight % 2 != 0).sum())
        count[1] += one.weight.size
    found += [rule.at(layer.name, 100 * some / of, 0) for rule, (some, of) in odd.items() if some]
    return found


def _holds(one: Synapses, allowed: tuple[int, int]) -> bool:
    """Whether a convolution's or a Dense's memory holds the weights: of the latter each has a sign mode to choose."""
    if isinstance(one, ConvSynapses):
        step = 1 if (one.weight % 2).any() else 2  # lava-dl's convolutions have 8 bits with sign, doubled
        return not outside(one.weight, (step * allowed[0], step * allowed[1]))
    if not outside(one.weight, allowed) and one.weight_exponent > WEIGHT_EXPONENTS[0]:
        return True  # written doubled, with the exponent one lower
    even = not (one.weight % 2).any() and not outside(one.weight, (2 * allowed[0], 2 * allowed[1]))
    wide = 2 * allowed[1] + 1
    return even or not outside(one.weight, (0, wide)) or not outside(one.weight, (-wide, 0))


def outside(values: IntArray, allowed: tuple[int, int]) -> bool:
    """Whether any value lies outside the closed range."""
    return bool(values.min() < allowed[0] or values.max() > allowed[1])


def span(values: IntArray | tuple[int, int]) -> str:
    """The smallest and the largest value, or the only one."""
    low, high = int(np.min(values)), int(np.max(values))
    return str(low) if low == high else f"{low} to {high}"
