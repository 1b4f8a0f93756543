"""Fixed-point neurons against a scalar re-implementation of lava-nc's LIF, one neuron and one step at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurodeploy.ir.arrays import frozen_ints
from neurodeploy.ir.nodes import Input
from neurodeploy.ir.program import FixedPointNeurons, Layer, Program
from neurodeploy.ir.synapses import ConvSynapses, DenseSynapses, Synapses
from neurodeploy.simulate import engine, reference

Run = Callable[[Program, np.ndarray[Any, Any]], Any]
RUNS = pytest.mark.parametrize("run", [reference.run, engine.run], ids=["reference", "engine"])
TOP = 2**23 - 1


def lava_step(
    state: tuple[int, int], summed: int, decays: tuple[int, int], threshold: int, bias: int
) -> tuple[tuple[int, int], bool]:
    """lava-nc 0.10.0's PyLifModelBitAcc in Python integers: ((current, voltage), spike); decays are du + 1 and dv."""
    u, v = (
        (-1 if value < 0 else 1) * (abs(value) * (4096 - decay) >> 12)
        for value, decay in zip(state, decays, strict=True)
    )
    u += summed * 64
    if u > 8388608:
        u -= 16777216
    elif u <= -8388608:
        u += 16777216
    v = max(-8388607, min(8388607, v + u + bias))
    return ((u, 0), True) if v > threshold << 6 else ((u, v), False)


def scalar_sum(synapses: DenseSynapses, neuron: int, past: list[Any]) -> int:
    """Lava's DelayDense for one neuron: the sum of each delay is shifted; past[d] is the row of d steps ago."""
    by_delay: dict[int, int] = {}
    for i, weight in enumerate(synapses.weight[neuron]):
        extra = 0 if synapses.delays is None else int(synapses.delays[neuron, i])
        row = past[synapses.delay + extra]
        by_delay[extra] = by_delay.get(extra, 0) + int(weight) * (int(row[i]) if row is not None else 0)
    exponent = synapses.weight_exponent
    return sum(part << exponent if exponent >= 0 else part >> -exponent for part in by_delay.values())


def scalar_run(program: Program, inputs: np.ndarray[Any, Any]) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """(spikes, voltages), layer -> [T][B][n], for dense layers; every sum and every neuron on its own."""
    spikes: dict[str, list[Any]] = {layer.name: [] for layer in program.layers}
    voltages: dict[str, list[Any]] = {layer.name: [] for layer in program.layers}
    batch = inputs.shape[1]
    state = {layer.name: [[(0, 0)] * layer.shape[0] for _ in range(batch)] for layer in program.layers}
    history: dict[str, list[Any]] = {"input": []} | {layer.name: [] for layer in program.layers}
    for step in range(program.steps):
        history["input"].append(inputs[step].tolist())
        for layer in program.layers:
            neurons = layer.neurons
            assert isinstance(neurons, FixedPointNeurons)
            current_decay, decay, threshold, mantissa = (
                np.broadcast_to(getattr(neurons, name), layer.shape).tolist()
                for name in ("current_decay", "voltage_decay", "threshold", "bias_mantissa")
            )
            fired = [[0] * layer.shape[0] for _ in range(batch)]
            for b in range(batch):
                for n in range(layer.shape[0]):
                    total = 0
                    for s in layer.synapses:
                        assert isinstance(s, DenseSynapses)
                        seen = history[s.source]
                        rows = [seen[step - d][b] if step - d in range(len(seen)) else None for d in range(140)]
                        total += scalar_sum(s, n, rows)
                    state[layer.name][b][n], fire = lava_step(
                        state[layer.name][b][n],
                        total,
                        (current_decay[n], decay[n]),
                        threshold[n] if layer.fires else 10**9,
                        mantissa[n] * 2**neurons.bias_exponent,
                    )
                    fired[b][n] = int(fire)
            history[layer.name].append(fired)
            spikes[layer.name].append(fired)
            voltages[layer.name].append([[v for _, v in row] for row in state[layer.name]])
    return spikes, voltages


