"""Published levels of noise, each with its source and with what it leaves open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from neurodeploy.errors import UsageError, unknown_name
from neurodeploy.hw_models.noise import NoiseModel
from neurodeploy.hw_models.own_chip import is_chip_file, read_chip


@dataclass(frozen=True)
class NoisePreset:
    """A NoiseModel that somebody measured or used.

    Attributes:
        source: where the numbers are from.
        leaves_out: what the source does not say, or what this vocabulary says otherwise.
    """

    title: str
    noise: NoiseModel
    source: str
    leaves_out: str


_DYNAP_SE = (
    "raw measurements of Büchel et al., Sci. Rep. 11, 2021 (synsense/Robust-Classification-EBN, FigureMismatch, 256 "
    "neurons per bias setting), coefficients of variation computed again by us"
)
_BUECHEL = "Büchel et al., Sci. Rep. 11, 2021 (s41598-021-02779-x): time constants, thresholds and all weights alike"
_BUECHEL_LEAVES_OUT = "synaptic time constants, absent here; their membrane noise (thermal=0.01, 0.05, 0.1)"


def _buechel(percent: int) -> NoisePreset:
    level = percent / 100
    noise = NoiseModel(mismatch=level, weight_mismatch=level, decay_as="tau")
    return NoisePreset(f"Büchel et al.'s mismatch of {percent} %", noise, _BUECHEL, _BUECHEL_LEAVES_OUT)


PRESETS: Mapping[str, NoisePreset] = MappingProxyType(
    {
        "dynap-se": NoisePreset(
            "DYNAP-SE as measured, outliers included",
            NoiseModel(decay_mismatch=0.125, weight_mismatch=0.29, decay_as="tau", distribution="lognormal"),
            f"{_DYNAP_SE}: tau_mem 0.125 (mean of 9 settings), fast excitatory weight 0.29 (mean of 14); both skewed",
            "thresholds and noise, which were not measured",
        ),
        "dynap-se-slow": NoisePreset(
            "DYNAP-SE as measured, slow synapses",
            NoiseModel(decay_mismatch=0.125, weight_mismatch=0.16, decay_as="tau", distribution="lognormal"),
            f"{_DYNAP_SE}: tau_mem 0.125, slow excitatory weight 0.16 (mean of 13 settings)",
            "thresholds and noise, which were not measured",
        ),
        "dynap-se-core": NoisePreset(
            "DYNAP-SE as measured, without outliers",
            NoiseModel(decay_mismatch=0.071, weight_mismatch=0.20, decay_as="tau", distribution="lognormal"),
            f"{_DYNAP_SE}: robust (median absolute deviation) tau_mem 0.071, fast excitatory weight 0.20",
            "thresholds and noise, which were not measured; the tails",
        ),
        "rockpool": NoisePreset(
            "Rockpool's default mismatch",
            NoiseModel(mismatch=0.1, decay_as="tau"),
            "Rockpool 3.1.0, transform/mismatch.py: percent_deviation 0.30 and sigma_rule 3, a sigma of 10 %; Gaussian",
            "it varies 23 quantities of a DYNAP-SE2 neuron, of which tau_mem gets 19 %; weights on demand",
        ),
        "buechel-05": _buechel(5),
        "buechel-10": _buechel(10),
        "buechel-20": _buechel(20),
        "buechel-30": _buechel(30),
        "psg-pda": NoisePreset(
            "the mismatch of arXiv:2304.13289",
            NoiseModel(mismatch=0.2),
            "arXiv:2304.13289, section 5.4: Gaussian on decay factors and thresholds",
            "the levels of its Fig. 8 are not given in the text: 0.2 is ours, from Büchel's grid",
        ),
    }
)


def is_preset(text: str) -> bool:
    """Whether what was typed stands for a whole NoiseModel: a preset, or a chip file with noise of its own."""
    return text in PRESETS or is_chip_file(text)


def noise_of(text: str) -> NoiseModel:
    """The NoiseModel of a preset or of a chip file.

    Raises:
        UsageError: for an unknown name, or a file that is wrong or says nothing about noise.
    """
    if not is_chip_file(text):
        return preset(text).noise
    chip = read_chip(Path(text), {})
    if chip.noise is None:
        raise UsageError(f"--with {text}: the file has no section noise; see docs/mixed-signal.md")
    return chip.noise


def preset(name: str) -> NoisePreset:
    """The preset of that name; raises UsageError naming the nearest known ones."""
    if name not in PRESETS:
        raise unknown_name("noise preset", name, PRESETS)
    return PRESETS[name]
