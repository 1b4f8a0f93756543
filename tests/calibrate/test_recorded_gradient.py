"""Gradients through recorded spikes, against loops that PyTorch differentiates by itself."""

from __future__ import annotations

import pytest
import torch

from neurodeploy.calibrate.recorded_gradient import Neurons, neurons_of, pooled, recorded
from neurodeploy.calibrate.work import in_weight_units
from neurodeploy.ir.program import Program


def surrogate(potential: torch.Tensor, threshold: torch.Tensor) -> torch.Tensor:
    """A function whose derivative is the surrogate: 1 / threshold / (1 + ((u - threshold) / threshold)²)."""
    return torch.atan((potential - threshold) / threshold)


def by_loops(currents: torch.Tensor, spikes: torch.Tensor, neurons: Neurons) -> torch.Tensor:
    """(T, B, n), spikes forward, the surrogate's gradient backward."""
    outputs, left = [], torch.zeros_like(spikes[0])
    for step, fired in enumerate(spikes):
        potential = neurons.decay * left + currents[step if len(currents) > 1 else 0]
        smooth = surrogate(potential, neurons.threshold)
        outputs.append(fired + smooth - smooth.detach())
        left = potential - neurons.threshold * fired if neurons.subtracts else torch.where(fired == 1, 0.0, potential)
    return torch.stack(outputs)


@pytest.mark.parametrize("subtracts", [False, True])
@pytest.mark.parametrize(("steps", "static"), [(1, True), (2, True), (6, True), (1, False), (2, False), (6, False)])
@pytest.mark.parametrize("own", [False, True])
def test_the_gradient_is_that_of_the_loop(subtracts: bool, steps: int, static: bool, own: bool) -> None:
    source = torch.Generator().manual_seed(steps)
    shape = (5,) if own else ()
    neurons = Neurons(
        torch.rand(shape, generator=source, dtype=torch.float64),
        0.5 + torch.rand(shape, generator=source, dtype=torch.float64),
        torch.zeros(shape, dtype=torch.float64),
        subtracts,
    )
    spikes = (torch.rand(steps, 4, 5, generator=source) < 0.4).double()
    assert 0.05 < spikes.mean() < 0.95
    currents = torch.randn(1 if static else steps, 4, 5, generator=source, dtype=torch.float64, requires_grad=True)
    reaching = torch.randn(steps, 4, 5, generator=source, dtype=torch.float64)
    put_out = recorded(currents, spikes, neurons)
    assert torch.equal(put_out, spikes)
    got, wanted = (
        torch.autograd.grad((one * reaching).sum(), currents)[0]
        for one in (put_out, by_loops(currents, spikes, neurons))
    )
    torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)
    assert wanted.abs().min() > 0


@pytest.mark.parametrize(
    ("shape", "size"), [((3, 2, 6, 8), 2), ((3, 2, 7, 5), 2), ((2, 9, 10), 3), ((1, 4, 4), 4), ((2, 3, 3), 1)]
)
def test_sums_over_squares_and_their_gradient(shape: tuple[int, ...], size: int) -> None:
    source = torch.randint(0, 9, shape, generator=torch.Generator().manual_seed(0)).double().requires_grad_()
    wanted = torch.nn.functional.avg_pool2d(source, size, divisor_override=1)
    got = pooled(source, size)
    assert torch.equal(got, wanted)
    reaching = torch.randn(got.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    first, second = (torch.autograd.grad((one * reaching).sum(), source)[0] for one in (got, wanted))
    assert torch.equal(first, second)
    assert first.abs().sum() > 0


@pytest.mark.parametrize("chip", ["loihi2", "mixed-signal"])
def test_neurons_are_those_of_the_layer(programs: dict[str, Program], chip: str) -> None:
    for layer in programs[chip].layers:
        found, units = neurons_of(layer), in_weight_units(layer)
        for got, wanted in zip((found.decay, found.threshold, found.bias), units, strict=True):
            assert torch.equal(got, torch.tensor(wanted, dtype=torch.float32))
        assert not found.subtracts
