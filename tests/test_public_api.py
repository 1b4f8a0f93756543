"""What `import neurodeploy` offers, and what it does not load."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import pytest

import neurodeploy


@pytest.mark.parametrize("name", neurodeploy.__all__)
def test_every_public_name_is_there_and_says_what_it_is(name: str) -> None:
    value = getattr(neurodeploy, name)
    assert name == "__version__" or value.__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'quantise'"):
        neurodeploy.quantise  # noqa: B018


def test_importing_the_package_loads_no_heavy_library() -> None:
    heavy = ("torch", "numpy", "pandas", "altair", "rockpool", "pytorch_lightning")
    code = f"import sys, neurodeploy; sys.exit(','.join(set({heavy!r}) & set(sys.modules)))"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stderr.strip() == ""
    )


def test_no_public_name_is_hidden_by_a_module_of_the_same_name() -> None:
    modules = {module.name for module in pkgutil.iter_modules(neurodeploy.__path__)}
    assert not modules & set(neurodeploy.__all__)
