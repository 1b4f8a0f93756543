"""Rockpool's dictionaries of Xylo networks, floats and integers: read, written, and what cannot be."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

import numpy as np
import pytest

from neurodeploy.errors import UsageError
from neurodeploy.export.xylo_rockpool import from_specification, quantised, to_specification
from neurodeploy.hw_models.xylo import xylo_chip
from neurodeploy.ir.xylo_layout import layout
from neurodeploy.quantize_xylo import quantize_xylo
from neurodeploy.simulate import populations as float_simulator
from neurodeploy.simulate import xylo_engine


@pytest.fixture(scope="module")
def rockpool() -> Any:
    """Rockpool without samna, which its Xylo package would import."""
    if importlib.util.find_spec("rockpool") is None:
        pytest.fail("Rockpool is not installed; pip install 'rockpool>=3.1,<3.2'")
    before = sys.modules.get("samna")
    sys.modules["samna"] = None  # type: ignore[assignment]
    try:
        from rockpool.transform.quantize_methods import channel_quantize, global_quantize

        yield global_quantize, channel_quantize
    finally:
        if before is None:
            del sys.modules["samna"]
        else:
            sys.modules["samna"] = before


def mapped(rng: np.random.Generator, ratio: float) -> dict[str, Any]:
    """As Rockpool's mapper puts out a network of two hidden layers, in floats."""
    first, second, outputs = 5, 4, 3
    hidden = first + second
    into, among, out = np.zeros((6, hidden)), np.zeros((hidden, hidden)), np.zeros((hidden, outputs))
    into[:, :first] = rng.normal(0.2, 0.4, (6, first))
    among[:first, first:] = rng.normal(0.3, 0.6, (first, second))
    out[first:] = rng.normal(0.05, 0.1, (second, outputs))
    dash = np.log2(ratio)
    return {
        "weights_in": into,
        "weights_rec": among,
        "weights_out": out,
        "dash_mem": np.full(hidden, np.log2(6.0)),
        "dash_mem_out": np.full(outputs, np.log2(6.0)),
        "dash_syn": np.full(hidden, dash),
        "dash_syn_2": np.zeros(hidden),
        "dash_syn_out": np.full(outputs, dash),
        "threshold": np.ones(hidden),
        "threshold_out": np.ones(outputs),
        "bias": np.zeros(hidden),
        "bias_out": np.zeros(outputs),
        "aliases": [[] for _ in range(hidden)],
    }


def test_what_a_mapper_puts_out_becomes_layers_with_rockpool_s_dynamics() -> None:
    """Against Rockpool's order of operations, written out: I += x; V *= a; I *= b; V += I; spikes; V -= n threshold."""
    rng = np.random.default_rng(2)
    specification = mapped(rng, 2.5)
    inputs = rng.integers(0, 3, (15, 4, 6))
    network = from_specification(specification, 15, 2)
    assert [(one.name, one.size) for one in network.populations] == [("hidden1", 5), ("hidden2", 4), ("output", 3)]
    got = float_simulator.run(network, inputs)
    alpha, beta = np.exp(-1 / 6.0), np.exp(-1 / 2.5)
    state = {name: np.zeros((4, size)) for name, size in (("i", 9), ("v", 9), ("n", 9), ("io", 3), ("vo", 3))}
    spikes, counts = [], np.zeros((4, 3))
    for step in range(15):
        before = state["n"]
        state["i"] = beta * (
            state["i"] + inputs[step] @ specification["weights_in"] + before @ specification["weights_rec"]
        )
        state["v"] = alpha * state["v"] + state["i"]
        state["n"] = np.maximum(np.floor(state["v"]), 0)
        state["v"] = state["v"] - state["n"]
        state["io"] = beta * (state["io"] + before @ specification["weights_out"])
        state["vo"] = alpha * state["vo"] + state["io"]
        fired = np.maximum(np.floor(state["vo"]), 0)
        state["vo"] -= fired
        spikes.append(state["n"])
        counts += fired
    wanted = np.stack(spikes)
    assert 0.05 < (wanted > 0).mean() < 0.95
    assert np.array_equal(got.spikes["hidden1"], wanted[..., :5])
    assert np.array_equal(got.spikes["hidden2"], wanted[..., 5:])
    assert np.array_equal(got.readout, counts)
    assert counts.any()


