"""Recordings in their formats: by value through frames, and damaged files named."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from writers import (
    EVENT,
    OBJECTS,
    Recorded,
    aedat2_bytes,
    aedat4_bytes,
    make_events,
    n_mnist_bytes,
    write_dvs_cifar10,
    write_gesture,
    write_n_mnist,
    write_shd,
)

from neurodeploy.config import DataConfig
from neurodeploy.data.dataset import DataSet
from neurodeploy.data.readers import read_dvs_cifar10, read_gesture, read_n_mnist
from neurodeploy.data.sources import load_data_set
from neurodeploy.errors import FileFormatError, MissingBackendError, UsageError

WRITERS: dict[str, Callable[[Path], Recorded]] = {
    "n-mnist": write_n_mnist,
    "dvs128-gesture": write_gesture,
    "shd": write_shd,
}


def load(name: str, root: Path, steps: int = 3, **options: Any) -> DataSet:
    return load_data_set(DataConfig(name=name, root=str(root), **{"bits": 8, **options}), steps, 0)


def key(frames: Any, label: Any) -> tuple[bytes, int]:
    return np.asarray(frames, dtype=np.uint8).tobytes(), int(label)


def by_hand(events: Any, shape: tuple[int, ...], steps: int) -> Any:
    """Frames by time, from the definition."""
    frames = np.zeros((steps, *shape), dtype=int)
    window = -(-(int(events["t"].max()) + 1) // steps)
    for e in events:
        place = (int(e["p"]), int(e["y"]), int(e["x"])) if len(shape) == 3 else (int(e["x"]),)
        frames[(int(e["t"]) // window, *place)] += 1
    return frames


@pytest.mark.parametrize(
    ("name", "shape", "classes", "reported"),
    [
        ("n-mnist", (2, 34, 34), 10, "n-mnist-20/10"),
        ("dvs128-gesture", (2, 128, 128), 11, "dvs128-gesture-22/11"),
        ("shd", (700,), 20, "shd-40/20"),
    ],
)
def test_recordings_are_read_by_value(
    name: str, shape: tuple[int, ...], classes: int, reported: str, tmp_path: Path
) -> None:
    written = WRITERS[name](tmp_path)
    data = load(name, tmp_path)
    assert (data.name, data.classes, data.input.shape, data.input.scale) == (reported, classes, shape, 1.0)
    read = {
        "train": [(f, y) for s in (data.train, data.validation) for f, y in zip(s.samples, s.labels, strict=True)],
        "test": list(zip(data.test.samples, data.test.labels, strict=True)),
    }
    for split, recordings in written.items():
        wanted = sorted(key(by_hand(events, shape, 3), label) for events, label in recordings)
        assert sorted(key(frames, label) for frames, label in read[split]) == wanted
    assert data.train.temporal
    assert data.train.inputs.shape == (3, len(data.train), *shape)


@pytest.mark.parametrize("name", list(WRITERS))
def test_windows_are_seconds_from_the_start_of_the_recording(name: str, tmp_path: Path) -> None:
    written = WRITERS[name](tmp_path)["test"]
    data = load(name, tmp_path, window=0.05)
    wanted = sorted(
        (label, [int((events["t"] // 50_000 == step).sum()) for step in range(3)]) for events, label in written
    )
    counts = data.test.samples.reshape(len(written), 3, -1).sum(2, dtype=int)
    assert sorted(zip(data.test.labels.tolist(), counts.tolist(), strict=True)) == wanted


@pytest.mark.parametrize("suffix", [".aedat4", ".aedat"])
def test_dvs_cifar10_in_both_formats_with_a_test_split_of_its_own(suffix: str, tmp_path: Path) -> None:
    written = write_dvs_cifar10(tmp_path, per_class=10, events=60, suffix=suffix)["all"]
    data, other = (
        load_data_set(DataConfig(name="dvs-cifar10", root=str(tmp_path), bits=8), 2, seed) for seed in (0, 1)
    )
    assert (data.name, data.classes) == ("dvs-cifar10-90/10", 10)
    assert sorted(data.test.labels.tolist()) == list(range(10))  # a tenth of every class
    splits = (data.train, data.validation, data.test)
    read = sorted(key(f, y) for s in splits for f, y in zip(s.samples, s.labels, strict=True))
    assert read == sorted(key(by_hand(events, (2, 128, 128), 2), label) for events, label in written)
    np.testing.assert_array_equal(data.test.samples, other.test.samples)  # whatever the seed
    assert not np.array_equal(data.validation.samples, other.validation.samples)


def test_one_bit_is_the_default(tmp_path: Path) -> None:
    written = write_n_mnist(tmp_path, events=4000)
    data = load("n-mnist", tmp_path, bits=None)
    assert (data.input.bits, data.input.scale, int(data.train.samples.max())) == (1, 1.0, 1)
    counts = sorted(key(by_hand(events, (2, 34, 34), 3) > 0, label) for events, label in written["test"])
    assert sorted(key(f, y) for f, y in zip(data.test.samples, data.test.labels, strict=True)) == counts


def test_n_mnist_is_decoded_bit_by_bit(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(bytes((33, 0, 0b0000_0000, 0, 1)) + bytes((2, 32, 0b1111_1111, 255, 255)))
    events = read_n_mnist(path)
    assert [tuple(int(e[n]) for n in "txyp") for e in events] == [(1, 33, 0, 0), (2**23 - 1, 2, 32, 1)]


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "0 bytes are not whole records of 5, or none"),
        (b"\1\1\0\0\1\1\1\0\0", "9 bytes are not whole records"),
        (b"\1\1\0\0\1\1", "6 bytes are not whole records"),
        (b"\x22\1\0\0\1", "event 0 has x=34; 0 to 33"),
        (b"\1\x22\0\0\1", "event 0 has y=34; 0 to 33"),
    ],
)
def test_damaged_n_mnist_files_are_refused(content: bytes, match: str, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(content)
    with pytest.raises(FileFormatError, match=rf"a\.bin: {match}"):
        read_n_mnist(tmp_path / "a.bin")


def test_all_damaged_recordings_are_named_at_once(tmp_path: Path) -> None:
    write_n_mnist(tmp_path)
    for path in (tmp_path / "n-mnist" / "Train" / "3").glob("*.bin"):
        path.write_bytes(path.read_bytes()[:-1])
    (tmp_path / "n-mnist" / "Test" / "9" / "00009.bin").write_bytes(b"")
    match = r"n-mnist: 3 damaged recordings: .*Train/3/00003\.bin: 999 bytes.*Train/3/00013\.bin.*Test/9/00009\.bin"
    with pytest.raises(FileFormatError, match=match):
        load("n-mnist", tmp_path)


@pytest.mark.parametrize(
    ("folder", "match"),
    [("10", "label 10 in .*allowed are 0 to 9"), ("x", "Train/x/1.bin: in a folder that is no digit")],
)
def test_a_class_that_does_not_exist_is_refused(folder: str, match: str, tmp_path: Path) -> None:
    write_n_mnist(tmp_path)
    (tmp_path / "n-mnist" / "Train" / folder).mkdir()
    (tmp_path / "n-mnist" / "Train" / folder / "1.bin").write_bytes(
        n_mnist_bytes(make_events(np.random.default_rng(0), 3, 34, 34))
    )
    with pytest.raises(FileFormatError, match=match):
        load("n-mnist", tmp_path)


def test_missing_recordings_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no n-mnist/Train/<digit>/\*\.bin there.*data\.download=true"):
        load("n-mnist", tmp_path)
    write_dvs_cifar10(tmp_path, per_class=2, events=5)
    for path in (tmp_path / "dvs-cifar10" / "frog").iterdir():
        path.unlink()
    with pytest.raises(UsageError, match=r"/dvs-cifar10: frog/\*\.aedat4 \(or \.aedat\) is missing"):
        load("dvs-cifar10", tmp_path)


EVENTS = make_events(np.random.default_rng(5), 40, 128, 128)


def test_a_dvs128_counts_x_from_the_right_and_on_as_0(tmp_path: Path) -> None:
    """jAER's address: y in bits 8 to 14, x in 1 to 7 from the right, polarity in bit 0."""
    path = tmp_path / "a.aedat"
    address = (5 << 8) | (127 << 1) | 0, (127 << 8) | (0 << 1) | 1
    path.write_bytes(b"#!AER-DAT2.0\r\n# x\r\n" + struct.pack(">IIII", address[0], 1000, address[1], 1003))
    events = read_dvs_cifar10(path)
    assert [tuple(int(e[n]) for n in "txyp") for e in events] == [(0, 0, 5, 1), (3, 127, 127, 0)]


