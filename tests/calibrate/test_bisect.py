"""The bisection on toy devices whose response is known: it finds what trying every code finds, and always ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from neurodeploy.calibrate.trims import Calibration, calibrate_trims
from neurodeploy.hw_models.chip import Trim
from neurodeploy.ir.arrays import IntArray, frozen_ints
from neurodeploy.ir.nodes import Input
from neurodeploy.ir.program import FloatNeurons, Layer, Program
from neurodeploy.ir.synapses import DenseSynapses
from neurodeploy.simulate.engine import Counts, run_chips

NEURONS, SAMPLES, CHIPS = 5, 7, 3
Response = Callable[[NDArray[Any]], NDArray[Any]]
INPUTS = np.random.default_rng(0).integers(0, 16, (SAMPLES, 4))
LABELS = np.zeros(SAMPLES, dtype=np.int64)


def program() -> Program:
    """One layer that fires and a readout of two classes."""
    hidden = DenseSynapses("fc", "input", frozen_ints(np.arange(1, 21).reshape(NEURONS, 4)))
    last = DenseSynapses("last", "a", frozen_ints(np.ones((2, NEURONS), dtype=int)))
    a = Layer("a", (NEURONS,), (hidden,), FloatNeurons(np.array(0.9), np.array(900.0), np.zeros(NEURONS)), 1.0)
    readout = FloatNeurons(np.array(1.0), np.array(np.inf), np.zeros(2))
    return Program(
        "toy", 40, Input((4,), bits=4), (a, Layer("out", (2,), (last,), readout, 1.0, fires=False)), "membrane"
    )


WANTED: IntArray = run_chips([program()], INPUTS).spike_counts["a"][0]


class Toy:
    """Chips whose spike counts are a given function of the codes; decides 0 when trimmed, 1 when not."""

    def __init__(self, trim: Trim, response: Response, *, helps: bool = True) -> None:
        self.trim, self.chips = trim, CHIPS
        self._response, self._helps = response, helps
        self.calls: list[tuple[int, IntArray]] = []

    def run(self, inputs: NDArray[Any], codes: dict[str, IntArray]) -> Counts:
        code = codes["a"]
        self.calls.append((len(inputs), code))
        assert len(self.calls) < 1000, "it does not end"
        assert np.abs(code).max() <= self.trim.highest_code
        readout = np.zeros((CHIPS, len(inputs), 2))
        changed = code.reshape(CHIPS, -1).any(axis=1)
        readout[np.arange(CHIPS), :, np.where(changed & self._helps, 0, 1)] = 1
        return Counts(readout, {"a": self._response(code)})


def calibrate(device: Toy) -> Calibration:
    return calibrate_trims(device, program(), INPUTS, INPUTS[:4], LABELS[:4])


def falling(rng: np.random.Generator, highest: int, shape: tuple[int, ...], middle: NDArray[Any]) -> NDArray[Any]:
    """(codes, *shape): strictly falling spike counts around `middle`, steep and shallow, off to either side."""
    steps = rng.integers(1, 4, (2 * highest + 1, *shape))
    return middle + rng.integers(-40, 40, shape) - np.cumsum(steps, axis=0) + steps.sum(axis=0) // 2


def exhaustive(table: NDArray[Any], wanted: NDArray[Any], highest: int) -> NDArray[Any]:
    """The code nearest to `wanted` of all codes, the one of smaller magnitude of equals."""
    codes = np.arange(-highest, highest + 1)
    best = np.zeros(table.shape[1:], dtype=int)
    for place in np.ndindex(table.shape[1:]):
        target = wanted[place[1:]] if wanted.ndim else wanted
        error = np.abs(table[(slice(None), *place)] - target)
        best[place] = min(codes, key=lambda code, e=error: (e[code + highest], abs(code)))
    return best


@pytest.mark.parametrize("bits", [2, 3, 5, 7, 8])
def test_each_neuron_gets_the_best_of_all_codes(bits: int) -> None:
    rng, trim = np.random.default_rng(bits), Trim("threshold", "neuron", bits, 1.0)
    top = trim.highest_code
    table = falling(rng, top, (CHIPS, NEURONS), WANTED)
    result = calibrate(Toy(trim, lambda code: np.take_along_axis(table, (code + top)[None], axis=0)[0]))
    best = exhaustive(table, WANTED, top)
    assert result.codes["a"].dtype == np.int64
    np.testing.assert_array_equal(result.codes["a"], best * result.kept[:, None])
    np.testing.assert_array_equal(result.reached["a"], np.abs(best) < top)
    assert result.kept.all()


@pytest.mark.parametrize("bits", [2, 4, 7])
def test_each_layer_gets_the_best_of_all_codes(bits: int) -> None:
    """The counts of a layer are split unevenly over its neurons: only their sum counts."""
    rng, trim = np.random.default_rng(bits), Trim("bias", "layer", bits, 1.0)
    top = trim.highest_code
    table = falling(rng, top, (CHIPS,), WANTED.sum())

    def response(code: NDArray[Any]) -> NDArray[Any]:
        counts = np.zeros((CHIPS, NEURONS), dtype=np.int64)
        counts[:, 1] = -1000
        counts[:, 3] = table[code + top, np.arange(CHIPS)] + 1000
        return counts

    result = calibrate(Toy(trim, response))
    np.testing.assert_array_equal(result.codes["a"], exhaustive(table, np.asarray(WANTED.sum()), top))
    assert result.codes["a"].shape == (CHIPS,)


def test_with_plateaus_the_error_is_still_the_smallest_of_all() -> None:
    rng, trim = np.random.default_rng(1), Trim("threshold", "neuron", 7, 1.0)
    steps = rng.integers(0, 2, (127, CHIPS, NEURONS)) * rng.integers(0, 9, (127, CHIPS, NEURONS))
    table = WANTED + 80 - np.cumsum(steps, axis=0)
    result = calibrate(Toy(trim, lambda code: np.take_along_axis(table, (code + 63)[None], axis=0)[0]))
    got = np.abs(np.take_along_axis(table, (result.codes["a"] + 63)[None], axis=0)[0] - WANTED)
    np.testing.assert_array_equal(got, np.abs(table - WANTED).min(axis=0))


@pytest.mark.parametrize("per", ["neuron", "layer"])
@pytest.mark.parametrize("count", [0, 10**6])
def test_a_device_that_does_not_respond_ends_at_nothing_kept(count: int, per: Any) -> None:
    device = Toy(Trim("threshold", per, 7, 1.0), lambda _: np.full((CHIPS, NEURONS), count), helps=False)
    result = calibrate(device)
    assert not result.kept.any()
    assert not result.codes["a"].any()
    assert len(device.calls) <= 7 + 2


def test_an_erratic_device_ends_too() -> None:
    rng = np.random.default_rng(0)
    device = Toy(Trim("threshold", "neuron", 7, 1.0), lambda _: rng.integers(0, 100, (CHIPS, NEURONS)), helps=False)
    result = calibrate(device)
    assert not result.kept.any()
    assert len(device.calls) < 50


def test_a_rising_response_ends_without_harm() -> None:
    device = Toy(Trim("threshold", "neuron", 7, 1.0), lambda code: WANTED + 10 + code, helps=False)
    result = calibrate(device)
    assert not result.kept.any()


def test_a_perfect_chip_is_left_alone() -> None:
    device = Toy(Trim("threshold", "neuron", 7, 1.0), lambda code: WANTED - code)
    result = calibrate(device)
    assert not result.codes["a"].any()
    assert not result.kept.any()
    assert result.reached["a"].all()
    np.testing.assert_array_equal(result.validation_before, result.validation_after)


def test_trims_that_do_not_help_are_dropped_chip_by_chip() -> None:
    def run(inputs: NDArray[Any], codes: dict[str, IntArray]) -> Counts:
        counts = device_counts(inputs, codes)
        readout = np.zeros_like(counts.readout)
        trimmed = codes["a"].any(axis=1)
        for chip, right in enumerate(([1, 3], [2, 2], [3, 1])):  # of 4: without and with trims
            readout[chip, right[int(trimmed[chip])] :, 1] = 1
        return Counts(readout, counts.spike_counts)

    device = Toy(Trim("threshold", "neuron", 7, 1.0), lambda code: WANTED + 5 - code)
    device_counts, device.run = device.run, run  # type: ignore[method-assign]
    result = calibrate(device)
    np.testing.assert_array_equal(result.kept, [True, False, False])
    np.testing.assert_array_equal(result.codes["a"], [[5] * NEURONS, [0] * NEURONS, [0] * NEURONS])
    np.testing.assert_array_equal(result.validation_before, [0.25, 0.5, 0.75])
    np.testing.assert_array_equal(result.validation_after, [0.75, 0.5, 0.75])


@pytest.mark.parametrize("bits", [2, 7])
def test_the_ledger_counts_what_a_wrapper_counts(bits: int) -> None:
    device = Toy(Trim("threshold", "neuron", bits, 1.0), lambda code: WANTED + 1000 - code)
    result = calibrate(device)
    assert result.chip_runs == len(device.calls)
    assert result.samples == sum(samples for samples, _ in device.calls)
    assert [samples for samples, _ in device.calls[-2:]] == [4, 4]
