"""Program: what a chip's numbers must be, at the limits and one past them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from neurodeploy.errors import UsageError
from neurodeploy.ir.arrays import frozen_ints
from neurodeploy.ir.nodes import Input
from neurodeploy.ir.program import FixedPointNeurons, FloatNeurons, Layer, Program
from neurodeploy.ir.synapses import DenseSynapses


def fixed(**changes: Any) -> FixedPointNeurons:
    values = {
        "voltage_decay": np.array(0),
        "threshold": np.array(1),
        "bias_mantissa": np.zeros(3, int),
        "bias_exponent": 0,
    }
    return FixedPointNeurons(**(values | changes))


def floating(**changes: Any) -> FloatNeurons:
    values = {"decay": np.array(0.5), "threshold": np.array(1.0), "bias": np.zeros(3)}
    return FloatNeurons(**(values | changes))


def synapses(source: str = "input", delay: int = 0, inputs: int = 4, outputs: int = 3) -> DenseSynapses:
    return DenseSynapses("fc", source, frozen_ints(np.ones((outputs, inputs), int)), delay=delay)


def layer(name: str = "a", **changes: Any) -> Layer:
    values = {"shape": (3,), "synapses": (synapses(),), "neurons": fixed(), "scale": 1.0}
    return Layer(name, **(values | changes))


def program(*layers: Layer, **changes: Any) -> Program:
    values = {"chip": "loihi2", "steps": 2, "input": Input((4,)), "layers": layers, "readout": "spike_count"}
    return Program(**(values | changes))


def test_fixed_point_registers_hold_their_limits_and_no_more() -> None:
    assert fixed(voltage_decay=np.array([0, 4096, 1])).voltage_decay.max() == 4096
    for decay in (-1, 4097):
        with pytest.raises(UsageError, match=r"voltage decay outside \[0, 4096\]"):
            fixed(voltage_decay=np.array(decay))
    assert fixed(threshold=np.array(0)).threshold == 0
    with pytest.raises(UsageError, match="threshold -1: must not be negative"):
        fixed(threshold=np.array([1, -1, 1]))
    for exponent in (-1, 8):
        with pytest.raises(UsageError, match=f"bias exponent {exponent}: allowed are 0 to 7"):
            fixed(bias_exponent=exponent)


def test_the_current_forgets_everything_unless_it_is_told_otherwise() -> None:
    assert (fixed().current_decay.shape, int(fixed().current_decay)) == ((), 4096)
    assert (floating().current_decay.shape, float(floating().current_decay)) == ((), 0.0)
    assert fixed(current_decay=np.array([0, 4096, 7])).current_decay.tolist() == [0, 4096, 7]
    assert floating(current_decay=np.array([0.0, 1.0, 0.5])).current_decay.tolist() == [0, 1, 0.5]
    for decay in (-1, 4097):
        with pytest.raises(UsageError, match=r"current decay outside \[0, 4096\]"):
            fixed(current_decay=np.array([5, decay, 5]))
    for part in (-1e-9, np.nextafter(1, 2)):
        with pytest.raises(UsageError, match=r"current decay outside \[0, 1\]"):
            floating(current_decay=np.array(part))
    with pytest.raises(UsageError, match="current_decay is not a number"):
        floating(current_decay=np.array(np.nan))
    with pytest.raises(TypeError, match="integers expected"):
        fixed(current_decay=np.array(4096.0))


def test_the_bias_is_mantissa_times_a_power_of_two() -> None:
    neurons = fixed(bias_mantissa=np.array([4095, -4095, 0]), bias_exponent=7)
    assert neurons.bias.tolist() == [524160, -524160, 0]
    assert fixed(bias_mantissa=np.array([5, -5, 0]), bias_exponent=0).bias.tolist() == [5, -5, 0]


def test_fixed_point_numbers_are_integers() -> None:
    with pytest.raises(TypeError, match="integers expected"):
        fixed(threshold=np.array(1.0))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"decay": np.array([0.5, -1e-9, 1])}, "decay outside"),
        ({"decay": np.array(np.nextafter(1, 2))}, "decay outside"),
        ({"decay": np.array(np.nan)}, "decay is not a number"),
        ({"threshold": np.array(-1e-9)}, "must not be negative"),
        ({"bias": np.array([0, np.nan, 0])}, "bias is not a number"),
        ({"reset": "hard"}, "allowed are zero, subtract"),
    ],
)
def test_impossible_float_neurons_are_refused(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        floating(**changes)


def test_float_limits_are_allowed() -> None:
    neurons = floating(decay=np.array([0.0, 1.0, 0.5]), threshold=np.array([0.0, np.inf, 1.0]))
    assert neurons.decay.tolist() == [0, 1, 0.5]


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"name": "input"}, "the name 'input' is taken"),
        ({"synapses": ()}, "at least one synapse"),
        ({"scale": 0.0}, "scale 0.0 must be finite and positive"),
        ({"scale": np.inf}, "scale inf must be"),
        ({"neurons": fixed(threshold=np.array([1, 2]))}, r"layer a: threshold of shape \(2,\)"),
        ({"neurons": floating(bias=np.zeros(4))}, r"layer a: bias of shape \(4,\) for neurons of shape \(3,\)"),
        ({"neurons": fixed(current_decay=np.array([1, 2]))}, r"layer a: current_decay of shape \(2,\)"),
        ({"neurons": floating(current_decay=np.zeros(4))}, r"layer a: current_decay of shape \(4,\)"),
    ],
)
def test_an_impossible_layer_is_refused_by_name(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        layer(**({"name": "a"} | changes))


def test_weights_of_a_program_are_integers() -> None:
    weight = np.ones((3, 4))
    weight.setflags(write=False)
    with pytest.raises(TypeError, match="integers expected"):
        layer(synapses=(DenseSynapses("fc", "input", weight),))


def test_a_program_knows_the_shape_of_every_source() -> None:
    made = program(layer("a"), layer("b", synapses=(synapses("a", inputs=3),)))
    assert dict(made.shapes) == {"input": (4,), "a": (3,), "b": (3,)}
    assert made.fixed_point
    assert not program(layer(neurons=floating())).fixed_point


@pytest.mark.parametrize(
    ("layers", "match"),
    [
        ((), "at least one layer"),
        ((layer("a"), layer("a")), "names must differ"),
        ((layer("a", synapses=(synapses("nobody"),)),), "layer a: synapses fc come from an unknown 'nobody'"),
        (
            (layer("a", synapses=(synapses("b", inputs=3),)), layer("b")),
            "layer a: b must come before it, or be delayed",
        ),
        ((layer("a", synapses=(synapses("a", inputs=3),)),), "layer a: a must come before it"),
        ((layer("a", synapses=(synapses(inputs=5),)),), "fc: 4 values arrive where 5 are expected"),
        ((layer("a", synapses=(synapses(outputs=2),)),), r"layer a: synapses fc bring \(2,\), the layer is \(3,\)"),
        ((layer("a"), layer("b", neurons=floating())), "same kind of neurons"),
        ((layer("a", fires=False),), "only the last layer of a membrane readout does not fire"),
        ((layer("a", fires=False), layer("b")), "only the last layer of a membrane readout"),
    ],
)
def test_an_impossible_program_is_refused(layers: tuple[Layer, ...], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        program(*layers)


def test_a_weight_exponent_needs_fixed_point_neurons() -> None:
    shifted = replace(synapses(), weight_exponent=-3)
    assert program(layer(synapses=(shifted,))).layers[0].synapses[0].weight_exponent == -3
    with pytest.raises(
        UsageError, match="layer a: synapses fc have weight exponent -3; floating-point neurons have a scale"
    ):
        program(layer(synapses=(shifted,), neurons=floating()), chip="ideal")


def test_own_delays_do_not_make_feedback_late_enough() -> None:
    """The order of layers follows `delay` alone; delays of single synapses come on top."""
    own = replace(synapses("a", 0, 3), delays=np.full((3, 3), 2))
    with pytest.raises(UsageError, match="layer a: a must come before it, or be delayed"):
        program(layer(synapses=(synapses(), own)))
    assert len(program(layer(synapses=(synapses(), replace(own, delay=62)))).layers) == 1


def test_a_membrane_readout_does_not_fire() -> None:
    assert program(layer("a", fires=False), readout="membrane").readout == "membrane"
    with pytest.raises(UsageError, match="only the last layer of a membrane readout does not fire"):
        program(layer("a"), readout="membrane")


def test_a_readout_that_does_not_fire_feeds_nothing() -> None:
    last = layer("out", fires=False, synapses=(synapses("a", inputs=3),))
    with pytest.raises(UsageError, match="layer a: a readout that does not fire feeds nothing"):
        program(layer("a", synapses=(synapses(), synapses("out", 1, 3))), last, readout="membrane")


def test_delayed_synapses_may_come_from_the_layer_itself_and_from_later_ones() -> None:
    first = layer("a", synapses=(synapses(), synapses("a", 1, 3), synapses("b", 1, 3)))
    assert len(program(first, layer("b")).layers) == 2


def test_no_steps_are_refused() -> None:
    with pytest.raises(UsageError, match="steps 0"):
        replace(program(layer()), steps=0)


def test_an_unknown_readout_is_refused() -> None:
    with pytest.raises(UsageError, match="readout 'potential': allowed are membrane and spike_count"):
        program(layer(), readout="potential")
