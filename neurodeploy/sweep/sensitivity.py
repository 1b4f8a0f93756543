"""Which layer and which noise cost most: one at a time, and all but one; and the noise budget that follows.

All populations are the same chips on the same samples, so that every number is a paired difference with a two-level
interval (`bootstrap`). With a(S) the mean accuracy under the noises S:

    alone(s, k)  = a(nothing) - a(s in layer k only)              what s costs there by itself
    spared(s, k) = a(s in all layers but k) - a(s in all layers)  what a perfect layer k would bring back
    alone(s)     = a(nothing) - a(s)                              over all layers
    spared(s)    = a(all but s) - a(all)                          what a cure of s would bring back
    together     = a(nothing) - a(all)
    interaction  = together - sum over s of alone(s)              what the noises do to each other
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import UsageError
from neurodeploy.hw_models.noise import NoiseModel
from neurodeploy.sweep.executor import Executor
from neurodeploy.sweep.plan import Point, describe
from neurodeploy.sweep.run import Progress, measure
from neurodeploy.sweep.statistics import Difference, paired_difference
from neurodeploy.sweep.store import Store
from neurodeploy.sweep.work import Study

ALL_LAYERS = "all layers"
ALL_NOISES = "all noises"
INTERACTION = "interaction"

Found: TypeAlias = Mapping[tuple[str, str], NDArray[np.bool_]]  # (noise, where) -> (chips, samples)


@dataclass(frozen=True)
class Row:
    """What one noise costs in one layer, or in all; fractions of accuracy.

    Attributes:
        share: `alone` as a part of what all noises cost together; NaN where they cost nothing.
        weakest: whether the layer loses most by this noise, of all layers.
        clear: whether its interval against the second-worst layer leaves out 0 (a layer in which the noise changes
            nothing loses nothing); None for rows of no single layer.
    """

    noise: str
    level: float | None
    layer: str
    alone: Difference
    spared: Difference | None
    share: float
    weakest: bool = False
    clear: bool | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values, one level deep."""
        flat: dict[str, Any] = {"noise": self.noise, "level": self.level, "layer": self.layer}
        for name, found in (("alone", self.alone), ("spared", self.spared)):
            values = asdict(found) if found else {}
            flat |= {
                name: values.get("mean"),
                f"{name}_low": values.get("low"),
                f"{name}_high": values.get("high"),
            }
        return flat | {
            "share": self.share if self.share == self.share else None,
            "weakest": self.weakest,
            "clear": self.clear,
        }


@dataclass(frozen=True)
class Budget:
    """A sensitivity analysis: rows per noise and layer, and what all noises cost together."""

    rows: list[Row]
    together: Difference
    interaction: Difference

    def as_dicts(self) -> list[dict[str, Any]]:
        """The rows, and two that close the budget: all noises together, and their interaction."""
        rows = [row.as_dict() for row in self.rows]
        for name, found in ((ALL_NOISES, self.together), (INTERACTION, self.interaction)):
            share = found.mean / self.together.mean if self.together.mean > 0 else None
            closing = dict.fromkeys(rows[0], None) | {"noise": name, "layer": ALL_LAYERS, "share": share}
            rows.append(closing | {"alone": found.mean, "alone_low": found.low, "alone_high": found.high})
        return rows

    def weakest(self) -> list[str]:
        """In words, the weak layer of every noise that costs anything."""
        return [
            f"{row.noise}: layer {row.layer} is the weak one, {100 * row.alone.mean:.2f} points alone"
            + ("" if row.clear else "; not clearly apart from the next")
            for row in self.rows
            if row.weakest
        ]


def sensitivity(
    study: Study,
    noise: NoiseModel,
    store: Store,
    calibrated: bool,
    progress: Progress,
    executor: Executor | None = None,
) -> Budget:
    """Measures every noise of `noise` at its level, per layer and over all, alone and left out.

    Raises:
        UsageError: where there is no noise, or it is restricted to layers already.
    """
    if not noise.active:
        raise UsageError("sensitivity: name noises with one level each, as in --noise mismatch=0.2 --noise thermal=0.1")
    if noise.layers:
        raise UsageError("sensitivity: goes through all layers by itself; leave out layers=")
    layers = [layer.name for layer in study.program.layers]
    points = _points(layers, noise)
    cells = measure(study, dict.fromkeys(points.values(), study.chips), store, calibrated, progress, executor)
    store.claim({_layers_key(study.network, study.chip.name): json.dumps(layers)})  # for `stored_budgets`
    return _budget(noise, {name: _table(study, store, cells[point].key) for name, point in points.items()})


