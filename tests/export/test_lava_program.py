"""Lava without Lava: what is refused, what is written, and how a worker that fails is reported."""

from __future__ import annotations

import ast
import json
import os
import re
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from neurodeploy.errors import DesignRuleError, MissingBackendError, NeurodeployError, UsageError
from neurodeploy.export import lava, lava_job, lava_process, netx, target
from neurodeploy.ir.arrays import Shape, frozen_floats, frozen_ints
from neurodeploy.ir.nodes import Input
from neurodeploy.ir.program import FixedPointNeurons, FloatNeurons, Layer, Program
from neurodeploy.ir.synapses import ConvSynapses, DenseSynapses, Synapses
from neurodeploy.simulate import reference

Case = Callable[..., tuple[Any, Program, NDArray[Any]]]


def neurons(
    shape: Shape, threshold: ArrayLike = 100, decay: ArrayLike = 1000, bias: ArrayLike = 0, exponent: int = 6
) -> FixedPointNeurons:
    """Neurons with the same bias everywhere unless an array is given."""
    mantissa = np.broadcast_to(np.asarray(bias), shape)
    return FixedPointNeurons(frozen_ints(decay), frozen_ints(threshold), frozen_ints(mantissa), exponent)


def dense(source: str, weight: ArrayLike, delay: int = 0, pool: int = 1) -> DenseSynapses:
    return DenseSynapses(f"from_{source}", source, frozen_ints(weight), pool, delay)


def chain(first: Synapses, shape: Shape, input_node: Input, **options: Any) -> Program:
    """One firing layer behind the input."""
    layer = Layer("only", shape, (first,), neurons(shape, **options), 1.0)
    return Program("loihi2", 4, input_node, (layer,), "spike_count")


def with_neurons(program: Program, **changes: Any) -> Program:
    """The program with other values in its last layer's neurons."""
    last = program.layers[-1]
    changed = replace(last, neurons=replace(last.neurons, **changes))
    return replace(program, layers=(*program.layers[:-1], changed))


SMALL = chain(dense("input", [[1, -2, 3]]), (1,), Input((3,)))


# --- what is refused ----------------------------------------------------------------------------------------------


def test_target_is_in_the_catalogue() -> None:
    assert target("lava") is lava.TARGET
    assert lava.TARGET.chip == "loihi2"


@pytest.mark.parametrize("kind", ["dense", "conv", "residual", "recurrent"])
@pytest.mark.parametrize("bits", [1, 8])
def test_quantised_networks_are_taken(lively_case: Case, kind: str, bits: int) -> None:
    for seed in range(5):
        _, program, _ = lively_case(np.random.default_rng(seed), kind, "loihi2", bits=bits)
        assert lava.violations(program) == []


def test_float_neurons_are_refused() -> None:
    floats = FloatNeurons(frozen_floats(0.5), frozen_floats(1.0), frozen_floats([0.0]))
    program = replace(SMALL, chip="ideal", layers=(replace(SMALL.layers[0], neurons=floats),))
    assert lava.violations(program) == [
        "made for the chip ideal, whose neurons are not fixed-point: quantise for the chip loihi2"
    ]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"threshold": frozen_ints(131072)}, "threshold 131072: allowed are 0 to 131071"),
        ({"threshold": frozen_ints([131071])}, None),
        ({"voltage_decay": frozen_ints(4096)}, "voltage decay 4096: allowed are 0 to 4095"),
        ({"voltage_decay": frozen_ints(4095)}, None),
        ({"bias_mantissa": frozen_ints([4096])}, "bias mantissa 4096: allowed are -4096 to 4095"),
        ({"bias_mantissa": frozen_ints([-4097])}, "bias mantissa -4097: allowed are -4096 to 4095"),
        ({"bias_mantissa": frozen_ints([-4096])}, None),
    ],
)
def test_register_widths(changes: dict[str, Any], expected: str | None) -> None:
    found = lava.violations(with_neurons(SMALL, **changes))
    assert found == ([] if expected is None else [f"layer only: {expected}"])


@pytest.mark.parametrize(("weight", "allowed"), [(127, True), (-128, True), (128, False), (-129, False)])
def test_weight_width(weight: int, allowed: bool) -> None:
    found = lava.violations(chain(dense("input", [[weight, 0]]), (1,), Input((2,))))
    assert (found == []) == allowed
    assert allowed or found[0].startswith("layer only: synapses from_input: weights ")


def test_all_violations_at_once() -> None:
    program = chain(dense("input", [[200]]), (1,), Input((1,)), threshold=200000, bias=5000)
    assert len(lava.violations(program)) == 3


