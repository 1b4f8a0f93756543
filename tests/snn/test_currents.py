"""LIF neurons with currents that fire several times a step: by value, by gradient, and as a Network."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from neurodeploy.config import NetworkConfig, load_config
from neurodeploy.errors import DesignRuleError, UsageError
from neurodeploy.hw_models import chip
from neurodeploy.hw_models.noise import NoiseModel
from neurodeploy.hw_models.virtual_chip import VirtualChip
from neurodeploy.ir.nodes import CubaLIF, Input
from neurodeploy.ir.to_populations import to_populations
from neurodeploy.quantize import quantize
from neurodeploy.simulate import populations, reference
from neurodeploy.snn.chip_noise import ChipNoise
from neurodeploy.snn.currents import CurrentLIFNeurons, RecurrentCurrentLIFNeurons
from neurodeploy.snn.networks import build
from neurodeploy.snn.perturb import Unperturbed, combine
from neurodeploy.snn.recurrent import FireSeveral
from neurodeploy.snn.surrogate import Surrogate
from neurodeploy.snn.trace import trace

STEPS = 12
SHARP = Surrogate("fast_sigmoid", "frozen")


def by_hand(
    current: np.ndarray, decay: float, kept: float, threshold: float, most: int, reset: str, weight: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Spikes and potentials, the equations of the module's docstring in NumPy."""
    i = u = n = np.zeros_like(current[0])
    spikes, potentials = [], []
    for x in current:
        if weight is not None:
            x = x + n @ weight.T
        i = kept * i + x
        u = decay * (u * (1 - n) if reset == "zero" else u - threshold * n) + i
        n = np.clip(np.floor(u / threshold), 0, most) if most > 1 else (u > threshold).astype(float)
        spikes.append(n)
        potentials.append(u)
    return np.array(spikes), np.array(potentials)


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize(("most", "reset"), [(1, "zero"), (1, "subtract"), (4, "subtract"), (31, "subtract")])
@pytest.mark.parametrize("kept", [0.0, 0.5, 0.9])
def test_a_layer_is_its_equation(kept: float, most: int, reset: Any, recurrent: bool) -> None:
    rng = np.random.default_rng(most + recurrent)
    current = rng.normal(0.15, 0.5, (STEPS, 5, 6))
    weight = rng.normal(0, 0.2, (6, 6)) if recurrent else None
    settings = (STEPS, SHARP, 0.875, 0.6, 1.0, reset)
    if weight is None:
        layer: Any = CurrentLIFNeurons(kept, most, *settings)
    else:
        linear = torch.nn.Linear(6, 6, bias=False).double()
        linear.weight.data = torch.from_numpy(weight)
        layer = RecurrentCurrentLIFNeurons(kept, most, linear, *settings)
    threshold = float(layer.double().threshold.detach())
    fired = layer(torch.from_numpy(current), record=True)
    spikes, potentials = by_hand(current, 0.875, kept, threshold, most, reset, weight)
    assert 0.05 < (spikes > 0).mean() < 0.95
    assert most == 1 or (spikes > 1).any()
    np.testing.assert_array_equal(fired.spikes.detach().numpy(), spikes)
    np.testing.assert_allclose(fired.potentials.detach().numpy(), potentials, rtol=1e-12, atol=1e-12)


def test_gradients_come_from_the_nearest_threshold() -> None:
    potential = torch.tensor([0.9, 1.1, 2.4, 2.6, 9.0], dtype=torch.float64, requires_grad=True)
    threshold = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    gamma = torch.tensor(5.0, dtype=torch.float64)
    fired = FireSeveral.apply(potential, threshold, gamma, SHARP, 4)  # type: ignore[no-untyped-call]
    assert fired.tolist() == [0, 1, 2, 2, 4]
    fired.sum().backward()
    distances, steps = np.array([-0.1, 0.1, 0.4, -0.4, 5.0]), np.array([1, 1, 2, 3, 4])
    slopes = 1 / (1 + 5 * np.abs(distances)) ** 2
    assert potential.grad is not None
    assert threshold.grad is not None
    np.testing.assert_allclose(potential.grad.numpy(), slopes)
    np.testing.assert_allclose(threshold.grad.numpy(), -(slopes * steps).sum())


def network(readout: str, recurrent: bool, most: int) -> Any:
    torch.manual_seed(2)
    config = NetworkConfig(
        kind="mlp", hidden=(9, 7), steps=STEPS, reset="subtract", decay=0.875, current_decay=0.5, most_spikes=most,
        threshold=0.5, norm="none", readout=readout, recurrent=recurrent, surrogate_linear="arctangent",
    )  # fmt: skip
    return build(config, Input((6,), 1 / 3, 4), 4).double().eval()


