"""Golden vectors: programs with what Lava made of them, so that they can be checked where there is no Lava.

    python tests/conformance/golden.py     runs the small configurations in Lava and writes golden/lava-0.10.0.npz

The file holds, per configuration, the program as `neurodeploy.ir.serialize` writes it, the inputs, and Lava's currents,
voltages and spikes.
"""

from __future__ import annotations

import io
import json
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.ir.program import Program
from neurodeploy.ir.serialize import decode, encode

FILE = Path(__file__).with_name("golden") / "lava-0.10.0.npz"
COUNT = 120


@dataclass(frozen=True, eq=False)
class GoldenCase:
    """One configuration; `lava` is "currents:<layer>", "voltages:<layer>", "spikes:<layer>" -> (T, B, *shape)."""

    index: int
    program: Program
    inputs: NDArray[Any]
    lava: dict[str, NDArray[Any]]


def load() -> list[GoldenCase]:
    """All configurations of the file."""
    with np.load(FILE, allow_pickle=False) as stored:
        index, numbers = json.loads(stored["index"].tobytes()), stored["numbers"].astype(np.int64)
    found = []
    for number, (structure, places) in enumerate(index):
        own = {name: numbers[begin:end].reshape(shape) for name, shape, begin, end in places}
        program = decode(structure, own, Program, f"{FILE.name}, configuration {number}")
        lava = {name: values for name, values in own.items() if ":" in name}
        found.append(GoldenCase(number, program, own["inputs"], lava))
    return found


def main() -> None:
    """Writes the file from what Lava computes now."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from conformance.cases import case

    from neurodeploy.export import lava

    cases = [case(index, small=True) for index in range(COUNT)]
    index: list[Any] = []
    parts: list[NDArray[Any]] = []
    end = 0
    for one, result in zip(cases, lava.execute([one.job() for one in cases]), strict=True):
        own: dict[str, NDArray[Any]] = {}
        structure = encode(one.program, own, "p")
        places = []
        for name, values in (own | {"inputs": one.inputs} | result).items():
            parts.append(values.ravel())
            places.append((name, values.shape, end, end + values.size))
            end += values.size
        index.append((structure, places))
    contents = {"index": np.frombuffer(json.dumps(index).encode(), dtype=np.uint8)}
    contents["numbers"] = np.concatenate(parts).astype(np.int32)
    FILE.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(FILE, "w") as archive:
        for name, values in contents.items():  # as np.savez_compressed, without the time of writing
            content = io.BytesIO()
            np.save(content, values, allow_pickle=False)
            place = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            archive.writestr(place, content.getvalue(), zipfile.ZIP_DEFLATED, 9)
    sys.stdout.write(f"{FILE}: {COUNT} configurations, {end} numbers, {FILE.stat().st_size} bytes\n")


if __name__ == "__main__":
    main()
