"""Equality with the real netx in Lava: every spike and voltage of every layer, and what it makes of dense weights."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from importing.slayer_files import conv, cuba, dense, flatten, put_in, whole_biases, write_net
from numpy.typing import NDArray

from neurodeploy.compare import compare
from neurodeploy.errors import UsageError
from neurodeploy.export import lava_process, netx
from neurodeploy.importing.net import read_net
from neurodeploy.importing.netx_weights import load_dense
from neurodeploy.simulate import reference
from neurodeploy.simulate.recording import Recording

pytestmark = pytest.mark.lava
HERE = Path(__file__).parent
T = 36


@dataclass(frozen=True, eq=False)
class Case:
    """A file and its input, (T, *shape); `bits` as netx calls them: 0 for spikes."""

    write: Callable[[Path], Any]
    inputs: NDArray[Any]
    bits: int = 0
    driven: bool = False


def _slayer(*layers: Any) -> Callable[[Path], Any]:
    return lambda path: write_net(path, *layers)


def _cases(lively_case: Callable[..., Any]) -> dict[str, Case]:
    rng = np.random.default_rng(0)

    def even(*shape: int, low: int = -128) -> NDArray[np.float32]:
        """slayer's weights: 8 bits with sign, times 2."""
        return 2 * rng.integers(low, 128, shape).astype(np.float32)

    def spikes(*shape: int, rate: float = 0.3) -> NDArray[np.int32]:
        return (rng.random((T, *shape)) < rate).astype(np.int32)

    def graded(bits: int, *shape: int) -> NDArray[np.int32]:
        return rng.integers(0, 2**bits, (T, *shape)).astype(np.int32)

    def uneven(*shape: int) -> NDArray[np.int64]:
        return rng.integers(-60, 90, shape)

    last = dense(even(6, 8, low=-90), cuba(2048, 300, 200))
    of_slayer = {
        "dense": Case(  # no decay at all, one step of decay, any
            _slayer(
                put_in(20),
                dense(uneven(12, 20), cuba(0, 0, 9000)),
                dense(uneven(8, 12) + 20, cuba(1, 1, 900)),
                dense(even(6, 8), cuba(1024, 128, 400)),
            ),
            spikes(20),
        ),
        "bias": Case(
            _slayer(
                put_in(20),
                dense(uneven(12, 20), cuba(3000, 128, 200), bias=rng.uniform(-30, 60, 12).astype(np.float32)),
                dense(even(8, 12), cuba(4096, 4096, 100), bias=rng.integers(-20, 60, 8)),
            ),
            spikes(20),
        ),
        "delay": Case(
            _slayer(
                put_in(20),
                dense(uneven(12, 20), cuba(1024, 128, 100), delay=rng.integers(0, 9, 12).astype(np.float32)),
                dense(uneven(8, 12), cuba(1500, 300, 100), delay=np.float32(3)),
                dense(uneven(8, 8) + 10, cuba(1500, 300, 100), delay=rng.integers(0, 5, (8, 8)) + 0.7),
                dense(uneven(6, 8) + 20, cuba(2048, 300, 60), delay=[0, 1, 2, 0, 63, 0, 5, 0]),
            ),
            spikes(20, rate=0.5),
        ),
        "recurrent": Case(
            _slayer(
                put_in(12),
                dense(
                    uneven(8, 12), cuba(1024, 128, 300), kind="dense_rec", weight_rec=uneven(8, 8), bias=np.arange(8)
                ),
                last,
            ),
            spikes(12),
        ),
        "recurrent-delay": Case(
            _slayer(
                put_in(8),
                dense(uneven(8, 8), cuba(1024, 128, 900), kind="dense_rec", weight_rec=uneven(8, 8), delay=[2] * 8),
                last,
            ),
            spikes(8),
        ),
        "conv": Case(
            _slayer(
                put_in(2, 7, 9),
                conv(
                    even(4, 2, 3, 2, low=-90),
                    (4, 4, 5),
                    cuba(rng.integers(500, 4000, 4), rng.integers(50, 900, 4), rng.integers(200, 500, 4)),
                    stride=[2, 2],
                    padding=[1, 1],
                    bias=[9, 0, -9, 30],
                ),
                conv(even(4, 2, 2, 2, low=-90), (4, 2, 3), cuba(1000, 200, 300), groups=2, dilation=[2, 2]),
                flatten(24, 1, 1),
                dense(even(6, 24), cuba(2048, 300, 200)),
            ),
            spikes(2, 7, 9),
        ),
        "graded": Case(
            _slayer(
                put_in(2, 5, 6),
                conv(uneven(3, 2, 3, 3), (3, 3, 4), cuba(2000, 200, 30000), bias=rng.integers(-20, 40, (4, 3, 3))),
                flatten(36, 1, 1),
                dense(even(6, 36), cuba(2048, 300, 200)),
            ),
            graded(8, 2, 5, 6),
            8,
        ),
        "readout": Case(_slayer(put_in(20), dense(even(12, 20), cuba(1024, 128, 400)), dense(even(8, 12))), spikes(20)),
        "affine": Case(
            _slayer(
                put_in(20), dense(even(12, 20), cuba(1024, 128, 400)), dense(even(8, 12), cuba(600, 100, 2**18 - 1))
            ),
            spikes(20),
        ),
        "input-neurons": Case(
            _slayer(
                put_in(2, 5, 6, neuron=cuba(100, 500, 700), weight=[[3.9]], bias=[[10.2]]),
                conv(even(3, 2, 3, 3, low=-90), (3, 3, 4), cuba(2000, 200, 200)),
                flatten(36, 1, 1),
                dense(even(6, 36), cuba(2048, 300, 200)),
            ),
            np.repeat(graded(8, 2, 5, 6)[:1], T, axis=0),
            8,
            driven=True,
        ),
        "changed": Case(  # -1 does not come out of netx as -1: see test_net.py
            _slayer(put_in(9), dense(-rng.integers(0, 2, (6, 9)), cuba(1024, 128, 30), bias=[12] * 6)), spikes(9)
        ),
    }
    return of_slayer | _own(lively_case)


