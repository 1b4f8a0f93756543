"""Errors carry exit codes and say what to do."""

from __future__ import annotations

import pytest

from neurodeploy.errors import (
    DesignRuleError,
    FileFormatError,
    MissingBackendError,
    NeurodeployError,
    UsageError,
    unknown_name,
)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NeurodeployError("x"), 1),
        (UsageError("x"), 2),
        (FileFormatError("x"), 2),
        (DesignRuleError("loihi2", ["x"]), 3),
        (MissingBackendError("x"), 4),
    ],
)
def test_exit_codes(error: NeurodeployError, code: int) -> None:
    assert error.exit_code == code
    assert isinstance(error, NeurodeployError)


def test_a_design_rule_error_lists_every_violation() -> None:
    error = DesignRuleError("loihi2", ["layer a: too wide", "layer b: too deep"])
    assert error.violations == ("layer a: too wide", "layer b: too deep")
    assert str(error) == "the network does not fit loihi2: 2 violated\n  - layer a: too wide\n  - layer b: too deep"


def test_an_unknown_name_suggests_near_ones_and_lists_all() -> None:
    error = unknown_name("target", "LAVVA", ["rockpool", "lava", "nir"])
    assert isinstance(error, UsageError)
    assert str(error) == "unknown target 'LAVVA': did you mean lava? known: lava, nir, rockpool"


def test_an_unknown_name_without_near_ones_lists_all() -> None:
    assert str(unknown_name("chip", "zzzz", ["ideal", "loihi2"])) == "unknown chip 'zzzz': known: ideal, loihi2"
    assert str(unknown_name("chip", "", [])) == "unknown chip '': known: "
