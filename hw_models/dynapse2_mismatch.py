"""Virtual DYNAP-SE2 chips: every neuron's own currents, circuit constants and weights, drawn by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Literal

import numpy as np

from neurodeploy.errors import UsageError, unknown_name
from neurodeploy.hw_models.dynapse2 import LAYOUT, dynapse2_chip
from neurodeploy.hw_models.dynapse2_network import SHARED, Dynapse2Network
from neurodeploy.hw_models.random import frozen_normals
from neurodeploy.ir.arrays import FloatArray, frozen_floats

WEIGHT = "weight"
CONSTANTS = tuple(asdict(LAYOUT))
QUANTITIES = (*SHARED, *CONSTANTS, WEIGHT)
# What Rockpool's frozen_mismatch_prototype varies, without Ipulse_ahp: at a current of 0, which its mapper writes, the
# pulse never ends and everything is NaN.
_FROZEN = tuple(name for name in (*SHARED, *CONSTANTS) if name != "Ipulse_ahp")
_LEAST = 1e-3  # of the nominal value: a Gaussian factor is cut off there, as no current flows backwards


@dataclass(frozen=True, eq=False)
class Realised:
    """One chip's numbers for a network.

    Attributes:
        values: `SHARED` currents (ampere) and `CONSTANTS`, each (neurons,).
        weights_in, weights_rec: weight currents, ampere.
    """

    network: Dynapse2Network
    values: Mapping[str, FloatArray]
    weights_in: FloatArray
    weights_rec: FloatArray

    def __post_init__(self) -> None:
        values = {name: frozen_floats(one) for name, one in self.values.items()}
        object.__setattr__(self, "values", MappingProxyType(values))
        for name in ("weights_in", "weights_rec"):
            object.__setattr__(self, name, frozen_floats(getattr(self, name)))


@dataclass(frozen=True)
class Mismatch:
    """Relative spread of quantities, once per chip: value × factor, with factor of mean 1.

    Attributes:
        levels: quantity (`QUANTITIES`) -> coefficient of variation; "weight" is drawn for each synapse, the others for
            each neuron.
        distribution: of the factors: "gaussian" is 1 + level N(0, 1), cut off at 0.001; "lognormal" never is negative.
    """

    levels: Mapping[str, float]
    distribution: Literal["gaussian", "lognormal"] = "gaussian"

    def __post_init__(self) -> None:
        for name, level in self.levels.items():
            if name not in QUANTITIES:
                raise unknown_name("quantity of a mismatch", name, QUANTITIES)
            if not (np.isfinite(level) and level >= 0):
                raise UsageError(f"mismatch of {name}: {level}, a finite level from 0 on is expected")
        if self.distribution not in ("gaussian", "lognormal"):
            raise unknown_name("distribution", self.distribution, ("gaussian", "lognormal"))
        object.__setattr__(self, "levels", MappingProxyType(dict(self.levels)))

    def scaled(self, factor: float) -> Mismatch:
        """All levels times a factor; a chip keeps its draws, so that it moves along a line."""
        return Mismatch({name: level * factor for name, level in self.levels.items()}, self.distribution)


@dataclass(frozen=True)
class MismatchPreset:
    """A Mismatch that somebody measured or used, and what it leaves open."""

    title: str
    mismatch: Mismatch
    source: str
    leaves_out: str = ""


@lru_cache(maxsize=8)  # a sweep asks for it with every chip; networks and what comes back are frozen
def nominal(network: Dynapse2Network) -> Realised:
    """The chip without mismatch: every neuron has its core's currents and the constants of the layout."""
    constants = asdict(dynapse2_chip(network.chip).layout)
    values = {name: currents[network.core] for name, currents in network.biases.items()}
    values |= {name: np.full(network.neurons, value) for name, value in constants.items()}
    return Realised(network, values, *network.weights())