def test_special_events_of_a_dvs128_are_of_no_pixel(tmp_path: Path) -> None:
    path = tmp_path / "a.aedat"
    pixel, special = (5 << 8) | (127 << 1), 1 << 15
    path.write_bytes(b"#!AER-DAT2.0\r\n" + struct.pack(">6I", special, 999, pixel, 1000, special | pixel, 1003))
    events = read_dvs_cifar10(path)
    assert [tuple(int(e[n]) for n in "txyp") for e in events] == [(0, 0, 5, 1)]


@pytest.mark.parametrize("kept", ["all", "one byte short", "cut between packets"])
def test_an_aedat4_file_is_read_whole_or_not_at_all(kept: str, tmp_path: Path) -> None:
    path = tmp_path / "a.aedat4"
    content = aedat4_bytes(EVENTS)
    table = content.index(b"table of contents")
    cuts = {"all": len(content), "one byte short": table - 1, "cut between packets": table}
    path.write_bytes(content[: cuts[kept]])
    if kept == "all":
        events = read_dvs_cifar10(path)
        for name in "txyp":
            np.testing.assert_array_equal(events[name], EVENTS[name])
    else:
        with pytest.raises(FileFormatError, match=r"a\.aedat4: truncated"):
            read_dvs_cifar10(path)


