"""From model files to the studies that `sweep` and `calibrate` run: one per network and chip, on disjoint samples."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from neurodeploy.data.dataset import DataSet, Split, joined
from neurodeploy.errors import UsageError
from neurodeploy.experiment import load_data
from neurodeploy.hw_models import chip as find_chip
from neurodeploy.hw_models.chip import ChipModel
from neurodeploy.hw_models.noise import NoiseModel
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
    """The axes as typed, each with the fixed noise under it; an axis may move what a preset set.

    Raises:
        UsageError: for what is no axis or no noise, or an axis that `--with` names.
    """
    base = parse_noise(fixed)
    axes = [parse_axis(text, base) for text in noise]
    _check_apart([axis.noise for axis in axes], fixed, "is an axis of this sweep already")
    return axes


def parse_noises(noise: Sequence[str], fixed: Sequence[str]) -> NoiseModel:
    """The noises that a sensitivity analysis takes apart, one level each, on top of the fixed noise.

    Raises:
        UsageError: for what is no noise, or what would be lost: a name that `--with` has too, anything beside a preset.
    """
    base = parse_noise(fixed)
    _check_apart([text.partition("=")[0] for text in noise], fixed, "is given by --noise already")
    return parse_noise(noise, base)


def _check_apart(names: Iterable[str], fixed: Sequence[str], clash: str) -> None:
    """Raises UsageError where one of the names is among what is fixed, presets apart; a level of 0 fixes nothing."""
    plain = [text for text in fixed if not is_preset(text)]
    given, typed = parse_noise(plain), {text.partition("=")[0] for text in plain}
    for name in names:
        if name in typed and getattr(given, name):
            raise UsageError(f"--with {name}: {clash}")


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

    Calibration sees the samples of `calibration_splits`; accuracy is reported on test images. All networks get the same
    chips and test images.

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
        test, (measurement, refit, selection) = data.test.take(slice(samples)), calibration_splits(data)
        studies += [
            Study(
                _fitting(loaded, chip),
                chip,
                Samples(test.inputs, test.labels),
                measurement.inputs,
                Samples(selection.inputs, selection.labels),
                count,
                seed,
                name,
                tuple(names),
                device,
                refit.inputs,
            )
            for chip in models
        ]
    return studies


def calibration_splits(data: DataSet) -> tuple[Split, Split, Split]:
    """What calibration may see of a data set: samples of measurement, of refits, and of selection; none of the test.

    Rates are matched on the first training samples, and weights fitted on these and more. Levels are accepted on
    validation samples; where these are fewer than `SELECTION_SAMPLES`, on training samples as well, up to half of them,
    from the end, which then nothing is measured on: on a hundred samples some chips refuse what makes them better.
    Measurement samples are among those of refits; those of selection are disjoint from both.
    """
    train, validation = data.train, data.validation.take(slice(SELECTION_SAMPLES))
    spare = max(0, min(SELECTION_SAMPLES - len(validation), len(train) // 2, len(train) - MEASUREMENT_SAMPLES))
    fitting = len(train) - spare
    measurement, refit = (train.take(slice(min(size, fitting))) for size in (MEASUREMENT_SAMPLES, REFIT_SAMPLES))
    return measurement, refit, joined(validation, train.take(slice(fitting, None))) if spare else validation


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
