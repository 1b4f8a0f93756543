"""Quantisation for DYNAP-SE2: weights, gains, and networks that would be dead."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from dynapse2_networks import float_network

from neurodeploy.errors import DesignRuleError, UsageError
from neurodeploy.hw_models.dynapse2 import DYNAPSE2
from neurodeploy.hw_models.dynapse2_placement import place
from neurodeploy.ir.channels import flat
from neurodeploy.ir.populations import PopulationNetwork
from neurodeploy.quantize_dynapse2 import quantize_dynapse2, troubles
from neurodeploy.quantize_dynapse2_build import Setting, build, fit_weights, in_thresholds
from neurodeploy.quantize_dynapse2_weights import binary, fit
from neurodeploy.simulate import dynapse2_engine
from neurodeploy.simulate import populations as float_simulator
from neurodeploy.simulate.dynapse2_health import health

SHARES = (1.0, 0.9, 0.85, 0.7, 0.55, 0.4, 0.3, 0.2)


def shown(network: PopulationNetwork, samples: int = 80, seed: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rates = rng.random((samples, network.input.shape[0])) ** 2
    return (rng.random((network.steps, *rates.shape)) < rates).astype(np.uint8)


def classifier(seed: int, **neurons: float) -> tuple[PopulationNetwork, np.ndarray]:
    """A network that tells four patterns of 40 channels apart, its readout by ridge regression; and inputs."""
    rng = np.random.default_rng(seed)
    network = float_network(seed, channels=40, hidden=40, outputs=4, steps=20, **neurons)
    rates = rng.random((4, 40)) ** 2 * 0.7
    inputs = (rng.random((20, 120, 40)) < rates[np.arange(120) % 4] * rng.uniform(0.5, 1, (120, 40))).astype(np.uint8)
    into = replace(network.projections[0], weight=rng.normal(0.03, 0.12, (40, 40)))
    network = replace(network, projections=(into, network.projections[1]))
    counts = float_simulator.run(network, inputs[:, :80]).spikes["hidden"].sum(axis=0) / 20
    wanted = np.where(np.arange(80)[:, None] % 4 == np.arange(4), 0.35, -0.15)
    weight = np.linalg.solve(counts.T @ counts + 0.3 * np.eye(40), counts.T @ wanted)
    return replace(network, projections=(into, replace(network.projections[1], weight=weight))), inputs


@pytest.mark.parametrize("seed", range(12))
def test_fitted_weights_are_never_worse_than_binary_weighted_rounding(seed: int) -> None:
    rng = np.random.default_rng(seed)
    draw = (rng.normal, rng.laplace, rng.uniform, rng.standard_t)[seed % 4]
    arguments = {rng.uniform: (-1, 1), rng.standard_t: (3,)}.get(draw, (0, 1))
    weights = np.asarray(draw(*arguments, size=(int(rng.integers(2, 64)), int(rng.integers(2, 64)))))
    importance = rng.random(weights.shape) if seed % 2 else None
    fitted = fit(weights, importance)
    for share in SHARES:
        assert fitted.error <= binary(weights, np.abs(weights).max() / 15 * share, importance).error + 1e-12
    plain = binary(weights, np.abs(weights).max() / 15, importance)
    assert fitted.error < 0.97 * plain.error or weights.size < 100


def test_codes_take_the_nearest_of_sixteen_magnitudes() -> None:
    weights = np.random.default_rng(0).normal(size=(20, 9))
    fitted = fit(weights)
    magnitudes = {mask: sum(fitted.base[bit] for bit in range(4) if mask >> bit & 1) for mask in range(16)}
    nearest = np.array([min(abs(abs(w) - m) for m in magnitudes.values()) for w in weights.ravel()])
    stored = np.array([magnitudes[abs(code)] for code in fitted.codes.ravel()])
    assert np.allclose(np.abs(np.abs(weights.ravel()) - stored), nearest)
    signs = np.sign(fitted.codes)[fitted.codes != 0]
    assert np.array_equal(signs, np.sign(weights)[fitted.codes != 0])
    error = np.sqrt(((weights - np.sign(weights) * stored.reshape(weights.shape)) ** 2).sum() / (weights**2).sum())
    assert np.isclose(fitted.error, error)


def test_weights_of_sixteen_magnitudes_are_stored_exactly() -> None:
    base = np.array([0.3, 0.7, 1.1, 2.9])
    sums = [sum(b for b, bit in zip(base, bits, strict=True) if bit) for bits in product((0, 1), repeat=4)]
    weights = np.array(sums) * np.where(np.arange(16) % 3 == 0, -1, 1)
    assert binary(np.arange(-15.0, 16), 1.0).error == 0
    assert fit(np.arange(-15.0, 16)).error < 1e-9
    assert fit(weights[None]).error < binary(weights[None], np.abs(weights).max() / 15).error


def test_no_weights_and_few() -> None:
    assert not fit(np.zeros((3, 2))).codes.any()
    assert fit(np.array([[0.5, 0.0], [-0.5, 0.0]])).error < 1e-9
    zeros = fit(np.array([[1.0, 0.0], [0.3, -0.01]]))
    assert zeros.codes[0, 1] == 0


def test_weights_are_taken_in_thresholds() -> None:
    network = float_network()
    own = np.linspace(0.2, 2, 20)
    hidden = replace(network.populations[0], threshold=own)
    scaled = replace(network, populations=(hidden, network.populations[1]))
    into, among = in_thresholds(scaled)
    assert np.allclose(into[:, :20] * own, network.projections[0].weight)
    assert np.allclose(among[:20, 20:] * 0.5, network.projections[1].weight)
    assert not into[:, 20:].any()
    assert not among[20:].any()


@pytest.mark.parametrize("seed", range(3))
def test_a_quantised_network_decides_like_its_float_network(seed: int) -> None:
    network, inputs = classifier(seed)
    made = quantize_dynapse2(network, DYNAPSE2, inputs[:, :80])
    rest = inputs[:, 80:]
    wanted, got = float_simulator.run(network, rest), dynapse2_engine.run(made, rest)
    assert all(0.05 < wanted.spikes[name].mean() < 0.95 for name in wanted.spikes)
    assert (wanted.decisions == np.arange(40) % 4).mean() > 0.8
    assert (wanted.decisions == got.decisions).mean() >= 0.85
    for row, name in zip(health(made, got), wanted.spikes, strict=True):
        assert row.trouble is None
        assert 0.4 < row.rate / wanted.spikes[name].mean() < 1.6


def test_the_search_is_better_than_no_search() -> None:
    network, inputs = classifier(1)
    placement = place(network, DYNAPSE2)
    unsearched = build(
        network, DYNAPSE2, placement, fit_weights(network, placement), {"hidden": Setting(), "output": Setting()}, 2
    )
    searched = quantize_dynapse2(network, DYNAPSE2, inputs)
    wanted = float_simulator.run(network, inputs)
    differing = [
        np.abs(
            dynapse2_engine.run(made, inputs).counts(made.block("hidden")) - wanted.spikes["hidden"].sum(axis=0)
        ).sum()
        for made in (searched, unsearched)
    ]
    assert differing[0] < 0.9 * differing[1]


def test_everything_is_decided_by_the_calibration_data_alone() -> None:
    network = float_network(2)
    inputs = shown(network, 30)
    one, other = (quantize_dynapse2(network, DYNAPSE2, inputs) for _ in range(2))
    assert np.array_equal(one.codes_in, other.codes_in)
    assert np.array_equal(one.base, other.base)


def test_a_current_with_memory_keeps_its_time_constant() -> None:
    network, inputs = classifier(3, current_decay=0.6, decay=0.5)
    made = quantize_dynapse2(network, DYNAPSE2, inputs)
    layout = DYNAPSE2.layout
    tau = layout.c_syn * layout.ut / (layout.kappa * made.biases["Itau_syn"])
    assert np.allclose(np.exp(-made.substeps * made.dt / tau), 0.6)
    wanted, got = float_simulator.run(network, inputs), dynapse2_engine.run(made, inputs)
    assert (wanted.decisions == got.decisions).mean() >= 0.8


def test_a_silent_network_is_refused_with_layer_and_cause() -> None:
    network = float_network(0)
    weights = tuple(replace(one, weight=-np.abs(one.weight)) for one in network.projections)
    silent = replace(network, projections=weights)
    with pytest.raises(DesignRuleError, match="layer hidden: silent on the calibration data, and in the float network"):
        quantize_dynapse2(silent, DYNAPSE2, shown(silent))
    made = quantize_dynapse2(silent, DYNAPSE2, shown(silent), allow_dead=True)
    assert not dynapse2_engine.run(made, shown(silent)).spikes.any()
    found = troubles(made, dynapse2_engine.run(made, shown(silent)))
    assert [text.partition(":")[0] for text in found] == ["layer hidden", "layer output"]
    assert "a layer before it is silent" in found[1]


def test_a_saturated_network_is_refused() -> None:
    network = float_network(0)
    weights = tuple(replace(one, weight=np.abs(one.weight) + 2) for one in network.projections)
    loud = replace(network, projections=weights)
    with pytest.raises(DesignRuleError, match="layer hidden: saturated on the calibration data"):
        quantize_dynapse2(loud, DYNAPSE2, np.ones_like(shown(loud)))
    assert quantize_dynapse2(loud, DYNAPSE2, np.ones_like(shown(loud)), allow_dead=True).chip == "dynapse2"


def test_every_violated_limit_before_anything_else() -> None:
    network = float_network(channels=65, hidden=70)
    with pytest.raises(DesignRuleError) as raised:
        quantize_dynapse2(network, DYNAPSE2, shown(network))
    assert raised.value.exit_code == 3
    assert len(raised.value.violations) == 2
    assert "layer hidden: 70 of 70 neurons read up to 65" in str(raised.value)
    assert "layer output: 5 of 5 neurons read up to 70" in str(raised.value)


def test_calibration_data_that_do_not_suit() -> None:
    network = float_network()
    with pytest.raises(UsageError, match="input of shape"):
        quantize_dynapse2(network, DYNAPSE2, np.zeros((15, 4, 7), np.uint8))
    with pytest.raises(UsageError, match="substeps 0"):
        quantize_dynapse2(network, DYNAPSE2, shown(network), substeps=0)


def test_images_become_rows() -> None:
    images = np.arange(2 * 3 * 4 * 6).reshape(2, 3, 4, 6)
    assert np.array_equal(flat(24, images), images.reshape(2, 3, 24))
    assert flat(72, images).shape == (2, 72)
    assert flat(7, images).shape == images.shape
