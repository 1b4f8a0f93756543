"""Configuration: what overrules what, and that every wrong entry is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from neurodeploy import presets
from neurodeploy.config import ExperimentConfig, TrainConfig, load_config, parse_config
from neurodeploy.errors import UsageError
from neurodeploy.plain_yaml import parse_yaml


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "experiment.yaml"


def test_without_anything_the_digits_preset_rules() -> None:
    config = load_config(None, [])
    assert config.data.name == "digits"
    assert config.network.channels == (24, 48)
    assert (config.network.hidden, config.train.epochs, config.train.batch_size, config.seed) == ((96,), 40, 64, 0)


def test_presets_under_file_under_settings_under_overrides(file: Path) -> None:
    file.write_text("data: {name: mnist}\ntrain: {epochs: 7, learning_rate: 0.5}\nnetwork: {steps: 5}\nseed: 1\n")
    config = load_config(file, ["train.epochs=8", "seed=2"], {"seed": 3})
    assert config.data.name == "mnist"
    assert config.train.batch_size == 32  # the preset
    assert config.train.learning_rate == 0.5
    assert config.network.steps == 5
    assert config.train.epochs == 8  # the setting
    assert config.seed == 3  # the override
    assert load_config(file, [], {"seed": 3}).train.epochs == 7
    assert load_config(None, ["data.name=mnist"]).train.epochs == 3
    assert load_config(None, [], {"data.name": "fashion-mnist"}).train.epochs == 6


def test_the_last_of_equal_settings_counts() -> None:
    assert load_config(None, ["seed=1", "seed=2"]).seed == 2


def test_loading_changes_no_preset() -> None:
    before = presets.read("digits")
    load_config(None, ["train.epochs=1", "network.hidden=3"], {"train.batch_size": 2})
    assert presets.read("digits") == before


def test_a_named_preset_takes_the_place_of_the_data_set_s(file: Path) -> None:
    file.write_text("train: {epochs: 7}\n")
    config = load_config(file, ["train.learning_rate=0.5"], {"seed": 3}, preset="mnist-accurate")
    assert (config.data.name, config.network.channels, config.data.augment) == ("mnist", (24, 64), ("affine",))
    assert (config.train.epochs, config.train.learning_rate, config.seed) == (7, 0.5, 3)
    assert load_config(None, [], {"data.name": "own.npz"}, preset="mnist").data.name == "own.npz"
    with pytest.raises(UsageError, match="unknown preset 'mnits': did you mean mnist"):
        load_config(None, [], preset="mnits")


def test_a_preset_s_sections_are_joined_entry_by_entry() -> None:
    config = load_config(None, ["data.validation=0.2", "network.steps=2"], preset="n-mnist")
    assert (config.data.bits, config.data.validation) == (2, 0.2)
    assert (config.network.channels, config.network.steps) == ((32,), 2)


def test_a_data_set_without_preset_has_the_defaults() -> None:
    assert load_config(None, ["data.name=other"]) == ExperimentConfig.model_validate({"data": {"name": "other"}})


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}"])
def test_an_empty_file_changes_nothing(text: str, file: Path) -> None:
    file.write_text(text)
    assert load_config(file, []) == load_config(None, [])


def test_a_value_may_be_any_yaml_even_with_an_equals_sign() -> None:
    config = load_config(None, ["network.channels=[4, 8, 16]", "train.learning_rate=1e-4", "data.root=/a=b"])
    assert config.network.channels == (4, 8, 16)
    assert config.train.learning_rate == 1e-4
    assert config.data.root == "/a=b"


@pytest.mark.parametrize(
    ("setting", "known"),
    [
        ("sed=1", "sed: unknown, known are data, network, train, noise, seed"),
        ("data.nme=x", "data.nme: unknown, known are name, root, download, classes, validation"),
        ("train.epoch=1", "train.epoch: unknown, known are epochs, batch_size, optimizer, momentum, learning_rate"),
        ("model.x=1", "model: unknown, known are data, network, train, noise, seed"),
    ],
)
def test_an_unknown_entry_is_named_with_the_known_ones(setting: str, known: str) -> None:
    with pytest.raises(UsageError, match=known):
        load_config(None, [setting])


def test_all_problems_are_named_at_once(file: Path) -> None:
    file.write_text("train: {epochs: 0, batch: 5}\nnetwork: {decay: 1.5}\nnonsense: 1\n")
    with pytest.raises(UsageError) as caught:
        load_config(file, ["data.validation=1"])
    for part in ("train.epochs=0: ", "train.batch: unknown", "network.decay=1.5: ", "nonsense: unknown"):
        assert part in str(caught.value)
    assert "data.validation=1: Input should be less than 1" in str(caught.value)


@pytest.mark.parametrize(
    "setting",
    [
        "train.epochs=many",
        "train.epochs=2.5",
        "train.epochs=[1]",
        "network.channels=3",
        "network.channels=[a]",
        "network.channels={a: 1}",
        "network.reset=hard",
        "network.readout=last",
        "network.detach_reset=perhaps",
        "network.steps=true",
        "network.channels=[true]",
        "network.hidden=true",
        "network.decay=true",
        "train.epochs=true",
        "train.learning_rate=true",
        "train.batch_size=false",
        "train.devices=true",
        "train.devices=0",
        "train.devices=many",
        "train.precision=true",
        "train.precision=64",
        "train.loggers=[paper]",
        "train.factor=true",
        "data.validation=true",
        "noise.mismatch=true",
        "noise.quantize=true",
        "seed=true",
        "data.name=5",
        "data.name=[a]",
        "data=5",
        "train=[1]",
        "seed=null",
        "seed={a: 1}",
    ],
)
def test_a_wrong_type_is_named_with_its_value(setting: str) -> None:
    name = setting.partition("=")[0]
    with pytest.raises(UsageError, match=rf"^configuration: {name}(\.\w+)?="):
        load_config(None, [setting])


@pytest.mark.parametrize(
    ("name", "allowed", "refused"),
    [
        ("data.validation", [1e-9, 0.999], [0, 1, -0.1]),
        ("network.hidden", [1, [1, 2], []], [0, [3, 0]]),
        ("network.channels", [[], [1]], [[0], [3, -1]]),
        ("network.steps", [1, 1024], [0, 1025]),
        ("network.decay", [1e-9, 1], [0, 1.001]),
        ("network.threshold", [0.001, 0.999], [0, 1]),
        ("network.gamma", [0.001], [0, -1]),
        ("network.readout_decay", [0.001, 1], [0, 1.001]),
        ("train.epochs", [1], [0]),
        ("train.batch_size", [1], [0]),
        ("train.threads", [None, 1], [0]),
        ("train.learning_rate", [1e-9], [0]),
        ("train.gamma_learning_rate", [0], [-1e-9]),
        ("train.weight_decay", [0], [-1e-9]),
        ("train.devices", [1, "auto"], [0, -1]),
        ("train.precision", ["32", 32, "16", 16, "bf16"], ["fp8", 8]),
        ("train.label_smoothing", [0, 0.999], [-0.1, 1]),
        ("train.momentum", [0, 0.999], [-0.1, 1]),
        ("train.potential_deviation", [1e-9], [0]),
        ("train.loggers", [[], ["tensorboard", "mlflow"]], [["wandb"]]),
        ("data.download", [True], ["perhaps"]),
        ("train.channels_last", [True, False, None], ["perhaps"]),
        ("train.potential_weight", [0], [-1e-9]),
        ("seed", [0, 2**32 - 1], [-1, 2**32]),
    ],
)
def test_limits_are_allowed_and_one_past_them_is_not(name: str, allowed: list[Any], refused: list[Any]) -> None:
    for value in allowed:
        load_config(None, [], {name: value})
    for value in refused:
        with pytest.raises(UsageError, match=name):
            load_config(None, [], {name: value})


@pytest.mark.parametrize("name", ["train.learning_rate", "network.gamma", "network.decay", "train.potential_weight"])
@pytest.mark.parametrize("value", [".nan", ".inf", "-.inf"])
def test_numbers_that_are_not_finite_are_refused(name: str, value: str) -> None:
    with pytest.raises(UsageError, match=name):
        load_config(None, [f"{name}={value}"])


@pytest.mark.parametrize("setting", ["train.epochs", "", "5", "=5", ".a=5", "train.=5", "train..epochs=5"])
def test_a_setting_without_a_value_is_refused(setting: str) -> None:
    with pytest.raises(UsageError, match="NAME=VALUE is expected, as in"):
        load_config(None, [setting])


def test_a_value_is_not_a_section() -> None:
    with pytest.raises(UsageError, match=r"^--set seed\.a=2: seed is not a section"):
        load_config(None, ["seed=1", "seed.a=2"])
    with pytest.raises(UsageError, match=r"^data\.name=digits: data is not a section, --set or --config makes it None"):
        load_config(None, ["data=null"], {"data.name": "digits"})


@pytest.mark.parametrize(
    ("text", "key"), [("seed: 1\nseed: 2", "seed"), ("train:\n  epochs: 1\n  lr: 2\n  epochs: 3", "epochs")]
)
def test_a_key_that_stands_twice_is_refused(file: Path, text: str, key: str) -> None:
    file.write_text(text)
    with pytest.raises(UsageError, match=f"^--config {file}: '{key}' stands twice.*line"):
        load_config(file, [])
    with pytest.raises(UsageError, match="'a' stands twice"):
        load_config(None, ["train={a: 1, a: 2}"])


def test_an_anchor_may_be_laid_under_a_section(file: Path) -> None:
    file.write_text("train: &base {epochs: 3}\nnetwork: {<<: {depth: 2}, depth: 1}\n")
    assert load_config(file, []).network.depth == 1
    deeper = "shared: &base {steps: 4, decay: 1}\ndata: {x: &A {<<: *base, steps: 8}}\ntrain: {<<: *A, k: 1}\n"
    assert parse_yaml(deeper, "here") == {
        "shared": {"steps": 4, "decay": 1},
        "data": {"x": {"steps": 8, "decay": 1}},
        "train": {"steps": 8, "decay": 1, "k": 1},
    }


@pytest.mark.parametrize("text", ["[]", "0", "false", "''"])
def test_a_file_that_is_no_mapping_is_refused(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(UsageError, match="a mapping with data"):
        load_config(file, [])


@pytest.mark.parametrize("setting", ["network.channels=[4, {}]", "network.hidden=[{}]", "network.stem={}"])
def test_layers_have_a_size_that_a_machine_holds(setting: str) -> None:
    load_config(None, [setting.format(2**16)])
    with pytest.raises(UsageError, match="less than or equal to 65536"):
        load_config(None, [setting.format(2**16 + 1)])


def test_threads_have_a_limit() -> None:
    assert load_config(None, ["train.threads=1024"]).train.threads == 1024
    with pytest.raises(UsageError, match="less than or equal to 1024"):
        load_config(None, ["train.threads=1025"])


def test_a_configuration_survives_json() -> None:
    config = load_config(None, ["network.reset=subtract", "train.learning_rate=0.1"])
    assert parse_config(config.model_dump(mode="json")) == config


@pytest.mark.parametrize("precision", ["bf16", "16"])
def test_codes_of_a_chip_need_single_precision(precision: str) -> None:
    said = f"^configuration: noise.quantize=loihi2 with train.precision={precision}: 8-bit codes need"
    with pytest.raises(UsageError, match=said):
        load_config(None, ["noise.quantize=loihi2", f"train.precision={precision}"])
    assert load_config(None, [f"train.precision={precision}"]).train.precision == precision


@pytest.mark.parametrize("content", [None, 5, "x", [1], {"network": None}])
def test_plain_values_of_the_wrong_kind_are_refused(content: Any) -> None:
    with pytest.raises(UsageError, match="configuration: "):
        parse_config(content)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["train.schedule=steps"], r"train\.milestones=\(\): .*schedule=steps needs milestones"),
        (["train.milestones=[3]"], r"train\.milestones=\[3\]: .*only with schedule=steps"),
        (["train.schedule=steps", "train.milestones=[3, 3]"], "epochs must rise"),
        (["train.schedule=steps", "train.milestones=[5, 3]"], "epochs must rise"),
        (["train.schedule=steps", "train.milestones=[0]"], "greater than or equal to 1"),
        (["train.schedule=steps", "train.milestones=[1, 2]", "train.factor=[0.1]"], "one for each of 2 milestones"),
        (["train.schedule=steps", "train.milestones=[1]", "train.factor=1"], "less than 1"),
        (["train.schedule=steps", "train.milestones=[1]", "train.factor=[0]"], "greater than 0"),
    ],
)
def test_milestones_and_factors_must_go_together(settings: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        load_config(None, settings)


def test_there_is_a_factor_for_every_milestone() -> None:
    steps: dict[str, Any] = {"schedule": "steps", "milestones": (2, 4, 6)}
    assert TrainConfig(**steps).factors == (0.1, 0.1, 0.1)
    assert TrainConfig(**steps, factor=(0.5, 0.2, 0.1)).factors == (0.5, 0.2, 0.1)
    assert TrainConfig().factors == ()
