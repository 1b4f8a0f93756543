"""Pooling right behind a convolution: one convolution of a larger kernel and stride.

With p the pool's kernel, s the convolution's stride, d its dilation and w its weight, a pooled place adds up

    sum over a, b < p and taps i, j of  w[i, j] x[p s y + s a + d i - padding, p s x + s b + d j - padding]

so that the kernel is w at every offset (s a, s b), added up, and the stride p s. A place is there where its whole
window is, as in PyTorch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

from neurodeploy.errors import UsageError
from neurodeploy.importing.nir_graph import Link
from neurodeploy.ir.arrays import FloatArray
from neurodeploy.ir.nodes import AvgPool2d, Conv2d, Node, SumPool2d

_MOST_WEIGHTS = 2**24  # of a convolution with its pool: pools of any size fit into a small file


class Note(NamedTuple):
    """What happened to a convolution, by its name."""

    convolution: str
    text: str


def pools_folded(nodes: Mapping[str, Node], links: Sequence[Link]) -> tuple[dict[str, Node], list[Link], list[Note]]:
    """(nodes, links, notes) without the pools that alone read a convolution, at once, and read it alone.

    Raises:
        UsageError: for a pool that makes a convolution of more than 2^24 weights.
    """
    folded, notes = dict(nodes), list[Note]()
    leaving: dict[str, list[Link]] = {}
    for link in links:
        leaving.setdefault(link.source, []).append(link)
    arriving = Counter(link.target for link in links)
    went: dict[str, str] = {}  # pool -> its convolution
    for source, conv in nodes.items():
        if not isinstance(conv, Conv2d):
            continue
        last = source
        while len(onward := leaving.get(last, [])) == 1 and not onward[0].delay and arriving[onward[0].target] == 1:
            last = onward[0].target
            pool = folded.get(last)
            if not isinstance(pool, SumPool2d | AvgPool2d):
                break
            del folded[last]
            went[last] = source
            folded[source] = conv = _pooled(last, conv, pool)
            height, width = conv.weight.shape[2:]
            text = f"{last} is in the convolution {source}, now {height} x {width} with stride {conv.stride}"
            notes.append(Note(source, text))
    kept = [link._replace(source=went.get(link.source, link.source)) for link in links if link.target not in went]
    return folded, kept, notes


def _pooled(name: str, conv: Conv2d, pool: SumPool2d | AvgPool2d) -> Conv2d:
    p, (out, features, *kernel) = pool.kernel, conv.weight.shape
    if p == 1 and conv.dilation == (1, 1):
        return conv
    size = [(p - 1) * s + (k - 1) * d + 1 for k, s, d in zip(kernel, conv.stride, conv.dilation, strict=True)]
    if out * features * size[0] * size[1] > _MOST_WEIGHTS:
        raise UsageError(
            f"node {name}: with the convolution before it a kernel of {size[0]} x {size[1]}, "
            f"{out * features * size[0] * size[1]:,} weights; at most {_MOST_WEIGHTS:,}"
        )
    weight: FloatArray = conv.weight
    for axis, length in ((2, size[0]), (3, size[1])):  # a window adds up rows, then columns
        step, apart = conv.stride[axis - 2], conv.dilation[axis - 2]
        wider = np.zeros((*weight.shape[:axis], length, *weight.shape[axis + 1 :]))
        for place, tap in product(range(p), range(weight.shape[axis])):
            np.moveaxis(wider, axis, 0)[step * place + apart * tap] += np.moveaxis(weight, axis, 0)[tap]
        weight = wider
    each, whole = (1 / p**2, 1.0) if isinstance(pool, AvgPool2d) else (1.0, float(p**2))
    stride = (p * conv.stride[0], p * conv.stride[1])
    return Conv2d(weight * each, conv.bias * whole, stride, conv.padding, (1, 1), conv.groups)
