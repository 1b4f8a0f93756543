"""A Model of an imported Network: what training would have left beside it, from a data set."""

from __future__ import annotations

import numpy as np

from neurodeploy.config import ExperimentConfig, parse_config
from neurodeploy.data.dataset import Split
from neurodeploy.experiment import load_data
from neurodeploy.hw_models import chip as find_chip
from neurodeploy.importing.fitting import fitted
from neurodeploy.importing.loading import Encoding
from neurodeploy.importing.nir import ImportedNetwork
from neurodeploy.ir.network import Network
from neurodeploy.quantize import quantize
from neurodeploy.simulate import engine
from neurodeploy.snn.model_file import Model, make_model

_AT_ONCE = 128


def make_imported(
    imported: ImportedNetwork, origin: str, data: str, root: str | None, encoding: Encoding, samples: int
) -> tuple[Model, Network]:
    """The network fitted to the data set; its Model, with some of the samples and the accuracy on `samples` of them.

    Args:
        origin: the file's name.

    Raises:
        UsageError: where network and data set do not go together.
    """
    config = _config(imported, data, root, encoding, None)
    sets = load_data(config, root)
    bits = imported.network.input.bits
    if imported.bits_known and encoding == "direct" and sets.input.bits != bits:
        config = _config(imported, data, root, encoding, bits)
        sets = load_data(config, root)
    network = fitted(imported, sets, data)
    test = sets.test.take(slice(samples))
    metrics = {
        "data_set": sets.name,
        "test_accuracy": _accuracy(network, test),
        "test_images": len(test),
        "imported_from": origin,
        "seconds_per_step": imported.dt,
        "notes": list(imported.notes),
    }
    return make_model(network, config, sets, metrics, []), network


def _config(
    imported: ImportedNetwork, data: str, root: str | None, encoding: Encoding, bits: int | None
) -> ExperimentConfig:
    return parse_config(
        {
            "data": {"name": data, "root": root, "encoding": encoding, "bits": bits},
            "network": {"steps": imported.network.steps},
        }
    )


def _accuracy(network: Network, test: Split) -> float:
    program = quantize(network, find_chip("ideal"))
    right = 0
    for first in range(0, len(test), _AT_ONCE):
        part = test.take(slice(first, first + _AT_ONCE))
        right += int(np.sum(engine.run(program, part.inputs).decisions == part.labels))
    return right / len(test)