def stored_budgets(store: Store) -> list[tuple[dict[str, Any], Budget]]:
    """The analyses whose populations a study holds, each with what its cells have in common (network, chip, …) and its
    options in words.

    One that is a part of another, with fewer noises, is not told again.
    """
    about, table = store.about(), store.cells()
    common = [name for name in table.columns if name not in ("cell", "evidence", "parameters")]
    budgets = []
    for key, group in table.groupby(common, sort=False):
        named: dict[str, Any] = dict(zip(common, key, strict=True))
        layers = json.loads(about.get(_layers_key(named["network"], named["chip"]), "[]"))
        if not layers:  # never analysed; its noise may be of a chip's own vocabulary
            continue
        cells = dict(zip(map(_noise_of, group["parameters"]), group["cell"], strict=True))
        told: list[NoiseModel] = []
        for noise in sorted(cells, key=lambda one: -len(one.active)):
            if not noise.active or noise.layers or any(_is_part(noise, of) for of in told):
                continue
            points = {name: cells.get(point.noise) for name, point in _points(layers, noise).items()}
            if None in points.values():
                continue
            right = {name: store.correct(str(cell)) for name, cell in points.items()}
            chips = sorted(set.intersection(*(set(rows) for rows in right.values())))
            if chips:
                told.append(noise)
                found = {name: np.stack([rows[chip] for chip in chips]) for name, rows in right.items()}
                options = describe(replace(noise, **dict.fromkeys(noise.active, 0.0)))  # type: ignore[arg-type]
                budgets.append((named | {"options": options}, _budget(noise, found)))
    return budgets


def _layers_key(network: str, chip: str) -> str:
    return f"layers of {network} on {chip}"


def _noise_of(parameters: str) -> NoiseModel:
    given: dict[str, Any] = json.loads(parameters)
    return NoiseModel(**given | {"layers": tuple(given.get("layers", ()))})


def _is_part(noise: NoiseModel, of: NoiseModel) -> bool:
    """Whether `noise` is `of` with some noises switched off."""
    off = dict.fromkeys(set(of.active) - set(noise.active), 0.0)
    return replace(of, **off) == noise  # type: ignore[arg-type]


def _budget(noise: NoiseModel, found: Found) -> Budget:
    nothing, everything = found["nothing", ""], found[ALL_NOISES, ""]
    together = paired_difference(nothing, everything)
    rows, losses = [], np.zeros(nothing.shape)
    for name in noise.active:
        losses = losses + (nothing.astype(np.float64) - found[name, ""])
        rows.append(_row(noise, name, ALL_LAYERS, nothing, found, "", together.mean))
        rows += _layers(noise, name, found, together.mean)
    left = (nothing.astype(np.float64) - everything) - losses
    reach = float(len(noise.active))  # a sample that each noise breaks by itself, and all together do not
    interaction = paired_difference(left, np.zeros(left.shape), bounds=(-reach, reach))
    return Budget(rows, together, interaction)


def _points(layers: Sequence[str], noise: NoiseModel) -> dict[tuple[str, str], Point]:
    """(noise, where) -> the point to measure; where is "", "only <layer>" or "but <layer>"."""
    off = dict.fromkeys(noise.active, 0.0)
    points = {("nothing", ""): Point(replace(noise, **off)), (ALL_NOISES, ""): Point(noise)}  # type: ignore[arg-type]
    for name in noise.active:
        alone = replace(noise, **off | {name: getattr(noise, name)})
        points[name, ""] = Point(alone)
        points[name, "spared"] = Point(replace(noise, **{name: 0.0}))  # type: ignore[arg-type]
        for layer in layers if len(layers) > 1 else []:
            others = tuple(one for one in layers if one != layer)
            points[name, f"only {layer}"] = Point(replace(alone, layers=(layer,)))
            points[name, f"but {layer}"] = Point(replace(alone, layers=others))
    return points


def _layers(noise: NoiseModel, name: str, found: Found, together: float) -> list[Row]:
    """One row per layer that the noise changes anything in; the worst of them marked."""
    nothing = found["nothing", ""]
    layers = [where.removeprefix("only ") for one, where in found if one == name and where.startswith("only ")]
    touched = [layer for layer in layers if not np.array_equal(found[name, f"only {layer}"], nothing)]
    rows = [_row(noise, name, layer, nothing, found, layer, together) for layer in touched]
    index, worst = max(enumerate(rows), key=lambda row: row[1].alone.mean, default=(0, None))
    if worst is not None and worst.alone.mean > 0:
        others = [found[name, f"only {layer}"] for layer in touched if layer != worst.layer]
        others += [nothing] if len(touched) < len(layers) else []  # where nothing changes, nothing is lost
        next_to_it = min(others, key=lambda correct: correct.mean(), default=nothing)
        apart = paired_difference(next_to_it, found[name, f"only {worst.layer}"])
        rows[index] = replace(worst, weakest=True, clear=apart.low > 0)
    return rows


def _row(
    noise: NoiseModel,
    name: str,
    title: str,
    nothing: NDArray[np.bool_],
    found: Found,
    layer: str,
    together: float,
) -> Row:
    if layer:
        alone = paired_difference(nothing, found[name, f"only {layer}"])
        spared = paired_difference(found[name, f"but {layer}"], found[name, ""])
    else:
        alone = paired_difference(nothing, found[name, ""])
        spared = paired_difference(found[name, "spared"], found[ALL_NOISES, ""])
    share = alone.mean / together if together > 0 else float("nan")
    return Row(name, float(getattr(noise, name)), title, alone, spared, share)


def _table(study: Study, store: Store, key: str) -> NDArray[np.bool_]:
    """(chips, samples) of the study's chips."""
    return np.stack([row for chip, row in store.correct(key).items() if chip < study.chips])
