"""The reference against the same rules in plain integers, and against numbers worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from xylo_networks import FIELDS, plain_run, random_events, random_network

from neurodeploy.errors import UsageError
from neurodeploy.ir.nodes import Input
from neurodeploy.ir.xylo import Block, XyloNetwork
from neurodeploy.simulate import xylo


def one_neuron(**given: Any) -> XyloNetwork:
    """One channel, one hidden neuron with weight 100, one output with weight 100, four steps."""
    values: dict[str, Any] = {
        "chip": "xylo-a2",
        "steps": 4,
        "input": Input((1,), 1.0, 4),
        "weights_in": np.full((1, 1, 1), 100),
        "weights_rec": np.zeros((1, 1, 1), dtype=int),
        "weights_out": np.full((1, 1), 100),
        "dash_mem": np.array([15]),
        "dash_syn": np.array([[1]]),
        "threshold": np.array([60]),
        "bias": np.array([0]),
        "dash_mem_out": np.array([15]),
        "dash_syn_out": np.array([1]),
        "threshold_out": np.array([40]),
        "bias_out": np.array([0]),
        "aliases": np.array([-1]),
    }
    return XyloNetwork(**(values | given))


def test_one_event_by_hand() -> None:
    """100 comes, half is lost, 50 integrated; then 25; the potential of 50 loses 1: 74, less 60 is 14; and so on."""
    got = xylo.run(one_neuron(), np.array([[[1]], [[0]], [[0]], [[0]]]))
    assert got.currents[:, 0, 0, 0].tolist() == [50, 25, 13, 7]
    assert got.potentials[:, 0, 0].tolist() == [50, 14, 26, 32]
    assert got.spikes[:, 0, 0].tolist() == [0, 1, 0, 0]
    assert got.output_currents[:, 0, 0].tolist() == [0, 0, 50, 25]
    assert got.output_potentials[:, 0, 0].tolist() == [0, 0, 10, 34]
    assert got.output_spikes[:, 0, 0].tolist() == [0, 0, 1, 0]
    assert got.readout.tolist() == [[1]]
    assert got.decisions.tolist() == [0]


@pytest.mark.parametrize(
    ("state", "dash", "lost"),
    [
        *((0, 0, 0), (0, 15, 0), (1, 1, 1), (1, 15, 1), (2, 1, 1), (3, 1, 1), (-1, 1, -1), (-3, 1, -2), (-4, 2, -1)),
        *((32767, 15, 1), (32767, 0, 32767), (-32768, 15, -1), (-32768, 0, -32768), (100, 3, 12), (-100, 3, -13)),
    ],
)
def test_a_state_loses_its_shift_rounded_down_and_at_least_one(state: int, dash: int, lost: int) -> None:
    assert xylo.lost(np.array([state]), np.array([dash])).tolist() == [lost]


def test_a_dash_of_zero_lets_nothing_through() -> None:
    got = xylo.run(one_neuron(dash_syn=np.array([[0]])), np.full((4, 1, 1), 15))
    assert not got.currents.any()
    assert not got.spikes.any()


def test_spikes_per_step_end_at_31_hidden_and_1_at_the_output() -> None:
    network = one_neuron(threshold=np.array([10]), weights_in=np.full((1, 1, 1), 127), threshold_out=np.array([10]))
    got = xylo.run(network, np.array([[[15]], [[0]], [[0]], [[0]]]))
    assert got.spikes[0, 0, 0] == 31  # 953 / 10
    assert got.potentials[0, 0, 0] == 953 - 310
    assert got.output_spikes[:, 0, 0].tolist() == [0, 1, 1, 1]
    exact = xylo.run(
        one_neuron(threshold=np.array([952 // 31]), weights_in=np.full((1, 1, 1), 127)), np.full((4, 1, 1), 15)
    )
    assert exact.spikes[0, 0, 0] == 31


def test_a_threshold_is_reached_by_equality() -> None:
    for threshold, fired in ((50, 1), (51, 0)):
        got = xylo.run(one_neuron(threshold=np.array([threshold]), steps=1), np.ones((1, 1, 1), dtype=int))
        assert got.spikes[0, 0, 0] == fired


@pytest.mark.parametrize(
    ("weights", "counts", "left"), [((127, -100), (15, 1), 32767 - 12800 - 1), ((-100, 127), (1, 15), 32767 - 1)]
)
def test_events_saturate_one_source_after_the_other(
    weights: tuple[int, int], counts: tuple[int, int], left: int
) -> None:
    """15 * 127 * 128 is far above 32767; -100 * 128 counts only where it comes later."""
    network = one_neuron(
        weights_in=np.array(weights).reshape(2, 1, 1),
        weight_shift_in=7,
        input=Input((2,), 1.0, 4),
        dash_syn=np.array([[15]]),
        steps=1,
    )
    got = xylo.run(network, np.array([[counts]]))
    assert got.currents[0, 0, 0, 0] == left
    assert got.saturated is not None
    assert got.saturated[0] == (1 if left == 32766 else 0)


def test_aliases_hand_spikes_on_upwards_at_once_and_downwards_without_handing_on() -> None:
    """0 fires once and hands to 2; 2 fires for it and hands to 1, which was updated before."""
    network = one_neuron(
        weights_in=np.array([[[120], [0], [0]]]),
        weights_rec=np.zeros((3, 3, 1), dtype=int),
        weights_out=np.array([[0], [100], [0]]),
        **{name: np.full(3, value) for name, value in (("dash_mem", 15), ("threshold", 60), ("bias", 0))},
        dash_syn=np.full((3, 1), 1),
        aliases=np.array([2, -1, 1]),
    )
    got = xylo.run(network, np.array([[[1]], [[0]], [[0]], [[0]]]))
    assert got.spikes[0, 0].tolist() == [1, 1, 1]
    assert got.potentials[0, 0].tolist() == [0, 0, 0]
    assert got.output_spikes[:, 0, 0].tolist() == [0, 1, 0, 1]


def test_the_readout_starts_after_the_latency_and_the_input_ends_before_it() -> None:
    late, prompt = one_neuron(latency=2), one_neuron(steps=6)
    events = np.array([[[1]], [[0]], [[0]], [[3]]])
    padded = np.concatenate([events, np.zeros((2, 1, 1), dtype=int)])
    got, same = xylo.run(late, events), xylo.run(prompt, padded)
    assert np.array_equal(got.spikes, same.spikes)
    assert got.readout.tolist() == same.output_spikes[2:].sum(axis=0).tolist()


def test_a_membrane_readout_sums_potentials() -> None:
    got = xylo.run(one_neuron(readout="membrane", threshold_out=np.array([32767])), np.ones((4, 1, 1), dtype=int))
    assert got.readout.tolist() == got.output_potentials.astype(int).sum(axis=0).tolist()
    assert got.readout[0, 0] > 0


def test_what_is_shown_at_every_step_may_be_given_once() -> None:
    once = xylo.run(one_neuron(latency=1), np.array([[3], [1]]))
    always = xylo.run(one_neuron(latency=1), np.tile(np.array([[3], [1]]), (4, 1, 1)))
    assert np.array_equal(once.potentials, always.potentials)
    assert once.potentials.any()


@pytest.mark.parametrize("wild", [False, True])
def test_random_networks_compute_what_plain_integers_do(wild: bool) -> None:
    rng = np.random.default_rng(3 + wild)
    rates, multiple, at_limit = [], [], []
    for _ in range(12):
        network = random_network(rng, wild=wild)
        events = random_events(rng, network)
        got = xylo.run(network, events)
        for sample in range(events.shape[1]):
            wanted = plain_run(network, events[:, sample])
            for name in FIELDS:
                values = getattr(got, name)
                assert np.array_equal(values[sample] if name == "readout" else values[:, sample], wanted[name]), name
        rates.append((got.spikes > 0).mean())
        multiple.append((got.spikes > 1).mean())
        assert got.saturated is not None
        at_limit.append(got.saturated.mean() / got.spikes.shape[0] / 2)
    assert 0.05 < np.mean(rates) < 0.95
    assert np.mean(multiple) > 0.01
    assert np.mean(at_limit) > 0.05 if wild else np.mean(at_limit) < 0.05


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        (np.zeros((4, 1, 2), dtype=int), r"\(samples, 1\) or \(steps, samples, 1\)"),
        (np.zeros((4, 0, 1), dtype=int), "not 0"),
        (np.zeros((5, 1, 1), dtype=int), "5 steps, the network 4"),
        (np.full((4, 1, 1), 16), "0 to 15"),
        (np.full((4, 1, 1), -1), "0 to 15"),
        (np.zeros((4, 1, 1)), "integers"),
    ],
)
def test_input_that_does_not_suit_is_refused(inputs: np.ndarray, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        xylo.run(one_neuron(), inputs)


@pytest.mark.parametrize(
    ("name", "bad", "told"),
    [
        ("weights_in", np.full((1, 1, 1), 128), "weights_in 128 to 128: allowed are -128 to 127"),
        ("weights_out", np.full((1, 1), -129), "-128 to 127"),
        ("weights_rec", np.zeros((2, 1, 1), dtype=int), r"weights_rec of shape \(2, 1, 1\): \(1, 1, 1\)"),
        ("dash_mem", np.array([16]), "0 to 15"),
        ("dash_syn", np.array([[-1]]), "0 to 15"),
        ("dash_syn", np.zeros((1, 3), dtype=int), r"\(hidden, 1\) or \(hidden, 2\)"),
        ("threshold", np.array([0]), "1 to 32767"),
        ("threshold_out", np.array([32768]), "1 to 32767"),
        ("bias", np.array([-32769]), "-32768 to 32767"),
        ("weight_shift_in", 8, "0 to 7"),
        ("aliases", np.array([1]), "-1 to 0"),
        ("aliases", np.array([0]), "neuron 0 to itself"),
        ("input", Input((1,), 1.0, 5), "at most 15 events"),
        ("input", Input((1, 1), 1.0, 4), "flatten"),
        ("steps", 0, "at least 1"),
        ("latency", -1, "at least 1 and 0"),
        ("readout", "spikes", "membrane and spike_count"),
        ("blocks", (Block("a", 0, 2),), "without gaps"),
        ("blocks", (Block("a", 0, 0), Block("b", 0, 1)), "without gaps"),
    ],
)
def test_a_network_that_no_xylo_holds_is_refused(name: str, bad: Any, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        one_neuron(**{name: bad})


def test_limits_themselves_are_allowed() -> None:
    network = one_neuron(
        weights_in=np.full((1, 1, 1), -128),
        weights_out=np.full((1, 1), 127),
        dash_mem=np.array([0]),
        dash_syn=np.array([[15]]),
        threshold=np.array([32767]),
        threshold_out=np.array([1]),
        bias=np.array([-32768]),
        weight_shift_in=7,
    )
    assert (network.hidden, network.outputs, network.synapses, network.chip_steps) == (1, 1, 1, 4)
    with pytest.raises(ValueError, match="read-only"):
        network.threshold[0] = 1


def test_arrays_must_be_integers() -> None:
    with pytest.raises(TypeError, match="integers expected"):
        one_neuron(threshold=np.array([60.0]))
