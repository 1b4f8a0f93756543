"""How the time of a sweep grows with chips, samples, steps and layers: what `population_times` fits and draws."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
from scipy import stats

from neurodeploy.hw_models import chip as find_chip
from neurodeploy.hw_models.noise import NoiseModel
from neurodeploy.ir.arrays import frozen_floats, frozen_ints
from neurodeploy.ir.nodes import Input
from neurodeploy.ir.program import FloatNeurons, Layer, Program
from neurodeploy.ir.synapses import DenseSynapses
from neurodeploy.simulate.engine import run_chips
from neurodeploy.sweep.plan import Point
from neurodeploy.sweep.run import CHIPS_AT_ONCE, Samples, Study, sweep
from neurodeploy.sweep.store import Store

THERMAL = {"without thermal noise": 0.0, "with thermal noise": 0.1}
GROWTH_LEVEL = 0.2
DENSE, RATE = 256, 0.2
COLOURS = ["#0072B2", "#D55E00"]

Keep = Callable[[str, Callable[[], Any]], Any]  # (name, measure) -> what is kept under that name, or measured now


def growth(study: Study, doublings: int, rounds: int, keep: Keep) -> list[dict[str, Any]]:
    """Seconds over chips, samples, steps and layers, and the exponents."""
    few = min(100, len(study.test.labels))
    doubled = [2**power for power in range(doublings)]
    last = len(study.test.labels) if len(study.test.labels) < few * doubled[-1] else few * doubled[-1]
    samples = sorted({min(few * factor, last) for factor in doubled})
    series: dict[str, dict[int, Study]] = {
        "chips": {CHIPS_AT_ONCE * factor: resized(study, CHIPS_AT_ONCE * factor, few) for factor in doubled},
        "samples": {count: resized(study, CHIPS_AT_ONCE, count) for count in samples},
        "steps": {
            2 * factor: resized(replace(study, program=replace(study.program, steps=2 * factor)), CHIPS_AT_ONCE, few)
            for factor in doubled
        },
        "layers": {factor: layered(factor) for factor in doubled},
    }
    found = []
    for what, sizes in series.items():
        for name, thermal in THERMAL.items():
            noise = NoiseModel(mismatch=GROWTH_LEVEL, thermal=thermal)
            seconds = keep(
                f"growth with {what}, {name}, {sorted(sizes)}, {rounds} rounds",
                partial(turns, list(sizes.values()), noise, rounds),
            )
            rates = {size: firing_rates(one) for size, one in sizes.items()}
            found.append({"what": what, "noise": name, "sizes": list(sizes), "seconds": seconds, "firing_rates": rates})
            found[-1] |= fitted(list(sizes), [statistics.median(values) for values in seconds])
    return found


def turns(studies: Sequence[Study], noise: NoiseModel, rounds: int) -> list[list[float]]:
    """Seconds of every study, once per round."""
    for study in studies:
        seconds_of(resized(study, 1, 1), noise)  # compiles
    measured = [[seconds_of(study, noise) for study in studies] for _ in range(rounds)]
    return [list(column) for column in zip(*measured, strict=True)]


def fitted(sizes: Sequence[int], seconds: Sequence[float]) -> dict[str, float | None]:
    """seconds = factor · size^exponent by least squares of the logarithms; the 95 % interval takes three sizes."""
    line = stats.linregress(np.log(sizes), np.log(seconds))
    slope, half = float(line.slope), None
    if len(sizes) > 2:
        half = float(stats.t.ppf(0.975, len(sizes) - 2) * line.stderr)
    low, high = (None, None) if half is None else (slope - half, slope + half)
    return {"exponent": slope, "low": low, "high": high, "factor": float(np.exp(line.intercept))}


def in_words(fit: dict[str, Any]) -> str:
    """An exponent with its interval, where three sizes or more give one."""
    interval = "" if fit["low"] is None else f" ({fit['low']:.2f}–{fit['high']:.2f})"
    return f"{fit['exponent']:.2f}{interval}"


def seconds_of(study: Study, noise: NoiseModel, clock: Callable[[], float] = time.perf_counter) -> float:
    """Of a sweep in this process into a file of its own."""
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "study.sqlite") as store:
        started = clock()
        sweep(study, [Point(noise)], store, False, ignore)
        return clock() - started


def firing_rates(study: Study) -> dict[str, float]:
    """Layer -> share of neurons firing per step, of the nominal chip on 50 samples.

    Raises:
        SystemExit: for a layer outside 2 to 95 %: the time of a silent network is the time of nothing.
    """
    program = study.program
    images = study.test.inputs[:50]
    found = run_chips([program], images).spike_counts
    steps = program.steps * len(images)
    rates = {name: float(counts.sum() / (steps * counts[0].size)) for name, counts in found.items()}
    silent = {name: rate for name, rate in rates.items() if not 0.02 <= rate <= 0.95}
    if silent:
        raise SystemExit(f"layers that hardly fire or always fire: {silent}")
    return rates


def layered(depth: int) -> Study:
    """`depth` dense layers of random weights on random images, the last one read out; T = 8."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (200, DENSE)).astype(np.uint8)
    layers: tuple[Layer, ...] = ()
    source = "input"
    for number in range(depth):
        weight = frozen_ints(rng.integers(-60, 68, (DENSE, DENSE)))
        synapses = (DenseSynapses(f"fc{number}", source, weight),)
        name = f"hidden{number}"
        layers += (_tuned(layers, name, synapses, images),)
        source = name
    program = Program("mixed-signal", 8, Input((DENSE,), bits=8), layers, "spike_count")
    labels = np.arange(len(images)) % DENSE
    return Study(program, find_chip(program.chip), Samples(images, labels), None, None, CHIPS_AT_ONCE, 0)


