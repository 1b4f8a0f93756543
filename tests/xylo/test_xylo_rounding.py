"""Rounding so that errors cancel: by hand, against the elimination written out, and what it does to a network."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.signal import lfilter

from neurodeploy import quantize_xylo_rounding as rounding
from neurodeploy.hw_models.xylo import xylo_chip
from neurodeploy.ir.nodes import Input
from neurodeploy.ir.populations import Population, PopulationNetwork, Projection
from neurodeploy.ir.program import INPUT
from neurodeploy.ir.xylo_layout import layout
from neurodeploy.quantize_xylo import quantize_xylo
from neurodeploy.quantize_xylo_rounding import Gram, compensated, grams
from neurodeploy.simulate import populations as float_simulator
from neurodeploy.simulate import xylo_engine

STEPS = 20


def gram_of(matrix: Any) -> Gram:
    return Gram(np.arange(len(matrix)), np.linalg.cholesky(np.linalg.inv(np.asarray(matrix, dtype=float))).T)


def test_two_sources_that_fire_together_by_hand() -> None:
    together = gram_of([[1.01, 1.0], [1.0, 1.01]])
    one = np.ones(2)
    assert compensated(np.array([[0.4], [0.4]]), one, together).tolist() == [[0], [1]]  # 0.8 in all; nearest: 0
    assert compensated(np.array([[0.6], [0.6]]), one, together).tolist() == [[1], [0]]  # 1.2; nearest: 2
    apart = gram_of(np.eye(2))
    assert compensated(np.array([[0.4], [0.6]]), one, apart).tolist() == [[0], [1]]
    coarse = np.array([1.0, 8.0])  # a unit of the second brings eight times as much: it cannot make up for the first
    assert compensated(np.array([[0.4], [2.1]]), coarse, together).tolist() == [[0], [2]]


def test_weights_that_are_not_there_stay_away_and_others_in_range() -> None:
    together = gram_of(np.full((3, 3), 1.0) + 0.01 * np.eye(3))
    meant = np.array([[0.4, 200.0], [0.0, 0.4], [0.4, 126.6]])
    found = compensated(meant, np.ones(3), together)
    assert found[1, 0] == 0
    assert found[:, 0].sum() == 1
    assert found[:, 1].tolist() == [127, 37, 127]


def eliminated(meant: np.ndarray, units: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """One weight after the other, what is left of the inverse written out each time; one neuron."""
    inverse, weights, found = np.linalg.inv(matrix), meant * units, np.zeros(len(meant), dtype=int)
    for k in range(len(meant)):
        found[k] = np.clip(round(weights[k] / units[k]), -127, 127)
        weights = weights - inverse[:, k] / inverse[k, k] * (weights[k] - found[k] * units[k])
        inverse = inverse - np.outer(inverse[:, k], inverse[k]) / inverse[k, k]
    return found


@pytest.mark.parametrize("seed", range(5))
def test_it_is_the_elimination_written_out_and_better_than_nearest(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sources = rng.random((200, 12)) + rng.random((200, 1)) * 2
    matrix = sources.T @ sources / 200 + 0.01 * np.eye(12)
    meant, units = rng.normal(0, 20, (12, 6)), 2.0 ** rng.integers(0, 3, 12)
    found, nearest = compensated(meant, units, gram_of(matrix)), np.rint(meant)
    for neuron in range(6):
        assert found[:, neuron].tolist() == eliminated(meant[:, neuron], units, matrix).tolist()
    errors = [np.square(sources @ ((one - meant) * units[:, None])).mean() for one in (found, nearest)]
    assert errors[0] < errors[1] / 2


def recurrent(seed: int = 0, hidden: int = 40) -> tuple[PopulationNetwork, np.ndarray]:
    """A recurrent network that fires, and inputs (T, B, channels)."""
    rng = np.random.default_rng(seed)

    def population(name: str, size: int, **changes: Any) -> Population:
        given = {"decay": np.full(size, 0.875), "current_decay": np.full((1, size), 0.5)}
        given |= {"threshold": np.full(size, 0.9), "bias": np.zeros(size), "reset": "subtract", "most": 31}
        return Population(name, **(given | changes))

    projections = (
        Projection(INPUT, "hidden", rng.normal(0.05, 0.2, (8, hidden))),
        Projection("hidden", "hidden", rng.normal(0, 0.12, (hidden, hidden)), delay=1),
        Projection("hidden", "output", rng.normal(0, 0.3, (hidden, 4))),
    )
    populations = (population("hidden", hidden), population("output", 4, fires=False))
    network = PopulationNetwork(Input((8,), 1.0, 1), populations, projections, "membrane", STEPS)
    return network, (rng.random((STEPS, 96, 8)) < 0.3).astype(np.int64)


def test_grams_are_of_what_reaches_a_potential() -> None:
    network, shown = recurrent()
    spikes = float_simulator.run(network, shown).spikes
    placed = layout(network)
    found = grams(placed, shown, spikes)
    assert set(found) == {"hidden", "output"}
    late = np.concatenate([np.zeros((1, 96, 40)), spikes["hidden"][:-1]])
    for name, sources in (("hidden", np.concatenate([shown, late], axis=2)), ("output", spikes["hidden"])):
        potential = lfilter([1], [1, -0.875], lfilter([1], [1, -0.5], sources, axis=0), axis=0)
        potential = potential.reshape(-1, sources.shape[2])
        matrix = potential.T @ potential / len(potential)
        matrix += 0.01 * np.diag(matrix).mean() * np.eye(len(matrix))
        gram = found[name]
        assert (np.diff(np.diag(matrix)[gram.rows]) <= 0).all()
        again = np.linalg.inv(gram.upper.T @ gram.upper)
        np.testing.assert_allclose(again, matrix[np.ix_(gram.rows, gram.rows)], rtol=1e-6, atol=1e-9)


def test_what_is_left_to_nearest_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    network, shown = recurrent()
    spikes = float_simulator.run(network, shown).spikes
    silent = {name: np.zeros_like(one) for name, one in spikes.items()}
    assert set(grams(layout(network), np.zeros_like(shown), silent)) == set()
    assert grams(replace(layout(network), direct=frozenset({"hidden"})), shown, spikes) == {}
    monkeypatch.setattr(rounding, "_LARGEST", 40)
    assert set(grams(layout(network), shown, spikes)) == {"output"}  # 48 sources reach the hidden layer


def test_a_recurrent_network_keeps_more_of_its_spikes(monkeypatch: pytest.MonkeyPatch) -> None:
    differing: dict[int, list[float]] = {0: [], 256: []}
    for seed in range(3):
        network, shown = recurrent(seed)
        _, unseen = recurrent(seed + 100)
        wanted = float_simulator.run(network, unseen).spikes["hidden"]
        assert 0.05 < (wanted > 0).mean() < 0.95
        for largest, found in differing.items():
            monkeypatch.setattr(rounding, "_LARGEST", largest)
            made = quantize_xylo(network, xylo_chip("xylo-a3"), shown)
            got = xylo_engine.run(made, unseen).spikes[made.blocks[0].latency :][:STEPS]
            found.append(float((got != wanted).sum() / (wanted > 0).sum()))
    assert sum(differing[256]) < 0.95 * sum(differing[0])
