"""Comparison of two runs of one Program: how many spikes and voltages differ per layer, and where the first one is."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from neurodeploy.errors import UsageError
from neurodeploy.simulate.recording import Recording


@dataclass(frozen=True)
class Divergence:
    """The first difference in the order of time.

    Attributes:
        step: counted from 1.
        neuron: index within the layer's shape.
        quantity: "spike" or "voltage"; expected and got are its values.
    """

    step: int
    layer: str
    sample: int
    neuron: tuple[int, ...]
    quantity: str
    expected: float
    got: float

    def __str__(self) -> str:
        where = ", ".join(map(str, self.neuron))
        return (
            f"first at step {self.step}, layer {self.layer}, neuron ({where}), sample {self.sample}: "
            f"{self.quantity} {self.expected:g} expected, {self.got:g} got"
        )


@dataclass(frozen=True)
class LayerComparison:
    """One layer: counts over all steps, samples and neurons. `firing_rate` is the reference's."""

    layer: str
    compared: int
    firing_rate: float | None
    mismatched_spikes: int
    mismatched_voltages: int


@dataclass(frozen=True)
class Comparison:
    """All layers, and the first divergence where there is one."""

    samples: int
    layers: tuple[LayerComparison, ...]
    first: Divergence | None
    decisions_differing: int

    @property
    def mismatched_spikes(self) -> int:
        """Over all layers."""
        return sum(layer.mismatched_spikes for layer in self.layers)

    @property
    def mismatched_voltages(self) -> int:
        """Over all layers."""
        return sum(layer.mismatched_voltages for layer in self.layers)

    @property
    def spikes_compared(self) -> int:
        """Over all layers that fire."""
        return sum(layer.compared for layer in self.layers if layer.firing_rate is not None)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {
            "mismatched_spikes": self.mismatched_spikes,
            "mismatched_voltages": self.mismatched_voltages,
            "spikes_compared": self.spikes_compared,
        }


def compare(expected: Recording, got: Recording) -> Comparison:
    """Compares by value, with no tolerance.

    Raises:
        UsageError: where the runs do not have the same layers, steps, samples and neurons; nothing is skipped.
    """
    if list(expected.potentials) != list(got.potentials) or set(expected.spikes) != set(got.spikes):
        raise UsageError(f"the runs have different layers: {list(expected.potentials)} and {list(got.potentials)}")
    rows, firsts = [], []
    for order, name in enumerate(expected.potentials):
        spikes = voltages = 0
        rate = None
        for quantity, before, after in (
            ("spike", expected.spikes.get(name), got.spikes.get(name)),
            ("voltage", expected.potentials[name], got.potentials[name]),
        ):
            if before is None or after is None:  # a layer that does not fire has no spikes in either run
                continue
            if before.shape != after.shape:
                raise UsageError(f"layer {name}: {quantity}s of shape {before.shape} and {after.shape}")
            different = before != after
            count = int(different.sum())
            if quantity == "spike":
                spikes, rate = count, float(before.mean())
            else:
                voltages = count
            if count:
                step, sample, *neuron = (int(i) for i in np.argwhere(different)[0])
                values = float(before[(step, sample, *neuron)]), float(after[(step, sample, *neuron)])
                firsts.append(
                    (step, order, quantity, Divergence(step + 1, name, sample, tuple(neuron), quantity, *values))
                )
        rows.append(LayerComparison(name, int(expected.potentials[name].size), rate, spikes, voltages))
    first = min(firsts, key=lambda item: item[:3])[3] if firsts else None
    differing = int((expected.decisions != got.decisions).sum())
    return Comparison(len(expected.readout), tuple(rows), first, differing)
