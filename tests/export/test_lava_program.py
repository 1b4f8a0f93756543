"""Lava without Lava: what is written, and how a worker that fails is reported."""

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
from lava_programs import SMALL, chain, delayed, dense, neurons, with_neurons
from numpy.typing import NDArray

from neurodeploy.errors import DesignRuleError, MissingBackendError, NeurodeployError
from neurodeploy.export import lava, lava_process, netx
from neurodeploy.importing.net import read_net
from neurodeploy.ir.arrays import frozen_ints
from neurodeploy.ir.nodes import Input
from neurodeploy.ir.program import FixedPointNeurons, Layer, Program
from neurodeploy.ir.synapses import ConvSynapses, DenseSynapses

Case = Callable[..., tuple[Any, Program, NDArray[Any]]]


def test_written_files(tmp_path: Path, lively_case: Case) -> None:
    _, program, _ = lively_case(np.random.default_rng(3), "residual", "loihi2", bits=8)
    reasons = lava.write(program, tmp_path / "a")
    files = {"lava_job.json", "lava_job.npz", *lava.WORKER_FILES}
    assert {path.name for path in (tmp_path / "a").iterdir()} == files
    assert all(reason.startswith("network.net: layer ") for reason in reasons)
    assert any("netx knows chains only" in reason for reason in reasons)
    job = json.loads((tmp_path / "a" / "lava_job.json").read_text(encoding="utf-8"))
    assert [layer["name"] for layer in job["layers"]] == [layer.name for layer in program.layers]
    with np.load(tmp_path / "a" / "lava_job.npz", allow_pickle=False) as stored:
        for index, layer in enumerate(program.layers):
            assert isinstance(layer.neurons, FixedPointNeurons)
            np.testing.assert_array_equal(stored[f"layer{index}.threshold"], layer.neurons.threshold)
            np.testing.assert_array_equal(stored[f"layer{index}.decay"], layer.neurons.voltage_decay)
            np.testing.assert_array_equal(stored[f"layer{index}.current_decay"], layer.neurons.current_decay)
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


@pytest.mark.parametrize("name", lava.WORKER_FILES)
def test_the_worker_needs_nothing_of_ours_and_reads_as_python_3_10(name: str) -> None:
    source = Path(lava.__file__).with_name(name).read_text(encoding="utf-8")
    tree = ast.parse(source, feature_version=(3, 10))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    allowed = set(sys.stdlib_module_names) | {"numpy", "lava"} | {Path(file).stem for file in lava.WORKER_FILES}
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
            assert "delay" not in layers[index]
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
        (chain(dense("input", [[1], [1]]), (2,), Input((1,)), current_decay=[3, 4]), "current decay per neuron"),
        (chain(dense("input", [[1], [1]]), (2,), Input((1,)), current_decay=[3, 3]), None),
        (chain(dense("input", [[1]], 62), (1,), Input((1,))), None),
        (chain(delayed(40, 22), (1,), Input((1,))), None),
        (chain(delayed(40, 23), (1,), Input((1,))), "delay of 63; netx cuts delays at 62"),
        (
            chain(ConvSynapses("c", "input", frozen_ints([[[[1]]]]), delay=1), (1, 1, 1), Input((1, 1, 1))),
            "delay of 1; netx overlooks delays of convolutions",
        ),
        (
            chain(DenseSynapses("fc", "input", frozen_ints([[1]]), weight_exponent=1), (1,), Input((1,))),
            "weight exponent 1; netx finds one of its own",
        ),
        (chain(dense("input", [[254, -2]]), (1,), Input((2,))), "dense weights beyond -128 to 127"),
        (with_neurons(SMALL, threshold=frozen_ints(131070)), None),
        (
            with_neurons(SMALL, threshold=frozen_ints(131071)),
            "threshold 131071, which in a .net file's last layer",
        ),
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


@pytest.mark.parametrize("threshold", [1, 131071])
def test_a_readout_is_written_as_one_that_never_fires_and_read_back(threshold: int, tmp_path: Path) -> None:
    """Whatever threshold the Program has for it; a hidden layer may have the largest and fire."""
    hidden = Layer("a", (2,), (dense("input", [[3, 1], [1, 2]]),), neurons((2,), 131071), 1.0)
    out = Layer("out", (1,), (dense("a", [[3, 1]]),), neurons((1,), threshold, 0), 1.0, fires=False)
    program = Program("loihi2", 4, Input((2,)), (hidden, out), "membrane")
    assert netx.reasons(program) == []
    netx.write(program, tmp_path / "network.net")
    with h5py.File(tmp_path / "network.net") as file:
        assert file["layer/2/neuron/vThMant"][()] == 131071
    found = read_net(tmp_path / "network.net", 4).program
    assert (found.readout, [layer.fires for layer in found.layers]) == ("membrane", [True, False])


