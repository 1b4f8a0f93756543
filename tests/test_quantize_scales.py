"""Quantisation at scales that are given: the codes are those that the search stores at its scales."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from neurodeploy.errors import DesignRuleError, UsageError
from neurodeploy.hw_models import chip
from neurodeploy.ir.network import Network, sequential
from neurodeploy.ir.nodes import LIF, Input, Linear, MembraneReadout, SpikeCountReadout
from neurodeploy.ir.program import FixedPointNeurons, FloatNeurons, Program
from neurodeploy.quantize import quantize, threshold_scale

LOIHI, MIXED = chip("loihi2"), chip("mixed-signal")


def same(one: Program, other: Program) -> bool:
    for a, b in zip(one.layers, other.layers, strict=True):
        arrays = [(x.weight, y.weight) for x, y in zip(a.synapses, b.synapses, strict=True)]
        arrays += [(getattr(a.neurons, name), getattr(b.neurons, name)) for name in ("threshold", "bias")]
        kept = [getattr(part.neurons, "voltage_decay", getattr(part.neurons, "decay", None)) for part in (a, b)]
        if a.scale != b.scale or a.name != b.name or not all(np.array_equal(x, y) for x, y in [*arrays, kept]):
            return False
    return one.chip == other.chip and one.readout == other.readout


@pytest.mark.parametrize("model", [LOIHI, MIXED], ids=["loihi2", "mixed-signal"])
@pytest.mark.parametrize("kind", ["dense", "conv", "residual", "recurrent", "lateral"])
def test_the_searchs_scales_give_the_searchs_program(
    kind: str,
    model: Any,
    random_network: Callable[..., Network],
    random_inputs: Callable[..., Any],
) -> None:
    rng = np.random.default_rng(7)
    network = random_network(rng, kind)
    found = quantize(network, model, random_inputs(rng, network, batch=4))
    scales = {layer.name: layer.scale for layer in found.layers}
    assert same(found, quantize(network, model, scales=scales))
    coarser = {name: 2 * scale for name, scale in scales.items()}
    other = quantize(network, model, scales=coarser)
    assert {layer.name: layer.scale for layer in other.layers} == coarser
    assert not same(found, other)


def network(weight: float = 1.0, bias: float = 0.1, steps: int = 3, last: float = 0.0, **neuron: Any) -> Network:
    nodes = [
        ("in", Input((2,), 0.25, 2)),
        ("fc", Linear(np.array([[weight, -0.33], [0.123, 0.5]]), np.array([bias, -0.05]))),
        ("a", LIF(0.6, 0.7, **neuron)),
        ("last", Linear(np.array([[1.0, 2.0]]), np.array([last]))),
        ("out", MembraneReadout(1.0)),
    ]
    return sequential(nodes, steps)


def test_codes_by_hand() -> None:
    scales = {"a": threshold_scale(LIF(0.6, 0.7), 35), "out": 0.02}
    assert scales["a"] == pytest.approx(0.02)
    first, last = quantize(network(), LOIHI, scales=scales).layers
    # 0.25 / 0.02 codes per unit of weight: 12.5, -4.125, 1.5375, 6.25
    assert first.synapses[0].weight.tolist() == [[12, -4], [2, 6]]
    assert isinstance(first.neurons, FixedPointNeurons)
    assert int(first.neurons.threshold) == 35
    assert first.neurons.bias.tolist() == [5 * 64, -2 * 64]  # 5, -2.5 to even
    assert int(first.neurons.voltage_decay) == 4096 - 2458
    assert last.synapses[0].weight.tolist() == [[50, 100]]
    clipped, _ = quantize(network(weight=20.0), LOIHI, scales=scales).layers
    assert int(clipped.synapses[0].weight[0, 0]) == 127
    first, _ = quantize(network(), MIXED, scales={"a": 2.0**-6, "out": 0.5}).layers
    assert first.synapses[0].weight.tolist() == [[16, -5], [2, 8]]
    assert isinstance(first.neurons, FloatNeurons)
    assert first.neurons.bias.tolist() == [0.1, -0.05]


def test_a_threshold_is_exact_at_its_own_scale_and_rounded_elsewhere() -> None:
    for neuron in (LIF(0.6, 0.7), LIF(0.6, 0.7, fires_at_threshold=True)):
        scale = threshold_scale(neuron, 35)
        extra = 1 if neuron.fires_at_threshold else 0
        assert scale * (64 * 35 + extra) / 64 == pytest.approx(0.7, rel=1e-15)
        made = quantize(network(fires_at_threshold=neuron.fires_at_threshold), LOIHI, scales={"a": scale, "out": 0.02})
        assert int(made.layers[0].neurons.threshold) == 35
    made = quantize(network(), LOIHI, scales={"a": 0.0203, "out": 0.02})
    assert int(made.layers[0].neurons.threshold) == 34  # 34.48


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf"), None])
def test_scales_that_are_none_are_refused(scale: float | None) -> None:
    scales = {"a": 0.02} | ({} if scale is None else {"out": scale})
    for model in (LOIHI, MIXED):
        with pytest.raises(UsageError, match=f"scale of layer out: {scale}; a finite and positive number"):
            quantize(network(), model, scales=scales)


def test_all_that_a_scale_breaks_is_named_at_once() -> None:
    largest = LOIHI.threshold_max
    assert largest is not None
    scales = {"a": threshold_scale(LIF(0.6, 0.7), largest + 1), "out": 0.001}
    with pytest.raises(DesignRuleError) as caught:
        quantize(network(steps=40, last=4.0), LOIHI, scales=scales)
    assert len(caught.value.violations) == 3
    assert caught.value.violations[0].startswith("layer a: bias of ")
    assert caught.value.violations[1] == f"layer a: threshold {largest + 1} at this scale, 1 to {largest}"
    assert caught.value.violations[2].startswith("layer out: at this scale it could reach the largest threshold")
    with pytest.raises(DesignRuleError, match="layer a: threshold 0 at this scale"):
        quantize(network(), LOIHI, scales={"a": 1.5, "out": 0.02})
    small = network(bias=0.0)
    small = replace(small, nodes={**small.nodes, "fc": Linear(np.ones((2, 2)) * 1e-4, np.zeros(2))})
    scales = {"a": threshold_scale(LIF(0.6, 0.7), largest), "out": 0.02}
    assert int(quantize(small, LOIHI, scales=scales).layers[0].neurons.threshold) == largest


@pytest.mark.parametrize("bias", [2698.33, 1234.5, 777.7, 4321.0, 333.3])
def test_the_scale_that_was_chosen_for_a_bias_is_taken_again(bias: float) -> None:
    """The register is full at it, up to the rounding of doubles."""
    nodes = [("in", Input((3,))), ("fc", Linear(np.full((2, 3), 0.1), np.array([bias, 0.0])))]
    exact = sequential([*nodes, ("out", MembraneReadout(0.5))], 4)
    (chosen,) = quantize(exact, LOIHI).layers
    (again,) = quantize(exact, LOIHI, scales={"out": chosen.scale}).layers
    assert np.array_equal(again.neurons.bias, chosen.neurons.bias)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_bias_at_a_given_scale_may_be_rounded_into_its_register_not_cut_off(sign: int) -> None:
    """4095 whole units at a scale of 1."""

    def stored(bias: float) -> list[int]:
        nodes = [("in", Input((1,))), ("fc", Linear(np.ones((1, 1)), np.array([sign * bias]))), ("a", LIF(0.5, 9.0))]
        made = quantize(sequential([*nodes, ("out", SpikeCountReadout())], 2), LOIHI, scales={"a": 1.0})
        return list(made.layers[0].neurons.bias.tolist())

    assert stored(4095.0) == stored(4095.49) == [sign * 4095 * 64]
    with pytest.raises(DesignRuleError, match="layer a: bias of 262113 at this scale, at most 262080"):
        stored(4095.51)
