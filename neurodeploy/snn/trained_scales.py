"""Scales that training with a chip's rounding computed with, in the model file; and the Program of a model.

A model that was trained with `noise.quantize` keeps the scales that its last forward pass rounded at: as integer
thresholds of firing layers, as scales elsewhere (`snn.fake_quant.Scales`). For the same chip its Program is that
forward pass, code for code. Scales that are searched anew make a Program like the float network, which is not what was
trained: below 4 bits that gives up most of what the rounding in the loop had gained.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from neurodeploy import hw_models
from neurodeploy.errors import DesignRuleError
from neurodeploy.hw_models.chip import ChipModel
from neurodeploy.ir.lower import lower
from neurodeploy.ir.network import Network
from neurodeploy.ir.nodes import FIRING
from neurodeploy.ir.program import Program
from neurodeploy.quantize import quantize
from neurodeploy.snn.fake_quant import FakeQuant, Scales
from neurodeploy.snn.rounding import keep_scales, rounding
from neurodeploy.snn.spiking_network import SpikingNetwork
from neurodeploy.snn.trace import trace

if TYPE_CHECKING:
    from neurodeploy.snn.model_file import Model

_LONGEST_NAME = 200
_LARGEST_THRESHOLD = 2**24  # beyond the threshold register of every chip
_LARGEST_SCALE = 1e30


@dataclass(frozen=True)
class TrainedScales:
    """The scales of training with rounding, as they lie in a model file.

    Attributes:
        chip: name of the chip whose rounding it was, without the bits.
        weight_bits: of its weights, sign included.
        thresholds: firing layers of a fixed-point chip -> integer threshold.
        fixed: all other layers -> scale, potential per weight unit.
    """

    chip: str
    weight_bits: int
    thresholds: Mapping[str, int]
    fixed: Mapping[str, float]

    def __str__(self) -> str:
        return f"{self.chip}@{self.weight_bits}"

    def are_of(self, chip: ChipModel) -> bool:
        """Whether this is the chip that they were trained for: its name, its bits, and its kind of numbers."""
        same = (self.chip, self.weight_bits) == (_base(chip), chip.weight_bits)
        return same and bool(self.thresholds) == chip.fixed_point


@dataclass(frozen=True, eq=False)
class Quantised:
    """A model's Program for a chip.

    Attributes:
        scales: where its scales come from, for people.
        trained: whether they are those of training with this chip's rounding.
        notable: whether that ought to be said: the model was trained with the rounding of some chip.
    """

    network: Network
    program: Program
    scales: str
    trained: bool
    notable: bool


def quantize_model(model: Model, chip: ChipModel, search: bool = False) -> Quantised:
    """The Program of a model: at the scales of training where it was trained with this chip's rounding, else searched.

    Args:
        search: search scales on the calibration samples in any case.

    Raises:
        DesignRuleError: as `quantize`.
    """
    network, kept, wanted = trace(model.network), model.scales, model.config.noise.quantize
    if kept is not None and kept.are_of(chip) and not search:
        scales = Scales(chip, kept.thresholds, kept.fixed).of(network)
        try:
            program = quantize(network, chip, scales=scales)
        except DesignRuleError as error:
            texts = [f"{text} (a scale of the model file; --search-scales chooses anew)" for text in error.violations]
            raise DesignRuleError(error.target, texts) from error
        return Quantised(network, program, f"those of training with the rounding of {kept}", True, True)
    program = quantize(network, chip, model.calibration.inputs)
    return Quantised(network, program, _why_searched(kept, wanted, chip, search), False, bool(wanted))


def _why_searched(kept: TrainedScales | None, wanted: str | None, chip: ChipModel, search: bool) -> str:
    searched = f"searched for {chip.name} on the model's calibration samples"
    if not wanted:
        return searched
    if kept is None:
        return f"{searched}; trained with noise.quantize={wanted}, of which the file keeps no scales: train again"
    if search and kept.are_of(chip):
        return f"{searched}, as asked; those of training with the rounding of {kept} are left out"
    return f"{searched}; training rounded for another chip, {kept} (--chip {wanted} exports what was trained)"


def trained_rounding(
    network: SpikingNetwork, chip_name: str, kept: Mapping[str, Any], calibration: NDArray[Any] | None
) -> FakeQuant:
    """The rounding that the next forward pass of training would go through.

    Args:
        network: after training, with the batch norms' statistics of its epoch; they are left in evaluation mode.
        chip_name: `noise.quantize`.
        kept: `rounding.kept_scales` of that epoch.
        calibration: what training chose scales on; needed where weights have outgrown theirs since the last batch.

    Raises:
        DesignRuleError: where the chip cannot hold the network at any scale.
    """
    hw_models.chip(chip_name)  # first: a chip of a user's own is known by its name once its file was read
    keep_scales(network, dict(kept))
    return rounding(network, chip_name, int(kept["epoch"]), 1, calibration)


def trained_scales(scales: Scales) -> TrainedScales:
    """As they are kept in a model file."""
    return TrainedScales(_base(scales.chip), scales.chip.weight_bits, dict(scales.thresholds), dict(scales.fixed))


def encode_scales(scales: TrainedScales) -> dict[str, Any]:
    """Plain values for a model file."""
    return {
        "chip": scales.chip,
        "weight_bits": scales.weight_bits,
        "thresholds": dict(scales.thresholds),
        "fixed": dict(scales.fixed),
    }


def decode_scales(content: Any, network: SpikingNetwork | Network) -> TrainedScales:
    """The scales that `encode_scales` wrote, checked against the network that they belong to.

    Raises:
        ValueError: naming what is missing, unknown or out of range.
    """
    if not isinstance(content, dict) or set(content) != {"chip", "weight_bits", "thresholds", "fixed"}:
        raise ValueError("scales: a dictionary of chip, weight_bits, thresholds and fixed is expected")
    name, bits, thresholds, fixed = (content[part] for part in ("chip", "weight_bits", "thresholds", "fixed"))
    if not isinstance(name, str) or not 0 < len(name) <= _LONGEST_NAME or not name.isprintable() or "@" in name:
        raise ValueError("scales: chip is not the name of a chip")
    if type(bits) is not int or not 1 <= bits <= 64:
        raise ValueError(f"scales: weight_bits is {bits!r}, 1 to 64 is expected")
    if not isinstance(thresholds, dict) or not isinstance(fixed, dict):
        raise ValueError("scales: thresholds and fixed are dictionaries")
    lowered = lower(trace(network)).layers
    names = {layer.name for layer in lowered}
    firing = {layer.name for layer in lowered if isinstance(layer.neuron, FIRING)}
    if set(thresholds) not in (set(), firing) or set(fixed) != names - set(thresholds):
        raise ValueError(f"scales: layers missing, unknown or of the wrong kind; there are {', '.join(sorted(names))}")
    for layer, threshold in thresholds.items():
        if type(threshold) is not int or not 1 <= threshold <= _LARGEST_THRESHOLD:
            raise ValueError(f"scales: threshold of {layer} is {threshold!r}, 1 to {_LARGEST_THRESHOLD} is expected")
    for layer, scale in fixed.items():
        if type(scale) is not float or not 1 / _LARGEST_SCALE < scale < _LARGEST_SCALE:
            raise ValueError(f"scales: scale of {layer} is {scale!r}, a positive finite number is expected")
    return TrainedScales(name, bits, dict(thresholds), dict(fixed))


def _base(chip: ChipModel) -> str:
    return chip.name.partition("@")[0]