def realise(network: Dynapse2Network, mismatch: Mismatch, chip_id: int, seed: int = 0) -> Realised:
    """The numbers of a virtual chip; level 0 is the nominal chip to the bit.

    A draw is keyed by (seed, chip, quantity) and does not depend on levels or on other quantities.
    """
    whole = nominal(network)
    values = dict(whole.values)
    weights = {"weights_in": whole.weights_in, "weights_rec": whole.weights_rec}
    for name, level in mismatch.levels.items():
        if level == 0:
            continue
        if name == WEIGHT:
            for part, current in weights.items():
                weights[part] = current * _factors(mismatch, level, current.shape, seed, chip_id, part)
        else:
            values[name] = values[name] * _factors(mismatch, level, (network.neurons,), seed, chip_id, name)
    return Realised(network, values, **weights)


def _factors(
    mismatch: Mismatch, level: float, shape: tuple[int, ...], seed: int, chip_id: int, name: str
) -> FloatArray:
    normals = frozen_normals(shape, seed, chip_id, "dynapse2", name)
    if mismatch.distribution == "lognormal":
        variance = np.log1p(level**2)
        return np.asarray(np.exp(np.sqrt(variance) * normals - variance / 2))
    return np.maximum(1 + level * normals, _LEAST)


_SILICON = (
    "raw measurements of DYNAP-SE by Büchel et al., Sci. Rep. 11, 2021 (synsense/Robust-Classification-EBN, "
    "FigureMismatch, 256 neurons per bias setting), coefficients of variation computed again by us"
)
_BUECHEL = "Büchel et al., Sci. Rep. 11, 2021 (s41598-021-02779-x): time constants, thresholds and all weights alike"
_UNMEASURED = "thresholds, synaptic time constants and noise, which were not measured; DYNAP-SE is the chip before this"


def _silicon(title: str, tau_mem: float, weight: float, settings: str) -> MismatchPreset:
    levels = {"Itau_mem": tau_mem, WEIGHT: weight}
    return MismatchPreset(title, Mismatch(levels, "lognormal"), f"{_SILICON}: {settings}", _UNMEASURED)


def _buechel(percent: int) -> MismatchPreset:
    levels = dict.fromkeys(("Itau_mem", "Itau_syn", "Ispkthr", WEIGHT), percent / 100)
    return MismatchPreset(
        f"Büchel et al.'s mismatch of {percent} %", Mismatch(levels), _BUECHEL, "noise of the membrane"
    )


PRESETS: Mapping[str, MismatchPreset] = MappingProxyType(
    {
        "dynap-se": _silicon(
            "DYNAP-SE as measured, outliers included", 0.125, 0.29, "tau_mem 0.125 (mean of 9), fast weight 0.29 (14)"
        ),
        "dynap-se-slow": _silicon(
            "DYNAP-SE as measured, slow synapses",
            0.125,
            0.16,
            "tau_mem 0.125, slow excitatory weight 0.16 (mean of 13)",
        ),
        "dynap-se-core": _silicon(
            "DYNAP-SE as measured, without outliers", 0.071, 0.20, "robust: tau_mem 0.071, fast excitatory weight 0.20"
        ),
        "rockpool": MismatchPreset(
            "Rockpool's default mismatch",
            Mismatch(dict.fromkeys(_FROZEN, 0.1)),
            "Rockpool 3.1.0, transform/mismatch.py: percent_deviation 0.30 and sigma_rule 3, a sigma of 10 %, "
            "Gaussian; simulation/mismatch_prototype.py (frozen)",
            "weights; Ipulse_ahp, which is NaN where its current is 0. The factors of one product are independent, so "
            "that tau_mem spreads by 19 %",
        ),
        "currents": MismatchPreset(
            "time constants and thresholds",
            Mismatch(dict.fromkeys(("Itau_mem", "Itau_syn", "Ispkthr"), 0.1)),
            "ours: 10 % on the three currents that set a neuron's rate; `scaled` gives other levels",
        ),
        "buechel-05": _buechel(5),
        "buechel-10": _buechel(10),
        "buechel-20": _buechel(20),
        "buechel-30": _buechel(30),
    }
)


def preset(name: str) -> MismatchPreset:
    """The preset of that name; raises UsageError naming the nearest known ones."""
    if name not in PRESETS:
        raise unknown_name("mismatch preset of DYNAP-SE2", name, PRESETS)
    return PRESETS[name]