BROKEN = aedat4_bytes(EVENTS)


@pytest.mark.parametrize(
    ("file", "content", "match"),
    [
        ("a.aedat4", b"", "not an AEDAT 4.0 file"),
        ("a.aedat4", b"#!AER-DAT4.0\r\n", "damaged header"),
        ("a.aedat4", BROKEN[:600] + bytes(len(BROKEN) - 600), "damaged or truncated"),
        ("a.aedat4", b"#!AER-DAT4.0\r\n" + bytes(60), "damaged or truncated"),  # aedat's Rust code panics
        ("a.aedat", b"", "not an AEDAT 2.0 file"),
        ("a.aedat", b"#!AER-DAT3.1\r\n", "not an AEDAT 2.0 file"),
        ("a.aedat", b"#!AER-DAT2.0\r\n", "no events"),
        ("a.aedat", aedat2_bytes(EVENTS)[:-1], "truncated: 319 bytes are not whole events of 8"),
    ],
)
def test_damaged_camera_files_are_refused(file: str, content: bytes, match: str, tmp_path: Path) -> None:
    (tmp_path / file).write_bytes(content)
    with pytest.raises(FileFormatError, match=rf"{file}: {match}"):
        read_dvs_cifar10(tmp_path / file)


def test_ctrl_c_while_a_file_is_read_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tonic.io.read_aedat4", interrupted)
    (tmp_path / "a.aedat4").write_bytes(BROKEN)
    with pytest.raises(KeyboardInterrupt):
        read_dvs_cifar10(tmp_path / "a.aedat4")


@pytest.mark.parametrize(
    ("array", "match"),
    [
        (np.zeros((4, 3)), r"an array of shape \(4, 3\); \(events, 4\) is expected"),
        (np.zeros(4), r"an array of shape \(4,\)"),
        (np.zeros((0, 4)), "no events"),
        (np.array([[0, 0, 0, np.nan]]), "values that are not finite"),
        (np.array([[128, 0, 0, 1]]), "event 0 has x=128"),
        (np.array([["a"] * 4]), "an array of shape"),
        (np.array([{}], dtype=object), "damaged, or not a plain array"),
    ],
)
def test_damaged_gestures_are_refused(array: Any, match: str, tmp_path: Path) -> None:
    np.save(tmp_path / "1.npy", array)
    with pytest.raises(FileFormatError, match=rf"1\.npy: {match}"):
        read_gesture(tmp_path / "1.npy")


