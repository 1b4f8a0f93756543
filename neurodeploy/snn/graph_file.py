"""The network of a model file that was imported: a Network as one text and named tensors, in place of a state."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from neurodeploy.errors import FileFormatError
from neurodeploy.ir.network import Network
from neurodeploy.ir.serialize import decode, encode

_LONGEST_TEXT = 2**26


def encode_graph(network: Network) -> dict[str, Any]:
    """Plain values and tensors."""
    arrays: dict[str, NDArray[Any]] = {}
    text = json.dumps(encode(network, arrays, "network"))
    return {"text": text, "arrays": {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}}


def decode_graph(content: Any) -> Network:
    """The Network that `encode_graph` wrote.

    Raises:
        FileFormatError: for anything else; a tensor that claims more values than it holds is refused.
    """
    if not isinstance(content, dict) or not isinstance(content.get("text"), str):
        raise FileFormatError("graph: a text and arrays are expected")
    if len(content["text"]) > _LONGEST_TEXT or not isinstance(content.get("arrays"), dict):
        raise FileFormatError("graph: the text is too long, or there are no arrays")
    arrays = {str(name): _array(str(name), tensor) for name, tensor in content["arrays"].items()}
    try:
        value = json.loads(content["text"])
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"graph: damaged text ({error})") from error
    network: Network = decode(value, arrays, Network, "graph")
    return network


def _array(name: str, tensor: Any) -> NDArray[Any]:
    if not isinstance(tensor, torch.Tensor) or tensor.dtype not in (torch.float64, torch.int64, *_NARROW):
        raise FileFormatError(f"graph: {name}: a tensor of numbers is expected")
    if not tensor.is_contiguous() or tensor.untyped_storage().nbytes() < math.prod(tensor.shape) * tensor.itemsize:
        raise FileFormatError(f"graph: {name}: claims more values than it holds")
    return np.asarray(tensor.numpy())


_NARROW = (torch.int8, torch.int16, torch.int32)
