"""A small run to report on: two chips, three noises, before and after calibration."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from neurodeploy.report.data import ReportData

PANELS = (("loihi2", "mismatch"), ("mixed-signal", "mismatch"), ("mixed-signal", "thermal"))
LEVELS = (0.0, 0.05, 0.1, 0.2, 0.3)


def synthetic(
    title: str = "Digits on two chips", chips: int = 12, layers: tuple[str, ...] = ("conv1", "fc1")
) -> ReportData:
    """The run; `chips` virtual chips per point."""
    points = _chips(chips)
    return ReportData(
        title=title,
        summary={
            "test_accuracy": 0.9834,
            "validation_accuracy": 0.9791,
            "quantized_accuracy": {"loihi2": 0.9712, "mixed-signal": 0.9823},
            "data": {"name": "digits", "train": 1200, "validation": 200, "test": 397},
            "seed": 7,
            "seconds": {"setup": 1.25, "train": 61.5, "export": 3.0, "sweep": 118.2, "calibrate": 44.0},
            "environment": {
                "python": "3.11.9",
                "torch": "2.4.0",
                "numpy": "1.26.4",
                "platform": "Linux",
                "cpu_count": 8,
            },
            "command": "neurodeploy demo --data digits --seed 7 -o runs/digits",
        },
        training=_training(layers),
        curves=_curves(points),
        chips=points,
        proofs=[_proof("lava", "0.10.0", "loihi2", layers), _proof("rockpool", "3.1.0", "mixed-signal", layers)],
        rounding=_rounding(layers),
        calibration=_calibration(chips),
    )


def _chips(chips: int) -> pd.DataFrame:
    rows = []
    for chip, noise in PANELS:
        for level in LEVELS:
            for calibrated in (False, True):
                spread = np.random.default_rng(3).normal(size=chips)
                loss = level * (0.35 if calibrated else 1.3) * (1 + 0.3 * spread)
                rows += [
                    {
                        "chip": chip,
                        "noise": noise,
                        "level": level,
                        "calibrated": calibrated,
                        "chip_id": chip_id,
                        "accuracy": float(np.clip(0.975 - value, 0.1, 1)),
                    }
                    for chip_id, value in enumerate(loss)
                ]
    return pd.DataFrame(rows)


def _curves(points: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for (chip, noise, level, calibrated), cell in points.groupby(["chip", "noise", "level", "calibrated"], sort=False):
        mean, half = cell["accuracy"].mean(), 1.96 * cell["accuracy"].std() / len(cell) ** 0.5
        rows.append(
            {
                "chip": chip,
                "noise": noise,
                "level": level,
                "calibrated": calibrated,
                "n_chips": len(cell),
                "n_samples": 397,
                "accuracy_mean": mean,
                "accuracy_p05": cell["accuracy"].quantile(0.05),
                "accuracy_min": cell["accuracy"].min(),
                "accuracy_sd": cell["accuracy"].std(),
                "ci_low": mean - half,
                "ci_high": mean + half,
                "evidence": "bit-exact-sim" if chip == "loihi2" else "modelled",
            }
        )
    return pd.DataFrame(rows)


def _training(layers: tuple[str, ...]) -> pd.DataFrame:
    epoch = np.arange(1, 21)
    table = pd.DataFrame(
        {
            "epoch": epoch,
            "train_loss": 2.2 * np.exp(-epoch / 4) + 0.05,
            "validation_accuracy": 0.979 - 0.8 * np.exp(-epoch / 3),
            "validation_loss": 2.1 * np.exp(-epoch / 4) + 0.09,
            "potential_loss": 0.4 * np.exp(-epoch / 6) + 0.02,
        }
    )
    for index, layer in enumerate(layers):
        table[f"gamma.{layer}"] = 1 + (0.4 - 0.03 * index) * (1 - np.exp(-epoch / 5)) * (-1) ** index
        table[f"rate.{layer}"] = 0.2 - 0.02 * index
    return table


def _proof(backend: str, version: str, chip: str, layers: tuple[str, ...]) -> dict[str, Any]:
    rows: list[dict[str, Any]] = [
        {
            "layer": layer,
            "compared": 123456 + index,
            "firing_rate": max(0.183 - 0.013 * index, 0.0),
            "mismatched_spikes": 0,
            "mismatched_voltages": 0,
        }
        for index, layer in enumerate(layers)
    ]
    readout = {
        "layer": "readout",
        "compared": 4000,
        "firing_rate": None,
        "mismatched_spikes": 0,
        "mismatched_voltages": 0,
    }
    return {
        "backend": backend,
        "version": version,
        "chip": chip,
        "samples": 50,
        "layers": [*rows, readout],
        "mismatched_spikes": 0,
        "mismatched_voltages": 0,
        "spikes_compared": sum(row["compared"] for row in rows),
        "first": None,
        "variants": [
            {
                "name": "rounded",
                "title": "each parameter rounded on its own",
                "mismatched_spikes": 8172,
                "spikes_compared": 246913,
                "decisions_differing": 6,
            }
        ]
        if backend == "lava"
        else [],
    }


def _rounding(layers: tuple[str, ...]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "layer": layers,
            "threshold": 412.0,
            "threshold_error_percent": 0.11,
            "decay": 0.606531,
            "decay_stored": 0.606445,
            "decay_error_percent": 0.014,
            "weight_error_rms_percent": 1.37,
            "weights_clipped_percent": 0.0,
            "weights_zero_percent": 4.21,
        }
    )


def _calibration(chips: int) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "chip": chip,
                "noise": noise,
                "level": level,
                "recovered": float("nan") if level == 0 else 0.73,
                "chip_runs": 640,
                "samples": 200,
                "selection_before": 0.98 - 1.3 * level,
                "selection_after": 0.98 - 0.35 * level,
                "kept": 0 if level == 0 else chips,
            }
            for chip, noise in PANELS
            for level in LEVELS
        ]
    )


@pytest.fixture
def report_data() -> ReportData:
    """The run with twelve chips per point."""
    return synthetic()


@pytest.fixture(scope="module")
def module_data() -> ReportData:
    """The same run, for pages that several tests read."""
    return synthetic()
