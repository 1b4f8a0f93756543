"""Run folders: what was saved comes back by value; what was changed, cut off, made up or blown up is refused."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load, save

from neurodeploy import recorded_run
from neurodeploy.errors import FileFormatError, NeurodeployError, UsageError
from neurodeploy.ir import identity
from neurodeploy.ir.arrays import frozen_floats, frozen_ints
from neurodeploy.ir.identity import program_hash
from neurodeploy.ir.nodes import Input
from neurodeploy.ir.program import FixedPointNeurons, FloatNeurons, Layer, Program
from neurodeploy.ir.synapses import DenseSynapses
from neurodeploy.recorded_run import RecordedRun, is_run, load_run, save_run
from neurodeploy.simulate import reference
from neurodeploy.simulate.recording import Recording

STEPS, SAMPLES = 5, 6


def dense(name: str, source: str, outputs: int, features: int, seed: int) -> DenseSynapses:
    weight = np.random.default_rng(seed).integers(-60, 90, (outputs, features))
    return DenseSynapses(name, source, frozen_ints(weight))


def neurons(count: int, threshold: int = 60, decay: int = 800) -> FixedPointNeurons:
    return FixedPointNeurons(frozen_ints(decay), frozen_ints(threshold), frozen_ints(np.arange(count) - 2), 6)


PROGRAM = Program(
    "loihi2",
    STEPS,
    Input((3,)),
    (
        Layer("a", (4,), (dense("x", "input", 4, 3, 0),), neurons(4), 1.0),
        Layer("out", (2,), (dense("y", "a", 2, 4, 1),), neurons(2, 131071), 1.0, fires=False),
    ),
    "membrane",
)
INPUTS = np.random.default_rng(2).integers(0, 2, (STEPS, SAMPLES, 3))
RECORDING = reference.run(PROGRAM, INPUTS)


def make(**changes: Any) -> RecordedRun:
    values: dict[str, Any] = {
        "name": "first light",
        "evidence": "measured-silicon",
        "program_hash": program_hash(PROGRAM),
        "backend": "loihi2",
        "versions": {"lava-nc": "0.10.0"},
        "date": "2026-01-02T03:04:05+00:00",
        "inputs": INPUTS,
        "recording": RECORDING,
        "facts": {"probes": {"power": {"total_watt": 0.25}}},
    }
    return RecordedRun(**(values | changes))


def same(got: Recording, expected: Recording) -> None:
    for name in ("spikes", "potentials"):
        arrays, wanted = getattr(got, name), getattr(expected, name)
        assert set(arrays) == set(wanted)
        for layer, values in wanted.items():
            assert arrays[layer].dtype == values.dtype
            np.testing.assert_array_equal(arrays[layer], values)
    np.testing.assert_array_equal(got.readout, expected.readout)


def test_a_run_comes_back_as_it_was(tmp_path: Path) -> None:
    assert 0.05 < RECORDING.spikes["a"].mean() < 0.95
    run = make()
    save_run(tmp_path / "run", run)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["recording.safetensors", "run.json"]
    got = load_run(tmp_path / "run", PROGRAM)
    same(got.recording, RECORDING)
    np.testing.assert_array_equal(got.inputs, INPUTS)
    for name in ("name", "evidence", "program_hash", "backend", "versions", "date", "facts"):
        assert getattr(got, name) == getattr(run, name)
    assert is_run(tmp_path / "run")
    assert not is_run(tmp_path)


@pytest.mark.parametrize("limit", [2**31 - 1, 2**31, -(2**31), -(2**31) - 1, 2**62])
def test_large_integers_keep_their_value(tmp_path: Path, limit: int) -> None:
    readout = np.array([[limit, 1]] * SAMPLES)
    save_run(tmp_path / "run", make(recording=Recording({}, {}, readout)))
    np.testing.assert_array_equal(load_run(tmp_path / "run", PROGRAM).recording.readout, readout)


def test_a_run_of_some_layers_without_inputs(tmp_path: Path) -> None:
    part = Recording({"a": RECORDING.spikes["a"]}, {}, RECORDING.readout)
    save_run(tmp_path / "run", make(inputs=None, recording=part))
    got = load_run(tmp_path / "run", PROGRAM)
    same(got.recording, part)
    assert got.inputs is None


def test_a_run_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    place = tmp_path / "run"
    save_run(place, make(name="one"))
    save_run(place, make(name="two"))
    assert load_run(place).name == "two"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("years")
    with pytest.raises(UsageError, match="is not a run of ours"):
        save_run(other, make())
    assert (other / "thesis.tex").read_text() == "years"


def test_a_full_disk_leaves_the_run_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_run(tmp_path / "run", make(name="one"))
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(NeurodeployError, match="No space left"):
        save_run(tmp_path / "run", make(name="two"))
    assert load_run(tmp_path / "run").name == "one"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_kill_between_the_renames_is_mended(tmp_path: Path) -> None:
    save_run(tmp_path / "run", make())
    (tmp_path / "run").rename(tmp_path / ".run.previous")
    assert load_run(tmp_path / "run").name == "first light"


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": ""}, "name: a text"),
        ({"name": "x" * 201}, "name: a text"),
        ({"name": "\x1b[2Jcleared"}, "printable"),
        ({"backend": "a\nb"}, "backend"),
        ({"versions": {"lava": 1}}, "version of 'lava'"),
        ({"evidence": "certain"}, "allowed are measured-silicon, bit-exact-sim"),
        ({"program_hash": "f" * 63}, "64 hexadecimal digits"),
        ({"program_hash": "G" * 64}, "64 hexadecimal digits"),
        ({"date": "yesterday"}, "ISO 8601"),
        ({"facts": {"power": float("nan")}}, "plain values"),
        ({"facts": {"power": object()}}, "plain values"),
        ({"recording": Recording({}, {}, np.zeros(3))}, "readout of shape"),
        ({"recording": Recording({}, {}, np.full((2, 2), np.inf))}, "finite"),
        ({"recording": Recording({"a": np.full((1, 1, 2), 2, np.uint8)}, {}, np.zeros((1, 2)))}, "0 and 1"),
        ({"recording": Recording({}, {"a": np.full((1, 1, 2), np.nan)}, np.zeros((1, 2)))}, "finite numbers"),
        ({"recording": Recording({}, {"a": np.zeros((4, 3, 2))}, np.zeros((1, 2)))}, r"\(steps, samples\)"),
    ],
)
def test_values_that_are_not_what_they_should_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make(**changes)
    make(name="x" * 200)


def changed(values: NDArray[Any], place: tuple[int, ...]) -> NDArray[Any]:
    values = values.copy()
    values[place] = 1 - values[place] if values.dtype == np.uint8 else values[place] + 1
    return values


@pytest.mark.parametrize(
    ("recording", "message"),
    [
        (replace(RECORDING, spikes={"b": RECORDING.spikes["a"]}), "spikes of layer 'b': the program has a"),
        (replace(RECORDING, spikes={"out": RECORDING.spikes["a"]}), "spikes of layer 'out': the program has a"),
        (replace(RECORDING, potentials={"c": RECORDING.potentials["a"]}), "potentials of layer 'c': .* a, out"),
        (replace(RECORDING, spikes={"a": RECORDING.spikes["a"][..., :3]}), r"shape \(5, 6, 3\), \(5, 6, 4\) is"),
        (
            Recording({"a": RECORDING.spikes["a"][:4]}, {}, RECORDING.readout),
            r"shape \(4, 6, 4\), \(5, 6, 4\) is expected",
        ),
        (Recording({}, {"a": RECORDING.potentials["a"] * 1.0}, RECORDING.readout), "float64 where the chip has"),
        (Recording({}, {}, RECORDING.readout[:, :1]), r"readout of shape \(6, 1\): \(6, 2\)"),
        (replace(RECORDING, readout=changed(RECORDING.readout, (0, 0))), "not the sum of layer out"),
    ],
)
def test_arrays_that_do_not_fit_the_program(tmp_path: Path, recording: Recording, message: str) -> None:
    save_run(tmp_path / "run", make(recording=recording))
    load_run(tmp_path / "run")
    with pytest.raises(FileFormatError, match=message):
        load_run(tmp_path / "run", PROGRAM)


@pytest.mark.parametrize("inputs", [INPUTS + 1, INPUTS[:, :5], INPUTS[..., :2], INPUTS[:4]])
def test_inputs_that_do_not_fit_the_program(tmp_path: Path, inputs: NDArray[Any]) -> None:
    save_run(tmp_path / "run", make(inputs=inputs))
    with pytest.raises(FileFormatError, match="input"):
        load_run(tmp_path / "run", PROGRAM)


def test_a_run_of_another_program(tmp_path: Path) -> None:
    save_run(tmp_path / "run", make())
    with pytest.raises(UsageError, match="another program ran"):
        load_run(tmp_path / "run", replace(PROGRAM, steps=6))


Damage = Callable[[Path], None]


def rewrite(**changes: Any) -> Damage:
    """Changes values of run.json."""

    def damage(folder: Path) -> None:
        path = folder / "run.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return damage


def rearrange(change: Callable[[dict[str, Any]], dict[str, Any]], **texts: Any) -> Damage:
    """Changes arrays, with the right SHA-256: what a forger would do."""

    def damage(folder: Path) -> None:
        path = folder / "recording.safetensors"
        content = save(change(load(path.read_bytes())))
        path.write_bytes(content)
        rewrite(bytes=len(content), sha256=hashlib.sha256(content).hexdigest(), **texts)(folder)

    return damage


def cut(folder: Path) -> None:
    path = folder / "recording.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


def flip(folder: Path) -> None:
    path = folder / "recording.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


def made_up_header(folder: Path) -> None:
    """A header that claims 2^40 bytes."""
    header = b'{"readout":{"dtype":"I64","shape":[1099511627776],"data_offsets":[0,8796093022208]}}'
    content = len(header).to_bytes(8, "little") + header
    (folder / "recording.safetensors").write_bytes(content)
    rewrite(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())(folder)


def directory(folder: Path) -> None:
    (folder / "recording.safetensors").unlink()
    (folder / "recording.safetensors").mkdir()


def nested(folder: Path) -> None:
    (folder / "run.json").write_text("[" * 100_000)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, "cut off"),
        (flip, "SHA-256 differs"),
        (made_up_header, "damaged or not a recording"),
        (directory, "not a file"),
        (nested, "damaged"),
        (lambda folder: (folder / "run.json").unlink(), "missing"),
        (lambda folder: (folder / "recording.safetensors").unlink(), "missing"),
        (lambda folder: (folder / "run.json").write_bytes(b"\xff\xfe"), "damaged"),
        (lambda folder: (folder / "run.json").write_text('{"format": NaN}'), "NaN is not a number"),
        (lambda folder: (folder / "run.json").write_text("[]"), "not a run of ours"),
        (rewrite(format="neurodeploy-artifact"), "not a run of ours"),
        (rewrite(version=2), "version 2"),
        (rewrite(evidence="certain"), "evidence 'certain'"),
        (rewrite(facts=[]), "facts is missing or not a dict"),
        (rewrite(bytes=True), "bytes is missing or not a int"),
        (rewrite(versions={"a": 1}), "version of 'a'"),
        (rewrite(shapes={}), "damaged or not a recording"),
        (rewrite(shapes={"a": [STEPS, SAMPLES, 4], "b": [1]}), "shapes of other layers"),
        (rewrite(shapes={"a": [2**40, 2**40, 4]}), "does not hold"),
        (rewrite(shapes={"a": [STEPS, SAMPLES, 3]}), "does not hold 90 packed bits"),
        (rewrite(shapes={"a": [STEPS, SAMPLES, True, 4]}), "shape"),
        (rewrite(shapes={"a": [-1, -120]}), "shape"),
        (rewrite(shapes={"a": [1] * 40}), "shape"),
        (rearrange(lambda arrays: arrays | {"extra": np.zeros(1)}), "unknown array 'extra'"),
        (rearrange(lambda arrays: arrays | {"inputs": np.zeros((5, 6, 3))}), "inputs of type float64"),
        (rearrange(lambda arrays: arrays | {"readout": np.zeros((6, 2), bool)}), "an array of bool"),
        (rearrange(lambda arrays: {n: v for n, v in arrays.items() if n != "readout"}), "damaged"),
        (rearrange(lambda arrays: arrays | {"spikes.a": arrays["spikes.a"].astype(np.int32)}), "packed bits"),
        (rearrange(lambda arrays: arrays | {"readout": np.full((6, 2), np.nan)}), "finite"),
    ],
)
def test_damaged_and_hostile_folders(tmp_path: Path, damage: Damage, message: str) -> None:
    save_run(tmp_path, make())
    damage(tmp_path)
    with pytest.raises(FileFormatError, match=message):
        load_run(tmp_path, PROGRAM)


def test_huge_files_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_run(tmp_path, make())
    size = (tmp_path / "recording.safetensors").stat().st_size
    monkeypatch.setattr(recorded_run, "LARGEST_RECORDING", size)
    load_run(tmp_path)
    monkeypatch.setattr(recorded_run, "LARGEST_RECORDING", size - 1)
    with pytest.raises(FileFormatError, match=f"{size} bytes, allowed are {size - 1}"):
        load_run(tmp_path)
    with (tmp_path / "run.json").open("r+b") as file:
        file.truncate(recorded_run.LARGEST_DESCRIPTION + 1)  # sparse: takes no room
    with pytest.raises(FileFormatError, match="allowed are 4194304"):
        load_run(tmp_path)


# --- identity -------------------------------------------------------------------------------------------------------


def with_last(program: Program, **changes: Any) -> Program:
    last = program.layers[-1]
    return replace(program, layers=(*program.layers[:-1], replace(last, neurons=replace(last.neurons, **changes))))


def test_the_hash_sees_every_number() -> None:
    weight = PROGRAM.layers[0].synapses[0].weight.copy()
    weight[0, 0] += 1
    first = replace(PROGRAM.layers[0].synapses[0], weight=frozen_ints(weight))
    others = [
        replace(PROGRAM, steps=6),
        replace(PROGRAM, input=Input((3,), 0.5)),
        replace(PROGRAM, layers=(replace(PROGRAM.layers[0], synapses=(first,)), PROGRAM.layers[1])),
        replace(PROGRAM, layers=(replace(PROGRAM.layers[0], scale=0.5), PROGRAM.layers[1])),
        with_last(PROGRAM, voltage_decay=frozen_ints(801)),
        with_last(PROGRAM, voltage_decay=frozen_ints([800, 800])),
        with_last(PROGRAM, bias_exponent=5),
        with_last(PROGRAM, bias_mantissa=frozen_ints([0, 0])),
    ]
    hashes = {program_hash(program) for program in (PROGRAM, *others)}
    assert len(hashes) == 1 + len(others)
    assert program_hash(replace(PROGRAM)) == program_hash(PROGRAM)


def test_the_hash_sees_shapes() -> None:
    """The same numbers in the same order, as 1 × 4 and as 4 × 1."""
    numbers = frozen_ints([[1, 2, 3, 4]])
    shapes = [identity._canonical(values) for values in (numbers, frozen_ints(numbers.T), frozen_ints(numbers[0]))]
    assert len({json.dumps(one) for one in shapes}) == 3
    assert shapes[0] == identity._canonical(numbers.astype(np.int8))  # how they are stored does not matter


def test_floats_and_integers_of_the_same_value_differ() -> None:
    floats = FloatNeurons(frozen_floats(0.5), frozen_floats(1.0), frozen_floats([0.0]))
    one = Program(
        "ideal", 2, Input((3,)), (Layer("a", (1,), (dense("x", "input", 1, 3, 0),), floats, 1.0),), "spike_count"
    )
    layer = one.layers[0]
    other = replace(one, layers=(replace(layer, neurons=replace(floats, decay=frozen_floats(np.nextafter(0.5, 1)))),))
    assert program_hash(one) != program_hash(other)


def test_a_field_with_its_default_does_not_count() -> None:
    """Programs keep their hash when later versions add fields."""

    @dataclass(frozen=True)
    class Old:
        value: int

    @dataclass(frozen=True)
    class New:
        value: int
        more: int = 3
        array: Any = field(default_factory=lambda: frozen_ints(4096))
        nothing: Any = None

    def content(value: Any) -> Any:
        return identity._canonical(value)["fields"]

    assert content(New(1)) == content(Old(1)) == {"value": 1}
    assert content(New(1, array=frozen_ints(4096))) == {"value": 1}
    assert set(content(New(1, 4, frozen_ints(4095), frozen_ints(1)))) == {"value", "more", "array", "nothing"}
    assert set(content(New(1, True))) == {"value", "more"}