@pytest.mark.parametrize(("steps", "allowed"), [(1032, True), (1033, False)])
def test_a_readout_must_not_reach_the_firing_threshold(steps: int, allowed: bool) -> None:
    layer = Layer("out", (1,), (dense("input", [[127]]),), neurons((1,), 131071, 0), 1.0, fires=False)
    program = Program("loihi2", steps, Input((1,)), (layer,), "membrane")
    assert (lava.violations(program) == []) == allowed
    spikes_or_voltages = reference.run(program, np.ones((1, 1), dtype=int)).potentials["out"]
    assert (spikes_or_voltages.max() <= 131071 * 64) == allowed  # the bound is tight: this input reaches it


def test_sums_beyond_32_bits_are_refused() -> None:
    wide = np.full((1, 1100), 127)
    assert lava.violations(chain(dense("input", wide), (1,), Input((1100,), bits=1))) == []
    found = lava.violations(chain(dense("input", wide), (1,), Input((1100,), bits=8)))
    assert found == ["layer only: weighted sums may reach ±35623500: Lava's 32-bit arithmetic holds ±33554431"]


def test_geometry_beyond_8_bits_is_refused() -> None:
    synapses = ConvSynapses("wide", "input", frozen_ints(np.ones((1, 1, 1, 2), dtype=int)), stride=(1, 64), pool=2)
    found = lava.violations(chain(synapses, (1, 1, 2), Input((1, 2, 160))))
    assert found == ["layer only: synapses wide: stride (2, 128) with its pooling written out: Lava holds up to 127"]


def test_feedback_through_another_layer_is_refused() -> None:
    first = Layer("a", (1,), (dense("input", [[1]]), dense("b", [[1]], 1), dense("a", [[1]], 1)), neurons((1,)), 1.0)
    second = Layer("b", (1,), (dense("a", [[1]]),), neurons((1,)), 1.0)
    program = Program("loihi2", 3, Input((1,)), (first, second), "spike_count")
    (found,) = lava.violations(program)
    assert found.startswith("layer a: feedback from b with a delay of one step")
    with pytest.raises(DesignRuleError, match="feedback from b"):
        lava.run(program, np.ones((1, 1), dtype=int))


def test_unsuitable_input_is_refused() -> None:
    with pytest.raises(UsageError, match="allowed are 0 to 1"):
        lava.run(SMALL, np.full((1, 3), 2))


# --- the job ------------------------------------------------------------------------------------------------------


def test_lags_and_waits() -> None:
    """Every synapse is a step: a is 1 late, b 2, c 3; what arrives earlier waits, a delay of one step waits less."""
    layers = (
        Layer("a", (1,), (dense("input", [[1]]), dense("a", [[1]], 1)), neurons((1,)), 1.0),
        Layer("b", (1,), (dense("a", [[1]]),), neurons((1,)), 1.0),
        Layer(
            "c",
            (1,),
            (dense("b", [[1]]), dense("a", [[1]]), dense("input", [[1]]), dense("b", [[1]], 1)),
            neurons((1,)),
            1.0,
        ),
    )
    program = Program("loihi2", 3, Input((1,), bits=8), layers, "spike_count")
    assert lava_job.lags(program) == {"input": 0, "a": 1, "b": 2, "c": 3}
    job, _ = lava_job.describe(program)
    described = [(s["source"], s["target"], s["wait"], s["delayed"], s["message_bits"]) for s in job["synapses"]]
    assert described == [
        ("input", "a", 0, False, 8),
        ("a", "a", 0, True, 0),
        ("a", "b", 0, False, 0),
        ("b", "c", 0, False, 0),
        ("a", "c", 1, False, 0),
        ("input", "c", 2, False, 8),
        ("b", "c", 1, True, 0),
    ]


@pytest.mark.parametrize("pool", [1, 2])
@pytest.mark.parametrize("groups", [2, 127, 130])
def test_written_out_synapses_bring_the_same_currents(pool: int, groups: int) -> None:
    rng = np.random.default_rng(groups)
    weight = frozen_ints(rng.integers(-128, 128, (2 * groups, 3, 2, 1)))
    synapses = ConvSynapses("conv", "input", weight, (1, 2), (1, 0), (2, 1), groups, pool)
    shape = (3 * groups, 3 * pool, 3 * pool)
    program = chain(synapses, synapses.output_shape(shape), Input(shape))
    written = lava_job.written_out(synapses, program)
    assert isinstance(written, ConvSynapses)
    assert (written.pool, written.groups) == (1, groups if groups < 128 else 1)
    source = rng.integers(0, 2, (2, *shape))
    np.testing.assert_array_equal(reference.current(written, source), reference.current(synapses, source))


