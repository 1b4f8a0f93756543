"""Training repeats bit by bit: which of PyTorch's algorithms run meanwhile, and what cuBLAS needs for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from neurodeploy.errors import UsageError

_VARIABLE, _WORKSPACE = "CUBLAS_WORKSPACE_CONFIG", ":4096:8"  # as Lightning's Trainer(deterministic=True) sets it


@contextmanager
def deterministic() -> Iterator[None]:
    """Meanwhile PyTorch runs under the flags of Lightning's Trainer(deterministic=True); after it, as before.

    The environment variable that cuBLAS reads stays: PyTorch looks at it once in a process, at its first product of
    matrices on a GPU, so that it is to be there before that one, and taking it away would change nothing.
    """
    os.environ[_VARIABLE] = _WORKSPACE
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark = torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.backends.cudnn.benchmark = benchmark


def check_products(device: torch.device) -> None:
    """Raises UsageError where this process multiplied matrices on a GPU before `deterministic` could prepare for it.

    To be called within `deterministic`. On a CPU there is nothing to check.
    """
    if device.type != "cuda":
        return
    matrix = torch.ones(2, 2, device=device)
    try:
        torch.mm(matrix, matrix)
    except RuntimeError as error:
        if _VARIABLE not in str(error):
            raise
        raise UsageError(
            f"training on {device}: this process computed on a GPU before {_VARIABLE} was set, and would not repeat "
            f"bit by bit; set {_VARIABLE}={_WORKSPACE} in the environment before it starts"
        ) from error
