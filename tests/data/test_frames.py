"""Frames of events: against the definition written again, and against tonic's own where they mean the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tonic.transforms import Downsample, ToFrame
from writers import make_events

from neurodeploy.config import DataConfig
from neurodeploy.data.frames import Framing, Sensor, cache_path, ordered_events, read_cache, write_cache
from neurodeploy.errors import FileFormatError, UsageError

PIXELS, UNITS = Sensor((9, 14)), Sensor((20,), polarities=1)


def framing(sensor: Sensor = PIXELS, steps: int = 4, **options: Any) -> Framing:
    return Framing.of(DataConfig(**{"bits": 8, **options}), sensor, steps)


def one_by_one(events: Any, steps: int, frame_of: Any, shape: tuple[int, ...], factor: int = 1) -> Any:
    counts = np.zeros((steps, *shape), dtype=int)
    for index, e in enumerate(events):
        frame = frame_of(index, int(e["t"]))
        if frame < steps:
            p = int(e["p"]) if shape[0] == 2 else 0
            counts[frame, p, int(e["y"]) // factor, int(e["x"]) // factor] += 1
    return counts


@pytest.mark.parametrize("polarity", ["both", "merged"])
@pytest.mark.parametrize("factor", [1, 2, 4])
@pytest.mark.parametrize("slicing", ["time", "count"])
def test_every_event_is_in_the_frame_that_the_definition_says(slicing: str, factor: int, polarity: str) -> None:
    events = make_events(np.random.default_rng(1), 501, 14, 9)
    made = framing(slicing=slicing, downsample=factor, polarity=polarity)
    shape = (2 if polarity == "both" else 1, -(-9 // factor), -(-14 // factor))
    assert made.shape == shape
    window = -(-(int(events["t"][-1]) + 1) // 4)
    wanted = one_by_one(
        events, 4, (lambda i, t: i * 4 // 501) if slicing == "count" else (lambda i, t: t // window), shape, factor
    )
    got = made.frames(events)
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, wanted)
    assert got.sum(dtype=int) == 501  # none lost
    if slicing == "count":
        assert np.ptp(got.reshape(4, -1).sum(1, dtype=int)) <= 1


@pytest.mark.parametrize("size", [1, 6, 9])
def test_places_are_spread_evenly_over_a_size_that_is_no_whole_factor(size: int) -> None:
    events = make_events(np.random.default_rng(5), 400, 14, 9)
    made = framing(size=size)
    assert made.shape == (2, size, size)
    window = -(-(int(events["t"][-1]) + 1) // 4)
    wanted = np.zeros((4, 2, size, size), dtype=int)
    for e in events:
        wanted[e["t"] // window, e["p"], int(e["y"]) * size // 9, int(e["x"]) * size // 14] += 1
    np.testing.assert_array_equal(made.frames(events), wanted)


def test_48_of_128_takes_two_or_three_columns_each() -> None:
    """As usual for DVS-CIFAR10: 8 pixels become 3."""
    camera = Sensor((128, 128))
    events = make_events(np.random.default_rng(6), 128, 128, 128, length=100)
    events["x"], events["y"], events["p"] = np.arange(128), 0, 0
    columns = framing(camera, steps=1, size=48).frames(events)[0, 0, 0]
    assert columns.tolist() == [3, 3, 2] * 16


def test_units_in_a_row_have_a_size_too() -> None:
    assert framing(UNITS, size=7).shape == (7,)


def test_frames_of_a_given_window_are_those_of_tonic() -> None:
    """tonic starts at the first event and keeps whole windows: here the first is at 0, and one is left out."""
    events = make_events(np.random.default_rng(2), 400, 14, 9, length=9_500)
    theirs = ToFrame((7, 5, 2), time_window=1000)(Downsample(spatial_factor=0.5)(events))
    ours = framing(steps=9, window=1e-3, downsample=2).frames(events)
    np.testing.assert_array_equal(ours, theirs)
    assert ours.sum(dtype=int) < 400


def test_by_count_frames_are_those_of_tonic_where_they_divide() -> None:
    events = make_events(np.random.default_rng(3), 400, 14, 9)
    np.testing.assert_array_equal(framing(slicing="count").frames(events), ToFrame((14, 9, 2), n_event_bins=4)(events))


def test_an_event_at_the_end_of_a_window_is_in_the_next() -> None:
    events = make_events(np.random.default_rng(0), 4, 14, 9)
    events["t"] = [0, 999, 1000, 4000]
    counts = framing(window=1e-3).frames(events).reshape(4, -1).sum(1)
    assert counts.tolist() == [2, 1, 0, 0]
    assert framing(window=1e-3, steps=5).frames(events).reshape(5, -1).sum(1).tolist() == [2, 1, 0, 0, 1]


@pytest.mark.parametrize(("count", "wanted"), [(1, [1, 0, 0, 0]), (2, [1, 0, 1, 0]), (4, [1, 1, 1, 1])])
def test_fewer_events_than_frames_leave_frames_empty(count: int, wanted: list[int]) -> None:
    events = make_events(np.random.default_rng(0), count, 14, 9)
    assert framing(slicing="count").frames(events).reshape(4, -1).sum(1).tolist() == wanted


@pytest.mark.parametrize(("bits", "wanted"), [(None, 1), (1, 1), (2, 3), (3, 5), (8, 5)])
def test_counts_are_clipped_to_the_bits_and_one_bit_is_the_default(bits: int | None, wanted: int) -> None:
    events = make_events(np.random.default_rng(0), 5, 14, 9, length=10)
    events["x"], events["y"], events["p"] = 3, 2, 1
    made = framing(steps=1, bits=bits)
    assert made.bits == (bits or 1)
    assert made.frames(events)[0, 1, 2, 3] == wanted


def test_a_count_past_a_byte_is_clipped_not_wrapped() -> None:
    events = make_events(np.random.default_rng(0), 300, 1, 1, length=10)
    assert framing(steps=1, polarity="merged").frames(events).max() == 255


def test_units_have_neither_rows_nor_polarity() -> None:
    events = make_events(np.random.default_rng(4), 200, 20, 1)[["t", "x", "p"]]
    made = framing(UNITS, downsample=3)
    assert made.shape == (7,)
    window = -(-(int(events["t"][-1]) + 1) // 4)
    wanted = np.zeros((4, 7), dtype=int)
    for e in events:
        wanted[e["t"] // window, e["x"] // 3] += 1
    np.testing.assert_array_equal(made.frames(events), wanted)


def test_events_stay_as_they_were() -> None:
    events = make_events(np.random.default_rng(4), 50, 14, 9)
    before = events.copy()
    framing(polarity="merged", downsample=2).frames(events)
    np.testing.assert_array_equal(events, before)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"slicing": "count", "window": 0.01}, r"data\.window=0\.01: only with data\.slicing=time"),
        ({"window": 9e-7}, r"data\.window=9e-07: seconds; at least 1e-6"),
        ({"downsample": 10}, r"data\.downsample=10: a sensor of \(9, 14\)"),
        ({"size": 10}, r"data\.size=10: a sensor of \(9, 14\)"),
        ({"size": 5, "downsample": 2}, r"data\.size=5 with data\.downsample=2: one of them; data\.size=null"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options: dict[str, Any], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        framing(**options)
    assert framing(downsample=9).shape == (2, 1, 2)


@pytest.mark.parametrize(
    ("field", "value", "match"),
    [
        ("x", 14, "event 2 has x=14; 0 to 13 is allowed"),
        ("x", -1, "event 2 has x=-1"),
        ("y", 9, "event 2 has y=9; 0 to 8"),
        ("p", 2, "event 2 has p=2; 0 to 1"),
        ("t", -1, "an event at -1 microseconds, before the start"),
    ],
)
def test_events_off_the_sensor_are_refused(field: str, value: int, match: str) -> None:
    events = make_events(np.random.default_rng(0), 5, 14, 9)
    columns = {name: events[name].copy() for name in "txyp"}
    columns[field][2] = value
    with pytest.raises(FileFormatError, match=f"somewhere: {match}"):
        ordered_events("somewhere", PIXELS, columns)
    columns[field][2] = {"x": 13, "y": 8, "p": 1, "t": 0}[field]
    assert len(ordered_events("somewhere", PIXELS, columns)) == 5


@pytest.mark.parametrize(("field", "value"), [("x", -0.5), ("x", 3.25), ("y", 0.5), ("p", 0.999)])
def test_events_between_pixels_are_refused(field: str, value: float) -> None:
    events = make_events(np.random.default_rng(0), 5, 14, 9)
    columns: dict[str, Any] = {name: events[name].astype(np.float64) for name in "txyp"}
    columns["t"] += 0.5  # times are cut to whole microseconds
    assert len(ordered_events("somewhere", PIXELS, columns)) == 5
    columns[field][2] = value
    with pytest.raises(FileFormatError, match=f"somewhere: event 2 has {field}={value}; whole numbers are allowed"):
        ordered_events("somewhere", PIXELS, columns)


def test_events_are_put_in_order_and_none_is_refused() -> None:
    events = make_events(np.random.default_rng(0), 6, 14, 9)
    mixed = events[[3, 1, 0, 5, 2, 4]]
    ordered = ordered_events("somewhere", PIXELS, {name: mixed[name] for name in "txyp"})
    for name in "txyp":
        np.testing.assert_array_equal(ordered[name], events[name])
    with pytest.raises(FileFormatError, match="somewhere: no events"):
        ordered_events("somewhere", PIXELS, {name: mixed[name][:0] for name in "txyp"})


def test_a_cache_holds_what_was_written_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "frames.npz"
    assert read_cache(path, ("a",)) is None
    write_cache(path, {"a": np.arange(9, dtype=np.uint8)})
    read = read_cache(path, ("a",))
    assert read is not None
    np.testing.assert_array_equal(read["a"], np.arange(9))
    assert [file.name for file in path.parent.iterdir()] == ["frames.npz"]


@pytest.mark.parametrize("damage", ["one byte short", "a bit flipped", "empty", "another array", "pickled"])
def test_a_damaged_cache_is_named_and_not_used(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "frames.npz"
    write_cache(path, {"a": np.random.default_rng(0).integers(0, 256, 5000, dtype=np.uint8)})
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    if damage == "another array":
        write_cache(path, {"b": np.zeros(1)})
    elif damage == "pickled":
        np.savez(path, a=np.array([{}], dtype=object))
    else:
        path.write_bytes({"one byte short": path.read_bytes()[:-1], "a bit flipped": content, "empty": b""}[damage])
    with pytest.warns(UserWarning, match=r"frames\.npz: damaged .*the frames are made again"):
        assert read_cache(path, ("a",)) is None


def test_a_cache_is_found_by_its_files_and_options(tmp_path: Path) -> None:
    file = tmp_path / "a.bin"
    file.write_bytes(b"12345")
    first = cache_path(str(tmp_path), "n-mnist", framing(), {"train": [file]})
    assert first == cache_path(str(tmp_path), "n-mnist", framing(), {"train": [file]})
    others = [
        framing(steps=5),
        framing(bits=7),
        framing(slicing="count"),
        framing(window=0.1),
        framing(polarity="merged"),
        framing(downsample=2),
        framing(size=9),
    ]
    names = {first, *(cache_path(str(tmp_path), "n-mnist", other, {"train": [file]}) for other in others)}
    file.write_bytes(b"123456")
    names.add(cache_path(str(tmp_path), "n-mnist", framing(), {"train": [file]}))
    assert len(names) == 9


def test_a_file_that_moves_from_training_to_test_makes_another_cache(tmp_path: Path) -> None:
    a, b, c = (tmp_path / name for name in "abc")
    for file in (a, b, c):
        file.write_bytes(b"1")
    parts = [{"train": [a, b], "test": [c]}, {"train": [a], "test": [b, c]}, {"train": [a, b, c], "test": []}]
    assert len({cache_path(str(tmp_path), "dvs128-gesture", framing(), part) for part in parts}) == 3


def test_a_cache_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError, match=r"data\.cache=.*/file"):
        write_cache(tmp_path / "file" / "x.npz", {"a": np.zeros(1)})