def test_written_files(tmp_path: Path, lively_case: Case) -> None:
    _, program, _ = lively_case(np.random.default_rng(3), "residual", "loihi2", bits=8)
    reasons = lava.write(program, tmp_path / "a")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [
        "lava_job.json",
        "lava_job.npz",
        "lava_worker.py",
    ]
    assert all(reason.startswith("network.net: layer ") for reason in reasons)
    assert any("netx knows chains only" in reason for reason in reasons)
    job = json.loads((tmp_path / "a" / "lava_job.json").read_text(encoding="utf-8"))
    assert [layer["name"] for layer in job["layers"]] == [layer.name for layer in program.layers]
    with np.load(tmp_path / "a" / "lava_job.npz", allow_pickle=False) as stored:
        for index, layer in enumerate(program.layers):
            assert isinstance(layer.neurons, FixedPointNeurons)
            np.testing.assert_array_equal(stored[f"layer{index}.threshold"], layer.neurons.threshold)
            np.testing.assert_array_equal(stored[f"layer{index}.decay"], layer.neurons.voltage_decay)
            np.testing.assert_array_equal(stored[f"layer{index}.bias"], layer.neurons.bias_mantissa)
            assert job["layers"][index]["bias_exponent"] == layer.neurons.bias_exponent
        assert len(job["synapses"]) == sum(len(layer.synapses) for layer in program.layers)
        first = program.layers[0].synapses[0]
        np.testing.assert_array_equal(stored["synapses0.weight"], first.weight)
    lava.write(program, tmp_path / "b")
    for name in ("lava_job.json", "lava_job.npz"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_write_refuses_what_lava_cannot_hold(tmp_path: Path) -> None:
    with pytest.raises(DesignRuleError, match="threshold 131072"):
        lava.write(with_neurons(SMALL, threshold=frozen_ints(131072)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_worker_needs_nothing_of_ours_and_reads_as_python_3_10() -> None:
    source = Path(lava.__file__).with_name("lava_worker.py").read_text(encoding="utf-8")
    tree = ast.parse(source, feature_version=(3, 10))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    allowed = set(sys.stdlib_module_names) | {"numpy", "lava"}
    assert {name.split(".")[0] for name in imported} <= allowed


# --- the .net file ------------------------------------------------------------------------------------------------


def exact_chain() -> Program:
    """Graded input, geometry, pooling, both layouts of a bias, a bias with another exponent, a readout."""
    rng = np.random.default_rng(11)
    conv = ConvSynapses("w1", "input", frozen_ints(rng.integers(-9, 10, (4, 2, 3, 5))), (1, 1), (1, 2), (1, 1), 1)
    pooled = ConvSynapses("w2", "a", frozen_ints(rng.integers(-9, 10, (4, 2, 2, 2))), (1, 1), (0, 1), (1, 1), 2, 2)
    per_channel = np.repeat([5, -3, 0, 7], 8 * 6).reshape(4, 8, 6)
    layers = (
        Layer("a", (4, 8, 6), (conv,), neurons((4, 8, 6), 900, 2048, per_channel), 1.0),
        Layer("b", (4, 3, 4), (pooled,), neurons((4, 3, 4), 40, 100, 64 * rng.integers(-30, 30, (4, 3, 4)), 0), 1.0),
        Layer("c", (5,), (dense("b", rng.integers(-20, 30, (5, 48))),), neurons((5,), 60, 0), 1.0),
        Layer(
            "out", (3,), (dense("c", rng.integers(-20, 30, (3, 5))),), neurons((3,), 131071, 0, 1, 7), 1.0, fires=False
        ),
    )
    return Program("loihi2", 6, Input((2, 8, 6), 1 / 255, 8), layers, "membrane")


def test_net_file_holds_the_program(tmp_path: Path) -> None:
    program = exact_chain()
    assert lava.write(program, tmp_path) == []
    a, b, c, out = program.layers
    with h5py.File(tmp_path / "network.net") as file:
        layers = file["layer"]
        assert sorted(layers, key=int) == ["0", "1", "2", "3", "4", "5"]
        types = [layers[str(index)]["type"][0].decode() for index in range(6)]
        assert types == ["input", "conv", "conv", "flatten", "dense", "dense"]
        assert list(layers["0"]["shape"]) == [2, 8, 6]
        np.testing.assert_array_equal(layers["1"]["weight"], a.synapses[0].weight)
        np.testing.assert_array_equal(layers["1"]["bias"], [5, -3, 0, 7])
        assert [list(layers["1"][name]) for name in ("stride", "padding", "dilation")] == [[1, 1], [1, 2], [1, 1]]
        doubled = np.kron(b.synapses[0].weight, np.ones((1, 1, 2, 2), dtype=int))
        np.testing.assert_array_equal(layers["2"]["weight"], doubled)
        assert [list(layers["2"][name]) for name in ("stride", "padding")] == [[2, 2], [0, 2]]
        assert layers["2"]["groups"][()] == 2
        assert isinstance(b.neurons, FixedPointNeurons)
        np.testing.assert_array_equal(layers["2"]["bias"], (b.neurons.bias_mantissa // 64).transpose(2, 1, 0))
        np.testing.assert_array_equal(layers["4"]["weight"], c.synapses[0].weight)
        assert "bias" not in layers["4"]
        np.testing.assert_array_equal(layers["5"]["bias"], [2, 2, 2])
        assert list(layers["5"]["shape"]) == list(out.shape)
        for index, threshold, decay in (("1", 900, 2048), ("2", 40, 100), ("4", 60, 0), ("5", 131071, 0)):
            neuron = layers[index]["neuron"]
            assert neuron["type"][()] == b"CUBA"
            read = [int(neuron[name][()]) for name in ("iDecay", "vDecay", "vThMant")]
            assert read == [4096, decay, threshold]
    assert netx.input_message_bits(program) == 8
    lava.write(program, tmp_path / "again")
    assert (tmp_path / "network.net").read_bytes() == (tmp_path / "again" / "network.net").read_bytes()


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (with_neurons(SMALL, threshold=frozen_ints([7])), None),
        (
            with_neurons(SMALL, bias_mantissa=frozen_ints([3]), bias_exponent=0),
            "bias of 1 neurons is not a whole number",
        ),
        (with_neurons(SMALL, bias_mantissa=frozen_ints([4000]), bias_exponent=7), "bias of 8000 weight units"),
        (chain(dense("input", [[0, -1]]), (1,), Input((2,))), "no weight is positive"),
        (chain(dense("input", [[1], [1]]), (2,), Input((1,)), threshold=[3, 4]), "threshold per neuron"),
        (chain(dense("input", [[1], [1]]), (2,), Input((1,)), threshold=[3, 3]), None),
        (chain(dense("input", [[1], [1]]), (2,), Input((1,)), decay=[3, 4]), "voltage decay per neuron"),
    ],
)
def test_what_a_net_file_cannot_express(program: Program, expected: str | None, tmp_path: Path) -> None:
    found = netx.reasons(program)
    if expected is None:
        assert found == []
        return
    assert len(found) == 1
    assert found[0].startswith(f"layer only: {expected}")
    with pytest.raises(DesignRuleError, match=expected):
        netx.write(program, tmp_path / "network.net")
    assert not (tmp_path / "network.net").exists()


# --- running a worker ---------------------------------------------------------------------------------------------


def test_a_missing_lava_is_one_error_with_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NEURODEPLOY_HOME", str(tmp_path))
    assert lava.TARGET.backend().version is None
    assert "`neurodeploy vendor install lava`" in lava.TARGET.backend().detail
    with pytest.raises(MissingBackendError, match="`neurodeploy vendor install lava`"):
        lava.run(SMALL, np.ones((1, 3), dtype=int))
    assert list(tmp_path.iterdir()) == []


def test_a_failing_worker_is_reported_with_what_it_said(tmp_path: Path) -> None:
    program = "import sys; print('line'); sys.exit('no such port')"
    with pytest.raises(NeurodeployError, match=r"exit code 1; it said\n  line\n  no such port"):
        lava_process.run_worker([sys.executable, "-c", program], tmp_path)


def test_a_worker_without_a_result_is_reported(tmp_path: Path) -> None:
    with pytest.raises(NeurodeployError, match=r"exit code 0; it said\n  \(nothing\)"):
        lava_process.run_worker([sys.executable, "-c", ""], tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="process groups are POSIX")
@pytest.mark.parametrize(
    ("said", "shortened"),
    [("waiting", "STALL_SECONDS"), ("Traceback (most recent call last): ...", "FAILED_STALL_SECONDS")],
)
def test_a_hanging_worker_and_its_children_are_ended(
    said: str, shortened: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(lava_process, shortened, 0.8)
    waits = "import time; time.sleep(60)"
    program = (
        "import pathlib, subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {waits!r}])\n"
        "pathlib.Path('child').write_text(str(child.pid))\n"
        f"print({said!r}, flush=True)\n"
        "child.wait()\n"
    )
    with pytest.raises(NeurodeployError, match=re.escape(f"was stopped; it said\n  {said}")):
        lava_process.run_worker([sys.executable, "-c", program], tmp_path)
    child = Path("/proc") / (tmp_path / "child").read_text()
    deadline = time.monotonic() + 5
    while child.exists() and "zombie" not in (child / "status").read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not child.exists() or "zombie" in (child / "status").read_text()


def test_a_slow_worker_that_records_steps_is_not_a_hanging_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(lava_process, "STALL_SECONDS", 1.0)
    program = (
        "import pathlib, time\n"
        "for _ in range(6):\n"
        "    time.sleep(0.4)\n"
        "    with open('record-0.bin', 'ab') as file:\n"
        "        file.write(b'step')\n"
        "pathlib.Path('result.npz').touch()\n"
    )
    lava_process.run_worker([sys.executable, "-c", program], tmp_path)
