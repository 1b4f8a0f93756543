"""The noise vocabulary as it is typed: options and presets beside levels."""

from __future__ import annotations

import pytest

from neurodeploy.errors import UsageError
from neurodeploy.hw_models.noise import NOISES, NoiseModel
from neurodeploy.hw_models.noise_presets import PRESETS
from neurodeploy.sweep.plan import NoiseAxis, parse_axis, parse_noise


@pytest.mark.parametrize("name", NOISES)
def test_every_noise_is_an_axis_and_keeps_the_options_under_it(name: str) -> None:
    base = NoiseModel(distribution="lognormal", core_size=9, layers=("a",))
    axis = parse_axis(f"{name}=0,0.5", base)
    assert axis.at(0.5) == NoiseModel(**{name: 0.5}, distribution="lognormal", core_size=9, layers=("a",))
    assert axis.at(0.0) == base


def test_options_and_presets_as_typed() -> None:
    typed = ["decay_as=tau", "core_size=256", "layers=lif1+lif2", "thermal=0.1", "age=48"]
    assert parse_noise(typed) == NoiseModel(
        thermal=0.1, decay_as="tau", core_size=256, layers=("lif1", "lif2"), age=48.0
    )
    for name, preset in PRESETS.items():
        assert parse_noise([name]) == preset.noise
    mixed = parse_noise(["weight_mismatch=0.1", "dynap-se", "distribution=gaussian"])  # whatever the order
    assert mixed == NoiseModel(decay_mismatch=0.125, weight_mismatch=0.1, decay_as="tau")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["dynap-se", "rockpool"], "one preset"),
        (["dynapse"], "unknown noise 'dynapse': did you mean dynap-se"),
        (["decay_a=tau"], "unknown noise 'decay_a': did you mean decay_as"),
        (["spike_los=0.1"], "unknown noise 'spike_los': did you mean spike_loss"),
        (["decay_as"], "decay_as: a value is expected"),
        (["age=1", "age=2"], "age=2: age is given twice"),
        (["spike_loss=1.5"], "noise spike_loss=1.5: at most 1"),
        (["core_size=-1"], "core_size=-1"),
    ],
)
def test_what_is_no_noise_is_refused(typed: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_noise(typed)


def test_a_level_past_its_limit_is_refused_before_a_sweep_starts() -> None:
    with pytest.raises(UsageError, match=r"noise dead_neurons=1.5: at most 1"):
        parse_axis("dead_neurons=0,0.5,1.5")
    assert NoiseAxis("dead_neurons", (1.0,)).at(1.0).dead_neurons == 1
