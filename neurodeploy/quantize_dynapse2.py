"""Quantisation for DYNAP-SE2 that keeps networks alive: weights, gains and time constants decided on calibration data.

A membrane of the chip is no linear filter: right after a reset it hardly moves, near the threshold it feeds itself, and
inhibition takes nothing but excitation of the same step away. A gain that is derived for a linear one leaves most
networks silent or saturated, so that here calibration data decide, layer by layer behind the layers before it:

1. Base currents and codes of each core are fitted to its weights, each weight's error counted by how active its source
   is (`neurodeploy.quantize_dynapse2_weights`).
2. Gain, threshold current and time constant of each layer are searched for: hidden layers are to fire as often as in
   the float network, sample by sample and neuron by neuron; the last one is to decide like it.
3. All gains together are tried once more, up and down, for the decisions alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import DesignRuleError, UsageError
from neurodeploy.hw_models.dynapse2 import Dynapse2Chip
from neurodeploy.hw_models.dynapse2_network import Dynapse2Network
from neurodeploy.hw_models.dynapse2_placement import Placement, place
from neurodeploy.hw_models.dynapse2_rules import SUBSTEPS, misfits, too_large, violations
from neurodeploy.ir.channels import flat
from neurodeploy.ir.lower import lower
from neurodeploy.ir.network import Network
from neurodeploy.ir.populations import PopulationNetwork
from neurodeploy.ir.program import INPUT
from neurodeploy.ir.to_populations import LARGEST_MATRIX, layer_sizes, to_populations
from neurodeploy.quantize_dynapse2_build import Setting, Weights, build, fit_weights
from neurodeploy.simulate import dynapse2_engine
from neurodeploy.simulate import populations as float_simulator
from neurodeploy.simulate.dynapse2 import Dynapse2Recording
from neurodeploy.simulate.dynapse2_health import health, several
from neurodeploy.simulate.populations import PopulationRecording

Array = NDArray[Any]
_SAMPLES = 128  # calibration samples that are looked at, at most
_GAINS = (0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 5.6)
_THRESHOLDS = (1e-10, 3e-10, 1e-9)  # ampere: below, the membrane starts late; above, it feeds itself too early
_SLOWNESS = (0.5, 1.0, 2.0)
_FINER = (0.8, 0.9, 1.1, 1.25)
_TOGETHER = (0.85, 1.18)
_COUNTS_WEIGHT = 0.1  # of the counts of the outputs beside decisions
_SEVERAL_WEIGHT = 0.2  # of spikes that DynapSim counts more than once, beside counts


def quantize_dynapse2(
    network: Network | PopulationNetwork,
    chip: Dynapse2Chip,
    calibration: Array,
    *,
    substeps: int = SUBSTEPS,
    allow_dead: bool = False,
) -> Dynapse2Network:
    """The Dynapse2Network that a chip stores for a float network.

    Args:
        network: the float network; neurons must have the reset "zero", one decay a layer, and no biases.
        calibration: integer inputs, (B, *shape) or (T, B, *shape), on which everything is decided.
        substeps: steps of the chip for one step of the network.
        allow_dead: give back a network with silent or saturated layers, too.

    Raises:
        DesignRuleError: naming every limit of the chip that is violated; or every layer that would be silent or
            saturated on the calibration data, with the cause.
        UsageError: where the calibration data do not suit the network.
    """
    if substeps < 1:
        raise UsageError(f"substeps {substeps}: at least 1")
    checked = as_populations(network, chip, substeps)
    case = _case(checked, chip, flat(checked.input.shape[0], calibration), substeps)
    made = case.built(_searched(case))
    found = violations(made, chip)
    if found:
        raise DesignRuleError(chip.name, found)
    dead = troubles(made, dynapse2_engine.run(made, case.inputs), case.wanted)
    if dead and not allow_dead:
        raise DesignRuleError(f"{chip.name} as it would be quantised", dead)
    return made


def as_populations(
    network: Network | PopulationNetwork, chip: Dynapse2Chip, substeps: int = SUBSTEPS
) -> PopulationNetwork:
    """The network as populations; raises DesignRuleError naming everything that does not fit."""
    if isinstance(network, Network):
        sizes = layer_sizes(lower(network))
        channels = sizes.pop(INPUT)
        if max(channels, *sizes.values()) ** 2 > LARGEST_MATRIX:  # far too large to be written out
            raise DesignRuleError(chip.name, too_large(sizes, channels, chip))
        network = to_populations(network)
    found = misfits(network, chip, substeps)
    if found:
        raise DesignRuleError(chip.name, found)
    return network


def troubles(
    network: Dynapse2Network, recording: Dynapse2Recording, wanted: PopulationRecording | None = None
) -> list[str]:
    """Layers that are silent or saturated, with the cause.

    Args:
        wanted: what the float network does on the same inputs, where it is known.
    """
    found, silent = [], False
    for row in health(network, recording):
        trouble = row.trouble
        if trouble is None:
            continue
        if row.silent:
            if wanted is not None and row.layer in wanted.spikes and not wanted.spikes[row.layer].any():
                trouble = "silent on the calibration data, and in the float network already; retrain"
            elif silent:
                trouble += "; a layer before it is silent"
            silent = True
        found.append(f"layer {row.layer}: {trouble}")
    return found


@dataclass(frozen=True, eq=False)
class _Case:
    """What is searched for, and on what."""

    network: PopulationNetwork
    chip: Dynapse2Chip
    placement: Placement
    weights: Weights
    inputs: Array
    wanted: PopulationRecording
    substeps: int

    def built(self, settings: dict[str, Setting]) -> Dynapse2Network:
        return build(self.network, self.chip, self.placement, self.weights, settings, self.substeps)

    def run(self, settings: dict[str, Setting]) -> tuple[Dynapse2Network, Dynapse2Recording]:
        made = self.built(settings)
        return made, dynapse2_engine.run(made, self.inputs)

    def counts_differ(self, name: str, made: Dynapse2Network, got: Dynapse2Recording) -> float:
        """Σ |spikes - wanted| / Σ wanted, of each neuron on each sample; and a little for spikes counted twice."""
        wanted, block = self.wanted.spikes[name].sum(axis=0, dtype=np.int64), made.block(name)
        differing = np.abs(got.counts(block) - wanted).sum() / max(int(wanted.sum()), 1)
        return float(differing + _SEVERAL_WEIGHT * several(got.spikes[..., block.start : block.stop]))

    def decisions_differ(self, made: Dynapse2Network, got: Dynapse2Recording) -> float:
        """Share of other decisions; counts of the outputs decide among equals."""
        other = float((got.decisions != self.wanted.decisions).mean())
        return other + _COUNTS_WEIGHT * self.counts_differ(made.output.name, made, got)


def _case(network: PopulationNetwork, chip: Dynapse2Chip, inputs: Array, substeps: int) -> _Case:
    inputs = inputs[..., :_SAMPLES, :]
    wanted = float_simulator.run(network, inputs)
    placement = place(network, chip)
    activity = [np.asarray((inputs.astype(np.float64) ** 2).reshape(-1, inputs.shape[-1]).mean(axis=0))]
    activity.append(np.concatenate([wanted.spikes[one.name].mean(axis=(0, 1)) for one in network.populations]))
    importance = (activity[0] + activity[0].mean() / 10, activity[1] + activity[1].mean() / 10)
    weights = fit_weights(network, placement, importance if all(part.any() for part in importance) else None)
    return _Case(network, chip, placement, weights, inputs, wanted, substeps)


def _searched(case: _Case) -> dict[str, Setting]:
    settings = {one.name: Setting() for one in case.network.populations}
    last = case.network.output.name
    for name in settings:

        def score(settings: dict[str, Setting], name: str = name) -> float:
            made, got = case.run(settings)
            return case.decisions_differ(made, got) if name == last else case.counts_differ(name, made, got)

        settings = _improved(settings, name, [{"gain": gain} for gain in _GAINS], score)
        others = [{"threshold": one, "slowness": other} for one in _THRESHOLDS for other in _SLOWNESS]
        settings = _improved(settings, name, others, score)
        gain = settings[name].gain
        settings = _improved(settings, name, [{"gain": gain * factor} for factor in _FINER], score)
    return _decided(case, settings)


def _improved(
    settings: dict[str, Setting],
    name: str,
    changes: Iterable[dict[str, float]],
    score: Callable[[dict[str, Setting]], float],
) -> dict[str, Setting]:
    """The best of the settings and of those with one change."""
    tried = [settings, *({**settings, name: replace(settings[name], **change)} for change in changes)]
    scores = [score(one) for one in tried]
    return tried[int(np.argmin(scores))]


def _decided(case: _Case, settings: dict[str, Setting]) -> dict[str, Setting]:
    """Gains up and down, layer by layer, for the decisions."""

    def score(settings: dict[str, Setting]) -> float:
        return case.decisions_differ(*case.run(settings))

    for name in settings:
        changes = [{"gain": settings[name].gain * factor} for factor in _TOGETHER]
        settings = _improved(settings, name, changes, score)
    return settings
