"""A DYNAP-SE2 artifact on a board: run there, or imported from a run done elsewhere, beside the engine.

The chip is analogue: how far it is from the nominal chip is what a run on a board tells, not an error.
"""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from neurodeploy.deployment_dynapse2 import TOLERATED
from neurodeploy.errors import FileFormatError
from neurodeploy.export import dynapse2_bundle
from neurodeploy.export.dynapse2_folder import Dynapse2Artifact
from neurodeploy.hardware_run import ImportedRun
from neurodeploy.hardware_run_samna import ARRAYS, imported, ran, read_result
from neurodeploy.hw_models.chip import Evidence
from neurodeploy.simulate import dynapse2_engine
from neurodeploy.simulate.dynapse2 import check_inputs
from neurodeploy.simulate.recording import Recording

BOARD = "a DYNAP-SE2 board"
_FORMAT = "neurodeploy-dynapse2-result"
_BACKENDS: MappingProxyType[str, Evidence] = MappingProxyType({"board": "measured-silicon", "dynapsim": "modelled"})
_MOST = 255


def deploy(
    artifact: Dynapse2Artifact, simulator: str, samples: int | None = None, python: str | None = None
) -> ImportedRun:
    """Runs an artifact on a board through the runner of its bundle, and imports what came out.

    Args:
        simulator: the command that runs the artifact without a board, for messages.
        python: the interpreter that has samna; this one where None.

    Raises:
        DesignRuleError: where the network does not fit.
        UsageError, MissingBackendError, NeurodeployError: as `hardware_run_samna.ran`.
    """
    options = ["--samples", str(samples)] if samples else []
    with ran(lambda place: dynapse2_bundle.write_bundle(artifact, place), BOARD, simulator, options, python) as result:
        return import_run(result, artifact)


def import_run(folder: Path, artifact: Dynapse2Artifact) -> ImportedRun:
    """Checks what a bundle's runner wrote and compares it with the engine.

    Its comparison says besides `accuracy` and `expected_accuracy` where the artifact's own samples ran.

    Raises:
        FileFormatError: for a damaged, changed, incomplete or hostile folder.
        UsageError: where another network ran.
    """
    network, golden = artifact.network, artifact.golden
    result = read_result(folder, _FORMAT, _BACKENDS, network)
    arrays, place = result.arrays, folder / ARRAYS
    batch = arrays["events"].shape[1]
    sizes = {
        "events": (network.steps, batch, *network.input.shape),
        "output_spikes": (network.chip_steps, batch, network.outputs),
        "readout": (batch, network.outputs),
        "spikes": (network.chip_steps, batch, network.neurons),
    }
    for name, values in arrays.items():
        if name not in sizes or values.shape != sizes[name] or values.min() < 0 or values.max() > _MOST * len(values):
            raise FileFormatError(f"{place}: {name} of shape {values.shape}; counts of shapes {sizes} are expected")
    if not {"output_spikes", "readout"} <= set(arrays):
        raise FileFormatError(f"{place}: output_spikes and readout are expected")
    events, readout = arrays["events"], arrays["readout"].astype(np.int64)
    if result.described["backend"] != "board" and (arrays["output_spikes"].sum(axis=0) != readout).any():
        raise FileFormatError(f"{place}: the readout is not the sum of output_spikes over time")
    recording = dynapse2_engine.run(network, events)
    spikes = {network.output.name: arrays["output_spikes"]}
    if "spikes" in arrays:
        spikes |= {one.name: arrays["spikes"][..., one.start : one.stop] for one in network.blocks}
    got = Recording({name: np.minimum(one, _MOST).astype(np.uint8) for name, one in spikes.items()}, {}, readout)
    more: dict[str, Any] = {}
    shown, labels = check_inputs(network, golden.inputs), golden.labels[:batch]
    if batch <= shown.shape[1] and np.array_equal(events, shown[:, :batch]):
        more["accuracy"] = float((readout.argmax(axis=1) == labels).mean())
        more["expected_accuracy"] = float((recording.decisions == labels).mean())
    tolerated = 1.0 if result.evidence == "measured-silicon" else TOLERATED
    return imported(result, events, recording.by_block(network), got, tolerated, **more)
