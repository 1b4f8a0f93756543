"""Tiny data sets in the formats of the real ones; every function returns what it wrote.

`from writers import write_n_mnist` works in any test (`pythonpath` in pyproject.toml).
"""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Written = dict[str, tuple[Array, Array]]  # split -> (images, labels)
Recorded = dict[str, list[tuple[Array, int]]]  # split -> [(events, label)]

EVENT = np.dtype([("t", np.int64), ("x", np.int64), ("y", np.int64), ("p", np.int64)])
OBJECTS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def make_events(rng: np.random.Generator, count: int, width: int, height: int, length: int = 300_000) -> Array:
    """Random events in order of time, the first at 0; `length` in microseconds."""
    events = np.zeros(count, dtype=EVENT)
    events["t"] = np.sort(rng.integers(0, length, count))
    events["t"][:1] = 0
    events["x"], events["y"] = rng.integers(0, width, count), rng.integers(0, height, count)
    events["p"] = rng.integers(0, 2, count)
    return events


def idx_bytes(values: Array) -> bytes:
    """The idx file of an array of bytes."""
    return bytes((0, 0, 8, values.ndim)) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def write_idx_set(
    root: Path,
    name: str = "mnist",
    train: int = 20,
    test: int = 10,
    size: tuple[int, int] = (28, 28),
    compressed: bool = True,
) -> Written:
    """MNIST's four files in root/name."""
    rng = np.random.default_rng(0)
    (root / name).mkdir(parents=True, exist_ok=True)
    written = {}
    for split, part, count in (("train", "train", train), ("test", "t10k", test)):
        images = rng.integers(0, 256, (count, *size), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        for kind, values in (("images-idx3-ubyte", images), ("labels-idx1-ubyte", labels)):
            path, content = root / name / f"{part}-{kind}", idx_bytes(values)
            if compressed:
                path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(content))
            else:
                path.write_bytes(content)
        written[split] = images, labels
    return written


def cifar_bytes(images: Array, labels: Array, classes: int = 10) -> bytes:
    """Records of CIFAR's binary files, of CIFAR-100 with a coarse label of 0."""
    head = labels[:, None] if classes == 10 else np.stack([np.zeros_like(labels), labels], 1)
    return np.concatenate([head, images.reshape(len(images), -1)], 1).astype(np.uint8).tobytes()


def write_cifar(root: Path, classes: int = 10, train: int = 20, test: int = 10) -> Written:
    """CIFAR-10's six files or CIFAR-100's two in root/cifar-<classes>."""
    rng = np.random.default_rng(0)
    folder = root / f"cifar-{classes}"
    folder.mkdir(parents=True, exist_ok=True)
    written = {}
    for split, count in (("train", train), ("test", test)):
        images = rng.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
        labels = (np.arange(count) * 7 % classes).astype(np.uint8)
        files = [f"{split}.bin"]
        if classes == 10:
            files = [f"data_batch_{batch}.bin" for batch in range(1, 6)] if split == "train" else ["test_batch.bin"]
        for file, chosen in zip(files, np.array_split(np.arange(count), len(files)), strict=True):
            (folder / file).write_bytes(cifar_bytes(images[chosen], labels[chosen], classes))
        written[split] = images, labels
    return written


def n_mnist_bytes(events: Array) -> bytes:
    """Records of 40 bits: x, y, polarity, microseconds."""
    words = [(e["x"] << 32) | (e["y"] << 24) | (e["p"] << 23) | e["t"] for e in events.astype(EVENT)]
    return b"".join(int(word).to_bytes(5, "big") for word in words)


def write_n_mnist(root: Path, train: int = 20, test: int = 10, events: int = 200) -> Recorded:
    """root/n-mnist/{Train,Test}/<digit>/<number>.bin."""
    rng = np.random.default_rng(0)
    written: Recorded = {"train": [], "test": []}
    for split, count in (("train", train), ("test", test)):
        for number in range(count):
            recording, label = make_events(rng, events, 34, 34), number % 10
            path = root / "n-mnist" / split.capitalize() / str(label) / f"{number:05d}.bin"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(n_mnist_bytes(recording))
            written[split].append((recording, label))
    return written


