"""NIR files as other tools write them: Input, Affine, one layer of neurons, Output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nir
import numpy as np


def foreign(neuron: Any, path: Path, *, bias: Any = None, metadata: dict[str, Any] | None = None) -> Path:
    """A file of another tool: Input, Affine, neurons, Output."""
    rng = np.random.default_rng(5)
    affine = nir.Affine(rng.normal(size=(6, 8)) + 0.2, np.zeros(6) if bias is None else bias)
    nodes = {"in": nir.Input(np.array([8])), "affine": affine, "neurons": neuron, "out": nir.Output(np.array([6]))}
    edges = [("in", "affine"), ("affine", "neurons"), ("neurons", "out")]
    nir.write(path, nir.NIRGraph(nodes, edges, metadata=metadata or {}))
    return path


def six(value: float) -> Any:
    return np.full(6, value)


def lif(**other: Any) -> Any:
    given = {"tau": six(5e-3), "r": six(1.0), "v_leak": six(0), "v_threshold": six(0.3), "v_reset": six(0)} | other
    return nir.LIF(**given)


def cuba(**other: Any) -> Any:
    given = {"tau_mem": six(5e-3), "tau_syn": six(2e-3), "r": six(1.5), "v_leak": six(0)}
    return nir.CubaLIF(**(given | {"v_threshold": six(0.3), "v_reset": six(0), "w_in": six(2.0)} | other))
