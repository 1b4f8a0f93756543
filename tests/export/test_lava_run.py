"""Programs in Lava itself: every spike and every voltage equals the reference's."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lava_programs import chain
from numpy.typing import ArrayLike, NDArray

from neurodeploy import hw_models
from neurodeploy.compare import Comparison, compare
from neurodeploy.export import lava, lava_job, lava_process, netx
from neurodeploy.hw_models.noise import NoiseModel
from neurodeploy.hw_models.virtual_chip import VirtualChip
from neurodeploy.ir.arrays import Shape, frozen_ints
from neurodeploy.ir.nodes import Input
from neurodeploy.ir.program import FixedPointNeurons, Layer, Program
from neurodeploy.ir.synapses import ConvSynapses, DenseSynapses, Synapses
from neurodeploy.simulate import reference
from neurodeploy.simulate.recording import Recording

pytestmark = pytest.mark.lava
Case = Callable[..., tuple[Any, Program, NDArray[Any]]]


@pytest.fixture(autouse=True, scope="module")
def _lava() -> None:
    """Without Lava these tests fail: equality that was not tried must not look like equality."""
    found = lava.TARGET.backend()
    if found.version is None:
        pytest.fail(found.detail, pytrace=False)


def check(program: Program, inputs: NDArray[Any], got: Recording) -> Comparison:
    """Asserts equality with the reference on a network that is alive."""
    expected = reference.run(program, inputs)
    rates = expected.firing_rates()
    assert all(0.05 < rate < 0.95 for rate in rates.values()), f"not alive: {rates}"
    found = compare(expected, got)
    assert (found.mismatched_spikes, found.mismatched_voltages) == (0, 0), str(found.first)
    np.testing.assert_array_equal(got.readout, expected.readout)
    assert list(got.potentials) == [layer.name for layer in program.layers]
    assert list(got.spikes) == [layer.name for layer in program.layers if layer.fires]
    return found


class Builder:
    """Programs with random integers."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def weights(self, *shape: int, low: int = -60, high: int = 90) -> NDArray[np.int64]:
        return frozen_ints(self.rng.integers(low, high, shape))

    def dense(self, source: str, outputs: int, features: int, delay: int = 0, pool: int = 1) -> DenseSynapses:
        weight = self.weights(outputs, features)
        return DenseSynapses(f"{source}-{outputs}", source, weight, pool, delay)

    def conv(self, source: str, outputs: int, inside: int, kernel: tuple[int, int], **geometry: Any) -> ConvSynapses:
        return ConvSynapses(f"{source}-{outputs}", source, self.weights(outputs, inside, *kernel), **geometry)

    def layer(
        self,
        name: str,
        shape: Shape,
        *synapses: Synapses,
        threshold: ArrayLike = 100,
        bias: int = 400,
        fires: bool = True,
    ) -> Layer:
        neurons = FixedPointNeurons(
            frozen_ints(self.rng.integers(0, 4096) if fires else 0),
            frozen_ints(threshold if fires else 131071),
            frozen_ints(self.rng.integers(-bias, bias + 1, shape)),
            int(self.rng.integers(0, 4)),
        )
        return Layer(name, shape, synapses, neurons, 1.0, fires)


def geometry_program() -> Program:
    """Stride, padding, dilation and groups, none of them square, then pooling into a dense membrane readout."""
    b = Builder(5)
    first = b.conv("input", 6, 2, (3, 2), stride=(2, 1), padding=(0, 2), dilation=(1, 2), groups=2)
    second = b.conv("a", 4, 3, (2, 3), stride=(1, 2), padding=(3, 1), dilation=(2, 1), groups=2, pool=1)
    layers = (
        b.layer("a", (6, 5, 9), first, threshold=6000),
        b.layer("b", (4, 9, 5), second, threshold=90),
        b.layer("c", (6, 4, 2), b.conv("b", 6, 4, (2, 2), padding=(0, 0), stride=(2, 2)), threshold=120),
        b.layer("out", (5,), b.dense("c", 5, 12, pool=2), fires=False),
    )
    return Program("loihi2", 6, Input((4, 11, 7), 1 / 255, 8), layers, "membrane")


