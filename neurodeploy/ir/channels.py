"""Inputs of a network as a chip without shapes takes them: one channel per value."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def flat(channels: int, inputs: NDArray[Any]) -> NDArray[Any]:
    """(B, channels) or (T, B, channels), of (B, *shape) or (T, B, *shape); others as they are, for the simulator to
    name what is wrong.
    """
    for leading in (1, 2):
        if inputs.ndim > leading and int(np.prod(inputs.shape[leading:])) == channels:
            return inputs.reshape(*inputs.shape[:leading], channels)
    return inputs
