"""Samples for a network that is there already: whether their integers and labels mean to it what it was made for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from neurodeploy.config import DataConfig, ExperimentConfig
from neurodeploy.data.dataset import DataSet, Split
from neurodeploy.data.own import find_npz
from neurodeploy.data.sources import load_data_set
from neurodeploy.errors import UsageError
from neurodeploy.ir.nodes import Input

_TYPED = 1e-6  # relative: nobody types all digits of 1 / 255


def matching_test(
    trained: ExperimentConfig,
    name: str,
    root: str | None,
    steps: int,
    source: Input,
    classes: int,
    channels: bool = False,
) -> Split:
    """Test samples of a data set as a trained network takes them.

    Of the data set that it was trained on, by name or as the same `.npz`, they come with the same bits, encoding,
    classes and frames. Others come with the network's bits, or encoded as those were, and as many of their classes as
    were trained on; all else is as suits that set. A `.npz` for a network with a scale that no image has (digits' 1/16)
    holds the network's own integers, where these fit its bits.

    Args:
        trained: what the network was trained with.
        root: the data set's folder.
        steps: T of the network.
        source: the network's input.
        classes: how many the network tells apart.
        channels: the network takes samples of any shape laid flat, one channel per value.

    Raises:
        UsageError: where shape, bits, scale or classes are not the network's, naming both.
    """
    if _same(trained.data, name, root):
        data = load_data_set(trained.data.model_copy(update={"name": name, "root": root}), steps, trained.seed)
    else:
        plain = DataConfig(name=name, root=root)
        data = load_data_set(plain, steps, trained.seed)
        changes = _as_trained(data, trained.data, source)
        if changes:
            data = load_data_set(plain.model_copy(update=changes), steps, trained.seed)
        if _own_integers(name, data, trained.data, source):
            data = load_data_set(plain.model_copy(update={**changes, "bits": 8}), steps, trained.seed)
            most, allowed = int(data.test.samples.max(initial=0)), 2**source.bits - 1
            if most > allowed:
                raise UsageError(
                    f"--data {name}: integers of 0 to {most}; of a scale of {source.scale:.9g}, which no images have, "
                    f"the network takes its own integers, 0 to {allowed}, or the data set {trained.data.name}"
                )
            data = replace(data, input=replace(data.input, bits=source.bits, scale=source.scale))
    shape, wanted = data.input.shape, source.shape
    if shape != wanted and not (channels and math.prod(shape) == math.prod(wanted)):
        raise UsageError(f"--data {name}: samples of shape {shape}, the network takes {wanted}")
    wrong = unlike(data, source.bits, source.scale, classes)
    if wrong:
        raise UsageError(
            f"--data {name}: {'; '.join(wrong)}; name samples as those of {trained.data.name}, which it was trained on"
        )
    return data.test


def unlike(data: DataSet, bits: int | None, scale: float | None, classes: int) -> list[str]:
    """In what samples are not a network's, each with both sides; empty where they go together.

    Args:
        bits, scale: of the network's input; None where nobody says.
        classes: how many the network tells apart; a data set may have fewer.
    """
    wrong, source = [], data.input
    if (bits is not None and bits != source.bits) or (scale is not None and not same_scale(scale, source.scale)):
        theirs = None if bits is None else source.bits, None if scale is None else source.scale
        wrong.append(f"integers of {_said(*theirs)}, the network takes {_said(bits, scale)}")
    if classes < data.classes:
        wrong.append(f"{data.classes} classes, the network tells {classes} apart")
    return wrong


def same_scale(one: float, other: float) -> bool:
    """Whether two scales differ by less than people type."""
    return math.isclose(one, other, rel_tol=_TYPED)


def _said(bits: int | None, scale: float | None) -> str:
    parts = ([] if bits is None else [f"{bits} bits"]) + ([] if scale is None else [f"scale {scale:.9g}"])
    return " with ".join(parts)


def _same(trained: DataConfig, name: str, root: str | None) -> bool:
    """Whether a name is that of the data set that was trained on, or another path of the same `.npz`."""
    if trained.name == name:
        return True
    if {Path(trained.name).suffix, Path(name).suffix} != {".npz"}:
        return False
    there, here = find_npz(trained.name, trained.root), find_npz(name, root)
    return there is not None and here is not None and there.samefile(here)


def _own_integers(name: str, data: DataSet, trained: DataConfig, source: Input) -> bool:
    """Whether a `.npz` can only hold the network's own integers: no file of images has a scale like digits' 1/16."""
    plain = Path(name).suffix == ".npz" and not data.test.temporal and trained.encoding == "direct"
    return plain and not same_scale(source.scale, 1.0) and not same_scale(source.scale, 1 / (2**source.bits - 1))


def _as_trained(data: DataSet, trained: DataConfig, source: Input) -> Mapping[str, Any]:
    """What to change of a plain configuration, so that another data set comes as the network's own did."""
    changes: dict[str, Any] = {}
    if trained.classes is not None and trained.classes < data.classes:
        changes["classes"] = trained.classes
    if trained.encoding != "direct" and not data.test.temporal:
        return changes | {"encoding": trained.encoding, "bits": trained.bits}
    if unlike(data, source.bits, source.scale, data.classes):
        changes["bits"] = source.bits
    if data.test.temporal and trained.unit_range:
        changes["unit_range"] = True
    return changes
