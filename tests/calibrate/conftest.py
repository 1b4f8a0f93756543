"""Racks of virtual chips of the digits network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from neurodeploy import hw_models
from neurodeploy.calibrate.work import CalibrationData
from neurodeploy.config import DataConfig
from neurodeploy.data.sources import load_data_set
from neurodeploy.hw_models.chip import ChipModel, Knob
from neurodeploy.hw_models.noise import NoiseModel
from neurodeploy.hw_models.virtual_chip import VirtualChip
from neurodeploy.ir.program import Program
from neurodeploy.quantize import quantize
from neurodeploy.snn.model_file import Model
from neurodeploy.snn.trace import trace

Population = Callable[..., list[VirtualChip]]

# As DYNAP-SE2: no knob of a neuron's own, a gain for each core, coarse weights.
BY_CORE = replace(
    hw_models.chip("mixed-signal"),
    name="by-core",
    weight_bits=5,
    knobs=(
        Knob("gain", "core", 8, 0.9, core_size=64, source="made for tests"),
        Knob("weight", "synapse", 5, source="made for tests"),
    ),
)
MODELS: dict[str, ChipModel] = {
    name: hw_models.chip(name) for name in ("loihi1", "loihi2", "mixed-signal", "mixed-signal-leak")
}
MODELS["by-core"] = BY_CORE


@pytest.fixture(scope="session")
def programs(model: Model) -> dict[str, Program]:
    """chip -> the digits network for it."""
    network = trace(model.network)
    return {name: quantize(network, chip, model.calibration.inputs) for name, chip in MODELS.items()}


@pytest.fixture(scope="session")
def population() -> Population:
    """(chip name, count, noise levels) -> virtual chips."""

    def make(chip: str, count: int = 6, **levels: float) -> list[VirtualChip]:
        return [VirtualChip(MODELS[chip], NoiseModel(**levels), chip_id) for chip_id in range(count)]  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def data() -> CalibrationData:
    """Disjoint samples of digits: 48 for measurement, 160 for fitting, 144 for selection."""
    whole = load_data_set(DataConfig(), 4, 0)
    train = whole.train.samples
    return CalibrationData(train[:48], whole.validation.samples, whole.validation.labels, train[:160])
