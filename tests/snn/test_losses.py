"""Losses against their formulas, written out again in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from neurodeploy.config import NetworkConfig, TrainConfig
from neurodeploy.errors import UsageError
from neurodeploy.ir.nodes import Input
from neurodeploy.snn.losses import check_potential_layers, classification_loss, records, training_losses
from neurodeploy.snn.networks import build
from neurodeploy.snn.spiking_network import Output

STEPS, SAMPLES, CLASSES = 3, 5, 4
rng = np.random.default_rng(0)
PER_STEP = rng.normal(size=(STEPS, SAMPLES, CLASSES))
LABELS = np.array([0, 3, 1, 1, 2])


def log_softmax(values: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(values - np.log(np.exp(values).sum(-1, keepdims=True)))


def targets(smoothing: float) -> NDArray[Any]:
    return np.eye(CLASSES)[LABELS] * (1 - smoothing) + smoothing / CLASSES


def written_out(kind: str, per_step: NDArray[Any], smoothing: float) -> float:
    """The table of `classification_loss`, sample by sample."""
    wanted, logits = targets(smoothing), per_step.mean(0)
    terms = []
    for sample in range(SAMPLES):
        if kind == "cross_entropy":
            terms.append(-(wanted[sample] * log_softmax(logits[sample])).sum())
        elif kind == "mse":
            terms.append(((logits[sample] - wanted[sample]) ** 2).sum() / CLASSES)
        else:
            terms.append(-sum((wanted[sample] * log_softmax(part[sample])).sum() for part in per_step) / STEPS)
    return float(np.mean(terms))


@pytest.mark.parametrize("kind", ["cross_entropy", "mse", "tet"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_classification_losses_are_their_formulas(kind: Any, smoothing: float) -> None:
    got = classification_loss(torch.from_numpy(PER_STEP), torch.from_numpy(LABELS), kind, smoothing)
    assert float(got) == pytest.approx(written_out(kind, PER_STEP, smoothing), rel=1e-6)


def test_the_losses_differ_and_half_precision_is_widened() -> None:
    values = torch.from_numpy(PER_STEP), torch.from_numpy(LABELS)
    got = [float(classification_loss(*values, kind)) for kind in ("cross_entropy", "mse", "tet")]  # type: ignore[arg-type]
    assert len({round(value, 3) for value in got}) == 3
    assert classification_loss(values[0].bfloat16(), values[1], "mse").dtype == torch.float32


def make_output(passes: int = 1) -> Output:
    per_step = torch.from_numpy(np.concatenate([PER_STEP, PER_STEP[::-1] * -0.8][:passes], axis=1)).float()
    generator = torch.Generator().manual_seed(0)
    potentials = {name: torch.randn(STEPS, 6, 50, generator=generator) * 0.7 + 0.3 for name in ("a", "b")}
    moments = {
        name: torch.stack([part.flatten(1).mean(1), part.flatten(1).square().mean(1)], 1)
        for name, part in potentials.items()
    }
    return Output(per_step, moments, {}, {}, potentials, passes)


def symmetric(mean: float, square: float, target_mean: float, deviation: float) -> float:
    """KL both ways between N(m, v) and N(mu, sigma^2), from the textbook formula of one of them."""
    variance = square - mean**2

    def one_way(m1: float, v1: float, m2: float, v2: float) -> float:
        return (np.log(v2 / v1) + (v1 + (m1 - m2) ** 2) / v2 - 1) / 2

    there = one_way(mean, variance, target_mean, deviation**2)
    return there + one_way(target_mean, deviation**2, mean, variance)


@pytest.mark.parametrize(("layers", "used"), [((), ("a", "b")), (("b",), ("b",))])
def test_the_total_is_eq_6_with_the_chosen_target_and_layers(layers: tuple[str, ...], used: tuple[str, ...]) -> None:
    config = TrainConfig(
        potential_weight=0.7, potential_mean=0.2, potential_deviation=0.5, potential_layers=layers, label_smoothing=0.1
    )
    output = make_output()
    got = training_losses(output, torch.from_numpy(LABELS), config)
    terms = [symmetric(*row.tolist(), 0.2, 0.5) for name in used for row in output.moments[name]]
    adjustment = sum(terms) / (2 * STEPS * len(used))
    classified = written_out("cross_entropy", PER_STEP, 0.1)
    assert float(got.adjustment) == pytest.approx(adjustment, rel=1e-5)
    assert float(got.classification) == pytest.approx(classified, rel=1e-5)
    assert float(got.total) == pytest.approx(classified + 0.7 * adjustment, rel=1e-5)


def test_the_histogram_form_reads_potentials_and_is_asked_for_by_name() -> None:
    config = TrainConfig(potential_form="histogram")
    assert records(config)
    assert not records(TrainConfig())
    assert not records(TrainConfig(potential_form="histogram", potential_weight=0))
    output = make_output()
    got = training_losses(output, torch.from_numpy(LABELS), config).adjustment
    values = np.concatenate([output.potentials[name].flatten(1).numpy() for name in ("a", "b")]).astype(float)
    divergences = []
    for row in values:
        counts = np.zeros(64)
        for value in row:
            place = min(max((value + 4) / 0.125 - 0.5, 0), 63)
            left = min(int(place), 62)
            counts[left] += 1 - (place - left)
            counts[left + 1] += place - left
        edges = np.linspace(-4, 4, 65)
        normal = np.array([0, *(0.5 * (1 + torch.erf(torch.tensor(e / 2**0.5)).item()) for e in edges[1:-1]), 1])
        found, wanted = counts / len(row) + 1e-6, np.diff(normal) + 1e-6
        found, wanted = found / found.sum(), wanted / wanted.sum()
        divergences.append(((found - wanted) * np.log(found / wanted)).sum())
    assert float(got) == pytest.approx(np.mean(divergences) / 2, rel=1e-4)


@pytest.mark.parametrize("kind", ["cross_entropy", "mse", "tet"])
def test_two_passes_are_averaged_and_drawn_together(kind: Any) -> None:
    output, config = make_output(passes=2), TrainConfig(loss=kind, potential_weight=0.0)
    got = training_losses(output, torch.from_numpy(LABELS), config)
    first, second = PER_STEP, PER_STEP[::-1] * -0.8
    one, other = log_softmax(first.mean(0)), log_softmax(second.mean(0))
    divergence = (np.exp(one) * (one - other) + np.exp(other) * (other - one)).mean() / 2
    expected = (written_out(kind, first, 0) + written_out(kind, second, 0) + divergence) / 2
    assert float(got.total) == pytest.approx(expected, rel=1e-5)
    assert divergence > 0.01


def test_a_network_without_neurons_has_no_adjustment() -> None:
    output = Output(make_output().per_step, {}, {}, {}, {})
    got = training_losses(output, torch.from_numpy(LABELS), TrainConfig())
    assert float(got.adjustment) == 0
    assert float(got.total) == float(got.classification)


def test_unknown_layers_are_named_with_the_known_ones() -> None:
    network = build(NetworkConfig(channels=(3,), hidden=(5,), steps=2), Input((1, 4, 4)), 3)
    check_potential_layers(TrainConfig(potential_layers=("lif1", "lif2")), network)
    with pytest.raises(UsageError, match=r"no layer conv1, lif9; layers of neurons are lif1, lif2$"):
        check_potential_layers(TrainConfig(potential_layers=("conv1", "lif2", "lif9")), network)
