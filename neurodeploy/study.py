"""From a model file to the studies that `sweep` and `calibrate` run: one per chip model, on disjoint samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from neurodeploy.errors import UsageError
from neurodeploy.experiment import load_data
from neurodeploy.hw_models import chip as find_chip
from neurodeploy.quantize import quantize
from neurodeploy.snn.model_file import Model, load_model
from neurodeploy.snn.trace import trace
from neurodeploy.sweep.plan import NoiseAxis, parse_axis, parse_noise
from neurodeploy.sweep.run import Samples, Study

MEASUREMENT_SAMPLES = 128
SELECTION_SAMPLES = 500


def parse_axes(noise: Sequence[str], fixed: Sequence[str]) -> list[NoiseAxis]:
    """The axes as typed, each with the fixed noise under it."""
    base = parse_noise(list(fixed))
    axes = [parse_axis(text, base) for text in noise]
    for axis in axes:
        if getattr(base, axis.noise):
            raise UsageError(f"--with {axis.noise}: is an axis of this sweep already")
    return axes


def make_studies(
    model: Path | Model, chips: Sequence[str], count: int, samples: int | None, seed: int, data_root: str | None
) -> list[Study]:
    """One study per chip model.

    Rates are matched on training images, trims are accepted on validation images, and accuracy is reported on test
    images: three disjoint sets.

    Args:
        count: virtual chips per point.
        samples: test images, None for all.
    """
    models = [find_chip(name.strip()) for name in chips]
    loaded = load_model(model) if isinstance(model, Path) else model
    data = load_data(loaded.config, data_root)
    network = trace(loaded.network)
    return [
        Study(
            quantize(network, chip, loaded.calibration.samples),
            chip,
            Samples(data.test.samples[:samples], data.test.labels[:samples]),
            data.train.samples[:MEASUREMENT_SAMPLES],
            Samples(data.validation.samples[:SELECTION_SAMPLES], data.validation.labels[:SELECTION_SAMPLES]),
            count,
            seed,
        )
        for chip in models
    ]