@pytest.mark.parametrize("readout", ["membrane", "spike_count"])
@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("most", [1, 31])
def test_the_traced_network_fires_alike(readout: str, recurrent: bool, most: int) -> None:
    module = network(readout, recurrent, most)
    inputs = np.random.default_rng(0).integers(0, 16, (STEPS, 8, 6))
    with torch.no_grad():
        output = module(torch.from_numpy(inputs).double() / 3, record=True)
    traced = trace(module)
    neurons = [node for node in traced.nodes.values() if isinstance(node, CubaLIF)]
    assert [node.most_spikes for node in neurons] == [most, most, 1][: len(neurons)]  # an output fires once
    got = populations.run(to_populations(traced), inputs)
    for name in ("lif1", "lif2"):
        rate = (got.spikes[name] > 0).mean()
        assert 0.05 < rate < 0.95
        np.testing.assert_array_equal(output.spikes[name].numpy(), got.spikes[name])
    np.testing.assert_allclose(output.per_step.sum(dim=0).numpy(), got.readout, rtol=1e-9, atol=1e-9)
    if most == 1:  # other chips can have it, too
        program = quantize(traced, chip("ideal"))
        recorded = reference.run(program, inputs)
        differing = sum(int((recorded.spikes[name] != got.spikes[name]).sum()) for name in ("lif1", "lif2"))
        assert differing < 0.005 * sum(recorded.spikes[name].size for name in ("lif1", "lif2"))  # 32-bit weights
        return
    with pytest.raises(
        DesignRuleError, match="layer lif1: fires up to 31 times in a step, ideal once; export for xylo"
    ):
        quantize(traced, chip("ideal"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["network.current_decay=0.5"], r"current_decay=0.5: only in mlp"),
        (["network.kind=mlp", "network.current_decay=0.5"], "with current_decay set norm=none"),
        (["network.kind=mlp", "network.most_spikes=3"], "most_spikes=3: needs reset=subtract"),
        (
            ["network.kind=mlp", "network.most_spikes=3", "network.reset=subtract", "network.readout=potential"],
            "has graded potentials",
        ),
    ],
)
def test_options_that_do_not_go_together(settings: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build(load_config(None, settings).network, Input((1, 8, 8)), 3)


def test_several_spikes_need_the_subtractive_reset() -> None:
    with pytest.raises(UsageError, match="at most 2 spikes a step"):
        CubaLIF(0.9, 0.5, 1.0, "zero", most_spikes=2)


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("alone", [True, False])
def test_thermal_noise_does_not_pass_the_synapses(recurrent: bool, alone: bool) -> None:
    """Without input, u[t] = decay u[t-1] + level Vth N: a variance of (level Vth)^2 Σ decay^(2 k), k < t."""
    torch.manual_seed(0)
    config = NetworkConfig(
        kind="mlp", hidden=(2000,), steps=STEPS, decay=0.5, current_decay=0.8, norm="none", threshold=0.95,
        recurrent=recurrent,
    )  # fmt: skip
    module = build(config, Input((4,)), 3).eval()
    for name, parameter in module.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.zeros_(parameter)
    noise: Any = ChipNoise(thermal=0.1)
    with torch.no_grad():
        output = module(torch.zeros(1, 4), record=True, perturbation=noise if alone else combine(Unperturbed(), noise))
    wanted = 0.1 * 0.95 * np.sqrt(np.cumsum(0.25 ** np.arange(STEPS)))
    # The deviation of 2,000 draws is off by 1.6 % of itself (its standard error).
    np.testing.assert_allclose(output.potentials["lif1"].std(dim=(1, 2)).numpy(), wanted, rtol=4 * 0.016)
    assert float(output.rates["lif1"].max()) < 0.001
    if recurrent:
        return
    program = quantize(trace(module), chip("ideal"))
    one = VirtualChip(chip("ideal"), NoiseModel(thermal=0.1), 0)
    nothing = np.zeros((STEPS, 1, 4), np.uint8)
    simulated = reference.run(one.realise(program), nothing, one.dynamic_noise(program, 0))
    np.testing.assert_allclose(simulated.potentials["lif1"].std(axis=(1, 2)), wanted, rtol=4 * 0.016)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_threshold_of_zero_fires_above_it_as_often_as_it_may(dtype: torch.dtype) -> None:
    potential = torch.tensor([-1.0, 0.0, 1e-9, 2.0, float("nan")], dtype=dtype, requires_grad=True)
    threshold = torch.zeros(5, dtype=dtype).requires_grad_()
    gamma = torch.tensor(2.0, dtype=dtype)
    fired = FireSeveral.apply(potential, threshold, gamma, SHARP, 3)  # type: ignore[no-untyped-call]
    assert fired[:4].tolist() == [0, 0, 3, 3]
    assert fired[4].isnan()  # a potential that is no number is no spike count
    fired[:4].sum().backward()
    assert potential.grad is not None
    assert threshold.grad is not None
    slopes = 1 / (1 + 2 * np.abs([-1.0, 0.0, 1e-9, 2.0])) ** 2
    np.testing.assert_allclose(potential.grad[:4].numpy(), slopes, rtol=1e-6)
    assert bool(threshold.grad[:4].isfinite().all())


@pytest.mark.parametrize("level", [0.3, 0.5])
def test_mismatch_that_takes_thresholds_to_zero_leaves_numbers(level: float) -> None:
    torch.manual_seed(0)
    config = NetworkConfig(
        kind="mlp", hidden=(128,), steps=3, most_spikes=5, current_decay=0.5, norm="none", reset="subtract"
    )
    module = build(config, Input((16,)), 3)
    images = torch.cat([torch.zeros(2, 16), torch.ones(2, 16)])
    clipped = 0
    for batch in range(30):
        noise = ChipNoise(mismatch=level, name=(0, 0, batch))
        clipped += int((noise.threshold("lif1", module.layers["lif1"].threshold, torch.Size((128,))) == 0).sum())
        assert bool(module(images, perturbation=noise).logits.isfinite().all())
    assert clipped > 0