def aedat2_bytes(events: Array) -> bytes:
    """AEDAT 2.0 of a DVS128: bit 0 is 0 for ON, x is counted from the right."""
    address = (1 - events["p"]) | (127 - events["x"]) << 1 | events["y"] << 8
    header = b"#!AER-DAT2.0\r\n# This is a raw AE data file\r\n# Timestamps tick is 1 us\r\n"
    return header + np.stack([address, events["t"] + 5000], 1).astype(">u4").tobytes()


def aedat4_bytes(events: Array, packets: int = 2, start: int = 1_605_537_493_718_345) -> bytes:
    """AEDAT 4.0 without compression: header, packets of events, and something where the table of contents would be.

    Every part is a FlatBuffer: offset of the table, identifier, table of fields, table, and what it points to.
    """
    info = "".join(
        [
            '<dv version="2.0"><node name="outInfo" path="/mainloop/Recorder/outInfo/"><node name="0" ',
            'path="/mainloop/Recorder/outInfo/0/"><attr key="originalModuleName" type="string">capture</attr>',
            '<attr key="originalOutputName" type="string">events</attr><attr key="typeDescription" type="string">',
            'Array of events</attr><attr key="typeIdentifier" type="string">EVTS</attr><node name="info" ',
            'path="/mainloop/Recorder/outInfo/0/info/"><attr key="sizeX" type="int">128</attr>',
            '<attr key="sizeY" type="int">128</attr></node></node></node></dv>',
        ]
    ).encode()
    body = b""
    for part in np.array_split(events, packets):
        records = b"".join(
            struct.pack("<qhhBxxx", int(e["t"]) + start, int(e["x"]), int(e["y"]), int(e["p"])) for e in part
        )
        # root offset, identifier, field table (its size, table size, field 0), table (field table, vector's offset)
        flat = struct.pack("<I4sHHHxxiI", 16, b"EVTS", 6, 8, 4, 8, 8) + struct.pack("<II", 0, len(part)) + records
        body += struct.pack("<iI", 0, len(flat) + 4) + struct.pack("<I", len(flat)) + flat
    # fields: 0 compression (i32), 1 position of the table of contents (i64), 2 the streams (string)
    fields = struct.pack("<HHHHH2x", 10, 24, 4, 8, 16)
    string = struct.pack("<I", len(info)) + info + b"\0"
    head_size = 8 + len(fields) + 24 + len(string)
    position = 18 + head_size + len(body)
    table = struct.pack("<iiqI4x", len(fields), 0, position, 8)
    header = struct.pack("<I4s", 8 + len(fields), b"IOHE") + fields + table + string
    assert len(header) == head_size
    return b"#!AER-DAT4.0\r\n" + struct.pack("<I", head_size) + header + body + b"table of contents"


def write_dvs_cifar10(root: Path, per_class: int = 10, events: int = 300, suffix: str = ".aedat4") -> Recorded:
    """root/dvs-cifar10/<class>/<number>.aedat4 (or .aedat); all under "all", in the order of classes and files."""
    rng = np.random.default_rng(0)
    written: Recorded = {"all": []}
    for label, name in enumerate(OBJECTS):
        (root / "dvs-cifar10" / name).mkdir(parents=True, exist_ok=True)
        for number in range(per_class):
            recording = make_events(rng, events, 128, 128)
            content = aedat4_bytes(recording) if suffix == ".aedat4" else aedat2_bytes(recording)
            (root / "dvs-cifar10" / name / f"cifar10_{name}_{number}{suffix}").write_bytes(content)
            written["all"].append((recording, label))
    return written


