"""Delays, and connections back: what DYNAP-SE2 cannot do is refused, and what it takes has an effect there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from dynapse2_networks import float_network

from neurodeploy import deployment_dynapse2
from neurodeploy.errors import DesignRuleError
from neurodeploy.hw_models.dynapse2 import DYNAPSE2
from neurodeploy.hw_models.dynapse2_placement import place
from neurodeploy.hw_models.dynapse2_rules import misfits
from neurodeploy.ir.populations import PopulationNetwork, Projection
from neurodeploy.quantize_dynapse2 import quantize_dynapse2
from neurodeploy.quantize_dynapse2_build import Setting, build, fit_weights
from neurodeploy.simulate import dynapse2_engine
from neurodeploy.simulate import populations as float_simulator

HIDDEN = 20
OTHERS = 1 - np.eye(HIDDEN)


def extended(network: PopulationNetwork, *more: Projection) -> PopulationNetwork:
    return replace(network, projections=(*network.projections, *more))


def shown(network: PopulationNetwork) -> np.ndarray:
    return (np.random.default_rng(3).random((network.steps, 40, 24)) < 0.4).astype(np.uint8)


@pytest.mark.parametrize(("delay", "fits"), [(0, True), (1, False), (3, False)])
@pytest.mark.parametrize("place_of", [0, 1])
def test_forward_connections_have_no_delay(delay: int, fits: bool, place_of: int) -> None:
    network = float_network()
    links = list(network.projections)
    links[place_of] = replace(links[place_of], delay=delay)
    found = [text for text in misfits(replace(network, projections=tuple(links)), DYNAPSE2) if "delayed" in text]
    assert (found == []) == fits
    assert fits or f"from {links[place_of].source} is delayed by {delay} steps" in found[0]


@pytest.mark.parametrize(("delay", "fits"), [(1, True), (2, False)])
@pytest.mark.parametrize("source", ["hidden", "output"])
def test_recurrent_connections_have_a_delay_of_one(delay: int, fits: bool, source: str) -> None:
    network = float_network()
    size = network.population(source).size
    looped = extended(network, Projection(source, "hidden", np.full((size, HIDDEN), 0.1), delay=delay))
    found = misfits(looped, DYNAPSE2)
    assert (found == []) == fits
    assert fits or f"from {source} is delayed by 2 steps" in found[0]


def test_quantisation_refuses_a_delay() -> None:
    network = float_network()
    into, out = network.projections
    delayed = replace(network, projections=(into, replace(out, delay=10)))
    with pytest.raises(DesignRuleError, match="layer output: what comes from hidden is delayed by 10 steps"):
        quantize_dynapse2(delayed, DYNAPSE2, shown(network))


def mutual(weight: np.ndarray) -> PopulationNetwork:
    """The hidden layer feeds itself."""
    return extended(float_network(), Projection("hidden", "hidden", weight, delay=1))


def through_a_layer(weight: np.ndarray) -> PopulationNetwork:
    """The same, except that the spikes pass through neurons that repeat them in the same step."""
    network = float_network()
    hidden, output = network.populations
    relay = replace(hidden, name="relay", decay=np.zeros(HIDDEN))
    once = Projection("hidden", "relay", 2 * np.eye(HIDDEN))
    back = Projection("relay", "hidden", weight, delay=1)
    return extended(replace(network, populations=(hidden, relay, output)), once, back)


def spikes_of_hidden(network: PopulationNetwork, without: bool = False) -> int:
    """On the chip, at one and the same setting."""
    weights = fit_weights(network, (placement := place(network, DYNAPSE2)))
    if without:
        codes = np.array(weights.codes_rec)
        codes[:, :HIDDEN] = 0
        weights = replace(weights, codes_rec=codes)
    settings = {one.name: Setting(gain=0.7, threshold=1e-10) for one in network.populations}
    made = build(network, DYNAPSE2, placement, weights, settings, 2)
    return int((dynapse2_engine.run(made, shown(network)).spikes[..., :HIDDEN] > 0).sum())


def test_inhibition_between_inputs_does_next_to_nothing_and_is_refused() -> None:
    network = mutual(-OTHERS)
    wanted = float_simulator.run(network, shown(network)).spikes["hidden"].sum()
    assert wanted < 0.2 * float_simulator.run(float_network(), shown(network)).spikes["hidden"].sum()
    with_it, without = (spikes_of_hidden(network, one) for one in (False, True))
    assert without > with_it > 0.98 * without > 2000
    (found,) = misfits(network, DYNAPSE2)
    assert "layer hidden: inhibition of 20 of 20 neurons, from hidden, comes 1 of 2 steps of dynapse2 after" in found
    with pytest.raises(DesignRuleError, match="no excitation for it to take away"):
        quantize_dynapse2(network, DYNAPSE2, shown(network))


def test_inhibition_through_a_layer_comes_with_the_inputs() -> None:
    network = through_a_layer(-OTHERS)
    same = float_simulator.run(mutual(-OTHERS), shown(network)).spikes["hidden"]
    assert np.array_equal(float_simulator.run(network, shown(network)).spikes["hidden"], same)
    assert misfits(network, DYNAPSE2) == []
    assert spikes_of_hidden(network) < 0.8 * spikes_of_hidden(network, without=True)


@pytest.mark.parametrize("kept", [0.5, 0.9])
def test_inhibition_of_currents_with_memory_acts_and_is_not_refused(kept: float) -> None:
    """Excitation lasts until the inhibition comes, and the inhibition until the next inputs."""
    network = mutual(-OTHERS)
    hidden, output = network.populations
    remembering = replace(hidden, current_decay=np.full_like(hidden.current_decay, kept))
    network = replace(network, populations=(remembering, output))
    assert misfits(network, DYNAPSE2) == []
    assert 200 < spikes_of_hidden(network) < 0.8 * spikes_of_hidden(network, without=True)


def test_where_inhibition_is_refused() -> None:
    """Only where it has nothing of its own step to take away; what a neuron sends itself finds it refractory."""
    one = OTHERS.copy()
    one[:, 0], one[1:, 1] = -OTHERS[:, 0], -1
    one[0, 1] = 0.1
    (found,) = misfits(mutual(one), DYNAPSE2)
    assert "inhibition of 1 of 20 neurons" in found
    assert misfits(mutual(one), DYNAPSE2, substeps=1) == []
    assert misfits(mutual(OTHERS), DYNAPSE2) == []
    assert len(misfits(mutual(np.eye(HIDDEN) - OTHERS), DYNAPSE2)) == 1
    feedback = extended(float_network(), Projection("output", "hidden", np.full((5, HIDDEN), -1.0), delay=1))
    assert misfits(feedback, DYNAPSE2) == []
    assert len(misfits(feedback, DYNAPSE2, substeps=3)) == 1


@pytest.mark.parametrize("inhibition", [False, True])
def test_other_decisions_are_laid_on_inhibition_only_where_there_is_some(
    inhibition: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deployment_dynapse2, "_LARGE_LOSS", -1.0)
    network = float_network(7)
    links = [replace(one, weight=one.weight if inhibition else np.abs(one.weight)) for one in network.projections]
    network = replace(network, projections=tuple(links))
    found = deployment_dynapse2.prepare_network(network, shown(network), allow_dead=True)
    (said,) = [text for text in found.warnings if "decisions" in text]
    assert said.startswith(f"{1 - found.agreement:.0%} of decisions on the calibration data are others")
    assert ("it has inhibition" in said) == inhibition
