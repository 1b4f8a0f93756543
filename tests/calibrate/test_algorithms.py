"""The searches on responses that are known: they find what trying every code finds, and always end."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from neurodeploy.calibrate.algorithms import ALGORITHMS, Best, bisect, robust_regression, secant, spsa
from neurodeploy.calibrate.search import BEYOND, REACHED, SILENT, UNSTOPPABLE, judged

SHAPE = (3, 5)


class Table:
    """A response that is a table over all codes; counts how often it is asked."""

    def __init__(self, table: NDArray[Any]) -> None:
        self.table, self.highest, self.asked = table, len(table) // 2, 0

    def __call__(self, codes: NDArray[Any]) -> NDArray[Any]:
        self.asked += 1
        assert np.abs(codes).max() <= self.highest
        return np.take_along_axis(self.table, (codes + self.highest)[None], axis=0)[0]

    @property
    def best(self) -> NDArray[Any]:
        """The code with the smallest error, the one of smaller magnitude of equals: every code is tried."""
        codes = np.arange(-self.highest, self.highest + 1)
        order = sorted(codes, key=lambda code: (abs(code), code))
        errors = np.abs(self.table[np.array(order) + self.highest])
        return np.array(order)[errors.argmin(axis=0)]


def falling(seed: int, highest: int, steepness: int = 4) -> Table:
    rng = np.random.default_rng(seed)
    steps = rng.integers(1, steepness, (2 * highest + 1, *SHAPE))
    return Table(rng.integers(-40, 40, SHAPE) - np.cumsum(steps, axis=0) + steps.sum(axis=0) // 2)


@pytest.mark.parametrize("bits", [2, 3, 5, 7, 8])
def test_bisection_finds_the_best_of_all_codes(bits: int) -> None:
    table = falling(bits, 2 ** (bits - 1) - 1)
    found = bisect(table, np.zeros(SHAPE, dtype=int), table.highest, bits)
    np.testing.assert_array_equal(np.abs(found.excess), np.abs(table.table).min(axis=0))
    single = (np.abs(table.table) == np.abs(table.table).min(axis=0)).sum(axis=0) == 1
    np.testing.assert_array_equal(found.codes[single], table.best[single])
    assert single.any()
    assert (found.runs, table.asked) == (bits, bits)
    assert (found.answered | (found.excess == 0)).all()


@pytest.mark.parametrize("start", [-63, -20, 40, 63])
def test_from_elsewhere_bisection_takes_a_run_more(start: int) -> None:
    table = falling(3, 63)
    found = bisect(table, np.full(SHAPE, start), 63, 8)
    np.testing.assert_array_equal(np.abs(found.excess), np.abs(table.table).min(axis=0))


def test_with_plateaus_the_error_is_still_the_smallest_of_all() -> None:
    rng = np.random.default_rng(1)
    steps = rng.integers(0, 2, (127, *SHAPE)) * rng.integers(0, 9, (127, *SHAPE))
    table = Table(80 - np.cumsum(steps, axis=0))
    found = bisect(table, np.zeros(SHAPE, dtype=int), 63, 7)
    np.testing.assert_array_equal(np.abs(found.excess), np.abs(table.table).min(axis=0))


@pytest.mark.parametrize(("algorithm", "runs", "part"), [(secant, 7, 20), (robust_regression, 8, 6)])
def test_others_come_near_on_a_curve(algorithm: Any, runs: int, part: int) -> None:
    """A spike count that falls as 1 / threshold, off by up to 60 %: within a part of what was off."""
    highest = 63
    off = np.linspace(-0.6, 0.6, 15).reshape(SHAPE)
    codes = np.arange(-highest, highest + 1).reshape(-1, 1, 1)
    table = Table(np.rint(400 / np.maximum(1 + off + codes / highest, 0.2) - 400).astype(int))
    first = np.abs(table(np.zeros(SHAPE, dtype=int)))
    table.asked = 0
    found = algorithm(table, np.zeros(SHAPE, dtype=int), highest, runs)
    assert found.runs == table.asked <= runs
    assert (np.abs(found.excess) <= np.maximum(first / part, 4)).all()


@pytest.mark.parametrize("name", sorted(ALGORITHMS))
@pytest.mark.parametrize("kind", ["flat", "rising", "erratic", "right"])
def test_a_search_ends_whatever_the_response_and_never_below_its_start(name: str, kind: str) -> None:
    rng = np.random.default_rng(0)
    responses = {
        "flat": lambda codes: np.full(SHAPE, 7),
        "rising": lambda codes: 10 + codes,
        "erratic": lambda codes: rng.integers(-100, 100, SHAPE),
        "right": lambda codes: -codes,
    }
    asked = []

    def response(codes: NDArray[Any]) -> NDArray[Any]:
        found = responses[kind](codes)
        asked.append(found)
        return found

    found = ALGORITHMS[name](response, np.zeros(SHAPE, dtype=int), 63, 7)
    assert len(asked) <= 8
    assert (np.abs(found.excess) <= np.abs(asked[0])).all()
    if kind in ("flat", "right"):
        assert not found.codes.any()
    assert found.answered.all() == (kind != "flat") or kind == "right"


def test_spsa_falls_to_the_middle_of_a_bowl() -> None:
    """Losses of the distance from a code per chip and knob; the same steps for a chip in any company."""
    wanted = np.array([[20, -30, 5], [0, 40, -12]])

    def loss(codes: NDArray[Any], rows: slice = slice(None)) -> NDArray[Any]:
        return np.asarray(np.square(codes - wanted[rows]).sum(axis=1) / 100.0)

    start = np.zeros((2, 3), dtype=int)
    found = spsa(loss, start, 63, 81, 0)
    assert (loss(found.codes) < 0.2 * loss(start)).all()
    assert found.runs == 81
    alone = spsa(lambda codes: loss(codes, slice(1, 2)), start[1:], 63, 81, 0)
    np.testing.assert_array_equal(alone.codes[0], found.codes[1])


def test_what_does_nothing_stays_and_what_wants_beyond_the_end_stops_there_both_marked() -> None:
    """Neurons: in range, beyond either end, deaf and silent, deaf and unstoppable, deaf but right."""
    codes = np.arange(-7, 8)[:, None]
    table = np.concatenate([5 - codes, 40 - codes, -40 - codes, *(np.full((15, 1), x) for x in (-9, 9, 0))], axis=1)
    found = bisect(Table(table[:, None]), np.zeros((1, 6), dtype=int), 7, 4)
    code, state = judged(found, np.zeros((1, 6), dtype=int))
    assert found.codes[0, 1:3].tolist() == [7, -7]
    assert state[0].tolist() == [REACHED, BEYOND, BEYOND, SILENT, UNSTOPPABLE, REACHED]
    assert code[0].tolist() == [5, 7, -7, 0, 0, 0]


def test_a_code_at_the_end_that_is_enough_is_not_marked() -> None:
    """With two bits every code but 0 is an end: what overshoots there has reached what it wanted."""
    table = np.array([[50, 60], [30, 45], [-4, 20]])  # codes -1, 0, 1
    found = bisect(Table(table[:, None]), np.zeros((1, 2), dtype=int), 1, 2)
    code, state = judged(found, np.zeros((1, 2), dtype=int))
    assert code[0].tolist() == [1, 1]
    assert state[0].tolist() == [REACHED, BEYOND]


@pytest.mark.parametrize("name", sorted(ALGORITHMS))
def test_no_code_is_enough_though_the_last_ones_change_nothing(name: str) -> None:
    """Responses that fall no further behind some code: it is kept, the smallest of equals, and marked all the same."""
    codes = np.arange(-63, 64)[:, None]
    table = np.concatenate([40 - np.minimum(codes, 32), -40 - np.maximum(codes, -32), 20 - codes], axis=1)
    found = ALGORITHMS[name](Table(table[:, None]), np.zeros((1, 3), dtype=int), 63, 8)
    code, state = judged(found, np.zeros((1, 3), dtype=int))
    assert found.excess[0].tolist() == [8, -8, 0]
    assert (np.abs(code[0, :2]) >= 32).all()
    assert state[0].tolist() == [BEYOND, BEYOND, REACHED]


def test_noise_is_no_answer() -> None:
    """A dead neuron whose counts differ from run to run is not said to have reached what it should."""
    noise = iter(np.random.default_rng(5).integers(0, 4, 20))
    found = bisect(lambda codes: np.full(codes.shape, -30 + next(noise)), np.zeros((1, 2), dtype=int), 63, 7)
    assert found.answered.all()
    assert judged(found, np.zeros((1, 2), dtype=int))[1].tolist() == [[BEYOND, BEYOND]]


def test_an_end_that_was_too_much_once_does_not_mark_what_was_reached() -> None:
    """With noise a neuron may seem to want more at the end, and be right elsewhere."""
    answers = iter([5, 3, 0, -2, 1, 1, 1])
    found = bisect(lambda codes: np.full(codes.shape, next(answers)), np.zeros((1, 1), dtype=int), 63, 7)
    assert not found.excess.any()
    assert judged(found, np.zeros((1, 1), dtype=int))[1].tolist() == [[REACHED]]


def test_what_an_end_asked_for_counts_only_where_the_best_code_asks_for_it_too() -> None:
    """Knobs: right elsewhere, too little elsewhere, too much everywhere; and one whose other end asked."""
    best = Best(np.zeros((1, 4), dtype=int), 7)
    for code, excess in ((7, [5, 5, 5, -9]), (-7, [9, 9, 9, -5]), (3, [0, -2, 4, -4])):
        best.take(np.full((1, 4), code), np.array([excess]))
    found = best.search(3)
    assert found.excess[0].tolist() == [0, -2, 4, -4]
    assert found.beyond[0].tolist() == [False, False, True, True]