def hears_itself(forward: Any, back: Any, delay: int = 1) -> Program:
    """Two neurons behind two inputs that hear themselves `delay` steps later."""
    both = (dense("input", forward), DenseSynapses("back", "only", frozen_ints(back), delay=delay))
    layer = Layer("only", (2,), both, neurons((2,)), 1.0)
    return Program("loihi2", 4, Input((2,)), (layer,), "spike_count")


def test_a_recurrent_layer_in_a_net_file_is_read_back(tmp_path: Path) -> None:
    forward, back = [[90, -51], [127, 64]], [[-128, 33], [7, -2]]
    for order in (slice(None), slice(None, None, -1)):  # whichever comes first
        program = hears_itself(forward, back)
        layer = replace(program.layers[0], synapses=program.layers[0].synapses[order])
        program = replace(program, layers=(layer,))
        assert netx.reasons(program) == []
        netx.write(program, tmp_path / "network.net")
        with h5py.File(tmp_path / "network.net") as file:
            assert file["layer/1/type"][0] == b"dense_rec"
            np.testing.assert_array_equal(file["layer/1/weight"], forward)
            np.testing.assert_array_equal(file["layer/1/weight_rec"], back)
        found = read_net(tmp_path / "network.net", 4)
        assert found.warnings == ()
        (got,) = found.program.layers
        assert [(one.source, one.delay, one.weight_exponent) for one in got.synapses] == [
            ("input", 0, 0),
            (got.name, 1, 0),
        ]
        for one, weight in zip(got.synapses, (forward, back), strict=True):
            np.testing.assert_array_equal(one.weight, weight)


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (hears_itself([[1, 2], [3, 4]], [[1, 2], [3, 4]], 2), "recurrent with delays of 0 and 2; netx has 0 and 1"),
        (hears_itself([[1, 2], [3, 4]], [[-1, 0], [0, 0]]), "no weight is positive"),
        (hears_itself([[1, 2], [3, 200]], [[1, 2], [3, 4]]), "dense weights beyond -128 to 127"),
    ],
)
def test_what_of_a_recurrent_layer_netx_cannot_express(program: Program, expected: str) -> None:
    (found,) = netx.reasons(program)
    assert found.startswith(f"layer only: {expected}")


@pytest.mark.parametrize(
    ("delay", "own", "written"),
    [(0, None, None), (0, [[0, 0]], None), (3, None, 3), (0, [[5, 0]], [[5, 0]]), (2, [[60, 0]], [[62, 2]])],
)
def test_delays_and_currents_in_a_net_file(delay: int, own: Any, written: Any, tmp_path: Path) -> None:
    delays = None if own is None else frozen_ints(own)
    synapses = DenseSynapses("fc", "input", frozen_ints([[1, 2]]), 1, delay, delays)
    netx.write(chain(synapses, (1,), Input((2,)), current_decay=1234), tmp_path / "network.net")
    with h5py.File(tmp_path / "network.net") as file:
        layer = file["layer"]["1"]
        assert ("delay" in layer) == (written is not None)
        assert written is None or np.asarray(layer["delay"]).tolist() == written
        assert int(layer["neuron"]["iDecay"][()]) == 1234


def test_a_late_chain_is_written_in_the_order_of_its_connections(tmp_path: Path) -> None:
    """What is fed late may come first in a program."""
    layers = (
        Layer("b", (2,), (dense("a", [[1, 3], [2, 4]], 1),), neurons((2,)), 1.0),
        Layer("a", (2,), (dense("input", [[5], [6]]),), neurons((2,)), 1.0),
        Layer("out", (1,), (dense("b", [[7, 8]]),), neurons((1,)), 1.0),
    )
    program = Program("loihi2", 3, Input((1,)), layers, "spike_count")
    assert netx.reasons(program) == []
    netx.write(program, tmp_path / "network.net")
    with h5py.File(tmp_path / "network.net") as file:
        weights = [np.asarray(file["layer"][index]["weight"]).tolist() for index in ("1", "2", "3")]
    assert weights == [[[5], [6]], [[1, 3], [2, 4]], [[7, 8]]]
    parallel = replace(program, layers=(layers[1], replace(layers[1], name="c")))
    assert netx.reasons(parallel) == ["layer c: it is fed by input; netx knows chains only, where it would be fed by a"]
    within = replace(program, layers=layers[:2])
    assert netx.reasons(within) == ["layer a: is read out, but the chain ends with b, which netx reads out"]


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
