"""`neurodeploy compare` in one call: any two sides of a model or an artifact, on samples that suit both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.compare.material import Material, NetSays, open_material, with_data
from neurodeploy.compare.result import SideComparison
from neurodeploy.compare.sides import Side, open_side
from neurodeploy.compare.stream import compare_sides
from neurodeploy.errors import UsageError
from neurodeploy.importing.loading import Encoding

Array = NDArray[Any]


@dataclass(frozen=True)
class Request:
    """What to compare.

    Attributes:
        path: model.pt, an artifact folder or a `.net` file.
        first, second: names of sides, see `neurodeploy.compare.sides`.
        target, chip: what a model is quantised for; by default the target that a side names.
        data, data_root: test samples of a data set in the place of the file's own.
        samples: how many; None for all.
        teacher_forced: feed each layer of the second side the first side's spikes.
        explained: of how many samples the first difference of each layer is explained.
        steps, input_bits, encoding: of a `.net` file and its `data`.
    """

    path: Path
    first: str
    second: str
    target: str | None = None
    chip: str | None = None
    data: str | None = None
    data_root: str | None = None
    samples: int | None = None
    teacher_forced: bool = False
    explained: int = 20
    steps: int | None = None
    input_bits: int | None = None
    encoding: Encoding = "direct"


def compare_backends(request: Request, progress: Callable[[int, int], None] | None = None) -> SideComparison:
    """Compares two sides.

    Raises:
        UsageError: for unknown names, samples that do not suit, and sides that do not fit together.
        MissingBackendError: where a simulator is not installed.
        DesignRuleError: where the network does not fit the target.
    """
    names = request.first, request.second
    said = NetSays(request.steps, request.input_bits, request.samples)
    material = open_material(request.path, names, request.target, request.chip, said)
    if request.encoding != "direct" and (material.network is not None or request.data is None):
        raise UsageError(f"--encoding {request.encoding}: only for the --data of a .net file")
    sides = open_side(names[0], material), open_side(names[1], material)
    if request.data is not None:
        material = with_data(material, request.data, request.data_root, request.samples, request.encoding)
    inputs, labels, notes = shared_samples(sides, material, request.data is not None, request.samples)
    program = material.stored
    result = compare_sides(
        sides,
        (inputs, inputs),
        labels,
        request.teacher_forced,
        program.chip if program else None,
        request.explained,
        progress=progress,
    )
    if material.net is not None and request.data is None and not any(side.recorded for side in sides):
        notes = (*notes, f"{material.net} holds no samples: these are random integers, seed 0")
    return replace(result, notes=material.notes + notes)


def shared_samples(
    sides: tuple[Side, Side], material: Material, chosen: bool, count: int | None
) -> tuple[Array, NDArray[np.int64] | None, tuple[str, ...]]:
    """(inputs, labels, what to know about them): a recorded run's own where there is one, else the material's.

    Args:
        chosen: whether the user asked for the material's samples by name.

    Raises:
        UsageError: where recorded runs are of other samples, or of more than there are.
    """
    runs = [(side.name, side.recorded) for side in sides if side.recorded is not None]
    holding = [(name, run.inputs) for name, run in runs if run.inputs is not None]
    notes: tuple[str, ...] = ()
    if holding:
        name, own = holding[0]
        if chosen:
            raise UsageError(f"--data: {name} holds the samples that it was recorded on; leave --data out")
        if len(holding) > 1 and not np.array_equal(own, holding[1][1]):
            raise UsageError(f"{name} and {holding[1][0]} were recorded on different samples")
        static = own.ndim == len(material.input.shape) + 1
        total = own.shape[0 if static else 1]
        known = material.first(total)
        labels = known.labels if np.array_equal(known.inputs, own) else None
        material = replace(material, inputs=own, labels=labels)
    for name, run in runs:
        recorded = len(run.recording.readout)
        material = material.first(recorded)
        there = material.inputs.shape[0 if material.static else 1]
        if there < recorded and (count is None or count > there):
            raise UsageError(
                f"{name} has {recorded} samples and there are {there} inputs: compare the first with "
                f"--samples {there}, or name the data set with --data"
            )
        if run.inputs is None:
            notes = (*notes, f"{name} does not hold its inputs: taken to be the first samples here")
    material = material.first(count)
    return material.inputs, material.labels, notes
