"""From a trained model to a DYNAP-SE2 artifact, and from the artifact to the comparison of simulators."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from neurodeploy import __version__
from neurodeploy.deployment_chip import Prepared, Way, rightness
from neurodeploy.errors import UsageError, unknown_name
from neurodeploy.export import dynapse2
from neurodeploy.export.dynapse2_folder import FOLDER, Dynapse2Artifact, golden_of
from neurodeploy.hw_models.dynapse2 import dynapse2_chip
from neurodeploy.hw_models.dynapse2_mismatch import Mismatch, Realised, realise
from neurodeploy.hw_models.dynapse2_network import Dynapse2Network
from neurodeploy.ir.arrays import IntArray
from neurodeploy.ir.channels import flat
from neurodeploy.ir.network import Network
from neurodeploy.ir.populations import PopulationNetwork
from neurodeploy.quantize_dynapse2 import as_populations, quantize_dynapse2, troubles
from neurodeploy.simulate import dynapse2 as reference
from neurodeploy.simulate import dynapse2_engine
from neurodeploy.simulate import populations as float_simulator
from neurodeploy.simulate.dynapse2 import Dynapse2Recording, Thermal
from neurodeploy.simulate.dynapse2_health import LARGE_SHARE, health

BACKENDS = ("reference", "engine", dynapse2.NAME)
TOLERATED = 1e-3  # share of neuron-steps whose spikes may differ: float32 in another order of operations
_LARGE_LOSS = 0.1  # of decisions on the calibration data that are others than the float network's
_GOLDEN_TOLERATED = 0.02  # share of golden decisions that another machine's float32 may change
_FORGETTING = "; it has inhibition, which neurons of the chip forget: train with more steps, or with smaller potentials"
Runner = Callable[..., Dynapse2Recording]


PreparedDynapse2: TypeAlias = Prepared[Dynapse2Network]


def prepare_network(
    network: Network | PopulationNetwork,
    calibration: NDArray[Any],
    chip_name: str | None = None,
    *,
    allow_dead: bool = False,
) -> PreparedDynapse2:
    """Quantises and checks a float network.

    Raises:
        UsageError: for an unknown chip, or calibration data that do not suit.
        DesignRuleError: naming every limit that the network violates, or, without `allow_dead`, every layer that would
            be silent or saturated.
    """
    chip = dynapse2_chip(chip_name or dynapse2.CHIP)
    populations = as_populations(network, chip)
    made = quantize_dynapse2(populations, chip, calibration, allow_dead=allow_dead)
    inputs = flat(made.input.shape[0], calibration)
    wanted, got = float_simulator.run(populations, inputs), dynapse2_engine.run(made, inputs)
    rows = health(made, got)
    agreement = float((wanted.decisions == got.decisions).mean())
    found = []
    for row in rows:
        if row.silent_neurons > row.neurons / 2 and row.trouble is None:
            found.append(f"layer {row.layer}: {row.silent_neurons} of {row.neurons} neurons never fire")
        if row.several > LARGE_SHARE:
            found.append(
                f"layer {row.layer}: {row.several:.0%} of firing neurons pass several thresholds in a step; DynapSim "
                "counts such a spike more than once, the silicon does not: keep potentials below two thresholds in "
                "training (train.potential_weight, train.potential_deviation)"
            )
    if agreement < 1 - _LARGE_LOSS:
        found.append(
            f"{1 - agreement:.0%} of decisions on the calibration data are others than the float network's"
            + (_FORGETTING if any((one.weight < 0).any() for one in populations.projections) else "")
        )
    dead = troubles(made, got, wanted)
    return Prepared(populations, made, [asdict(row) for row in rows], agreement, dead, found, _cores(made))


_WAY = Way(prepare_network, golden_of, lambda name: dynapse2_chip(name).evidence, FOLDER)
prepare, export_model = _WAY.prepare, _WAY.export_model


def prove(
    artifact: Dynapse2Artifact, backend: str, inputs: NDArray[Any] | None = None, labels: IntArray | None = None
) -> dict[str, Any]:
    """Runs an artifact on a backend and compares every spike and membrane with the engine.

    All simulators compute in float32, each in its own order of operations, so that a neuron at its threshold may fire
    in one and not in the other: `agrees` allows `TOLERATED` of the neuron-steps.

    Args:
        backend: "reference" (NumPy), "engine" or "dynapse2" (Rockpool's DynapSim).
        inputs: by default the artifact's golden inputs, whose stored outputs must come out too.
        labels: of `inputs`, for accuracies; golden inputs have their own.

    Raises:
        MissingBackendError: with the command that installs it.
        ValueError: for labels without inputs.
    """
    if inputs is None and labels is not None:
        raise ValueError("labels without inputs: golden inputs have their own")
    run = runner(backend)
    golden, network = artifact.golden, artifact.network
    chosen = golden.inputs if inputs is None else flat(network.input.shape[0], inputs)
    expected = dynapse2_engine.run(network, chosen)
    if inputs is None:
        labels = golden.labels
        changed = float((golden.readout.argmax(axis=1) != expected.decisions).mean())
        if changed > _GOLDEN_TOLERATED:
            raise UsageError("the golden vectors of this artifact do not come out of its network: it was altered")
    started = time.perf_counter()
    got = run(network, chosen)
    seconds = time.perf_counter() - started
    layers = [_compared(network, block.name, expected, got) for block in network.blocks]
    differing, compared = (sum(row[name] for row in layers) for name in ("mismatched_spikes", "compared"))
    return {
        "backend": backend,
        "version": dynapse2.backend().version if backend == dynapse2.NAME else __version__,
        "chip": network.chip,
        "seconds": round(seconds, 3),
        "samples": int(chosen.shape[-2]),
        "layers": layers,
        "mismatched_spikes": differing,
        "spikes_compared": compared,
        "tolerated_spikes": int(TOLERATED * compared),
        "decisions_differing": int((expected.decisions != got.decisions).sum()),
        "agrees": differing <= TOLERATED * compared,
        **rightness(labels, {"accuracy": got.decisions, "engine_accuracy": expected.decisions}),
    }


def accuracies(
    network: Dynapse2Network,
    mismatch: Mismatch,
    inputs: NDArray[Any],
    labels: NDArray[Any],
    chips: int,
    *,
    seed: int = 0,
    thermal: float = 0.0,
    backend: str = "engine",
) -> NDArray[np.float64]:
    """(chips,) accuracy of the virtual chips 0, 1, …; the same chips on every backend.

    Args:
        thermal: level of noise on what arrives at synapses (`neurodeploy.simulate.dynapse2.Thermal`).
    """
    run, found = runner(backend), []
    options = {"record": False} if backend == "engine" else {}
    for chip_id in range(chips):
        chip: Realised = realise(network, mismatch, chip_id, seed)
        noise = Thermal(thermal, chip_id, seed) if thermal > 0 else None
        found.append(float((run(chip, inputs, thermal=noise, **options).decisions == labels).mean()))
    return np.asarray(found)


def runner(backend: str) -> Runner:
    """What runs a network there: (network or Realised, inputs, thermal=…) -> recording."""
    runners: dict[str, Runner] = {
        "reference": reference.run,
        "engine": dynapse2_engine.run,
        dynapse2.NAME: dynapse2.run,
    }
    if backend not in runners:
        raise unknown_name("backend", backend, runners)
    return runners[backend]


def _compared(
    network: Dynapse2Network, name: str, expected: Dynapse2Recording, got: Dynapse2Recording
) -> dict[str, Any]:
    """One layer; membranes are compared on samples and steps up to the first spike that differs in the network."""
    block = network.block(name)
    part = slice(block.start, block.stop)
    differs = (expected.spikes != got.spikes).any(axis=2)
    before = np.cumsum(differs, axis=0) == 0
    wanted, found = expected.membranes[..., part][before], got.membranes[..., part][before]
    error = float(np.abs(found / wanted - 1).max()) if wanted.size else 0.0
    spikes = expected.spikes[..., part]
    return {
        "layer": name,
        "compared": int(spikes.size),
        "firing_rate": float((spikes > 0).mean()),
        "mismatched_spikes": int((spikes != got.spikes[..., part]).sum()),
        "largest_membrane_error": error,
    }


def _cores(network: Dynapse2Network) -> list[dict[str, Any]]:
    chip, fan_in = dynapse2_chip(network.chip), network.fan_in()
    rows = []
    for core in range(network.cores):
        mine = np.flatnonzero(network.core == core)
        name = next(one.name for one in network.blocks if one.start <= mine[0] < one.stop)
        biases = {bias: float(network.biases[bias][core]) for bias in ("Itau_mem", "Itau_syn", "Ispkthr")}
        base = ", ".join(f"{current:.3g}" for current in network.base[core])
        rows.append(
            {
                "chip": core // chip.cores,
                "core": core % chip.cores,
                "layer": name,
                "neurons": len(mine),
                "most synapses": int(fan_in[mine].max()),
                **biases,
                "Iw": base,
            }
        )
    return rows
