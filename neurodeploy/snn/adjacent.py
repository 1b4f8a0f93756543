"""Which modules of a SpikingNetwork a neighbour does on its way."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from neurodeploy.snn.neurons import LIFNeurons

Edges = Sequence[tuple[str, str]]


def pools(layers: nn.ModuleDict, edges: Edges) -> dict[str, tuple[str, int]]:
    """Neurons -> (average pooling that alone reads them, its size)."""
    found: dict[str, tuple[str, int]] = {}
    for name, module in layers.items():
        reader = _only_reader(name, edges)
        if not isinstance(module, LIFNeurons) or reader is None:
            continue
        pool = layers[reader]
        if not isinstance(pool, nn.AvgPool2d) or pool.padding not in (0, (0, 0)) or pool.ceil_mode:
            continue
        sizes = {
            size
            for given in (pool.kernel_size, pool.stride)
            for size in (given if isinstance(given, tuple) else (given,))
        }
        if len(sizes) == 1 and pool.divisor_override is None:
            found[name] = (reader, sizes.pop())
    return found


def flattens(layers: nn.ModuleDict, edges: Edges) -> dict[str, str]:
    """Linear layers -> the Flatten of a whole sample that they alone read, and alone are fed by."""
    found: dict[str, str] = {}
    for name, module in layers.items():
        reader = _only_reader(name, edges)
        whole = isinstance(module, nn.Flatten) and (module.start_dim, module.end_dim) == (1, -1)
        if whole and reader is not None and type(layers[reader]) is nn.Linear:  # others may read it in their own way
            found[reader] = name
    return found


def _only_reader(name: str, edges: Edges) -> str | None:
    """The one module that reads this one and nothing else; None without."""
    readers = [target for source, target in edges if source == name]
    return readers[0] if len(readers) == 1 and [t for _, t in edges].count(readers[0]) == 1 else None
