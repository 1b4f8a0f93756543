"""An experiment's two ends: training into model.pt, and the samples that a model is judged and calibrated on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from neurodeploy.config import ExperimentConfig
from neurodeploy.data.dataset import DataSet
from neurodeploy.data.sources import load_data_set
from neurodeploy.files import MODEL, check_output
from neurodeploy.snn.determinism import deterministic
from neurodeploy.snn.model_file import Model, make_model, save_model
from neurodeploy.snn.train import accuracy, train
from neurodeploy.snn.trained_scales import trained_scales

# Said wherever that figure stands.
BEST_ON_TEST = "highest test accuracy of all epochs: selected on the test set, not a test accuracy"

SELECTIONS = {"validation": "lowest validation loss", "last": "last epoch"}


def load_data(config: ExperimentConfig, root: str | None = None) -> DataSet:
    """The data set of a configuration, split as for training; `root` replaces the configured folder."""
    data = config.data.model_copy(update={"root": root}) if root else config.data
    return load_data_set(data, config.network.steps, config.seed)


def train_model(config: ExperimentConfig, output: Path, resume: bool = False, progress: bool = True) -> Model:
    """Trains, measures once on the test set, and writes model.pt; checkpoints lie in `output`.checkpoints beside it.

    Raises:
        UsageError: where `output` is a folder, the data set, or a file that is no model of ours; and as `train`.
    """
    check_output("-o", output, MODEL, (config.data.name, config.data.root))
    data = load_data(config)
    trained = train(config, data, output.with_name(f"{output.name}.checkpoints"), resume, progress)
    batch_size, rounding = 2 * config.train.batch_size, trained.rounding
    validated = trained.validation_accuracy
    with deterministic():
        tested = accuracy(trained.network, data.test, batch_size, trained.device, rounding)
        if config.train.precision != "32":  # the model that is saved computes in single precision
            validated = accuracy(trained.network, data.validation, batch_size, trained.device)
    metrics: dict[str, Any] = {
        "data_set": data.name,
        "test_accuracy": tested,
        "validation_accuracy": validated,
        "epoch": trained.epoch,
        "epochs": len(trained.history),
        "selection": SELECTIONS[config.train.selection],
        "training_seconds": round(trained.seconds, 1),
        "train_images": len(data.train),
        "validation_images": len(data.validation),
        "test_images": len(data.test),
    }
    if rounding is not None:
        metrics["rounded_for"] = config.noise.quantize
    if config.train.report_best_on_test:
        best = max(trained.history, key=lambda row: row["test_accuracy"])
        metrics["best_on_test_accuracy"] = best["test_accuracy"]
        metrics["best_on_test_epoch"] = int(best["epoch"])
        metrics["best_on_test_selection"] = BEST_ON_TEST
    scales = None if rounding is None else trained_scales(rounding.scales)
    model = make_model(trained.network, config, data, metrics, trained.history, scales)
    save_model(model, output)
    return model
