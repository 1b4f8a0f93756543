"""Chips with weights of fewer bits, by name: NAME@BITS."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neurodeploy.errors import UsageError
from neurodeploy.hw_models import chip
from neurodeploy.ir.artifact import load_artifact


@pytest.mark.parametrize(("bits", "highest"), [(2, 1), (3, 3), (4, 7), (7, 63)])
def test_only_the_weights_are_smaller(bits: int, highest: int) -> None:
    found = chip(f"loihi2@{bits}")
    assert (found.name, found.weight_bits, found.weight_max) == (f"loihi2@{bits}", bits, highest)
    whole = chip("loihi2")
    assert replace(found, name="loihi2", weight_bits=8, knobs=whole.knobs) == whole


def test_as_many_bits_as_it_has_change_nothing_else() -> None:
    assert replace(chip("loihi2@8"), name="loihi2") == chip("loihi2")


@pytest.mark.parametrize(
    "name", ["loihi2@1", "loihi2@9", "loihi2@0", "loihi2@", "loihi2@-4", "loihi2@four", "loihi2@²"]
)
def test_other_bits_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="weights of loihi2 have 2 to 8 bits"):
        chip(name)


def test_an_unknown_chip_stays_unknown() -> None:
    with pytest.raises(UsageError, match=r"unknown chip 'loihi': did you mean loihi2"):
        chip("loihi@4")


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_export_stores_weights_of_so_many_bits(bits: int, model_file: Path, tmp_path: Path, run: Any) -> None:
    outcome = run("export", model_file, "--target", "lava", "--bits", bits, "-o", tmp_path / "out")
    assert outcome.code == 0, outcome
    program = load_artifact(tmp_path / "out").program
    largest = [int(np.abs(one.weight).max()) for layer in program.layers for one in layer.synapses]
    assert max(largest) == 2 ** (bits - 1) - 1
    assert run("run", tmp_path / "out", "--backend", "engine").code == 0


def test_bits_that_do_not_go_together_are_one_line(model_file: Path, tmp_path: Path, run: Any) -> None:
    for words, says in (
        (("--target", "lava", "--bits", 9), "weights of loihi2 have 2 to 8 bits"),
        (("--target", "lava", "--bits", 4, "--chip", "loihi2@4"), "--chip CHIP@BITS"),
        (("--target", "xylo", "--bits", 4), "not for --target xylo"),
    ):
        outcome = run("export", model_file, *words, "-o", tmp_path / "out")
        assert (outcome.code, outcome.out) == (2, ""), outcome
        assert says in outcome.err
        assert not (tmp_path / "out").exists()
