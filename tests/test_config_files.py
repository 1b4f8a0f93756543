"""Configuration files: hostile, broken, unfolding, empty or unreadable ones are refused and not executed."""

from __future__ import annotations

from pathlib import Path

import pytest

from neurodeploy.config import load_config
from neurodeploy.errors import UsageError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "experiment.yaml"


BAD_YAML = [
    "!!python/object/apply:os.mkdir ['{victim}']",
    "!!python/name:os.system",
    "!!python/object/new:pathlib.Path ['x']",
    "[1, 2",
    "{a: &x",
    "2023-99-99",  # a date that is none
    "!!int x",
    "!!float x",
    "[" * 5000,
    "\0",
]


@pytest.mark.parametrize("text", BAD_YAML)
def test_hostile_and_broken_yaml_is_refused_and_not_executed(text: str, file: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    text = text.replace("{victim}", str(victim))
    file.write_text(f"seed: {text}")
    with pytest.raises(UsageError, match=r"--config .*experiment\.yaml: "):
        load_config(file, [])
    with pytest.raises(UsageError, match="--set seed="):
        load_config(None, [f"seed={text}"])
    assert not victim.exists()


def test_yaml_that_unfolds_without_end_gives_a_short_message(file: Path) -> None:
    """Thirty doublings are a billion entries, were they ever written out; the second refers to itself."""
    doublings = "\n".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 30))
    file.write_text(f"a0: &a0 [x, x]\n{doublings}\nseed: *a29\ndata: {{name: *a29}}\nnetwork: &me {{steps: *me}}\n")
    with pytest.raises(UsageError, match="seed=") as caught:
        load_config(file, [])
    assert len(str(caught.value)) < 10_000


@pytest.mark.parametrize("text", ["- 1", "5", "text", "[a, b]"])
def test_a_file_that_is_not_a_mapping_is_refused(text: str, file: Path) -> None:
    file.write_text(text)
    with pytest.raises(UsageError, match="a mapping with data, network, train, noise, seed is expected"):
        load_config(file, [])


def test_a_file_that_cannot_be_read_is_named(file: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--config .*experiment\.yaml: .*No such file"):
        load_config(file, [])
    with pytest.raises(UsageError, match=r"--config .*directory"):
        load_config(tmp_path, [])
    file.write_bytes(b"seed: \xff\xfe")
    with pytest.raises(UsageError, match=r"--config .*codec can't decode"):
        load_config(file, [])


@pytest.mark.parametrize("text", ["train:\n", "1: 2\n", "null: 3\n"])
def test_an_empty_section_and_a_key_that_is_no_name_are_refused(text: str, file: Path) -> None:
    file.write_text(text)
    with pytest.raises(UsageError, match="configuration: "):
        load_config(file, [])
