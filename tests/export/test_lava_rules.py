"""What Lava cannot hold is refused, at the limits and one past them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from lava_programs import SMALL, chain, dense, neurons, with_neurons
from numpy.typing import NDArray

from neurodeploy.errors import DesignRuleError, UsageError
from neurodeploy.export import lava, lava_rules, target
from neurodeploy.ir.arrays import frozen_floats, frozen_ints
from neurodeploy.ir.nodes import Input
from neurodeploy.ir.program import FloatNeurons, Layer, Program
from neurodeploy.ir.synapses import ConvSynapses, DenseSynapses
from neurodeploy.simulate import reference

Case = Callable[..., tuple[Any, Program, NDArray[Any]]]


def test_target_is_in_the_catalogue() -> None:
    assert target("lava") is lava.TARGET
    assert lava.TARGET.chip == "loihi2"


@pytest.mark.parametrize("kind", ["dense", "conv", "residual", "recurrent"])
@pytest.mark.parametrize("bits", [1, 8])
def test_quantised_networks_are_taken(lively_case: Case, kind: str, bits: int) -> None:
    for seed in range(5):
        _, program, _ = lively_case(np.random.default_rng(seed), kind, "loihi2", bits=bits)
        assert lava.violations(program) == []


def test_float_neurons_are_refused() -> None:
    floats = FloatNeurons(frozen_floats(0.5), frozen_floats(1.0), frozen_floats([0.0]))
    program = replace(SMALL, chip="ideal", layers=(replace(SMALL.layers[0], neurons=floats),))
    assert lava.violations(program) == [
        "made for the chip ideal, whose neurons are not fixed-point: quantise for the chip loihi2"
    ]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"threshold": frozen_ints(131072)}, "threshold 131072: allowed are 0 to 131071"),
        ({"threshold": frozen_ints([131071])}, None),
        ({"voltage_decay": frozen_ints(4096)}, "voltage decay 4096: allowed are 0 to 4095"),
        ({"voltage_decay": frozen_ints(4095)}, None),
        ({"bias_mantissa": frozen_ints([4096])}, "bias mantissa 4096: allowed are -4096 to 4095"),
        ({"bias_mantissa": frozen_ints([-4097])}, "bias mantissa -4097: allowed are -4096 to 4095"),
        ({"bias_mantissa": frozen_ints([-4096])}, None),
        ({"current_decay": frozen_ints(0)}, "current decay 0: allowed are 1 to 4096"),
        ({"current_decay": frozen_ints([1])}, None),
    ],
)
def test_register_widths(changes: dict[str, Any], expected: str | None) -> None:
    found = lava.violations(with_neurons(SMALL, **changes))
    assert found == ([] if expected is None else [f"layer only: {expected}"])


@pytest.mark.parametrize(
    ("weights", "exponent", "allowed"),
    [
        ([127, -128], 0, True),
        ([127, -128], -7, True),
        ([127, -128], -8, False),  # odd with sign needs an exponent one smaller
        ([126, -128], -8, True),
        ([128, -1], 0, False),
        ([1, -129], 0, False),
        ([254, -256], 7, True),  # even with sign
        ([256, -2], 0, False),
        ([2, -258], 0, False),
        ([255, 0], -8, True),  # of one sign
        ([256, 1], 0, False),
        ([-255, 0], 7, True),
        ([-256, -1], 7, False),
        ([-256, 0], 7, True),  # even with sign again
        ([0, 0], -8, True),
    ],
)
def test_dense_weight_width(weights: list[int], exponent: int, allowed: bool) -> None:
    synapses = DenseSynapses("fc", "input", frozen_ints([weights]), weight_exponent=exponent)
    found = lava.violations(chain(synapses, (1,), Input((2,))))
    assert (found == []) == allowed
    assert allowed or found[0].startswith(
        f"layer only: synapses fc: weights {min(weights)} to {max(weights)} with weight"
    )


@pytest.mark.parametrize(
    ("weight", "allowed"),
    [(127, True), (-128, True), (129, False), (-129, False), (254, True), (-256, True), (256, False), (-258, False)],
)
def test_conv_weight_width(weight: int, allowed: bool) -> None:
    synapses = ConvSynapses("conv", "input", frozen_ints([[[[weight]]]]))
    found = lava.violations(chain(synapses, (1, 1, 1), Input((1, 1, 1))))
    held = "8 bits with sign hold -128 to 127, or even numbers from -256 to 254"
    assert found == ([] if allowed else [f"layer only: synapses conv: weights {weight}: {held}"])


def test_all_violations_at_once() -> None:
    program = chain(dense("input", [[301]]), (1,), Input((1,)), threshold=200000, bias=5000)
    assert len(lava.violations(program)) == 3


@pytest.mark.parametrize(("steps", "allowed"), [(1032, True), (1033, False)])
def test_a_readout_must_not_reach_the_firing_threshold(steps: int, allowed: bool) -> None:
    layer = Layer("out", (1,), (dense("input", [[127]]),), neurons((1,), 131071, 0), 1.0, fires=False)
    program = Program("loihi2", steps, Input((1,)), (layer,), "membrane")
    assert (lava.violations(program) == []) == allowed
    spikes_or_voltages = reference.run(program, np.ones((1, 1), dtype=int)).potentials["out"]
    assert (spikes_or_voltages.max() <= 131071 * 64) == allowed  # the bound is tight: this input reaches it


@pytest.mark.parametrize(("count", "allowed"), [(1023, True), (1024, False)])
def test_a_readout_must_not_turn_positive(count: int, allowed: bool) -> None:
    """A current of -128 · 1024 weight units, -2^23 voltage units, becomes +2^23, above the firing threshold."""
    layer = Layer("out", (1,), (dense("input", np.full((1, count), -128)),), neurons((1,), 131071, 0), 1.0, fires=False)
    program = Program("loihi2", 1, Input((count,)), (layer,), "membrane")
    voltages = reference.run(program, np.ones((1, count), dtype=int)).potentials["out"]
    assert (voltages.max() <= 131071 * 64) == allowed
    refused = (
        "layer out: the readout's voltage may reach 8388607, where Lava's neuron fires and resets it (above 8388544): "
        "use smaller weights"
    )
    assert lava.violations(program) == ([] if allowed else [refused])


def test_sums_beyond_32_bits_are_refused() -> None:
    wide = np.full((1, 1100), 127)
    assert lava.violations(chain(dense("input", wide), (1,), Input((1100,), bits=1))) == []
    found = lava.violations(chain(dense("input", wide), (1,), Input((1100,), bits=8)))
    assert found == ["layer only: the current may reach ±2279904000: Lava's 32-bit arithmetic holds ±2147483647"]


def test_a_current_that_remembers_is_bounded_with_what_it_remembers() -> None:
    """Sums of 16 · 255 · 127 << 6 are 2^25 less a little, of which a wrap takes 2^24 and the rest adds up."""
    synapses = dense("input", np.full((1, 16), 127))

    def found(decay: int, steps: int) -> list[str]:
        program = chain(synapses, (1,), Input((16,), bits=8), current_decay=decay)
        return lava.violations(replace(program, steps=steps))

    per_step = 16 * 255 * 127 * 64
    assert [found(4096, 200), found(4095, 200), found(1, 100)] == [[], [], []]
    assert found(1, 1000)[0].startswith("layer only: the current may reach ±")
    bound = per_step
    for _ in range(999):  # the largest current, written again
        bound = (max(bound - 2**24, 2**23) if bound > 2**23 else bound) * 4095 / 4096 + per_step
    program = replace(chain(synapses, (1,), Input((16,), bits=8), current_decay=1), steps=1000)
    assert lava_rules.largest_current(program.layers[0], program) == pytest.approx(bound, rel=1e-12)
    assert bound > 2**31


@pytest.mark.parametrize(("steps", "allowed"), [(45, True), (46, False)])
def test_a_readout_with_a_current_must_not_reach_the_firing_threshold(steps: int, allowed: bool) -> None:
    """Neither forgets much: 127 · T (T + 1) / 2 weight units, less what a current decay of 1 takes."""
    layer = Layer("out", (1,), (dense("input", [[127]]),), neurons((1,), 131071, 0, current_decay=1), 1.0, fires=False)
    program = Program("loihi2", steps, Input((1,)), (layer,), "membrane")
    assert (lava.violations(program) == []) == allowed
    voltages = reference.run(program, np.ones((1, 1), dtype=int)).potentials["out"]
    assert (voltages.max() <= 131071 * 64) == allowed


def test_geometry_beyond_8_bits_is_refused() -> None:
    synapses = ConvSynapses("wide", "input", frozen_ints(np.ones((1, 1, 1, 2), dtype=int)), stride=(1, 64), pool=2)
    found = lava.violations(chain(synapses, (1, 1, 2), Input((1, 2, 160))))
    assert found == ["layer only: synapses wide: stride (2, 128) with its pooling written out: Lava holds up to 127"]


def test_feedback_through_another_layer_is_refused() -> None:
    first = Layer("a", (1,), (dense("input", [[1]]), dense("b", [[1]], 1), dense("a", [[1]], 1)), neurons((1,)), 1.0)
    second = Layer("b", (1,), (dense("a", [[1]]),), neurons((1,)), 1.0)
    program = Program("loihi2", 3, Input((1,)), (first, second), "spike_count")
    (found,) = lava.violations(program)
    assert found.startswith("layer a: feedback from b with a delay of 1: every synapse in Lava takes a step")
    with pytest.raises(DesignRuleError, match="feedback from b"):
        lava.run(program, np.ones((1, 1), dtype=int))
    later = replace(first, synapses=(first.synapses[0], dense("b", [[1]], 2), first.synapses[2]))
    assert lava.violations(replace(program, layers=(later, second))) == []


def test_unsuitable_input_is_refused() -> None:
    with pytest.raises(UsageError, match="allowed are 0 to 1"):
        lava.run(SMALL, np.full((1, 3), 2))
