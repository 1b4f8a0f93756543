"""A program for Loihi 2 with what a chip's runner has to carry, and artifacts of it.

`from hardware_programs import chip_program` works in any test (`pythonpath` in pyproject.toml).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.export import bundle_run, loihi2
from neurodeploy.ir.arrays import Shape, frozen_ints
from neurodeploy.ir.artifact import Artifact, Golden
from neurodeploy.ir.identity import program_hash
from neurodeploy.ir.network import sequential
from neurodeploy.ir.nodes import Flatten, Input, Linear, MembraneReadout
from neurodeploy.ir.program import FixedPointNeurons, Layer, Program
from neurodeploy.ir.synapses import ConvSynapses, DenseSynapses, Synapses
from neurodeploy.simulate import reference

SAMPLES = 4


def neurons(
    rng: np.random.Generator, shape: Shape, threshold: int, decay: int, fires: bool = True
) -> FixedPointNeurons:
    """With random biases, odd ones among them."""
    bias = rng.integers(-9, 10, shape)
    return FixedPointNeurons(frozen_ints(decay), frozen_ints(threshold if fires else 131071), frozen_ints(bias), 6)


def chip_program(readout: str = "spike_count", steps: int = 6, bits: int = 1, decay: int = 1000) -> Program:
    """A shortcut past a convolution, graded or binary input, pooling, odd weights, a dense readout."""
    rng = np.random.default_rng(7)

    def conv(source: str, outputs: int, inside: int, edge: int) -> ConvSynapses:
        weight = frozen_ints(rng.integers(-41, 64, (outputs, inside, edge, edge)))
        return ConvSynapses(f"{source}-{outputs}", source, weight, padding=(edge // 2, edge // 2))

    def dense(source: str, outputs: int, features: int, pool: int = 1) -> DenseSynapses:
        weight = frozen_ints(rng.integers(-50, 64, (outputs, features)))
        return DenseSynapses(f"{source}-{outputs}", source, weight, pool)

    def layer(name: str, shape: Shape, threshold: int, *synapses: Synapses, fires: bool = True) -> Layer:
        return Layer(name, shape, synapses, neurons(rng, shape, threshold, decay, fires), 0.5, fires)

    last = readout == "spike_count"
    layers = (
        layer("stem", (3, 4, 6), 140 if bits == 1 else 12000, conv("input", 3, 2, 3)),
        layer("x", (3, 4, 6), 160, conv("stem", 3, 3, 3)),
        layer("joined", (3, 4, 6), 180, conv("x", 3, 3, 3), conv("stem", 3, 3, 1)),
        layer("d", (8,), 150, dense("joined", 8, 18, pool=2)),
        layer("out", (3,), 60, dense("d", 3, 8), fires=last),
    )
    return Program("loihi2", steps, Input((2, 4, 6), 1.0, bits), layers, "spike_count" if last else "membrane")


def with_neurons(program: Program, name: str, **changes: Any) -> Program:
    """The program with other numbers in the neurons of one layer."""
    layers = []
    for layer in program.layers:
        assert isinstance(layer.neurons, FixedPointNeurons)
        changed = replace(layer.neurons, **changes) if layer.name == name else layer.neurons
        layers.append(replace(layer, neurons=changed))
    return replace(program, layers=tuple(layers))


def uneven(program: Program) -> Program:
    """The program with a threshold of its own for every neuron of layer d, which the chip cannot hold."""
    return with_neurons(program, "d", threshold=frozen_ints(np.arange(8) + 100))


def images(program: Program, samples: int = SAMPLES, seed: int = 3) -> NDArray[Any]:
    """(T, B, *shape) integers."""
    shape = (program.steps, samples, *program.input.shape)
    return np.random.default_rng(seed).integers(0, 2**program.input.bits, shape)


def artifact_of(program: Program, inputs: NDArray[Any] | None = None) -> Artifact:
    """An artifact of a program, on samples on which it is alive; its float network is another one."""
    chosen = images(program) if inputs is None else inputs
    run = reference.run(program, chosen)
    rates = run.firing_rates()
    assert all(0.05 < rate < 0.95 for rate in rates.values()), f"not alive: {rates}"
    features = int(np.prod(program.input.shape))
    nodes = {
        "image": program.input,
        "flat": Flatten(),
        "fc": Linear(np.ones((2, features)), np.zeros(2)),
        "readout": MembraneReadout(1.0),
    }
    network = sequential(list(nodes.items()), program.steps)
    golden = Golden(chosen, np.zeros(len(run.readout), dtype=np.int64), run.readout, run.spikes)
    return Artifact("lava", network, program, golden, {})


def runner_wrote(
    place: Path,
    artifact: Artifact,
    backend: str,
    change: Callable[[dict[str, NDArray[Any]]], None] | None = None,
    *,
    only: Sequence[str] | None = None,
    inputs: NDArray[Any] | None = None,
    program: Program | None = None,
) -> None:
    """A run folder as the bundle's runner writes it where all is as the reference says, but for `change`."""
    ran = program or loihi2.hardware_form(artifact.program).program
    chosen = artifact.golden.inputs if inputs is None else inputs
    run = reference.run(ran, chosen)
    result: dict[str, NDArray[Any]] = {f"spikes:{name}": values.copy() for name, values in run.spikes.items()}
    result |= {f"voltages:{name}": values.copy() for name, values in run.potentials.items()}
    result = {name: values for name, values in result.items() if only is None or name in only}
    if change is not None:
        change(result)
    last = ran.layers[-1]
    readout = result[f"{'spikes' if last.fires else 'voltages'}:{last.name}"].sum(axis=0, dtype=np.int64)
    described = {
        "name": "network",
        "program_hash": program_hash(ran),
        "layers": [{"name": layer.name, "fires": layer.fires} for layer in ran.layers],
    }
    chip = {"host": {"kind": "slurm"}, "probes": {"power": {"total_watt": 0.5, "io_watt": None}}}
    bundle_run._save(
        place,
        bundle_run._arrays(chosen, result, readout, described),
        described,
        backend,
        chip if backend == "loihi2" else {},
    )
    if backend == "loihi2":
        path = place / "run.json"
        text = json.loads(path.read_text())
        path.write_text(json.dumps(text | {"versions": text["versions"] | {"lava-loihi": "0.7.0"}}))
