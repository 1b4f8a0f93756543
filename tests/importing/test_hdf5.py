"""HDF5 files that are damaged or mean harm: refused by name, before an array is read."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from neurodeploy.errors import FileFormatError
from neurodeploy.importing.hdf5 import Limits, read_tree

MOST = 2**20  # bytes that the files of these tests may claim
LIMITS = Limits(file_bytes=2**20, array_bytes=MOST, objects=20)


def good(file: h5py.File) -> None:
    group = file.create_group("a/b")
    group.create_dataset("packed", data=np.arange(5000).reshape(50, 100), compression="gzip", shuffle=True)
    group.create_dataset("plain", data=np.float32([1.5, 2]))
    group.create_dataset("checked", data=np.arange(9), chunks=(4,), fletcher32=True)
    file.create_dataset("text", data="käse")
    file.create_dataset("texts", data=[["a", "b"]])
    file.create_dataset("fixed", (1,), "S10", [b"dense"])
    file.create_dataset("yes", data=True)


def test_plain_content_comes_as_it_was_written(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x", "w") as file:
        good(file)
        file.attrs["ignored"] = "attribute"
    tree = read_tree(tmp_path / "x", LIMITS)
    assert set(tree) == {"a", "text", "texts", "fixed", "yes"}
    inner = tree["a"]["b"]  # type: ignore[index,call-overload]
    np.testing.assert_array_equal(inner["packed"], np.arange(5000).reshape(50, 100))
    np.testing.assert_array_equal(inner["checked"], np.arange(9))
    assert inner["plain"].dtype == np.float32
    assert inner["plain"].tolist() == [1.5, 2]
    assert tree["text"].item() == "käse"  # type: ignore[union-attr]
    assert tree["texts"].tolist() == [["a", "b"]]  # type: ignore[union-attr]
    assert tree["fixed"].tolist() == ["dense"]  # type: ignore[union-attr]
    assert tree["yes"].item() is True  # type: ignore[union-attr]


def soft(file: h5py.File) -> None:
    file["link"] = h5py.SoftLink("/elsewhere")


def external(file: h5py.File) -> None:
    file["link"] = h5py.ExternalLink("/etc/hosts", "/x")


def twice(file: h5py.File) -> None:
    file["again"] = file.create_dataset("once", data=np.zeros(3))


def loop(file: h5py.File) -> None:
    file["a/loop"] = file.create_group("a")


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout(shape=(4,), dtype="i8")
    layout[:] = h5py.VirtualSource("/etc/hosts", "x", shape=(4,))
    file.create_virtual_dataset("seen", layout)


def outside(file: h5py.File) -> None:
    file.create_dataset("raw", shape=(4,), dtype="i1", external=[("/etc/hosts", 0, 4)])


def references(file: h5py.File) -> None:
    file.create_dataset("refs", data=[file.ref], dtype=h5py.ref_dtype)


def huge(file: h5py.File) -> None:
    file.create_dataset("huge", shape=(2**40, 2**10), dtype="f8", chunks=(1, 1))


def many_that_are_large_together(file: h5py.File) -> None:
    for index in range(3):
        file.create_dataset(str(index), shape=(MOST // 20,), dtype="f8")


def compound(file: h5py.File) -> None:
    file.create_dataset("c", data=np.zeros(2, dtype=[("x", "i4"), ("y", "f8")]))


def complex_numbers(file: h5py.File) -> None:
    file.create_dataset("c", data=np.zeros(2, dtype=complex))


def sequences(file: h5py.File) -> None:
    file.create_dataset("v", (2,), dtype=h5py.vlen_dtype(np.int32))


def opaque(file: h5py.File) -> None:
    file.create_dataset("o", data=np.zeros(2, dtype="V4"))


def named_type(file: h5py.File) -> None:
    file["t"] = np.dtype("i4")


def another_filter(file: h5py.File) -> None:
    file.create_dataset("l", data=np.arange(100), compression="lzf")


def nothing(file: h5py.File) -> None:
    file.create_dataset("n", data=h5py.Empty("f8"))


def deep(file: h5py.File) -> None:
    file.create_group("/".join("abcdefghijklmnop"))


def many(file: h5py.File) -> None:
    for index in range(21):
        file.create_group(str(index))


def long_name(file: h5py.File) -> None:
    file.create_group("n" * 201)


def control_character(file: h5py.File) -> None:
    file.create_group("a\x1b[2Jb")


def long_text(file: h5py.File) -> None:
    file.create_dataset("t", data="x" * 5000)


def many_texts(file: h5py.File) -> None:
    file.create_dataset("t", (200_001,), dtype="S1")


def no_text(file: h5py.File) -> None:
    file.create_dataset("t", data=b"\xff\xfe", dtype=h5py.string_dtype("utf-8"))


def not_finite(file: h5py.File) -> None:
    file.create_dataset("w", data=[1.0, np.nan])


def infinite(file: h5py.File) -> None:
    file.create_dataset("w", data=np.float32([np.inf]))


def many_dimensions(file: h5py.File) -> None:
    file.create_dataset("w", data=np.zeros([1] * 9))


def chunks_larger_than_the_array(file: h5py.File) -> None:
    file.create_dataset("w", shape=(4,), maxshape=(None,), dtype="f8", chunks=(2**18,))


def bomb(file: h5py.File) -> None:
    """A chunk of 800 bytes whose gzip stream unpacks to 64 MiB."""
    dataset = file.create_dataset("w", shape=(100,), dtype="f8", chunks=(100,), compression="gzip")
    dataset.id.write_direct_chunk((0,), zlib.compress(b"\0" * 2**26, 9))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (soft, "/link: a SoftLink to elsewhere"),
        (external, "/link: a ExternalLink to elsewhere"),
        (twice, "linked more than once"),
        (loop, "linked more than once"),
        (virtual, "/seen: its values lie in other files"),
        (outside, "/raw: its values lie in other files"),
        (references, "/refs: values of type object"),
        (huge, "/huge: (1099511627776, 1024) brings the arrays above 1048576 bytes"),
        (many_that_are_large_together, "/2: (52428,) brings the arrays above 1048576 bytes"),
        (compound, "/c: values of type"),
        (complex_numbers, "/c: values of type complex128"),
        (sequences, "/v: values of type object"),
        (opaque, "/o: values of type"),
        (named_type, "/t: a Datatype"),
        (another_filter, "/l: packed by a filter other than"),
        (nothing, "/n: no array of at most 8 dimensions"),
        (deep, "nested more than 12 deep"),
        (many, "21 entries"),
        (long_name, "a name of 1 to 200 printable characters"),
        (control_character, "a name of 1 to 200 printable characters"),
        (long_text, "/t: a text of more than 4096 characters"),
        (many_texts, "/t: 200001 texts"),
        (no_text, "/t: a text that is not UTF-8"),
        (not_finite, "/w: holds values that are not finite numbers"),
        (infinite, "/w: holds values that are not finite numbers"),
        (many_dimensions, "/w: no array of at most 8 dimensions"),
        (chunks_larger_than_the_array, "/w: chunks of 2097152 bytes for an array of 32 bytes"),
        (bomb, "/w: a chunk unpacks to more than the 800 bytes"),
    ],
)
def test_what_is_not_plain_content_is_refused_by_name(
    make: Callable[[h5py.File], None], says: str, tmp_path: Path
) -> None:
    with h5py.File(tmp_path / "x.net", "w") as file:
        make(file)
    with pytest.raises(FileFormatError) as caught:
        read_tree(tmp_path / "x.net", LIMITS)
    assert says in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path / 'x.net'}: ")


def test_limits_hold_at_them_and_not_one_past_them(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x", "w") as file:
        file.create_dataset("w", data=np.zeros(100))
        file.create_group("a/b")
    size = (tmp_path / "x").stat().st_size
    at = Limits(file_bytes=size, array_bytes=800, objects=4)  # the root, w, a, b
    assert set(read_tree(tmp_path / "x", at)) == {"w", "a"}
    for past in (Limits(size - 1, 800, 4), Limits(size, 799, 4), Limits(size, 800, 3)):
        with pytest.raises(FileFormatError):
            read_tree(tmp_path / "x", past)


def test_values_count_as_networks_keep_them(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x", "w") as file:
        file.create_dataset("w", data=np.zeros(100, dtype=np.int8), compression="gzip")
    assert set(read_tree(tmp_path / "x", Limits(array_bytes=800))) == {"w"}
    with pytest.raises(FileFormatError, match="above 799 bytes"):
        read_tree(tmp_path / "x", Limits(array_bytes=799))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_one_clear_error(share: float, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x", "w") as file:
        good(file)
    content = (tmp_path / "x").read_bytes()
    (tmp_path / "x").write_bytes(content[: int(share * len(content))])
    with pytest.raises(FileFormatError, match="damaged, truncated or not an HDF5 file"):
        read_tree(tmp_path / "x", LIMITS)


def test_flipped_bytes_never_bring_another_kind_of_error(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x", "w") as file:
        good(file)
    content = (tmp_path / "x").read_bytes()
    rng, refused = np.random.default_rng(0), 0
    for _ in range(150):
        damaged = bytearray(content)
        for place in rng.integers(0, len(damaged), 3):
            damaged[place] ^= int(rng.integers(1, 256))
        (tmp_path / "y").write_bytes(damaged)
        try:
            read_tree(tmp_path / "y", LIMITS)
        except FileFormatError:
            refused += 1
    assert refused > 15


def test_other_files_and_no_file(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not HDF5")
    with pytest.raises(FileFormatError, match="not an HDF5 file"):
        read_tree(tmp_path / "text")
    for place in (tmp_path / "absent", tmp_path):
        with pytest.raises(FileFormatError, match="there is no such file"):
            read_tree(place)
