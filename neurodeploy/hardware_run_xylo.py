"""A Xylo artifact on a board: run there, or imported from a run done elsewhere, and held to the reference."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import FileFormatError, UsageError
from neurodeploy.export import xylo_bundle
from neurodeploy.export.xylo_folder import XyloArtifact
from neurodeploy.hardware_run import ImportedRun
from neurodeploy.hardware_run_samna import ARRAYS, imported, ran, read_result
from neurodeploy.hw_models.chip import Evidence
from neurodeploy.hw_models.xylo import XYLO_CHIPS
from neurodeploy.ir.xylo import XyloNetwork
from neurodeploy.simulate import xylo as reference
from neurodeploy.simulate.recording import Recording

CHIPS = MappingProxyType({name: chip.title for name, chip in XYLO_CHIPS.items()})
"""What `deploy` reaches: name -> what it is."""

_FORMAT = "neurodeploy-xylo-result"
_BACKENDS: MappingProxyType[str, Evidence] = MappingProxyType({"board": "measured-silicon", "xylosim": "bit-exact-sim"})
_OUTPUT = reference.OUTPUT


def deploy(
    artifact: XyloArtifact,
    chip: str,
    simulator: str,
    samples: int | None = None,
    record: str = "output",
    power: bool = False,
    python: str | None = None,
) -> ImportedRun:
    """Runs an artifact on a board through the runner of its bundle, and imports what came out.

    Args:
        chip: one of `CHIPS`, the one that the artifact was made for.
        simulator: the command that runs the artifact without a board, for messages.
        record: "output" or "all".
        power: measure the board's supplies.
        python: the interpreter that has samna; this one where None.

    Raises:
        UsageError: where the artifact was made for another chip, or an option is wrong.
        DesignRuleError: where the network does not fit.
        MissingBackendError, NeurodeployError: as `hardware_run_samna.ran`.
    """
    if artifact.network.chip != chip:
        raise UsageError(
            f"--target {chip}: the artifact was made for {artifact.network.chip}; export it with --chip {chip}"
        )
    options = ["--record", record, *(["--samples", str(samples)] if samples else []), *(["--power"] if power else [])]
    with ran(
        lambda place: xylo_bundle.write_bundle(artifact, place), CHIPS[chip], simulator, options, python
    ) as result:
        return import_run(result, artifact)


def import_run(folder: Path, artifact: XyloArtifact) -> ImportedRun:
    """Checks what a bundle's runner wrote and compares it with the reference, value for value.

    Raises:
        FileFormatError: for a damaged, changed, incomplete or hostile folder.
        UsageError: where another network ran.
    """
    network = artifact.network
    result = read_result(folder, _FORMAT, _BACKENDS, network)
    arrays, events = result.arrays, result.arrays["events"]
    if not {"output_spikes", "output_potentials"} & set(arrays):
        raise FileFormatError(f"{folder / ARRAYS}: output_spikes or output_potentials are expected")
    if events.shape[0] != network.chip_steps or events.shape[2:] != network.input.shape:
        raise FileFormatError(f"{folder / ARRAYS}: events of shape {events.shape}: (steps, samples, channels) expected")
    if events[network.steps :].any():
        raise FileFormatError(f"{folder / ARRAYS}: events after step {network.steps}, where the input has ended")
    expected = reference.run(network, events[: network.steps])
    wanted, got = expected.by_block(network), _recorded(folder, network, arrays)
    readout = "output_spikes" if network.readout == "spike_count" else "output_potentials"
    if readout not in arrays:
        raise FileFormatError(f"{folder / ARRAYS}: no {readout}, which this network's readout is made of")
    summed = np.asarray(arrays[readout][network.latency :].sum(axis=0, dtype=np.int64))
    return imported(
        result,
        events[: network.steps],
        Recording(wanted.spikes, wanted.potentials, expected.readout),
        Recording(got.spikes, got.potentials, summed),
    )


def _recorded(folder: Path, network: XyloNetwork, arrays: dict[str, NDArray[Any]]) -> Recording:
    """What came back, layer by layer, as `XyloRecording.by_block` names it."""
    leading = (network.chip_steps, arrays["events"].shape[1])
    sizes = dict.fromkeys(("spikes", "potentials", "currents", "currents_2"), network.hidden)
    sizes |= dict.fromkeys(("output_spikes", "output_potentials", "output_currents"), network.outputs)
    for name, values in arrays.items():
        if name != "events" and (name not in sizes or values.shape != (*leading, sizes[name])):
            raise FileFormatError(
                f"{folder / ARRAYS}: {name} of shape {values.shape}; (steps, samples, neurons) of {', '.join(sizes)}"
            )
    spikes, potentials = {}, {}
    for block in network.blocks:
        part = slice(block.start, block.stop)
        if "spikes" in arrays:
            spikes[block.name] = arrays["spikes"][..., part].astype(np.uint8)
        for key, name in (("potentials", block.name), ("currents", f"{block.name} current 1")):
            if key in arrays:
                potentials[name] = arrays[key][..., part].astype(np.int64)
        if "currents_2" in arrays and network.synapses == 2:
            potentials[f"{block.name} current 2"] = arrays["currents_2"][..., part].astype(np.int64)
    if "output_spikes" in arrays:
        spikes[_OUTPUT] = arrays["output_spikes"].astype(np.uint8)
    for key, name in (("output_potentials", _OUTPUT), ("output_currents", f"{_OUTPUT} current")):
        if key in arrays:
            potentials[name] = arrays[key].astype(np.int64)
    return Recording(spikes, potentials, np.zeros((leading[1], network.outputs)))