def _tuned(below: tuple[Layer, ...], name: str, synapses: tuple[DenseSynapses, ...], images: Any) -> Layer:
    """The layer with the threshold at which a fifth of its neurons fires per step, found by bisection."""
    low, high = 1.0, 2.0**22
    for _ in range(30):
        middle = float(np.sqrt(low * high))
        neurons = FloatNeurons(frozen_floats(0.5), frozen_floats(middle), frozen_floats(np.zeros(DENSE)))
        layer = Layer(name, (DENSE,), synapses, neurons, 1.0)
        program = Program("mixed-signal", 8, Input((DENSE,), bits=8), (*below, layer), "spike_count")
        rate = run_chips([program], images[:20]).spike_counts[name].mean() / (8 * 20)
        low, high = (middle, high) if rate > RATE else (low, middle)
    return layer


def resized(study: Study, chips: int, samples: int) -> Study:
    inputs = study.test.inputs[:samples]
    return replace(study, chips=chips, test=Samples(inputs, study.test.labels[:samples]))


def ignore(what: str, done: int, of: int) -> None:
    """Progress that nobody watches."""


def chart(grown: Sequence[dict[str, Any]]) -> alt.TopLevelMixin:
    """Seconds over size on log-log axes with the fitted lines, one panel per quantity."""
    panels = []
    for what in dict.fromkeys(one["what"] for one in grown):
        layers: list[alt.Chart] = []
        lines = []
        for one in (row for row in grown if row["what"] == what):
            medians = [statistics.median(values) for values in one["seconds"]]
            rows = [
                {
                    "size": size,
                    "seconds": seconds,
                    "line": one["factor"] * size ** one["exponent"],
                    "noise": one["noise"],
                }
                for size, seconds in zip(one["sizes"], medians, strict=True)
            ]
            base = alt.Chart(alt.Data(values=rows))  # type: ignore[no-untyped-call]
            x = alt.X(
                "size:Q",
                title=what,
                scale=alt.Scale(type="log", nice=False, padding=12),
                axis=alt.Axis(values=one["sizes"], format="d"),
            )
            y = alt.Y("seconds:Q", title="seconds", scale=alt.Scale(type="log", nice=False, padding=12))
            colour = alt.Color(
                "noise:N",
                scale=alt.Scale(domain=list(THERMAL), range=COLOURS),
                legend=alt.Legend(title=None, orient="bottom"),
            )
            layers += [
                base.mark_point(filled=True, size=40).encode(x=x, y=y, color=colour),
                base.mark_line().encode(
                    x=x,
                    y=alt.Y("line:Q", title="seconds", scale=alt.Scale(type="log", nice=False, padding=12)),
                    color=colour,
                ),
            ]
            lines.append(f"{one['noise']}: {in_words(one)}")
        title = alt.TitleParams(f"time over {what}", subtitle=["exponent " + text for text in lines])
        panels.append(alt.layer(*layers).properties(width=250, height=200, title=title))
    drawn: alt.TopLevelMixin = alt.concat(*panels, columns=2)
    return drawn
