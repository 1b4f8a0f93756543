"""From model files to the studies that `sweep` and `calibrate` run: one per network and chip, on disjoint samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from neurodeploy.errors import UsageError
from neurodeploy.experiment import load_data
from neurodeploy.hw_models import chip as find_chip
from neurodeploy.hw_models.chip import ChipModel
from neurodeploy.hw_models.noise_presets import is_preset
from neurodeploy.inspect.limits import check as check_limits
from neurodeploy.ir.program import Program
from neurodeploy.snn.model_file import Model, load_model
from neurodeploy.snn.trained_scales import quantize_model
from neurodeploy.sweep.plan import NoiseAxis, parse_axis, parse_noise
from neurodeploy.sweep.run import Samples, Study

MEASUREMENT_SAMPLES = 128
SELECTION_SAMPLES = 2000
REFIT_SAMPLES = 2048


def parse_axes(noise: Sequence[str], fixed: Sequence[str]) -> list[NoiseAxis]:
    """The axes as typed, each with the fixed noise under it; an axis may move what a preset set."""
    base, given = parse_noise(fixed), parse_noise([text for text in fixed if not is_preset(text)])
    axes = [parse_axis(text, base) for text in noise]
    for axis in axes:
        if getattr(given, axis.noise):
            raise UsageError(f"--with {axis.noise}: is an axis of this sweep already")
    return axes


def make_studies(
    model: Path | Model | Sequence[Path],
    chips: Sequence[str],
    count: int,
    samples: int | None,
    seed: int,
    data_root: str | None,
    device: str = "cpu",
) -> list[Study]:
    """One study per network and chip model.

    Rates are matched and weights fitted on training images, levels are accepted on validation images, and accuracy is
    reported on test images: three disjoint sets. All networks get the same chips and test images.

    Args:
        model: one or several networks; they are called by the names of their files.
        count: virtual chips per point.
        samples: test images, None for all.
        device: that computes, "cpu", "cuda" or "cuda:N".
    """
    models = [find_chip(name.strip()) for name in chips]
    given = list(model) if isinstance(model, Sequence) else [model]
    names = _names([one for one in given if isinstance(one, Path)]) or ["model"]
    studies = []
    for name, one in zip(names, given, strict=True):
        loaded = load_model(one) if isinstance(one, Path) else one
        data = load_data(loaded.config, data_root)
        test, selection = data.test.take(slice(samples)), data.validation.take(slice(SELECTION_SAMPLES))
        studies += [
            Study(
                _fitting(loaded, chip),
                chip,
                Samples(test.inputs, test.labels),
                data.train.take(slice(MEASUREMENT_SAMPLES)).inputs,
                Samples(selection.inputs, selection.labels),
                count,
                seed,
                name,
                tuple(names),
                device,
                data.train.take(slice(REFIT_SAMPLES)).inputs,
            )
            for chip in models
        ]
    return studies


def _fitting(model: Model, chip: ChipModel) -> Program:
    """Quantised as by `export`; raises DesignRuleError where neurons have more inputs than the chip allows."""
    program = quantize_model(model, chip).program
    check_limits(program, chip)
    return program


def _names(paths: Sequence[Path]) -> list[str]:
    """The stems of files, with their folders' names where stems are equal."""
    for names in ([path.stem for path in paths], [f"{path.absolute().parent.name}/{path.stem}" for path in paths]):
        if len(set(names)) == len(names):
            return names
    raise UsageError(f"{', '.join(map(str, paths))}: networks side by side need different names")