def write_gesture(root: Path, train_users: int = 2, test_users: int = 1, events: int = 300) -> Recorded:
    """root/dvs128-gesture/ibmGesture{Train,Test}/user<number>_led/<gesture>.npy; 11 gestures for each user."""
    rng = np.random.default_rng(0)
    written: Recorded = {"train": [], "test": []}
    for split, users in (("train", train_users), ("test", test_users)):
        for user in range(users):
            folder = root / "dvs128-gesture" / f"ibmGesture{split.capitalize()}" / f"user{user:02d}_led"
            folder.mkdir(parents=True, exist_ok=True)
            for label in range(11):
                recording = make_events(rng, events, 128, 128)
                recording["t"] = recording["t"] // 1000 * 1000
                rows = np.stack([recording["x"], recording["y"], recording["p"], recording["t"] // 1000 + 7], 1)
                np.save(folder / f"{label}.npy", rows)
                written[split].append((recording, label))
    return written


def aedat3_bytes(events: Array, packet: int = 50, overflow_at: int = 2**31) -> bytes:
    """AEDAT 3.1 of a DVS128: packets of polarity events, one of special events between them, and invalid events.

    Times from `overflow_at` on lie in packets of their own, whose headers count one overflow of the 31 bits.
    """
    header = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DVS128\r\n#!END-HEADER\r\n"
    body = struct.pack("<hhiiiiii", 0, 1, 8, 4, 0, 1, 1, 1) + struct.pack("<II", 1, 0)
    for late in (False, True):
        chosen = events[(events["t"] >= overflow_at) == late]
        for start in range(0, len(chosen), packet):
            part = chosen[start : start + packet]
            data = part["x"] << 17 | part["y"] << 2 | part["p"] << 1 | 1
            records = np.stack([data, part["t"] - late * 2**31], 1).astype("<u4").tobytes()
            records += struct.pack("<II", 5 << 17, 7)  # bit 0 says that it is not valid
            count = len(part) + 1
            body += struct.pack("<hhiiiiii", 1, 1, 8, 4, int(late), count, count, count - 1) + records
    return header + body


def write_gesture_trials(root: Path, train: int = 2, test: int = 1, events: int = 200) -> Recorded:
    """IBM's root/dvs128-gesture/DvsGesture: trials of 12 gestures, with gaps between them that belong to none."""
    rng = np.random.default_rng(0)
    folder = root / "dvs128-gesture" / "DvsGesture"
    folder.mkdir(parents=True, exist_ok=True)
    written: Recorded = {"train": [], "test": []}
    for split, count in (("train", train), ("test", test)):
        names = [f"user{number:02d}_{split}.aedat" for number in range(count)]
        (folder / f"trials_to_{split}.txt").write_text("\n".join(names) + "\n")
        for name in names:
            trial, rows = (
                make_events(rng, 14 * events, 128, 128, length=14_000_000),
                ["class,startTime_usec,endTime_usec"],
            )
            for number in range(12):
                label, start, end = number % 11, 1_000_000 * (number + 1), 1_000_000 * (number + 1) + 900_000
                rows.append(f"{label + 1},{start},{end}")
                inside = trial[(trial["t"] >= start) & (trial["t"] < end)].copy()
                inside["t"] -= start
                written[split].append((inside, label))
            (folder / name).write_bytes(aedat3_bytes(trial))
            (folder / name).with_name(f"{name.removesuffix('.aedat')}_labels.csv").write_text("\n".join(rows) + "\n")
    return written


def write_shd(root: Path, train: int = 40, test: int = 20, events: int = 150) -> Recorded:
    """root/shd/shd_{train,test}.h5: seconds and units of every recording."""
    import h5py

    rng = np.random.default_rng(0)
    (root / "shd").mkdir(parents=True, exist_ok=True)
    written: Recorded = {"train": [], "test": []}
    for split, count in (("train", train), ("test", test)):
        with h5py.File(root / "shd" / f"shd_{split}.h5", "w") as file:
            group = file.create_group("spikes")
            times = group.create_dataset("times", (count,), dtype=h5py.vlen_dtype(np.float32))
            units = group.create_dataset("units", (count,), dtype=h5py.vlen_dtype(np.uint16))
            for number in range(count):
                recording = make_events(rng, events, 700, 1, length=1_000_000)
                times[number], units[number] = recording["t"] / 1e6, recording["x"]
                written[split].append((recording, number % 20))
            file["labels"] = np.arange(count, dtype=np.uint16) % 20
    return written


def write_npz(
    path: Path, shape: tuple[int, ...] = (1, 8, 8), train: int = 20, test: int = 10, **arrays: Any
) -> Written:
    """One's own data set of bytes with three classes; `arrays` replaces what is written, or adds to it."""
    rng = np.random.default_rng(0)
    content: dict[str, Any] = {}
    for split, count in (("train", train), ("test", test)):
        content[f"{split}_samples"] = rng.integers(0, 256, (count, *shape), dtype=np.uint8)
        content[f"{split}_labels"] = np.arange(count) % 3
    content = {name: value for name, value in (content | arrays).items() if value is not None}
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **content)
    return {s: (content.get(f"{s}_samples"), content.get(f"{s}_labels")) for s in ("train", "test")}  # type: ignore[misc]
