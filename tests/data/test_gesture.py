"""IBM's original DVS128-Gesture: by value, against tonic's reading, and what is damaged named."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tonic.io import get_aer_events_from_file, read_aedat_header_from_file
from writers import aedat3_bytes, make_events, write_gesture, write_gesture_trials

from neurodeploy.config import DataConfig
from neurodeploy.data.gesture import find_gesture
from neurodeploy.data.readers import read_aedat3
from neurodeploy.data.recordings import RECORDINGS
from neurodeploy.data.sources import load_data_set
from neurodeploy.errors import FileFormatError, UsageError


def config(root: Path, **options: Any) -> DataConfig:
    return DataConfig(name="dvs128-gesture", root=str(root), bits=8, **options)


def folder(root: Path) -> Path:
    return root / "dvs128-gesture" / "DvsGesture"


def test_events_are_what_was_written_and_what_tonic_reads(tmp_path: Path) -> None:
    events = make_events(np.random.default_rng(1), 333, 128, 128)
    path = tmp_path / "trial.aedat"
    path.write_bytes(aedat3_bytes(events))
    found = read_aedat3(path)
    for name in "txyp":
        np.testing.assert_array_equal(found[name], events[name])
    # tonic 1.7's read_dvs_ibm does not unpack its own header; the rest of it, with special and invalid events.
    version, start, _ = read_aedat_header_from_file(str(path))
    theirs = get_aer_events_from_file(str(path), version, start)
    address = theirs["address"].astype(np.int64)
    valid = address & 1 == 1
    valid[0] = False  # the special one
    np.testing.assert_array_equal(found["t"], theirs["timeStamp"][valid].astype(np.int64))
    for name, bits in {"x": address >> 17 & 0x1FFF, "y": address >> 2 & 0x1FFF, "p": address >> 1 & 1}.items():
        np.testing.assert_array_equal(found[name], bits[valid])


def test_a_clock_that_overflows_goes_on(tmp_path: Path) -> None:
    events = make_events(np.random.default_rng(2), 40, 128, 128)
    events["t"] += 2**31 - 150_000
    path = tmp_path / "trial.aedat"
    path.write_bytes(aedat3_bytes(events))
    found = read_aedat3(path)["t"]
    assert (found < 2**31).any()
    assert (found >= 2**31).any()
    np.testing.assert_array_equal(found, events["t"])


def test_trials_are_cut_into_their_gestures(tmp_path: Path) -> None:
    written = write_gesture_trials(tmp_path)
    for part, wanted in zip(find_gesture(config(tmp_path)), written.values(), strict=True):
        assert part.labels.tolist() == [label for _, label in wanted]
        for read, (events, _) in zip(part.read(), wanted, strict=True):
            found = read()
            assert len(found) == len(events) > 100
            for name in "txyp":
                np.testing.assert_array_equal(found[name], events[name])


def test_the_data_set_is_named_with_its_sizes_unless_they_are_published_ones(tmp_path: Path) -> None:
    write_gesture_trials(tmp_path)
    data = load_data_set(config(tmp_path, slicing="count", size=16), 3, 0)
    assert data.name == "dvs128-gesture-24/12"
    assert data.test.samples.shape == (12, 3, 2, 16, 16)
    assert data.test.samples.sum(dtype=int) > 12 * 100
    assert RECORDINGS["dvs128-gesture"].official == ((1077, 264), (1176, 288))


def test_what_is_cut_already_is_taken_where_both_are_there(tmp_path: Path) -> None:
    write_gesture_trials(tmp_path / "ibm")
    write_gesture(tmp_path / "tonic")
    assert len(find_gesture(config(tmp_path / "ibm"))[0].labels) == 24
    assert len(find_gesture(config(tmp_path / "tonic"))[0].labels) == 22


def packet(kind: int = 1, size: int = 8, overflow: int = 0, capacity: int = 1, number: int = 1) -> bytes:
    return struct.pack("<hhiiiiii", kind, 1, size, 4, overflow, capacity, number, number)


HEAD = b"#!AER-DAT3.1\r\n#!END-HEADER\r\n"


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"#!AER-DAT2.0\r\n", "not an AEDAT 3.1 file"),
        (b"", "not an AEDAT 3.1 file"),
        (b"#!AER-DAT3.1\r\n#Source", "its header has no end"),
        (HEAD + packet()[:27], "27 bytes at the end are no packet"),
        (HEAD + packet() + bytes(7), "a packet of 8 bytes, 7 are left"),
        (HEAD + packet(size=9) + bytes(9), "a packet of 1 of 1 events of 9 bytes"),
        (HEAD + packet(number=2) + bytes(8), "a packet of 2 of 1 events"),
        (HEAD + packet(number=-1) + bytes(8), "a packet of -1 of 1 events"),
        (HEAD + packet(capacity=-1, number=-1) + bytes(8), "damaged"),
        (HEAD + packet(kind=0, size=-8) + bytes(8), "damaged"),
        (HEAD + packet(capacity=2**30, number=1) + bytes(8), "a packet of 8589934592 bytes, 8 are left"),
    ],
)
def test_a_damaged_trial_says_what_is_wrong(content: bytes, match: str, tmp_path: Path) -> None:
    path = tmp_path / "trial.aedat"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=match):
        read_aedat3(path)


def test_a_header_alone_has_no_events(tmp_path: Path) -> None:
    path = tmp_path / "trial.aedat"
    path.write_bytes(HEAD)
    assert all(len(values) == 0 for values in read_aedat3(path).values())


def test_damaged_trials_and_empty_gestures_are_named(tmp_path: Path) -> None:
    write_gesture_trials(tmp_path, train=1)
    trial = folder(tmp_path) / "user00_train.aedat"
    trial.write_bytes(trial.read_bytes()[:-3])
    with pytest.raises(FileFormatError, match=r"12 damaged recordings: .*user00_train\.aedat: truncated"):
        load_data_set(config(tmp_path), 3, 0)
    write_gesture_trials(tmp_path, train=1)
    labels = folder(tmp_path) / "user00_train_labels.csv"
    labels.write_text(labels.read_text() + "1,900000000,900000001\n")
    with pytest.raises(FileFormatError, match=r"user00_train\.aedat, gesture 1 from 900000000 us: no events"):
        load_data_set(config(tmp_path), 3, 0)


@pytest.mark.parametrize("row", ["1,5", "a,1,2", "1,-5,7", "1;2;3", "1,2,3,4"])
def test_a_row_of_labels_that_is_none_is_named(row: str, tmp_path: Path) -> None:
    write_gesture_trials(tmp_path)
    (folder(tmp_path) / "user01_train_labels.csv").write_text(f"class,start,end\n\n{row}\n")
    with pytest.raises(FileFormatError, match=r"user01_train_labels\.csv, line 3: .*class, start, end"):
        find_gesture(config(tmp_path))


@pytest.mark.parametrize("label", [0, 12])
def test_a_class_that_is_none_is_refused(label: int, tmp_path: Path) -> None:
    write_gesture_trials(tmp_path)
    (folder(tmp_path) / "user01_train_labels.csv").write_text(f"class,start,end\n{label},0,1000000\n")
    with pytest.raises(FileFormatError, match=rf"label {label - 1} in .*allowed are 0 to 10"):
        load_data_set(config(tmp_path), 3, 0)


def test_trials_that_are_listed_must_be_there_and_beside_the_list(tmp_path: Path) -> None:
    write_gesture_trials(tmp_path)
    (folder(tmp_path) / "user01_train.aedat").unlink()
    with pytest.raises(UsageError, match=r"user01_train\.aedat missing, which trials_to_train\.txt asks for"):
        find_gesture(config(tmp_path))
    (folder(tmp_path) / "trials_to_train.txt").write_text("../../user.aedat\n")
    with pytest.raises(FileFormatError, match=r"'\.\./\.\./user\.aedat'; names of \.aedat files beside it"):
        find_gesture(config(tmp_path))