def test_a_mapped_network_survives_where_rockpool_s_quantisers_silence_it(rockpool: Any) -> None:
    """tau_syn = 1.2 dt: log2 rounds to a dash of 0, through which nothing passes."""
    rng = np.random.default_rng(3)
    inputs = rng.integers(0, 3, (20, 40, 6))
    specification = mapped(rng, 1.2)
    for quantise in rockpool:
        made = quantised(
            specification | quantise(**{k: np.copy(v) for k, v in specification.items() if k != "aliases"}),
            20,
            "xylo-a2",
            2,
        )
        assert xylo_engine.run(made, inputs).spikes.sum() == 0
    network = from_specification(specification, 20, 2)
    ours = quantize_xylo(network, xylo_chip("xylo-a2"), inputs)
    wanted = float_simulator.run(network, inputs)
    got = xylo_engine.run(ours, inputs)
    assert wanted.spikes["hidden2"].mean() > 0.05
    assert 0.7 < got.spikes.sum() / (wanted.spikes["hidden1"].sum() + wanted.spikes["hidden2"].sum()) < 1.4
    assert (got.decisions == wanted.decisions).mean() > 0.8


def test_a_laid_out_network_goes_to_rockpool_s_dictionary_and_back() -> None:
    rng = np.random.default_rng(4)
    network = from_specification(mapped(rng, 2.5), 15, 2)
    again = from_specification(to_specification(layout(network)), 15, 2)
    inputs = rng.integers(0, 3, (15, 4, 6))
    first, second = float_simulator.run(network, inputs), float_simulator.run(again, inputs)
    assert all(np.array_equal(first.spikes[name], second.spikes[name]) for name in first.spikes)
    assert first.spikes["hidden2"].any()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"weights_in": None}, "no weights_in"),
        ({"threshold": np.ones(3)}, r"weights_in of shape \(6, 9\), \(6, 3\) expected"),
        ({"dash_syn": np.full(9, np.nan)}, "dash_syn of shape"),
        ({"weights_rec": np.zeros((9, 9, 3))}, r"\(sources, targets\[, 1 or 2\]\)"),
        ({"aliases": [[1]] + [[]] * 8}, "aliases have no counterpart"),
    ],
)
def test_a_specification_that_cannot_be_is_refused(change: dict[str, Any], told: str) -> None:
    specification = mapped(np.random.default_rng(0), 2.0) | change
    with pytest.raises(UsageError, match=told):
        from_specification({name: values for name, values in specification.items() if values is not None}, 9)


def test_an_integer_specification_must_hold_integers_of_a_xylo() -> None:
    floats = mapped(np.random.default_rng(0), 2.0)
    with pytest.raises(UsageError, match="weights_in must be integers; quantise first"):
        quantised(floats, 9, "xylo-a2")
    whole = {name: np.rint(values) for name, values in floats.items() if name != "aliases"}
    assert quantised(whole, 9, "xylo-a2").hidden == 9
    with pytest.raises(UsageError, match="allowed are -128 to 127"):
        quantised(whole | {"weights_in": whole["weights_in"] + 200}, 9, "xylo-a2")
    with pytest.raises(UsageError, match="Xylo has one for each neuron"):
        quantised(whole | {"aliases": [[1, 2]]}, 9, "xylo-a2")
    assert quantised(whole | {"aliases": [[1]] + [[]] * 8}, 9, "xylo-a2").aliases.tolist() == [1] + [-1] * 8
