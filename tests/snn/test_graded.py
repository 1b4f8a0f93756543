"""Graded potentials against the equation, and their gradient against autograd of what is written down."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from neurodeploy.errors import UsageError
from neurodeploy.snn.graded import GradedLIFNeurons
from neurodeploy.snn.neurons import Decay, LIFNeurons
from neurodeploy.snn.surrogate import Surrogate

STEPS = 5


def graded(reset: Any = "zero", rule: Any = "literal") -> GradedLIFNeurons:
    settings = (Surrogate("softplus", rule), Decay(0.6), 0.4, 1.7, reset, False, True)
    return GradedLIFNeurons(STEPS, *settings).double()


def drive(steps: int = STEPS) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return 0.3 + 0.6 * torch.randn(steps, 4, 7, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_the_potential_above_threshold_is_put_out_and_resets(reset: str) -> None:
    neurons, current = graded(reset), drive()
    fired = neurons(current, record=True)
    plain = LIFNeurons(STEPS, Surrogate(), Decay(0.6), 0.4, reset=reset).double()(current, record=True)  # type: ignore[arg-type]
    assert 0.2 < float(plain.spikes.detach().mean()) < 0.8
    torch.testing.assert_close(fired.potentials, plain.potentials)
    torch.testing.assert_close(fired.spikes, plain.spikes * plain.potentials)
    torch.testing.assert_close(fired.rates, plain.rates)
    torch.testing.assert_close(fired.moments, plain.moments)
    assert neurons(current).potentials is None


class Slope(torch.autograd.Function):
    """u 1[u > Vth]; backward, Eq. 16 and 17."""

    @staticmethod
    def forward(ctx: Any, potential: torch.Tensor, threshold: torch.Tensor, gamma: torch.Tensor) -> Any:
        ctx.save_for_backward(potential, threshold, gamma)
        return torch.where(potential > threshold, potential, 0)

    @staticmethod
    def backward(ctx: Any, given: torch.Tensor) -> Any:
        potential, threshold, gamma = ctx.saved_tensors
        slope = given / (1 + torch.exp(-gamma * (potential - threshold)))
        return slope, -slope.sum(), slope.sum()


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_gradients_are_eq_16_and_17_over_time_and_stop_at_the_reset(reset: str, static: bool) -> None:
    neurons, current = graded(reset), drive(1 if static else STEPS).requires_grad_()
    threshold, decay = torch.tanh(neurons.threshold_parameter), neurons.decay
    potential = torch.zeros(4, 7, dtype=torch.float64)
    outputs = []
    for t in range(STEPS):
        fired = (potential > threshold).double()  # a comparison: no gradient
        kept = potential * (1 - fired) if reset == "zero" else potential - threshold * fired
        potential = decay * kept + current[t if len(current) > 1 else 0]
        outputs.append(Slope.apply(potential, threshold, neurons.gamma))
    weights = torch.randn(STEPS, 4, 7, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    parameters = [current, *neurons.parameters()]
    assert len(parameters) == 4
    wanted = torch.autograd.grad((torch.stack(outputs) * weights).sum(), parameters)
    got = torch.autograd.grad((neurons(current).spikes * weights).sum(), parameters)
    for one, other in zip(got, wanted, strict=True):
        assert float(other.abs().max()) > 1e-3
        torch.testing.assert_close(one, other)


def test_gamma_follows_its_rule() -> None:
    found = {}
    for rule in ("literal", "principled"):
        neurons = graded(rule=rule)
        neurons(drive()).spikes.sum().backward()
        found[rule] = float(neurons.gamma.grad)  # type: ignore[arg-type]
    assert found["literal"] != found["principled"]
    frozen = graded(rule="frozen")
    frozen(drive()).spikes.sum().backward()
    assert frozen.gamma.grad is None


@pytest.mark.parametrize("shape", ["arctangent", "rectangle"])
def test_a_surrogate_that_vanishes_above_threshold_is_refused(shape: Any) -> None:
    with pytest.raises(UsageError, match=f"surrogate '{shape}': graded potentials need 'softplus'"):
        GradedLIFNeurons(STEPS, Surrogate(shape))


def test_pooling_is_refused() -> None:
    with pytest.raises(UsageError, match="not pooled"):
        graded()(drive(), pool=2)