def _own(lively_case: Callable[..., Any]) -> dict[str, Case]:
    """Files that neurodeploy writes, of random networks with whole biases."""
    found = {}
    for kind, bits in (("conv", 1), ("dense", 8)):
        for seed in range(100):
            _, program, inputs = lively_case(np.random.default_rng(seed), kind, "loihi2", bits=bits, batch=1)
            program = whole_biases(program)
            rates = reference.run(program, inputs).firing_rates()
            if all(0.05 < rate < 0.95 for rate in rates.values()):
                break
        found[f"own-{kind}"] = Case(partial(netx.write, program), inputs[:, 0], bits if bits > 1 else 0)
    return found


@pytest.fixture(scope="module")
def ran(
    lively_case: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Mapping[str, Case], dict[str, Any]]:
    """(folder, cases, name -> what netx put out): all of them in one process of Lava's Python."""
    folder, place = tmp_path_factory.mktemp("netx"), tmp_path_factory.mktemp("runner")
    cases, described = _cases(lively_case), []
    for name, case in cases.items():
        case.write(folder / f"{name}.net")
        np.save(folder / f"{name}.npy", case.inputs.astype(np.int32))
        described.append(
            {
                "net": f"{name}.net",
                "inputs": f"{name}.npy",
                "steps": len(case.inputs),
                "bits": case.bits,
                "driven": case.driven,
            }
        )
    (folder / "cases.json").write_text(json.dumps(described))
    shutil.copy(HERE / "netx_runner.py", place)  # Lava imports all that lies beside the script
    command = [*lava_process.interpreter(), str(place / "netx_runner.py"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, start_new_session=True, check=False)
    found = {}
    for name in cases:
        assert (folder / f"{name}.net.npz").is_file(), done.stderr[-2000:]
        with np.load(folder / f"{name}.net.npz") as stored:
            found[name] = dict(stored)
    return folder, cases, found


NAMES = ["dense", "bias", "delay", "recurrent", "recurrent-delay", "conv", "graded", "readout", "affine"]
NAMES += ["input-neurons", "changed", "own-conv", "own-dense"]


@pytest.mark.parametrize("name", NAMES)
def test_every_spike_and_voltage_is_netxs(name: str, ran: tuple[Path, Mapping[str, Case], dict[str, Any]]) -> None:
    folder, cases, found = ran
    case, got = cases[name], found[name]
    assert "error" not in got, got
    program = read_net(folder / f"{name}.net", len(case.inputs), max(1, case.bits)).program
    expected = reference.run(program, case.inputs[:, None])
    rates = expected.firing_rates()
    assert all(0.05 < rate < 0.95 for rate in rates.values()), f"not alive: {rates}"
    names = [layer.name for layer in program.layers]
    spikes = {layer.name: got[f"spikes{names.index(layer.name)}"][:, None] for layer in program.layers if layer.fires}
    voltages = {one: got[f"voltages{index}"][:, None] for index, one in enumerate(names)}
    compared = compare(expected, Recording(spikes, voltages, expected.readout))
    assert (compared.mismatched_spikes, compared.mismatched_voltages) == (0, 0), str(compared.first)


_OPTIMISE = """
import json, sys, types, warnings
for name in ("torch", "lava.lib.dl.slayer", "lava.lib.dl.slayer.neuron", "lava.lib.dl.slayer.neuron.rf"):
    stub = types.ModuleType(name)
    stub.tensor, stub.neuron_params = object, None
    sys.modules[name] = stub
import numpy as np
from lava.lib.dl.netx.utils import optimize_weight_bits
from lava.utils.weightutils import clip_weights, determine_sign_mode, truncate_weights
warnings.simplefilter("ignore")
found = []
for weight, split in json.load(open(sys.argv[1])):
    try:
        weight, bits, exponent, _ = optimize_weight_bits(np.array(weight))
    except OverflowError:
        found.append(None)
        continue
    parts = [part for part in (weight[:, :split], weight[:, split:]) if part.size]
    modes = [determine_sign_mode(part) for part in parts]
    acting = [truncate_weights(clip_weights(p, m, 8), m, bits).tolist() for p, m in zip(parts, modes)]
    found.append([acting, exponent])
json.dump(found, open(sys.argv[2], "w"))
"""


def test_dense_weights_act_as_netx_and_lava_make_them(tmp_path: Path) -> None:
    """2000 small matrices of all kinds, whole and in two parts (recurrent layers), through the vendor's functions."""
    rng, given = np.random.default_rng(7), []
    kinds = ((-300, 300), (-9, 1), (-260, 0), (0, 262), (-2, 3), (-128, 128), (-1, 2), (-260, 20))
    for index in range(2000):
        shape = int(rng.integers(1, 4)), int(rng.integers(1, 6))
        factor = 1 if index % 3 else int(rng.choice([1, 2, 4, 64]))
        given.append(((factor * rng.integers(*kinds[index % 8], shape)).tolist(), int(rng.integers(0, shape[1]))))
    (tmp_path / "given.json").write_text(json.dumps(given))
    (tmp_path / "optimise.py").write_text(_OPTIMISE)
    files = [str(tmp_path / name) for name in ("optimise.py", "given.json", "found.json")]
    subprocess.run([*lava_process.interpreter(), *files], check=True, capture_output=True, timeout=120)
    taken = refused = changed = 0
    for (weight, split), found in zip(given, json.loads((tmp_path / "found.json").read_text()), strict=True):
        matrix = np.array(weight)
        parts = tuple(part for part in (matrix[:, :split], matrix[:, split:]) if part.size)
        try:
            loaded = load_dense(parts)
        except UsageError:  # netx fails, or leaves nothing of weights that are there
            refused += 1
            emptied = found is not None and [
                part.any() and not np.any(acting) for part, acting in zip(parts, found[0], strict=True)
            ]
            assert found is None or any(emptied), weight
            continue
        taken += 1
        for part, one, acting in zip(parts, loaded, found[0], strict=True):
            np.testing.assert_array_equal(one.weight * 2.0**one.exponent, np.array(acting) * 2.0 ** found[1])
            changed += one.changed(part) > 0
    assert (taken > 1000, refused > 100, changed > 50) == (True, True, True), (taken, refused, changed)
