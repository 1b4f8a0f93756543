"""The devices that the torch engine runs on: their names, and the settings under which sums are exact."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from neurodeploy.errors import MissingBackendError, UsageError


def find_device(name: str) -> torch.device:
    """The device of that name: "cpu", "cuda" or "cuda:N".

    Raises:
        UsageError: for another name, or a GPU of a number that is not here.
        MissingBackendError: where this machine, or this build of torch, has no GPU to compute on.
    """
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise _unknown(name) from error
    # Others have no double precision, or nobody has compared them.
    if device.type not in ("cpu", "cuda") or (device.type == "cpu" and device.index is not None):
        raise _unknown(name)
    if device.type == "cuda":
        if not torch.cuda.is_available():
            built = torch.version.cuda or torch.version.hip
            why = "no GPU or no driver is found" if built else f"torch {torch.__version__} is built for CPUs alone"
            raise MissingBackendError(
                f"device {name!r}: {why}; use --device cpu, or install a build of torch for this GPU "
                "(https://pytorch.org/get-started/locally)"
            )
        count = torch.cuda.device_count()
        if device.index is not None and device.index >= count:
            raise UsageError(f"device {name!r}: there are {count} GPUs here; allowed are cuda:0 to cuda:{count - 1}")
    return device


def _unknown(name: str) -> UsageError:
    return UsageError(f"unknown device {name!r}: allowed are cpu, cuda and cuda:N, N the number of a GPU from 0")


@contextmanager
def exact_arithmetic(device: torch.device) -> Iterator[None]:
    """Under it products in float32 keep all 24 bits; the settings of before, which are global, are restored.

    Autocast would compute them in half precision, TF32 (or bfloat16, on a CPU) would round their factors to 11 bits or
    fewer. `torch.set_float32_matmul_precision` turns both off for matrices; it overwrites what was set through
    `fp32_precision` (torch 2.9 and newer), which is therefore kept as well. A CPU's convolutions have a setting of
    their own there; a GPU's are matrix products here.
    """
    convolution: Any = getattr(torch.backends.mkldnn, "conv", None)
    places: list[Any] = [torch.backends.cuda.matmul, getattr(torch.backends.mkldnn, "matmul", None), convolution]
    before = [(place, place.fp32_precision) for place in places if hasattr(place, "fp32_precision")]
    try:
        overall = torch.get_float32_matmul_precision()
    except RuntimeError:  # set through fp32_precision alone
        overall = "highest"
    torch.set_float32_matmul_precision("highest")
    if hasattr(convolution, "fp32_precision"):
        convolution.fp32_precision = "ieee"
    try:
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(overall)
        for place, precision in before:
            place.fp32_precision = precision
