"""A virtual chip's own parameters on the vendors' simulators: every spike and voltage is the engine's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from rockpool_marks import SOURCES_MAY_WARN

from neurodeploy.compare import compare
from neurodeploy.export import lava, rockpool
from neurodeploy.hw_models import chip
from neurodeploy.hw_models.noise import NoiseModel
from neurodeploy.hw_models.noise_terms import NOISE_TERMS
from neurodeploy.hw_models.virtual_chip import VirtualChip
from neurodeploy.ir.program import Program
from neurodeploy.simulate import engine
from neurodeploy.simulate.recording import Recording

Case = Callable[..., tuple[Any, Program, NDArray[Any]]]
LEVELS: dict[str, Any] = {name: 0.05 for name, term in NOISE_TERMS.items() if term.where == "program"}
LEVELS |= {"temperature": 20.0, "quantization": 1 / 31, "core_size": 4}
MODELS = [
    NoiseModel(mismatch=0.2, weight_mismatch=0.1),
    NoiseModel(**LEVELS),
    NoiseModel(**LEVELS, decay_as="tau", distribution="lognormal", correlation_length=1.0),
]
KINDS = ["dense", "conv", "residual", "recurrent"]
pytestmark = SOURCES_MAY_WARN


def assert_equal(own: Program, nominal: Program, inputs: NDArray[Any], got: Recording) -> None:
    """Equality on a network that fires, on a chip that is not the nominal one."""
    expected = engine.run(own, inputs)
    assert all(0.02 < rate < 0.98 for rate in expected.firing_rates().values()), expected.firing_rates()
    assert compare(expected, engine.run(nominal, inputs)).mismatched_voltages > 0
    found = compare(expected, got)
    assert (found.mismatched_spikes, found.mismatched_voltages) == (0, 0), str(found.first)
    np.testing.assert_array_equal(got.readout, expected.readout)


@pytest.mark.parametrize("noise", MODELS, ids=["mismatch", "all", "all-lognormal"])
@pytest.mark.parametrize("kind", KINDS)
def test_rockpool_runs_a_virtual_chip_as_the_engine_does(lively_case: Case, kind: str, noise: NoiseModel) -> None:
    if rockpool.backend().version is None:
        pytest.fail(rockpool.backend().detail)
    _, nominal, inputs = lively_case(np.random.default_rng(2), kind, "mixed-signal", batch=6)
    own = VirtualChip(chip("mixed-signal"), noise, 17).realise(nominal)
    assert rockpool.violations(own) == []
    assert_equal(own, nominal, inputs, rockpool.run(own, inputs))


@pytest.mark.lava
@pytest.mark.parametrize("kind", KINDS)
def test_lava_runs_a_virtual_chip_as_the_engine_does(lively_case: Case, kind: str) -> None:
    """Thresholds and decays per neuron, weights, biases: all but dead neurons, for which Loihi 2 has no threshold."""
    if lava.TARGET.backend().version is None:
        pytest.fail(lava.TARGET.backend().detail, pytrace=False)
    _, nominal, inputs = lively_case(np.random.default_rng(2), kind, "loihi2", batch=6)
    noise = NoiseModel(**LEVELS | {"dead_neurons": 0.0}, decay_as="tau")
    own = VirtualChip(chip("loihi2"), noise, 17).realise(nominal)
    assert lava.violations(own) == []
    assert_equal(own, nominal, inputs, lava.run(own, inputs))


def test_lava_refuses_a_dead_neuron_by_name(lively_case: Case) -> None:
    _, nominal, _ = lively_case(np.random.default_rng(2), "conv", "loihi2")
    dead = VirtualChip(chip("loihi2"), NoiseModel(dead_neurons=0.5), 0).realise(nominal)
    found = lava.violations(dead)
    assert found
    assert all("to 131072: allowed are 0 to 131071" in text and text.startswith("layer ") for text in found)


def test_one_threshold_per_layer_is_all_that_a_netx_file_holds(lively_case: Case) -> None:
    from neurodeploy.export import netx

    _, nominal, _ = lively_case(np.random.default_rng(2), "dense", "loihi2")
    assert not [text for text in netx.reasons(nominal) if "per neuron" in text]
    reasons = netx.reasons(VirtualChip(chip("loihi2"), NoiseModel(mismatch=0.2), 0).realise(nominal))
    assert any("threshold per neuron; netx knows one per layer" in text for text in reasons)
    shared = netx.reasons(VirtualChip(chip("loihi2"), NoiseModel(supply=0.1), 0).realise(nominal))
    assert not [text for text in shared if "per neuron" in text]  # common to the chip
