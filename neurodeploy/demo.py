"""The whole path on scikit-learn's handwritten digits: what `make demo` runs."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from neurodeploy import __version__
from neurodeploy.config import load_config
from neurodeploy.deployment import export_model
from neurodeploy.errors import UsageError
from neurodeploy.experiment import train_model
from neurodeploy.proof import prove, versions
from neurodeploy.report.collect import SUMMARY, collect
from neurodeploy.report.page import write_report
from neurodeploy.study import make_studies, parse_axes
from neurodeploy.sweep.run import Progress, Study, calibrate, claim, sweep
from neurodeploy.sweep.store import Store

PROVED = ("lava", "rockpool")  # exports that a vendor's simulator runs
LEVELS = "0,0.05,0.1,0.2,0.3,0.5"
CALIBRATED = ("mismatch",)
UNCALIBRATED = ("thermal",)


def run_demo(
    folder: Path,
    chips: int,
    epochs: int | None,
    samples: int | None,
    setup_seconds: float,
    say: Callable[[str], None],
    progress: Progress,
    bar: bool = True,
) -> Path:
    """Trains, exports, proves, sweeps, calibrates and reports; returns the page.

    Everything goes into `folder`. Results of an earlier run there are replaced; a killed sweep of the same network goes
    on where it was.

    Args:
        epochs: of training, None for the preset.
        samples: test images of the sweep, None for all.
        say: takes a line for the user.
        progress: takes (what, done, of) during sweeps.
    """
    seconds: dict[str, float] = {"setup": round(setup_seconds, 1)}
    config = load_config(None, [], {"data.name": "digits"} | ({"train.epochs": epochs} if epochs else {}))
    say("1/5 train a spiking network on scikit-learn's digits")
    started = time.perf_counter()
    model = train_model(config, folder / "model.pt", progress=bar)
    seconds["train"] = _since(started)
    say(
        f"    test accuracy {model.metrics['test_accuracy']:.4f}, validation {model.metrics['validation_accuracy']:.4f}"
    )
    say("2/5 export and prove")
    started = time.perf_counter()
    proofs = {}
    for name in PROVED:
        artifact, omitted = export_model(model, name, folder / name)
        for reason in omitted:
            say(f"    {name}: left out {reason}")
        proofs[name] = prove(artifact, name)
        (folder / f"proof-{name}.json").write_text(json.dumps(proofs[name], indent=2), encoding="utf-8")
        say(
            f"    {name} {proofs[name]['version']}: {proofs[name]['mismatched_spikes']} of "
            f"{proofs[name]['spikes_compared']} spikes differ over {proofs[name]['samples']} samples"
        )
    seconds["export"] = _since(started)
    studies = make_studies(model, ["loihi2", "mixed-signal"], chips, samples, config.seed, None)
    axes = {noise: parse_axes([f"{noise}={LEVELS}"], []) for noise in (*CALIBRATED, *UNCALIBRATED)}
    with _fresh_or_resumed(folder / "study.sqlite", studies) as store:
        say(f"3/5 sweep noise: {len(studies[0].test.labels)} test images on {chips} chips per level")
        started = time.perf_counter()
        for study in studies:
            for axis in axes.values():
                sweep(study, axis, store, False, progress)
        seconds["sweep"] = _since(started)
        say("4/5 calibrate every chip, and measure the same chips again")
        started = time.perf_counter()
        for study in studies:
            for noise in CALIBRATED:
                calibrate(study, axes[noise], store, progress)
        seconds["calibrate"] = _since(started)
        started = time.perf_counter()
        for study in studies:
            for noise in CALIBRATED:
                sweep(study, axes[noise], store, True, progress)
        seconds["sweep"] = round(seconds["sweep"] + _since(started), 1)
        curves = store.curves()
    columns = [
        "chip",
        "noise",
        "level",
        "n_chips",
        "n_samples",
        "accuracy_mean",
        "accuracy_p05",
        "ci_low",
        "ci_high",
        "calibrated",
    ]
    nominal = curves[(curves["level"] == 0) & (curves["noise"] == "mismatch") & ~curves["calibrated"]]
    quantized = dict(zip(nominal["chip"], nominal["accuracy_mean"], strict=True))
    summary: dict[str, Any] = {
        "test_accuracy": model.metrics["test_accuracy"],
        "validation_accuracy": model.metrics["validation_accuracy"],
        "quantized_accuracy": quantized["loihi2"],
        "quantized_accuracy_by_chip": quantized,
        "data": {
            "name": config.data.name,
            **{name: model.metrics[f"{name}_images"] for name in ("train", "validation", "test")},
        },
        "seed": config.seed,
        "lava": _proof(proofs["lava"]),
        "rockpool": _proof(proofs["rockpool"]) | {"variants": proofs["rockpool"]["variants"]},
        "sweep": curves[columns].to_dict("records"),
        "seconds": seconds,
        "environment": versions() | {"platform": platform.platform(), "cpu_count": os.cpu_count()},
        "command": "make demo",
        "neurodeploy": __version__,
    }
    (folder / SUMMARY).write_text(json.dumps(summary, indent=2), encoding="utf-8")
    say("5/5 report")
    return write_report(collect(folder), folder)


def _proof(proof: dict[str, Any]) -> dict[str, Any]:
    names = ("version", "samples", "layers", "mismatched_spikes", "mismatched_voltages", "spikes_compared")
    return {name: proof[name] for name in names}


def _fresh_or_resumed(path: Path, studies: list[Study]) -> Store:
    """The study of an earlier demo where it was of the same network, else an empty one."""
    store = Store(path)
    try:
        for study in studies:
            claim(study, store)
    except UsageError:
        store.close()
        path.unlink()
        store = Store(path)
    return store


def _since(started: float) -> float:
    return round(time.perf_counter() - started, 1)