def random_program(rng: np.random.Generator, size: int, membrane: bool) -> Program:
    """Three dense layers, the second recurrent; `size` sets how large the sums are against the 24 bits.

    In half of the layers the current decays, half of the connections have delays or a weight exponent.
    """

    def neurons(count: int) -> FixedPointNeurons:
        per_neuron = rng.random() < 0.5
        decays = [0, 1, 400, 2048, 4095, 4096]
        return FixedPointNeurons(
            rng.choice(decays, (count,) if per_neuron else ()),
            rng.integers(0, min(size, 100000), (count,) if per_neuron else ()),
            rng.integers(-4095, 4096, count),
            int(rng.integers(0, 8)) if size > 1000 else 0,
            rng.choice(decays if rng.random() < 0.5 else [4096], (count,) if per_neuron else ()),
        )

    def dense(source: str, out: int, inputs: int, weight: int, delay: int = 0) -> DenseSynapses:
        exponent = int(rng.integers(-8, 8)) if rng.random() < 0.5 else 0
        scaled = max(1, weight >> exponent) if exponent > 0 else min(weight << -exponent, 2**31)
        values = frozen_ints(rng.integers(-scaled, scaled + 1, (out, inputs)))
        delays = frozen_ints(rng.choice([0, 1, 2, 6, 62], (out, inputs))) if rng.random() < 0.5 else None
        delay = int(rng.choice([delay, delay, 1, 3, 62]))
        return DenseSynapses("w", source, values, delay=delay, delays=delays, weight_exponent=exponent)

    back = () if membrane else (dense("c", 4, 2, size, 1),)
    layers = (
        Layer("a", (5,), (dense("input", 5, 3, -(-size // 255)),), neurons(5), 1.0),
        Layer("b", (4,), (dense("a", 4, 5, size), dense("b", 4, 4, size, 1), *back), neurons(4), 1.0),
        Layer("c", (2,), (dense("b", 2, 4, size), dense("a", 2, 5, size)), neurons(2), 1.0, fires=not membrane),
    )
    return Program("loihi2", 7, Input((3,), 1 / 255, 8), layers, "membrane" if membrane else "spike_count")


@RUNS
@given(seed=st.integers(0, 2**32 - 1), size=st.sampled_from([60, 5000, 60000, 131072, 300000]), membrane=st.booleans())
def test_every_spike_and_voltage_is_the_scalar_models(run: Run, seed: int, size: int, membrane: bool) -> None:
    rng = np.random.default_rng(seed)
    program = random_program(rng, size, membrane)
    inputs = rng.integers(0, 256, (7, 2, 3))
    spikes, voltages = scalar_run(program, inputs)
    recording = run(program, inputs)
    for layer in program.layers:
        assert recording.potentials[layer.name].tolist() == voltages[layer.name], layer.name
        if layer.fires:
            assert recording.spikes[layer.name].tolist() == spikes[layer.name], layer.name
    assert set(recording.spikes) == ({"a", "b"} if membrane else {"a", "b", "c"})
    last = np.array(voltages["c"] if membrane else spikes["c"])
    np.testing.assert_array_equal(recording.readout, last.sum(axis=0))


def test_the_random_programs_wrap_saturate_decay_and_fire() -> None:
    """The corners are met: else the test above could pass without them."""
    wrapped = saturated = negative = 0
    rates = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        program = random_program(rng, 300000, membrane=False)
        spikes, voltages = scalar_run(program, rng.integers(0, 256, (7, 2, 3)))
        every = np.concatenate([np.ravel(values) for values in voltages.values()])
        saturated += int((abs(every) == TOP).sum())
        negative += int(((every < 0) & (every > -TOP) & (every % 4096 != 0)).sum())
        sums = np.abs(program.layers[1].synapses[0].weight @ np.array(spikes["a"])[..., None])
        wrapped += int((sums > 131072).sum())
        rates += [float(np.mean(values)) for values in spikes.values()]
    assert min(wrapped, saturated, negative) > 100
    assert 0.05 < np.mean(rates) < 0.95


def one_neuron(synapses: Synapses, shape: tuple[int, ...], steps: int = 1, **neurons: Any) -> Program:
    values = {"voltage_decay": 0, "threshold": 131071, "bias_mantissa": 0, "bias_exponent": 0} | neurons
    fixed = FixedPointNeurons(**{k: v if k == "bias_exponent" else np.array(v) for k, v in values.items()})
    layer = Layer("a", shape, (synapses,), fixed, 1.0)
    return Program("loihi2", steps, Input((1,) * len(shape), bits=8), (layer,), "spike_count")


def dense_voltage(run: Run, weight: int, **neurons: Any) -> tuple[int, int]:
    program = one_neuron(DenseSynapses("w", "input", frozen_ints([[weight]])), (1,), **neurons)
    recording = run(program, np.ones((1, 1), dtype=int))
    return int(recording.potentials["a"][0, 0, 0]), int(recording.spikes["a"][0, 0, 0])


@RUNS
@pytest.mark.parametrize(
    ("weight", "voltage"),
    [
        (131071, 2**23 - 64),  # the largest current that fits, at the largest threshold: not above it
        (-131071, -(2**23) + 64),
        (131073, -(2**23) + 64),  # one past the register: wraps
        (-131073, 2**23 - 64),
        (131072 * 2, 0),  # 2^24 wraps to 0
        (131072 * 3 + 1, TOP),  # wraps only once, then saturates
        (-131072 * 3 - 1, -TOP),
    ],
)
def test_the_current_wraps_once_and_the_voltage_saturates(run: Run, weight: int, voltage: int) -> None:
    got, fired = dense_voltage(run, weight)
    if voltage == TOP:  # above even the largest threshold
        assert (got, fired) == (0, 1)
    else:
        assert (got, fired) == (voltage, 0)


@RUNS
def test_exactly_2_to_the_23_stays_and_its_negative_wraps(run: Run) -> None:
    assert dense_voltage(run, 131072) == (0, 1)  # 2^23 is clipped to 2^23 - 1, above 131071 << 6
    assert dense_voltage(run, -131072) == (0, 1)  # -2^23 becomes +2^23
    assert dense_voltage(run, -131072, bias_mantissa=-4095) == (2**23 - 4095, 0)


@RUNS
def test_the_comparison_is_strict(run: Run) -> None:
    assert dense_voltage(run, 5, threshold=5) == (320, 0)
    assert dense_voltage(run, 5, threshold=5, bias_mantissa=1) == (0, 1)
    assert dense_voltage(run, 0, threshold=0) == (0, 0)
    assert dense_voltage(run, 6, threshold=5) == (0, 1)


@RUNS
@pytest.mark.parametrize(
    ("mantissa", "exponent", "bias"), [(4095, 7, 524160), (-4095, 7, -524160), (3, 0, 3), (-3, 2, -12)]
)
def test_the_bias_is_added_at_every_step(run: Run, mantissa: int, exponent: int, bias: int) -> None:
    program = one_neuron(DenseSynapses("w", "input", frozen_ints([[0]])), (1,), 3)
    neurons = FixedPointNeurons(np.array(0), np.array(131071), np.array([mantissa]), exponent)
    layer = Layer("a", (1,), program.layers[0].synapses, neurons, 1.0)
    recording = run(Program("loihi2", 3, program.input, (layer,), "spike_count"), np.zeros((1, 1), dtype=int))
    assert recording.potentials["a"].ravel().tolist() == [bias, 2 * bias, 3 * bias]


@RUNS
@pytest.mark.parametrize(
    ("decay", "weight", "voltages"),
    [
        (2048, -1, [-64, -32, -16, -8, -4, -2, -1, 0, 0]),  # -0.5 goes to 0, not to -1
        (2048, 1, [64, 32, 16, 8, 4, 2, 1, 0, 0]),
        (1, -1, [-64, -63, -62, -61, -60, -59, -58, -57, -56]),
        (0, -1, [-64] * 9),
        (4096, -1, [-64] + [0] * 8),
        (4095, 127, [8128, 1, 0, 0, 0, 0, 0, 0, 0]),
    ],
)
def test_the_voltage_decays_toward_zero(run: Run, decay: int, weight: int, voltages: list[int]) -> None:
    program = one_neuron(DenseSynapses("w", "input", frozen_ints([[weight]])), (1,), 9, voltage_decay=decay)
    recording = run(program, np.array([1] + [0] * 8).reshape(9, 1, 1))
    assert recording.potentials["a"].ravel().tolist() == voltages


@RUNS
@pytest.mark.parametrize(
    ("weight", "spike", "voltage"),
    [
        (2**23 - 1, 1, 0),  # fits the sum's register and saturates the voltage from above
        (2**23, 0, -TOP),  # one past it: -2^23, saturates from below
        (-(2**23), 0, -TOP),
        (-(2**23) - 1, 1, 0),
        (2**24 + 5, 0, 320),
        (-(2**24) - 7, 0, -448),
    ],
)
def test_the_sums_of_a_convolution_wrap_at_24_bits(run: Run, weight: int, spike: int, voltage: int) -> None:
    program = one_neuron(ConvSynapses("w", "input", frozen_ints([[[[weight]]]])), (1, 1, 1))
    recording = run(program, np.ones((1, 1, 1, 1), dtype=int))
    assert recording.spikes["a"].ravel().tolist() == [spike]
    assert recording.potentials["a"].ravel().tolist() == [voltage]
    dense = dense_voltage(run, weight)
    assert dense == ((0, 1) if weight > 0 else (-TOP, 0))  # a dense connection's sums do not wrap