def branching_program() -> Program:
    """Paths of unequal length: a block's shortcut, the input behind three layers, dense relays, recurrence."""
    b = Builder(1)
    layers = (
        b.layer("stem", (4, 6, 6), b.conv("input", 4, 2, (3, 3), padding=(1, 1)), threshold=9000),
        b.layer("x", (4, 6, 6), b.conv("stem", 4, 4, (3, 3), padding=(1, 1)), threshold=150),
        b.layer("y", (4, 6, 6), b.conv("x", 4, 4, (3, 3), padding=(1, 1)), threshold=150),
        b.layer(
            "joined",
            (4, 6, 6),
            b.conv("y", 4, 4, (3, 3), padding=(1, 1)),
            b.conv("stem", 4, 1, (1, 1), groups=4),
            replace(b.conv("input", 4, 2, (3, 3), padding=(1, 1)), weight=b.weights(4, 2, 3, 3, low=-1, high=2)),
            threshold=200,
        ),
        b.layer("d", (8,), b.dense("joined", 8, 36, pool=2), b.dense("d", 8, 8, delay=1), threshold=400),
        b.layer("e", (8,), b.dense("d", 8, 8), threshold=100),
        b.layer("f", (6,), b.dense("e", 6, 8), b.dense("d", 6, 8), b.dense("d", 6, 8, delay=1), threshold=500),
    )
    return Program("loihi2", 5, Input((2, 6, 6), 1 / 255, 8), layers, "spike_count")


def images(program: Program, batch: int, seed: int = 0, moving: bool = False) -> NDArray[Any]:
    shape = (program.steps, batch, *program.input.shape) if moving else (batch, *program.input.shape)
    return np.random.default_rng(seed).integers(0, 2**program.input.bits, shape)


@pytest.mark.parametrize(
    ("kind", "seed", "options"),
    [
        ("conv", 0, {"bits": 8, "static": True}),
        ("conv", 1, {"bits": 1, "at_threshold": True}),
        ("residual", 2, {"bits": 8, "batch": 2}),
        ("recurrent", 3, {"bits": 1, "batch": 4}),
        ("dense", 4, {"bits": 8, "at_threshold": True}),
    ],
)
def test_quantised_networks(lively_case: Case, kind: str, seed: int, options: dict[str, Any]) -> None:
    _, program, inputs = lively_case(np.random.default_rng(seed), kind, "loihi2", **options)
    check(program, inputs, lava.run(program, inputs))


def test_geometry_and_graded_moving_input() -> None:
    program = geometry_program()
    inputs = images(program, 3, moving=True)
    assert check(program, inputs, lava.run(program, inputs)).spikes_compared > 5000


def test_paths_of_unequal_length() -> None:
    program = branching_program()
    job, _ = lava_job.describe(program)
    assert {synapses["wait"] for synapses in job["synapses"]} == {0, 1, 2, 3}
    inputs = images(program, 3)
    check(program, inputs, lava.run(program, inputs))


def test_a_virtual_chip_with_its_own_threshold_and_decay_in_every_neuron() -> None:
    nominal = geometry_program()
    program = VirtualChip(hw_models.chip("loihi2"), NoiseModel(mismatch=0.2, weight_mismatch=0.1), 17).realise(nominal)
    assert program.layers[0].neurons.threshold.shape == (6, 5, 9)
    inputs = images(nominal, 2)
    assert compare(reference.run(nominal, inputs), reference.run(program, inputs)).mismatched_spikes > 0
    check(program, inputs, lava.run(program, inputs))


def test_more_channels_than_lava_counts_groups() -> None:
    """130 groups, and relays for 130 channels."""
    b = Builder(3)
    layers = (
        b.layer("a", (130, 1, 2), b.conv("input", 130, 1, (1, 1), groups=130), threshold=40),
        b.layer("b", (2, 1, 2), b.conv("a", 2, 130, (1, 1)), threshold=600),
        b.layer("c", (2, 1, 2), b.conv("b", 2, 2, (1, 1)), b.conv("a", 2, 130, (1, 1)), threshold=400),
    )
    flat = b.layer("out", (3,), b.dense("c", 3, 4), threshold=40)
    program = Program("loihi2", 4, Input((130, 1, 2)), (*layers, flat), "spike_count")
    inputs = images(program, 2, moving=True)
    check(program, inputs, lava.run(program, inputs))


def test_a_net_file_means_the_same_in_netx() -> None:
    b = Builder(8)
    whole = {"a": 4000, "b": 120, "c": 150, "out": 131071}
    layers = [
        b.layer("a", (4, 8, 6), b.conv("input", 4, 2, (3, 5), padding=(1, 2)), threshold=4000),
        b.layer("b", (4, 3, 4), b.conv("a", 4, 2, (2, 2), padding=(0, 1), groups=2, pool=2), threshold=120),
        b.layer("c", (9,), b.dense("b", 9, 48), threshold=150),
        b.layer("out", (3,), b.dense("c", 3, 9), fires=False),
    ]
    for index, layer in enumerate(layers):
        assert isinstance(layer.neurons, FixedPointNeurons)
        bias = b.rng.integers(-20, 40, layer.shape)
        neurons = replace(
            layer.neurons, bias_mantissa=frozen_ints(bias), bias_exponent=6, threshold=frozen_ints(whole[layer.name])
        )
        layers[index] = replace(layer, neurons=neurons)
    program = Program("loihi2", 6, Input((2, 8, 6), 1 / 255, 8), tuple(layers), "membrane")
    assert netx.reasons(program) == []
    inputs = images(program, 3, moving=True)
    check(program, inputs, lava.run_netx(program, inputs))
    check(program, inputs, lava.run(program, inputs))


