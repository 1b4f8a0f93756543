"""Quantisation for Xylo: networks that would not live, limits and unsuitable data are refused with the reason."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from xylo.quantized_networks import A2, A3, SAMPLES, STEPS, cuba, events, likeness, network

from neurodeploy.errors import DesignRuleError, UsageError
from neurodeploy.ir.network import sequential
from neurodeploy.ir.nodes import LIF, Conv2d, Flatten, Input, Linear, MembraneReadout, Node, SpikeCountReadout
from neurodeploy.ir.xylo import XyloNetwork
from neurodeploy.quantize_xylo import quantize_xylo, troubles
from neurodeploy.simulate import xylo_engine
from neurodeploy.simulate.xylo_health import health


def test_a_network_that_is_silent_in_floating_point_is_refused_with_that_cause() -> None:
    rng = np.random.default_rng(8)
    net = cuba(rng, 2.0)
    quiet = replace(
        net, projections=(replace(net.projections[0], weight=net.projections[0].weight * 1e-3), net.projections[1])
    )
    with pytest.raises(DesignRuleError) as caught:
        quantize_xylo(quiet, A2, events(rng, 6))
    assert "layer a: silent on the calibration data, and in the float network already; retrain" in str(caught.value)
    assert "layer output: silent" in str(caught.value)
    assert caught.value.exit_code == 3
    made = quantize_xylo(quiet, A2, events(rng, 6), allow_dead=True)
    assert xylo_engine.run(made, events(rng, 6)).spikes.mean() < 0.001


def test_a_network_that_would_be_saturated_is_refused_with_that_cause() -> None:
    rng = np.random.default_rng(9)
    net = cuba(rng, 2.0)
    loud = replace(net, projections=(replace(net.projections[0], weight=np.full((6, 12), 40.0)), net.projections[1]))
    with pytest.raises(DesignRuleError, match="layer a: saturated on the calibration data"):
        quantize_xylo(loud, A2, events(rng, 6))


def alive() -> tuple[XyloNetwork, np.ndarray]:
    rng = np.random.default_rng(5)
    inputs = events(rng, 6)
    return quantize_xylo(cuba(rng, 2.0), A2, inputs), inputs


def test_troubles_of_a_network_of_integers_are_named() -> None:
    made, inputs = alive()
    assert troubles(made, xylo_engine.run(made, inputs)) == []
    dead = replace(made, dash_syn=np.zeros_like(made.dash_syn))
    found = troubles(dead, xylo_engine.run(dead, inputs))
    assert len(found) == 2
    assert (
        "layer a: silent on the calibration data (0.00% of neuron-steps fire): 12 of 12 neurons have synapses with"
        in found[0]
    )
    assert "layer output: silent" in found[1]
    assert found[1].endswith("a layer before it is silent")
    deaf = replace(dead, bias=np.full_like(made.bias, int(made.threshold.min())))
    (text,) = troubles(deaf, xylo_engine.run(deaf, inputs))
    assert "layer a: deaf to what arrives: 12 of 12 neurons" in text
    high = replace(made, threshold=np.full_like(made.threshold, 32767))
    assert "of the threshold (median over neurons)" in troubles(high, xylo_engine.run(high, inputs))[0]
    low = replace(made, threshold=np.ones_like(made.threshold))
    assert "as often as the chip allows; its threshold is low" in troubles(low, xylo_engine.run(low, inputs))[0]
    shifted = replace(made, weight_shift_in=7, weights_in=np.where(made.weights_in, 127, 0))
    text = troubles(shifted, xylo_engine.run(shifted, inputs))[0]
    assert "16-bit limit" in text or "as often as the chip allows" in text


def test_the_health_of_a_layer_by_value() -> None:
    made, inputs = alive()
    got = xylo_engine.run(made, inputs)
    first, last = health(made, got)
    assert (first.layer, first.neurons, last.layer, last.neurons) == ("a", 12, "output", 4)
    assert first.rate == pytest.approx((got.spikes > 0).mean())
    assert first.silent_neurons == int((got.spikes.sum(axis=(0, 1)) == 0).sum())
    assert first.at_most == pytest.approx((got.spikes == 31).mean())
    assert got.saturated is not None
    assert first.at_limit == pytest.approx(got.saturated[:12].sum() / (got.spikes.shape[0] * SAMPLES * 12))
    assert first.reach == pytest.approx(np.median((got.potentials / made.threshold).max(axis=(0, 1))))
    assert (first.never_conducts, first.fires, first.driven, first.trouble) == (0, True, True, None)


def test_every_limit_is_named_before_anything_is_quantised() -> None:
    rng = np.random.default_rng(0)
    neuron = LIF(0.5, 1.0, "zero")
    nodes: list[tuple[str, Node]] = [("in", Input((20,), 1.0, 5)), ("fc1", Linear(np.ones((70, 20)), np.zeros(70)))]
    nodes += [("a", neuron), ("fc2", Linear(np.ones((65, 70)), np.zeros(65))), ("b", neuron)]
    nodes += [("last", Linear(np.ones((9, 65)), np.zeros(9))), ("out", neuron), ("readout", SpikeCountReadout())]
    with pytest.raises(DesignRuleError) as caught:
        quantize_xylo(sequential(nodes, 5), A2, rng.integers(0, 2, (5, 4, 20)))
    text = str(caught.value)
    for part in (
        "layer input: 20 channels",
        "layer output: 9 neurons",
        "layer a: 70 neurons reach up to 65",
        "layer a: reset 'zero'",
        "layer b: reset 'zero'",
        "layer out: reset 'zero'",
        "values of 5 bits",
    ):
        assert part in text
    assert len(caught.value.violations) == 7


def test_images_far_too_large_are_refused_without_being_written_out() -> None:
    nodes: list[tuple[str, Node]] = [
        ("in", Input((3, 64, 64), 1.0, 1)),
        ("c", Conv2d(np.ones((8, 3, 3, 3)), np.zeros(8))),
    ]
    nodes += [
        ("a", LIF(0.5, 1.0, "subtract")),
        ("f", Flatten()),
        ("last", Linear(np.ones((10, 8 * 62 * 62)), np.zeros(10))),
    ]
    with pytest.raises(DesignRuleError, match="12288 channels, xylo-a2 has 16") as caught:
        quantize_xylo(
            sequential([*nodes, ("readout", MembraneReadout())], 2), A2, np.zeros((2, 1, 3, 64, 64), dtype=int)
        )
    assert "30752 hidden neurons" in str(caught.value)


def test_small_images_are_flattened_and_convolutions_written_out() -> None:
    rng = np.random.default_rng(11)
    nodes: list[tuple[str, Node]] = [
        ("in", Input((1, 4, 4), 1.0, 2)),
        ("c", Conv2d(rng.normal(0.02, 0.1, (2, 1, 3, 3)), np.zeros(2))),
        ("a", LIF(0.75, 1.0, "subtract")),
        ("f", Flatten()),
        ("last", Linear(rng.normal(0, 1, (3, 8)), np.zeros(3))),
        ("readout", MembraneReadout(1.0)),
    ]
    net = sequential(nodes, STEPS)
    inputs = rng.integers(0, 3, (STEPS, SAMPLES, 1, 4, 4))
    made = quantize_xylo(net, A3, inputs)
    assert made.input.shape == (16,)
    assert likeness(net, made, inputs.reshape(STEPS, SAMPLES, 16)) > 0.97


def test_calibration_data_that_do_not_suit_are_refused() -> None:
    net = network(np.random.default_rng(0), LIF(0.5, 1.0, "subtract"))
    with pytest.raises(UsageError, match="input of shape"):
        quantize_xylo(net, A2, np.zeros((STEPS, 3, 5), dtype=int))
    with pytest.raises(UsageError, match="7 steps, the network 20"):
        quantize_xylo(net, A2, np.zeros((7, 3, 6), dtype=int))
