"""What pyproject says is what the folders are, and nothing is imported under a second name."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import neurodeploy

ROOT = Path(__file__).resolve().parents[1]
LINKED = ("export", "hw_models")


def packages() -> list[str]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        listed: list[str] = tomllib.load(file)["tool"]["setuptools"]["packages"]
    return listed


def test_every_package_folder_is_listed_and_every_listed_one_is_there() -> None:
    folders = {"neurodeploy"}
    for top, name in [(ROOT / "neurodeploy", "neurodeploy"), *((ROOT / n, f"neurodeploy.{n}") for n in LINKED)]:
        for init in top.rglob("__init__.py"):
            inside = init.parent.relative_to(top).parts
            if not set(inside) & set(LINKED):
                folders.add(".".join([name, *inside]))
    assert sorted(packages()) == sorted(folders)


@pytest.mark.parametrize("name", LINKED)
def test_the_links_inside_the_package_are_there_and_relative(name: str) -> None:
    link = ROOT / "neurodeploy" / name
    assert link.is_symlink(), f"checked out without links: type checkers will not see neurodeploy.{name}"
    assert link.readlink() == Path("..") / name
    assert (link / "__init__.py").is_file()


def test_the_top_level_folders_are_imported_under_one_name_only() -> None:
    script = "import sys, neurodeploy.hw_models, neurodeploy.export, neurodeploy.simulate.engine; "
    script += "print([n for n in sys.modules if n.split('.')[0] in ('hw_models', 'export')])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"
    assert not {name.split(".")[0] for name in sys.modules} & set(LINKED)


def test_the_package_says_that_it_is_typed() -> None:
    assert (Path(neurodeploy.__file__).parent / "py.typed").is_file()