def test_a_gesture_that_is_one_byte_short_or_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    write_gesture(tmp_path, 1, 1)
    path = tmp_path / "dvs128-gesture" / "ibmGestureTrain" / "user00_led" / "4.npy"
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(FileFormatError, match=r"1 damaged recordings: .*user00_led/4\.npy: damaged"):
        load("dvs128-gesture", tmp_path)
    path.write_bytes(content)
    path.rename(path.with_name("11.npy"))
    with pytest.raises(FileFormatError, match=r"label 11 in .*; allowed are 0 to 10"):
        load("dvs128-gesture", tmp_path)


def test_damaged_shd_files_are_refused(tmp_path: Path) -> None:
    write_shd(tmp_path)
    path = tmp_path / "shd" / "shd_train.h5"
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(FileFormatError, match=r"shd_train\.h5: damaged or truncated"):
        load("shd", tmp_path)
    path.write_bytes(content)
    with h5py.File(path, "r+") as file:
        file["labels"][3] = 20
    with pytest.raises(FileFormatError, match=r"label 20 in .*allowed are 0 to 19"):
        load("shd", tmp_path)
    with h5py.File(path, "r+") as file:
        file["labels"][3] = 19
        file["spikes/units"][7] = np.array([700, 1], dtype=np.uint16)
        file["spikes/times"][7] = np.array([0, 1], dtype=np.float32)
        file["spikes/units"][8] = np.array([1], dtype=np.uint16)
    with pytest.raises(
        FileFormatError, match=r"2 damaged .*recording 7: event 0 has x=700.*recording 8: 150 times for 1 u"
    ):
        load("shd", tmp_path)
    with h5py.File(path, "r+") as file:
        del file["labels"]
    with pytest.raises(FileFormatError, match=r"shd_train\.h5: not SHD's layout"):
        load("shd", tmp_path)


def test_frames_come_from_the_cache_while_the_files_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_n_mnist(tmp_path)
    cache = str(tmp_path / "cache")
    first = load("n-mnist", tmp_path, cache=cache)
    (kept,) = (tmp_path / "cache").iterdir()
    monkeypatch.setattr("neurodeploy.data.recordings._all_frames", None)  # nothing is read again
    again = load("n-mnist", tmp_path, cache=cache)
    monkeypatch.undo()
    np.testing.assert_array_equal(first.train.samples, again.train.samples)
    np.testing.assert_array_equal(first.test.samples, again.test.samples)
    kept.write_bytes(kept.read_bytes()[:-1])
    with pytest.warns(UserWarning, match="damaged"):
        rebuilt = load("n-mnist", tmp_path, cache=cache)
    np.testing.assert_array_equal(first.train.samples, rebuilt.train.samples)
    np.testing.assert_array_equal(load("n-mnist", tmp_path, cache=cache).train.samples, first.train.samples)
    path = tmp_path / "n-mnist" / "Test" / "0" / "00000.bin"
    path.write_bytes(n_mnist_bytes(np.zeros(1, dtype=EVENT)))
    assert load("n-mnist", tmp_path, cache=cache).test.samples[0].sum() == 1


@pytest.mark.parametrize(("missing", "command"), [("tonic.io", r"\[events\]"), ("aedat", "pip install aedat")])
def test_missing_packages_are_named_with_the_command(
    missing: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.aedat4").write_bytes(aedat4_bytes(EVENTS))
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(MissingBackendError, match=command):
        read_dvs_cifar10(tmp_path / "a.aedat4")


def test_the_classes_are_those_of_cifar10() -> None:
    from neurodeploy.data.recordings import _OBJECTS

    assert _OBJECTS == OBJECTS
