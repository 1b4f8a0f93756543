"""Programs to run, from an artifact folder or a `.net` file, and samples to run them on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from neurodeploy.config import DataConfig
from neurodeploy.data.dataset import DataSet
from neurodeploy.data.matching import unlike
from neurodeploy.data.sources import load_data_set
from neurodeploy.errors import FileFormatError, UsageError, unknown_name
from neurodeploy.hw_models import remember
from neurodeploy.hw_models.random import stream
from neurodeploy.importing.net import read_net
from neurodeploy.ir.artifact import Artifact, is_artifact, load_artifact
from neurodeploy.ir.program import Program

NET_SUFFIX = ".net"
_MOST_RANDOM = 2**31  # values of a byte
Encoding = Literal["direct", "rate", "latency"]


@dataclass(frozen=True, eq=False)
class LoadedProgram:
    """A Program and where it comes from.

    Attributes:
        artifact: the folder's content, or None where the file holds no more than the Program.
        warnings: what the file's own tool does silently; see `neurodeploy.importing.net`.
    """

    program: Program
    artifact: Artifact | None = None
    warnings: tuple[str, ...] = ()


def load_program(path: Path, steps: int | None = None, input_bits: int | None = None) -> LoadedProgram:
    """Reads an artifact folder, or a `.net` file of lava-dl.

    Args:
        steps, input_bits: what a `.net` file does not say; see `neurodeploy.importing.net.read_net`.

    Raises:
        FileFormatError: naming the file that is missing, damaged or hostile.
        UsageError: where the steps of a `.net` are not known, or are given for an artifact, which says its own.
    """
    if path.suffix == NET_SUFFIX and not is_artifact(path):
        imported = read_net(path, steps, 1 if input_bits is None else input_bits)
        return LoadedProgram(imported.program, None, imported.warnings)
    for option, value in (("--steps", steps), ("--input-bits", input_bits)):
        if value is not None:
            raise UsageError(f"{option} {value}: only for a .net file; {path} says its own")
    if path.is_file():
        raise FileFormatError(
            f"{path}: the folder of an artifact or a .net file is expected; `neurodeploy export` makes an artifact of "
            "a model, `neurodeploy import` a model of a NIR graph"
        )
    artifact = load_artifact(path)
    remember(artifact.facts)
    return LoadedProgram(artifact.program, artifact)


def known_encoding(name: str) -> Encoding:
    """The encoding of that name; raises UsageError naming the known ones."""
    for known in get_args(Encoding):
        if name == known:
            return cast(Encoding, known)
    raise unknown_name("encoding", name, get_args(Encoding))


def random_inputs(program: Program, samples: int, seed: int = 0) -> NDArray[np.uint8]:
    """(T, B, *shape) integers, every value of the input's bits as likely as any other.

    Raises:
        UsageError: for more values than a machine holds.
    """
    generator = np.random.Generator(stream("random inputs", seed))
    shape = (program.steps, samples, *program.input.shape)
    if math.prod(shape) > _MOST_RANDOM:
        raise UsageError(
            f"--samples {samples}: inputs of shape {shape} (steps, samples, …); at most {_MOST_RANDOM} values are drawn"
        )
    return generator.integers(0, 2**program.input.bits, shape, dtype=np.uint8)


def data_for(
    program: Program, name: str, root: str | None = None, encoding: Encoding = "direct", seed: int = 0
) -> DataSet:
    """A data set as a program's input takes it: values rounded to its bits, or encoded as spikes; shapes must fit.

    Raises:
        UsageError: where they do not, or where there are more classes than the program has outputs, naming both.
    """
    bits = program.input.bits if encoding == "direct" else None
    data = load_data_set(DataConfig(name=name, root=root, bits=bits, encoding=encoding), program.steps, seed)
    if math.prod(data.input.shape) != math.prod(program.input.shape):
        raise UsageError(f"--data {name}: samples of shape {data.input.shape}, the network takes {program.input.shape}")
    wrong = unlike(data, None, None, math.prod(program.layers[-1].shape))
    if wrong:
        raise UsageError(f"--data {name}: {'; '.join(wrong)}")
    return data


def shaped(program: Program, inputs: NDArray[Any]) -> NDArray[Any]:
    """(B, *shape) or (T, B, *shape) samples in the shape of the program's input, which may be flat (row-major)."""
    dimensions = len(program.input.shape)
    own = inputs.shape[-dimensions:] == program.input.shape
    if own:
        return inputs
    lead = next(n for n in (1, 2) if math.prod(inputs.shape[n:]) == math.prod(program.input.shape))
    return inputs.reshape(*inputs.shape[:lead], *program.input.shape)
