"""Recipes: settings of training that go on top of any preset."""

from __future__ import annotations

import pytest

from neurodeploy import presets
from neurodeploy.config import load_config
from neurodeploy.errors import UsageError
from neurodeploy.hw_models.noise import NoiseModel


@pytest.mark.parametrize("name", sorted(presets.recipes()))
def test_a_recipe_lies_between_preset_and_settings(name: str) -> None:
    content = presets.recipe(name)
    plain = load_config(None, [], {"data.name": "fashion-mnist"})
    cooked = load_config(None, ["noise.thermal=0.05"], {"data.name": "fashion-mnist"}, recipe=name)
    assert cooked != plain
    assert cooked.noise.thermal == 0.05
    assert cooked.train.batch_size == plain.train.batch_size == 32  # of the preset
    for section, values in content.items():
        for entry, value in values.items():
            if entry != "thermal":
                assert getattr(getattr(cooked, section), entry) == value
    assert len(presets.recipes()[name]) > 20


def test_the_robust_recipe_trains_on_what_calibration_meets() -> None:
    config = load_config(None, [], recipe="robust")
    noise = config.noise
    assert config.train.potential_weight == 0  # measured: potential adjustment costs robustness
    assert (noise.mismatch, noise.weight_mismatch, noise.thermal) == (0.3, 0.2, 0.1)
    NoiseModel(mismatch=noise.mismatch, weight_mismatch=noise.weight_mismatch, thermal=noise.thermal)


def test_an_unknown_recipe_names_those_that_there_are() -> None:
    with pytest.raises(UsageError, match="unknown recipe 'robst': did you mean robust"):
        load_config(None, [], recipe="robst")