@pytest.mark.parametrize("options", [[], ["--host-currents"]])
def test_an_exported_folder_runs_without_neurodeploy(options: list[str], tmp_path: Path) -> None:
    program = branching_program()
    lava.write(program, tmp_path)
    inputs = images(program, 2, seed=1)
    np.save(tmp_path / "inputs.npy", inputs)
    command = [*lava_process.interpreter(), str(tmp_path / "lava_worker.py"), *options, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"inputs.npy", "lava_job.json", "lava_job.npz", "result.npz", *lava.WORKER_FILES}
    expected = reference.run(program, inputs)
    with np.load(tmp_path / "result.npz", allow_pickle=False) as result:
        for name, voltages in expected.potentials.items():
            np.testing.assert_array_equal(result[f"voltages:{name}"], voltages)
            np.testing.assert_array_equal(result[f"spikes:{name}"], expected.spikes[name])


_IN_PROCESS = """
import json, sys
sys.path.insert(0, sys.argv[1])
import lava_worker
import numpy as np
job = json.load(open(sys.argv[1] + "/lava_job.json"))
arrays = dict(np.load(sys.argv[1] + "/lava_job.npz"))
inputs = np.load(sys.argv[1] + "/inputs.npy")
for turn in (0, 1):
    np.savez(f"{sys.argv[1]}/turn-{turn}.npz", **lava_worker.execute(job, arrays, inputs[:, turn:]))
print(sys.version_info[:2])
"""


def test_lavas_own_python_runs_it_in_process_and_again(tmp_path: Path) -> None:
    """As in an environment that has Lava and not neurodeploy: Python 3.10, where it is the one that was installed."""
    program = branching_program()
    lava.write(program, tmp_path)
    inputs = images(program, 3, seed=2, moving=True)
    np.save(tmp_path / "inputs.npy", inputs)
    python = [*lava_process.interpreter(), "-c", _IN_PROCESS, str(tmp_path)]
    done = subprocess.run(python, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    if not lava_process.importable():
        assert done.stdout.split("\n")[-2] == "(3, 10)"
    for turn in (0, 1):
        with np.load(tmp_path / f"turn-{turn}.npz", allow_pickle=False) as result:
            check(program, inputs[:, turn:], lava.recording(program, result))


def test_a_recurrent_layer_means_the_same_in_netx() -> None:
    b = Builder(9)
    layers = [
        b.layer("a", (12,), b.dense("input", 12, 20), b.dense("a", 12, 12, delay=1), threshold=150),
        b.layer("b", (5,), b.dense("a", 5, 12), threshold=120),
    ]
    for index, layer in enumerate(layers):
        assert isinstance(layer.neurons, FixedPointNeurons)
        bias = frozen_ints(b.rng.integers(-9, 20, layer.shape))
        layers[index] = replace(layer, neurons=replace(layer.neurons, bias_mantissa=bias, bias_exponent=6))
    program = Program("loihi2", 6, Input((20,), 1.0, 1), tuple(layers), "spike_count")
    assert netx.reasons(program) == []
    inputs = images(program, 3, moving=True)
    check(program, inputs, lava.run_netx(program, inputs))


def test_currents_that_the_host_computes_give_the_same(lively_case: Case) -> None:
    """Graded pixels with geometry, spikes with delays of their own, and an input that is held back."""
    seen = []
    for index, kind in enumerate(("conv", "residual", "dense")):
        _, program, inputs = lively_case(np.random.default_rng(20 + index), kind, "loihi2", bits=(8, 4, 1)[index])
        check(program, inputs, lava.run_host_currents(program, inputs))
        seen.append(program.input.bits)
    assert seen == [8, 4, 1]
    rng = np.random.default_rng(5)
    first = DenseSynapses(
        "w1", "input", frozen_ints(rng.integers(-60, 100, (8, 12))), 1, 1, frozen_ints(rng.integers(0, 3, (8, 12)))
    )
    geometry = ConvSynapses("w", "input", frozen_ints(rng.integers(-40, 70, (4, 1, 2, 3))), (2, 1), (1, 0), (1, 2), 2)
    for synapses, node, shape in ((first, Input((12,), 1.0, 1), (8,)), (geometry, Input((2, 7, 9), 1.0, 3), (4, 4, 5))):
        program = chain(synapses, shape, node)
        moving = rng.integers(0, 2**node.bits, (program.steps, 3, *node.shape))
        check(program, moving, lava.run_host_currents(program, moving))
