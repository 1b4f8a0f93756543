"""Sweeps by value: each chip's accuracy is what its own Program does, with and without calibration."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load
from scipy import stats

from neurodeploy.errors import UsageError
from neurodeploy.hw_models import chip as find_chip
from neurodeploy.hw_models.chip import ChipModel, Cores, EventCosts, Knob
from neurodeploy.hw_models.knobs import adjusted
from neurodeploy.hw_models.noise import NoiseModel
from neurodeploy.hw_models.virtual_chip import VirtualChip
from neurodeploy.simulate import reference
from neurodeploy.snn.model_file import Model
from neurodeploy.study import make_studies
from neurodeploy.sweep import run as sweeping
from neurodeploy.sweep import work
from neurodeploy.sweep.plan import NoiseAxis, Point, parse_axis
from neurodeploy.sweep.run import Samples, Study, calibrate, sweep
from neurodeploy.sweep.store import Store
from neurodeploy.sweep.work import NOT_ACTING, cell_of

CHIPS = 12
Quiet = Callable[[str, int, int], None]
Contents = Callable[[Path], dict[str, pd.DataFrame]]
_CORES = Cores(1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, (1, 1), 1, 1)
_COSTS = EventCosts((0, 1), (0, 1), (0, 1), (0, 1), (0, 1), 1.0, (0, 1))
AXES = [parse_axis("mismatch=0,0.3"), parse_axis("thermal=0,0.2"), parse_axis("weight_mismatch=0.2")]


@pytest.fixture(scope="module")
def done(study: Study, tmp_path_factory: pytest.TempPathFactory, quiet: Quiet) -> Iterator[Store]:
    """A study without and with calibration, to look at."""
    with Store(tmp_path_factory.mktemp("done") / "study.sqlite") as store:
        sweep(study, AXES, store, False, quiet)
        sweep(study, AXES, store, True, quiet)
        yield store


def accuracy(table: pd.DataFrame, chip_id: int, noise: str, level: float, calibrated: bool) -> float:
    keys = {"chip_id": chip_id, "noise": noise, "level": level, "calibrated": calibrated}
    rows = table[np.logical_and.reduce([table[name] == value for name, value in keys.items()])]
    assert len(rows) == 1
    return float(rows["accuracy"].iloc[0])


@pytest.mark.parametrize("axis", [AXES[0], AXES[1], AXES[2]])
def test_each_chip_is_the_virtual_chip_of_its_number(study: Study, done: Store, axis: NoiseAxis) -> None:
    chips = done.chips()
    codes = {cell: load(blob) for cell, blob in done._connection.execute(
        "SELECT cell || '/' || chip_id, codes FROM calibration JOIN place USING (cell) WHERE noise = ?", (axis.noise,)
    )}  # fmt: skip
    kept = dict(done._connection.execute("SELECT cell || '/' || chip_id, kept FROM calibration").fetchall())
    cells = {(row.noise, row.level): row.cell for row in chips[chips["calibrated"]].itertuples()}
    knob = next(knob for knob in study.chip.knobs if knob.per == "neuron")
    for chip_id in (0, 3, 11):
        for level in axis.levels:
            chip = VirtualChip(study.chip, NoiseModel(**{axis.noise: level}), chip_id)
            own, thermal = chip.realise(study.program), chip.dynamic_noise(study.program, 0)
            name = f"{cells[axis.noise, level]}/{chip_id}"
            shaped = {knob.key(one.name): codes[name][knob.key(one.name)] for one in own.layers if one.fires}
            assert set(shaped) == set(codes[name])
            assert any(one.any() for one in shaped.values()) <= bool(kept[name])
            for calibrated in (False, True):
                program = adjusted(own, study.program, study.chip.knobs, shaped) if calibrated else own
                decisions = reference.run(program, study.test.inputs, thermal).decisions
                wanted = (decisions == study.test.labels).mean()
                assert accuracy(chips, chip_id, axis.noise, level, calibrated) == wanted


def test_level_0_is_the_program_without_noise(study: Study, done: Store) -> None:
    wanted = float((reference.run(study.program, study.test.inputs).decisions == study.test.labels).mean())
    assert 0.4 < wanted < 1
    curves = done.curves()
    rows = curves[curves["level"] == 0]
    assert len(rows) == 4  # two axes, without and with calibration
    assert len(set(rows["cell"])) == 2  # measured once for both
    half = stats.t.ppf(0.975, 39) * np.sqrt(wanted * (1 - wanted) / 39)  # what the forty samples alone leave open
    np.testing.assert_allclose(rows["ci_high"] - rows["ci_low"], 2 * half, rtol=0.1)
    np.testing.assert_allclose(rows["accuracy_mean"], wanted, rtol=1e-12)
    np.testing.assert_allclose(rows["accuracy_sd"], 0, atol=1e-12)
    assert set(rows["accuracy_min"]) == {wanted}
    assert (rows["n_chips"] == CHIPS).all()
    assert (rows["n_samples"] == 40).all()
    assert set(rows["evidence"]) == {study.chip.evidence}
    assert set(curves[curves["level"] > 0]["evidence"]) == {"statistical-sim"}


def test_calibration_brings_accuracy_back(done: Store) -> None:
    curves = done.curves()
    rows = curves[(curves["noise"] == "mismatch") & (curves["level"] == 0.3)].set_index("calibrated")["accuracy_mean"]
    assert rows[True] > rows[False]


def test_what_calibration_cost_is_stored(study: Study, done: Store) -> None:
    rows = done.calibration_rows()
    assert len(rows) == 5 * CHIPS
    bits = next(knob.bits for knob in study.chip.knobs if knob.per == "neuron")
    runs = 2 * bits + 2  # two layers, a run per bit, and the two of the selection
    assert set(rows["chip_runs"]) == {runs}
    assert set(rows["samples"]) == {2 * bits * 24 + 2 * 50}
    assert (rows["selection_after"] >= rows["selection_before"]).all()
    assert set(rows["ladder"]) == {"4"}
    assert (rows.loc[rows["level"] > 0, "written"] > 0).all()
    assert (rows.loc[rows["level"] == 0, "written"] == 0).all()


def test_calibrating_first_gives_the_same_curves(
    study: Study, done: Store, tmp_path: Path, quiet: Quiet, contents: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "other.sqlite"
    with Store(path) as store:
        calibrate(study, AXES, store, quiet)
        monkeypatch.setattr(work, "climb", None)  # stored trims are used, not made again
        sweep(study, AXES, store, True, quiet)
        sweep(study, AXES, store, False, quiet)
    for name, table in contents(done.path).items():
        keys = [one for one in ("cell", "chip_id") if one in table]
        other = contents(path)[name].sort_values(keys).reset_index(drop=True)
        pd.testing.assert_frame_equal(table.sort_values(keys).reset_index(drop=True), other)


@pytest.mark.parametrize("change", ["blocks", "chunks"])
def test_results_do_not_depend_on_blocks_or_chunks(
    study: Study, tmp_path: Path, quiet: Quiet, contents: Contents, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    axis = NoiseAxis("mismatch", (0.3,), NoiseModel(thermal=0.1))
    tables = []
    for size in (None, 1, 5):
        if size and change == "blocks":
            monkeypatch.setattr(sweeping, "CHIPS_AT_ONCE", size)
        elif size:  # the widest layer has 256 neurons: 11 samples of one chip at once, or all samples of two chips
            monkeypatch.setattr("neurodeploy.simulate.engine._CHUNK_BYTES", {1: 256 * 11, 5: 256 * 100}[size])
        path = tmp_path / f"{size}.sqlite"
        with Store(path) as store:
            sweep(study, [axis], store, False, quiet)
            sweep(study, [axis], store, True, quiet)
        tables.append(contents(path))
    for other in tables[1:]:
        for name, table in tables[0].items():
            pd.testing.assert_frame_equal(table, other[name])


def test_a_larger_population_holds_the_smaller_one(study: Study, tmp_path: Path, quiet: Quiet) -> None:
    axis = NoiseAxis("mismatch", (0.3,), NoiseModel(thermal=0.05))
    found = []
    for count in (4, CHIPS):
        with Store(tmp_path / f"{count}.sqlite") as store:
            sweep(replace(study, chips=count), [axis], store, True, quiet)
            found.append(store.chips()[["chip_id", "accuracy"]])
    pd.testing.assert_frame_equal(found[0], found[1].iloc[:4])


def test_another_seed_is_another_population(study: Study, tmp_path: Path, quiet: Quiet) -> None:
    axis = parse_axis("mismatch=0.4")
    with Store(tmp_path / "a.sqlite") as one, Store(tmp_path / "b.sqlite") as other:
        for seed, store in ((0, one), (1, other)):
            sweep(replace(study, seed=seed), [axis], store, False, quiet)
        assert (one.chips()["accuracy"] != other.chips()["accuracy"]).any()
        assert set(other.chips()["seed"]) == {1}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda study: {"seed": 1}, "seed of the chips"),
        (
            lambda study: {"test": Samples(study.test.inputs[:39], study.test.labels[:39])},
            "test labels .*, test samples",
        ),
        (lambda study: {"test": Samples(study.test.inputs, (study.test.labels + 1) % 10)}, "test labels"),
        (lambda study: {"test": Samples(1 - study.test.inputs, study.test.labels)}, "test samples of model on"),
        (lambda study: {"measurement": study.measurement[:-1]}, "calibration samples of model on"),
        (
            lambda study: {"selection": Samples(study.selection.inputs[:9], study.selection.labels[:9])},
            "calibration samples of model on",
        ),
        (lambda study: {"program": replace(study.program, steps=5)}, "network model on"),
        (
            lambda study: {"chip": replace(study.chip, knobs=(Knob("threshold", "neuron", 3, 0.5),))},
            "knobs of model on",
        ),
        (lambda study: {"chip": replace(study.chip, capacitance=1e-15)}, "chip model of model on"),
        (lambda study: {"chip": replace(study.chip, probes=not study.chip.probes)}, "chip model of model on"),
    ],
)
def test_a_store_of_another_study_is_refused(
    study: Study, tmp_path: Path, quiet: Quiet, change: Callable[[Study], dict[str, Any]], said: str
) -> None:
    axis = parse_axis("mismatch=0")
    with Store(tmp_path / "study.sqlite") as store:
        sweep(replace(study, chips=1), [axis], store, False, quiet)
        before = store.chips()
        other = replace(study, chips=1, **change(study))
        for attempt in (
            lambda: sweep(other, [axis], store, False, quiet),
            lambda: calibrate(other, [axis], store, quiet),
        ):
            with pytest.raises(UsageError, match=f"made with other {said}"):
                attempt()
        pd.testing.assert_frame_equal(store.chips(), before)


def test_every_field_of_a_chip_model_is_in_the_key_or_named_as_not_acting(study: Study) -> None:
    # Without a knob of weights, which has as many bits as they have.
    chip = replace(study.chip, knobs=tuple(knob for knob in study.chip.knobs if knob.per != "synapse"))
    study, point = replace(study, chip=chip), Point(NoiseModel(ktc=1.0))
    other: dict[str, Any] = {
        "name": "other",
        "title": "other",
        "fixed_point": not chip.fixed_point,
        "weight_bits": chip.weight_bits - 1,
        "resets": ("subtract",),
        "evidence": "bit-exact-sim" if chip.evidence == "modelled" else "modelled",
        "knobs": (replace(chip.knobs[0], span=0.5), *chip.knobs[1:]),
        "threshold_max": 77,
        "bias_mantissa_max": 77,
        "bias_exponents": (1, 2),
        "voltage_decay_max": 77,
        "probes": not chip.probes,
        "capacitance": 1e-15,
        "threshold_volts": 0.01,
        "cores": replace(_CORES, neurons=77) if chip.cores is None else replace(chip.cores, neurons=77),
        "costs": replace(_COSTS, static_watts=7.0),
        "fan_in": 77,
        "neurons": 77,
        "noise": NoiseModel(mismatch=0.1),
        "own": not chip.own,
        "sources": {"weights": "another paper"},
    }
    assert set(other) == {one.name for one in fields(ChipModel)}
    keys = {
        name: cell_of(replace(study, chip=replace(chip, **{name: value})), point, False).key
        for name, value in other.items()
    }
    key = cell_of(study, point, False).key
    assert {name for name, found in keys.items() if found == key} == NOT_ACTING
    assert len(set(keys.values())) == len(other) - len(NOT_ACTING) + 1


def test_the_three_sets_of_samples_are_disjoint(model: Model) -> None:
    study = make_studies(model, ["loihi2"], 1, None, 0, None)[0]
    assert study.measurement is not None
    assert study.selection is not None
    assert study.refit is not None
    sets = [
        {image.tobytes() for image in images}
        for images in (study.test.inputs, study.refit, study.selection.inputs, study.measurement)
    ]
    # 144 validation images, and half of the 1,293 training images: digits has fewer than 2,000 to validate on
    assert [len(one) for one in sets] == [360, 647, 144 + 646, 128]
    assert len(set.union(*sets)) == 1797
    assert sets[3] < sets[1]


def test_impossible_studies_are_refused(study: Study, model: Model, tmp_path: Path, quiet: Quiet) -> None:
    with pytest.raises(UsageError, match="--chips 0"):
        replace(study, chips=0)
    with pytest.raises(UsageError, match="at least one test sample"):
        replace(study, test=Samples(study.test.inputs[:0], study.test.labels[:0]))
    ideal = make_studies(model, ["ideal"], 2, 5, 0, None)[0]
    assert ideal.chip is find_chip("ideal")
    with Store(tmp_path / "study.sqlite") as store, pytest.raises(UsageError, match="chip ideal has no knob"):
        sweep(ideal, [parse_axis("mismatch=0.1")], store, True, quiet)
    bare = replace(study, measurement=None, selection=None)
    with Store(tmp_path / "other.sqlite") as store, pytest.raises(UsageError, match="calibration needs samples"):
        sweep(bare, [parse_axis("mismatch=0.1")], store, True, quiet)


def test_calibration_never_meets_the_thermal_noise_of_the_test(
    study: Study, tmp_path: Path, quiet: Quiet, monkeypatch: pytest.MonkeyPatch
) -> None:
    met: list[int] = []
    thermal = VirtualChip.dynamic_noise

    def spy(self: VirtualChip, program: Any, trial: int = 0) -> Any:
        met.append(trial)
        return thermal(self, program, trial)

    monkeypatch.setattr(VirtualChip, "dynamic_noise", spy)
    few = replace(study, chips=2)
    with Store(tmp_path / "study.sqlite") as store:
        calibrate(few, [parse_axis("thermal=0.2")], store, quiet)
        measured = set(met)
        met.clear()
        sweep(few, [parse_axis("thermal=0.2")], store, True, quiet)
    assert len(measured) > 2  # fresh noise for every run
    assert set(met)
    assert not set(met) & measured
