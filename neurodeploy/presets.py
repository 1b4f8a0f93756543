"""Presets: the YAML files of `configs/`, how YAML of a user is read, and how one lies over another."""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from neurodeploy.errors import UsageError, unknown_name
from neurodeploy.plain_yaml import parse_yaml


@cache
def catalogue() -> dict[str, str]:
    """Name -> what it is for: the first line of its file, a comment."""
    files = sorted(path for path in _folder().iterdir() if path.name.endswith(".yaml"))
    return {path.name.removesuffix(".yaml"): _title(path.read_text(encoding="utf-8")) for path in files}


def read(name: str) -> dict[str, Any]:
    """The content of a preset; raises UsageError for an unknown name."""
    if name not in catalogue():
        raise unknown_name("preset", name, catalogue())
    content: dict[str, Any] = yaml.safe_load((_folder() / f"{name}.yaml").read_text(encoding="utf-8"))
    return content


@cache
def recipes() -> dict[str, str]:
    """Name -> what it is for, of recipes: settings of training that go with any data set's preset."""
    files = sorted(path for path in (_folder() / "recipes").iterdir() if path.name.endswith(".yaml"))
    return {path.name.removesuffix(".yaml"): _title(path.read_text(encoding="utf-8")) for path in files}


def recipe(name: str) -> dict[str, Any]:
    """The content of a recipe; raises UsageError for an unknown name."""
    if name not in recipes():
        raise unknown_name("recipe", name, recipes())
    content: dict[str, Any] = yaml.safe_load((_folder() / "recipes" / f"{name}.yaml").read_text(encoding="utf-8"))
    return content


def read_yaml(file: Path, option: str) -> dict[str, Any]:
    """A mapping from a file; raises UsageError naming the option."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UsageError(f"{option}: {' '.join(str(error).split())}") from error
    content = parse_yaml(text, option)
    if not isinstance(content, dict | None):
        raise UsageError(f"{option}: a mapping with data, network, train, noise, seed is expected")
    return content or {}


def over(below: dict[Any, Any], above: dict[Any, Any]) -> dict[Any, Any]:
    """Entries of `above`, and of its sections, in the place of those of `below`."""
    joined = below | above
    for name in below.keys() & above.keys():
        if isinstance(below[name], dict) and isinstance(above[name], dict):
            joined[name] = below[name] | above[name]
    return joined


def put(content: dict[str, Any], name: str, value: Any, option: str) -> None:
    """Sets an entry by its dotted name; raises UsageError, which begins with `option`, where a part is no section."""
    *sections, last = name.split(".")
    for section in sections:
        inner = content.setdefault(section, {})
        if not isinstance(inner, dict):
            raise UsageError(f"{option}: {section} is not a section, --set or --config makes it {inner!r}")
        content = inner
    content[last] = value


def _folder() -> Any:
    return resources.files("neurodeploy") / "configs"


def _title(text: str) -> str:
    return text.partition("\n")[0].lstrip("# ")
