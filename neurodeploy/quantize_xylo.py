"""Quantisation for Xylo that keeps networks alive: scales, shifts, dashes and thresholds decided jointly.

Bit-shift decays are coarse (1/2, 3/4, 7/8, …) and lose at least 1 per step, spikes arrive smeared over time, and
neurons may fire several times in a step, so that rounding each number to the nearest gives another network than the one
that was trained, often a silent one. Here calibration data decide, layer by layer behind the layers before it:

1. Weights are shifted left as far as the 16 bits of the states allow: a loss of at least 1 per step then matters
   little.
2. For each layer the dashes next to its decays are tried, the smallest of a synapse being 1, with factors on its
   thresholds; what differs least from the float network is taken.
3. Each neuron's threshold is moved until it fires as often as in the float network, and kept where that is nearer.

A network whose currents have no memory is tried in two ways: with its currents smeared over time, and with its currents
in the place of its potentials (`neurodeploy.ir.xylo_direct`). What decides most like the float network is taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import DesignRuleError
from neurodeploy.hw_models.xylo_core import XyloChip
from neurodeploy.hw_models.xylo_rules import Demand, demand_of_populations, exceeded, violations
from neurodeploy.ir.channels import flat
from neurodeploy.ir.lower import lower
from neurodeploy.ir.network import Network
from neurodeploy.ir.populations import PopulationNetwork
from neurodeploy.ir.program import INPUT
from neurodeploy.ir.to_populations import LARGEST_MATRIX, layer_sizes, to_populations
from neurodeploy.ir.xylo import INPUT_BITS, INPUT_EVENTS, XyloNetwork
from neurodeploy.ir.xylo_direct import directly
from neurodeploy.ir.xylo_layout import misfits
from neurodeploy.quantize_xylo_search import Case, case_of, differences, searched
from neurodeploy.simulate import xylo_engine
from neurodeploy.simulate.xylo import OUTPUT, XyloRecording
from neurodeploy.simulate.xylo_health import SILENT, health

Array = NDArray[Any]
_SAMPLES = (16, 128)  # fewest and most calibration samples that are looked at
_SPIKE_SLOTS = 2**22  # steps x samples x hidden neurons that are looked at, where that leaves enough samples
_HIDDEN_WEIGHT = 0.01  # of hidden layers, where two ways of laying a network out decide equally well


def quantize_xylo(
    network: Network | PopulationNetwork, chip: XyloChip, calibration: Array, *, allow_dead: bool = False
) -> XyloNetwork:
    """The XyloNetwork that a chip stores for a float network.

    Args:
        network: the float network; neurons must have the reset "subtract".
        calibration: integer inputs, (B, *shape) or (T, B, *shape), on which everything is decided.
        allow_dead: give back a network with silent or saturated layers, too.

    Raises:
        DesignRuleError: naming every limit of the chip that is violated; or every layer that would be silent or
            saturated on the calibration data, with the cause.
        UsageError: where the calibration data do not suit the network.
    """
    network = _checked(network, chip)
    inputs = _flat(network, calibration)
    found: list[tuple[float, XyloNetwork, Case]] = []
    for laid_out, direct in ((network, frozenset[str]()), directly(network, chip.fan_out)):
        if found and not direct:
            continue
        case = case_of(laid_out, direct, chip.name, inputs)
        made = searched(case)
        if not found or not violations(made, chip):  # a clock and connections to itself may have no room
            found.append((_score(case, made), made, case))
    _, best, case = min(found, key=lambda one: one[0])
    dead = troubles(best, xylo_engine.run(best, inputs), case.wanted.spikes)
    if dead and not allow_dead:
        raise DesignRuleError(f"{chip.name} as it would be quantised", dead)
    return best


def troubles(
    network: XyloNetwork, recording: XyloRecording, wanted: Mapping[str, NDArray[np.integer]] | None = None
) -> list[str]:
    """Layers that are silent, deaf or saturated, with the cause.

    Args:
        wanted: layer -> spikes of the float network on the same inputs, where it is known; the output is the last.
    """
    found, silent = [], False
    for row in health(network, recording):
        trouble = row.trouble
        if trouble is None:
            continue
        if row.fires and row.rate < SILENT:
            name = next(reversed(list(wanted))) if wanted and row.layer == OUTPUT else row.layer
            if wanted is not None and name in wanted and (wanted[name] > 0).mean() < SILENT:
                trouble = "silent on the calibration data, and in the float network already; retrain"
            elif silent:
                trouble += "; a layer before it is silent"
            silent = True
        found.append(f"layer {row.layer}: {trouble}")
    return found


def _score(case: Case, network: XyloNetwork) -> float:
    found = differences(case, network)
    output = found.pop(case.layout.network.output.name)
    return output + _HIDDEN_WEIGHT * float(np.mean(list(found.values())))


def _checked(network: Network | PopulationNetwork, chip: XyloChip) -> PopulationNetwork:
    """The network as populations; raises DesignRuleError naming everything that does not fit."""
    if isinstance(network, Network):
        sizes = layer_sizes(lower(network))
        channels, output = sizes.pop(INPUT), sizes.popitem()[1]
        if max(channels, output, *sizes.values()) ** 2 > LARGEST_MATRIX:  # far too large to be written out
            raise DesignRuleError(chip.name, exceeded(Demand(channels, sizes, output, 1, {}), chip))
        network = to_populations(network)
    found = [*exceeded(demand_of_populations(network), chip), *misfits(network)]
    if network.input.bits > INPUT_BITS:
        found.append(
            f"layer {INPUT}: values of {network.input.bits} bits, a channel brings at most {INPUT_EVENTS} events a "
            f"step; train with data.bits={INPUT_BITS} or less"
        )
    if found:
        raise DesignRuleError(chip.name, found)
    return network


def _flat(network: PopulationNetwork, calibration: Array) -> Array:
    """(B, channels) or (T, B, channels), as many samples as decide something."""
    (channels,), fewest, most = network.input.shape, *_SAMPLES
    hidden = sum(one.size for one in network.hidden)
    samples = int(np.clip(_SPIKE_SLOTS // (network.steps * hidden), fewest, most))
    inputs = flat(channels, calibration)
    return inputs[..., :samples, :] if inputs.shape[-1:] == (channels,) and inputs.ndim in (2, 3) else calibration
