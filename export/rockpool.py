"""Rockpool 3.1 (SynSense): a Program as Rockpool's torch modules, spike for spike.

`rockpool.json` says which Rockpool modules a Program is, so that they can be rebuilt without this project; the weights
are in the artifact's `program.safetensors`. Neither Rockpool nor torch is needed to look at this file's target.
"""

from __future__ import annotations

import importlib.metadata
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.errors import DesignRuleError, MissingBackendError, NeurodeployError
from neurodeploy.export.rockpool_json import FILE, described, read, spread, weights_of
from neurodeploy.export.target import Backend, Target
from neurodeploy.ir.arrays import Shape
from neurodeploy.ir.identity import program_hash
from neurodeploy.ir.program import FloatNeurons, Program
from neurodeploy.ir.synapses import ConvSynapses, Synapses
from neurodeploy.simulate.recording import Recording

UNROLLED_LIMIT = 2**26  # weights of unrolled convolutions: 1 GB while they run, 3 GB while they are built
_BYTES_PER_UNROLLED = 40
_TARGET = "Rockpool"
_INSTALL = "pip install 'rockpool>=3.1,<3.2'"


def run(program: Program, inputs: NDArray[Any]) -> Recording:
    """Runs a program in Rockpool, with the program's own reset and comparison.

    Args:
        inputs: integers, (B, *shape) shown at every step, or (T, B, *shape).

    Raises:
        MissingBackendError: where Rockpool is not installed.
        DesignRuleError: naming everything that Rockpool cannot express.
        UsageError: where the input does not suit the program.
    """
    return _run(program, inputs, family=False)


def run_subtractive(program: Program, inputs: NDArray[Any]) -> Recording:
    """Runs a program with Rockpool's own spike function: V -= threshold where V >= threshold, one spike a step at most.

    Arguments and errors as `run`; a threshold of 0, by which that function divides, is a DesignRuleError.
    """
    zero = [layer.name for layer in program.layers if layer.fires and layer.neurons.threshold.min() == 0]
    if zero:
        raise DesignRuleError(_TARGET, [f"layer {name}: a threshold of 0, by which Rockpool divides" for name in zero])
    return _run(program, inputs, family=True)


def _run(program: Program, inputs: NDArray[Any], family: bool) -> Recording:
    found = backend()
    if found.version is None:
        raise MissingBackendError(found.detail)
    broken = violations(program)
    if broken:
        raise DesignRuleError(_TARGET, broken)
    with warnings.catch_warnings():  # of Rockpool's own sources, when they are compiled for the first time
        for category in (DeprecationWarning, SyntaxWarning):
            warnings.filterwarnings("ignore", ".*invalid escape sequence", category)
        from neurodeploy.export import rockpool_modules
    return rockpool_modules.run(program, inputs, family)


def violations(program: Program) -> list[str]:
    """Everything in a program that Rockpool's torch modules cannot express, with layer names."""
    found = []
    unrolled: dict[str, int] = {}
    for layer in program.layers:
        if not isinstance(layer.neurons, FloatNeurons):
            found.append(
                f"layer {layer.name}: fixed-point neurons, Rockpool computes in floating point; "
                f"quantise for the chip {TARGET.chip}"
            )
        elif np.frexp(layer.scale)[0] != 0.5:
            found.append(f"layer {layer.name}: scale {layer.scale:g} is not a power of two, so that sums are not exact")
        for synapses in layer.synapses:
            unrolled[layer.name] = unrolled.get(layer.name, 0) + _unrolled_weights(program, synapses)
    total = sum(unrolled.values())
    if total > UNROLLED_LIMIT:
        largest = max(unrolled, key=lambda name: unrolled[name])
        found.append(
            f"layer {largest}: Rockpool has no convolution, and unrolled the network's have {total:,} weights (about "
            f"{total * _BYTES_PER_UNROLLED / 1e9:.1f} GB), {unrolled[largest]:,} of them in this layer; at most "
            f"{UNROLLED_LIMIT:,} are run"
        )
    return found


def _unrolled_weights(program: Program, synapses: Synapses) -> int:
    """How many weights a convolution has without weight sharing, its borders left out of account."""
    if not isinstance(synapses, ConvSynapses):
        return 0
    _, height, width = synapses.output_shape(program.shapes[synapses.source])
    return int(np.count_nonzero(synapses.weight)) * synapses.pool**2 * height * width


def unroll(synapses: ConvSynapses, shape: Shape) -> Any:
    """A convolution with its pooling, on an input of `shape`, as a SciPy CSR matrix (outputs, inputs), row-major."""
    from scipy import sparse

    plain = synapses.expanded()
    _, height, width = shape
    channels, out_height, out_width = plain.output_shape(shape)
    rows, columns, values = [], [], []
    for row, column in np.ndindex(plain.weight.shape[2:]):
        down = np.arange(out_height) * plain.stride[0] - plain.padding[0] + row * plain.dilation[0]
        right = np.arange(out_width) * plain.stride[1] - plain.padding[1] + column * plain.dilation[1]
        y, x = (np.flatnonzero((at >= 0) & (at < size)) for at, size in ((down, height), (right, width)))
        taps = plain.weight[:, :, row, column]
        target, source = np.nonzero(taps)
        weight = taps[target, source].astype(np.float64)
        source = source + target // (channels // plain.groups) * taps.shape[1]
        target, source = target[:, None, None], source[:, None, None]
        rows.append(((target * out_height + y[:, None]) * out_width + x).ravel())
        columns.append(((source * height + down[y][:, None]) * width + right[x]).ravel())
        values.append(np.repeat(weight, len(y) * len(x)))
    places = (np.concatenate(rows), np.concatenate(columns))
    size = (channels * out_height * out_width, int(np.prod(shape)))
    return sparse.coo_array((np.concatenate(values), places), shape=size).tocsr()


def write(program: Program, folder: Path) -> list[str]:
    """Writes `rockpool.json`: which Rockpool modules the program is, all but the weights (see `rockpool_json`).

    What was written is read again and must be the program.

    Returns:
        What was left out, with the reason; where the program breaks a rule, no file is written and these are the rules.
    """
    broken = violations(program)
    if broken:
        return [f"{FILE}: {text}" for text in broken]
    (folder / FILE).write_text(described(program), encoding="utf-8")
    again = read((folder / FILE).read_text(encoding="utf-8"), weights_of(program), FILE)
    if program_hash(again) != program_hash(spread(program)):
        raise NeurodeployError(f"{folder / FILE}: what was written is not the program; please report it")
    return [
        "configurations of Xylo and DYNAP-SE2: Rockpool's mappers read as_graph(), which LIFNeuronTorch does not have; "
        "`neurodeploy export` writes them with --target xylo and --target dynapse2"
    ]


def backend() -> Backend:
    """Whether Rockpool is installed; reads package metadata only, and imports nothing."""
    try:
        found = importlib.metadata.distribution("rockpool")
    except importlib.metadata.PackageNotFoundError:
        return Backend(None, f"Rockpool is not installed; {_INSTALL}")
    if found.version.split(".")[:2] != ["3", "1"]:
        return Backend(None, f"Rockpool {found.version} is installed, but its modules are known for 3.1; {_INSTALL}")
    return Backend(found.version, str(found.locate_file("rockpool")))


TARGET = Target(
    name="rockpool",
    title="Rockpool 3.1 (SynSense), torch modules",
    chip="mixed-signal",
    violations=violations,
    write=write,
    run=run,
    variants={"subtractive": ("Rockpool's own subtractive reset", run_subtractive)},
    backend=backend,
)
