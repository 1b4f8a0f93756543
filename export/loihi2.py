"""Loihi 2 itself, through Lava and Intel's lava-loihi: what the chip asks for beyond the simulator, and what it gets.

Everything here about hardware is read from public sources, run by nobody here: the tutorials and hardware tests of
lava-dl 0.6.0 (tutorials/lava/lib/dl/netx, tests/lava/lib/dl/netx/test_hdf5.py), lava-nc 0.10.0 (lava/utils/loihi.py,
lava/proc/lif/process.py). "Inferred" marks what follows from them without being said there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import DesignRuleError
from neurodeploy.export import lava_rules
from neurodeploy.ir.arrays import frozen_ints
from neurodeploy.ir.artifact import Golden
from neurodeploy.ir.program import DECAY_ONE, INPUT, VOLTAGE_UNIT_BITS, FixedPointNeurons, Layer, Program
from neurodeploy.ir.synapses import WEIGHT_EXPONENTS, ConvSynapses, Synapses, extreme_sums, longest_delay
from neurodeploy.simulate.recording import Recording

TITLE = "Loihi 2 through INRC"
LARGEST_BIAS_EXPONENT = 7
_WRAP = 2**23  # the current register: 24 bits with sign


@dataclass(frozen=True, eq=False)
class HardwareForm:
    """The program as the chip gets it.

    Attributes:
        program: with even weights where a convolution feeds a layer; it takes as many steps as the original.
        period: steps from one sample to the next, a power of two; those after the program's steps are idle.
        notes: what differs from the original, and what stays unknown until a chip has run it.
    """

    program: Program
    period: int
    notes: tuple[str, ...]

    @property
    def program_with_period(self) -> Program:
        """The program with as many steps as the period has: the idle ones are shown zeros."""
        return replace(self.program, steps=self.period)


def violations(program: Program) -> list[str]:
    """All that keeps a program from the chip, with layer names: Lava's own rules (`lava_rules.violations`), and

    * one threshold and one decay for all neurons of a layer: a LIF process has one of each (lava/proc/lif/process.py);
    * no delays: a spike that waits would reach the next sample, and only the CPU simulator can be emptied in between.
    """
    found = lava_rules.violations(program)
    if not program.fixed_point:
        return found
    for layer in program.layers:
        for what in ("threshold", "voltage_decay", "current_decay"):
            values = getattr(layer.neurons, what)
            if values.min() != values.max():
                named = what.replace("_", " ")
                found.append(f"layer {layer.name}: {named} differs between neurons; a layer on the chip has one")
        for one in layer.synapses:
            if longest_delay(one):
                found.append(
                    f"layer {layer.name}: synapses {one.name} wait {longest_delay(one)} steps; what waits when a "
                    "sample ends cannot be cleared on the chip and would reach the next one: use no delays"
                )
    return found


def hardware_form(program: Program) -> HardwareForm:
    """Even weights, and a period that the chip's reset can count.

    Intel's networks for Loihi 2 have even weights of 8 bits and a sign, -256 to 254 (lava-dl's quantiser); whether odd
    ones of a convolution survive on the chip is not known. A layer that a convolution feeds gets 2·weights,
    2·threshold, 2·bias, and so twice every voltage. A layer that only Dense processes feed keeps its numbers: they are
    written as 2·weights with weight exponent -1, which is exact.

    Twice the voltage is not to the last bit twice the decay: trunc(2v·k) ≠ 2·trunc(v·k). `difference` counts on
    samples what that changes.

    Raises:
        DesignRuleError: with all `violations`.
    """
    found = violations(program)
    if found:
        raise DesignRuleError(TITLE, found)
    period = 1 << (program.steps - 1).bit_length()
    notes = []
    if period != program.steps:
        notes.append(
            f"reset_interval is a power of two on the chip: samples of {program.steps} steps follow each other every "
            f"{period}, with {period - program.steps} idle ones"
        )
    layers = []
    for layer in program.layers:
        obstacle = _obstacle(layer, program)
        convolution = any(isinstance(one, ConvSynapses) for one in layer.synapses)
        if convolution and obstacle is None:
            layers.append(_doubled(layer))
            notes.append(f"layer {layer.name}: weights, threshold and bias are doubled, so that all weights are even")
            continue
        layers.append(layer)
        if convolution and any(one.weight.any() and (one.weight % 2).any() for one in layer.synapses):
            notes.append(
                f"layer {layer.name}: {obstacle}: its convolutions keep odd weights, of which it is not known whether "
                "the chip keeps the lowest bit"
            )
    return HardwareForm(replace(program, layers=tuple(layers)), period, tuple(notes))


def difference(got: Recording, own: Golden) -> str:
    """How what the form's reference puts out differs from the artifact's golden outputs, in words."""
    differing = sum(int((values != own.spikes[name]).sum()) for name, values in got.spikes.items())
    total = sum(values.size for values in got.spikes.values())
    decided = int((got.decisions != own.readout.argmax(axis=-1)).sum())
    return (
        f"in this form {differing} of {total} spikes and {decided} of {len(got.readout)} decisions on the artifact's "
        "samples differ from its own"
    )


def _obstacle(layer: Layer, program: Program) -> str | None:
    """Why a layer cannot be doubled, or None."""
    neurons = layer.neurons
    assert isinstance(neurons, FixedPointNeurons)  # `violations` has been asked
    if not layer.fires:
        return "a readout that does not fire is not doubled"
    threshold = 2 * int(neurons.threshold.max())
    if threshold > lava_rules.THRESHOLD_MAX:
        return f"twice its threshold is {threshold}, the register holds {lava_rules.THRESHOLD_MAX}"
    if not _bias_fits(2 * neurons.bias_mantissa) and neurons.bias_exponent == LARGEST_BIAS_EXPONENT:
        return f"twice its bias needs exponent {LARGEST_BIAS_EXPONENT + 1}, the register holds {LARGEST_BIAS_EXPONENT}"
    for one in layer.synapses:
        if not isinstance(one, ConvSynapses) and one.weight_exponent == WEIGHT_EXPONENTS[1]:
            return f"synapses {one.name} have the largest weight exponent, {WEIGHT_EXPONENTS[1]}"
    sums = [extreme_sums(one, 0, 2**program.input.bits - 1 if one.source == INPUT else 1) for one in layer.synapses]
    retention = (DECAY_ONE - int(neurons.current_decay.min())) / DECAY_ONE
    added_up = program.steps if retention == 1 else (1 - retention**program.steps) / (1 - retention)
    highest = 2 * sum(max(-low, high) for low, high in sums) * added_up
    if highest * 2**VOLTAGE_UNIT_BITS >= _WRAP:
        return f"twice its current may reach ±{highest:.0f}, where it wraps"
    return None


def _doubled(layer: Layer) -> Layer:
    neurons = layer.neurons
    assert isinstance(neurons, FixedPointNeurons)  # `violations` has been asked
    twice = 2 * neurons.bias_mantissa
    bias = {"bias_mantissa": frozen_ints(twice)} if _bias_fits(twice) else {"bias_exponent": neurons.bias_exponent + 1}
    changed = replace(neurons, threshold=frozen_ints(2 * neurons.threshold), **bias)
    return replace(
        layer, synapses=tuple(map(_doubled_synapses, layer.synapses)), neurons=changed, scale=layer.scale / 2
    )


def _doubled_synapses(synapses: Synapses) -> Synapses:
    if isinstance(synapses, ConvSynapses):
        return replace(synapses, weight=frozen_ints(2 * synapses.weight))
    return replace(synapses, weight_exponent=synapses.weight_exponent + 1)


def _bias_fits(mantissa: NDArray[np.int64]) -> bool:
    low, high = lava_rules.BIAS_MANTISSA
    return low <= int(mantissa.min()) and int(mantissa.max()) <= high
