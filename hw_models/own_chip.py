"""A chip of one's own: a YAML or JSON file of numbers with their sources, read as data and checked whole.

Nothing in it is executed. `docs/mixed-signal.md` walks through one; `TEMPLATE` is what is copied.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from neurodeploy.errors import FileFormatError, NeurodeployError, UsageError
from neurodeploy.hw_models.chip import ChipModel, Granularity, Knob, Quantity
from neurodeploy.hw_models.noise import NoiseModel
from neurodeploy.plain_yaml import parse_yaml

SUFFIXES = (".yaml", ".yml", ".json")
TEMPLATE = Path(__file__).with_name("own_chip_template.yaml")
_LARGEST = 64 * 1024  # bytes
_MOST_PROBLEMS = 20
_Text = Annotated[str, Field(min_length=1, max_length=400)]
_Source = Annotated[str, Field(min_length=10, max_length=400)]
_SOURCED = ("fan_in", "neurons", "capacitance", "noise")  # what needs a source where it is given


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class OwnKnob(_Section):
    """A knob: see `neurodeploy.hw_models.chip.Knob`."""

    quantity: Quantity
    per: Granularity
    bits: Annotated[int, Field(ge=2, le=16, strict=True)]
    span: float = Field(1.0, gt=0, le=10)
    core_size: Annotated[int, Field(ge=0, strict=True)] = 0
    source: _Source


class OwnChip(_Section):
    """What a chip file may say.

    Attributes:
        name: lower-case letters, digits and hyphens; not the name of a chip that is here already.
        weight_bits: of an integer weight, sign included.
        resets: what neurons do after a spike.
        fan_in: inputs of a neuron, at most; None where the chip has no such limit.
        neurons: of a chip, or None.
        knobs: what can be set after fabrication.
        probes: whether membrane potentials can be read, for `calibrate --measure membrane`.
        capacitance, threshold_volts: of a membrane, farad and volt, both or neither; for kT/C noise.
        noise: levels and options of `NoiseModel`: what chips of this kind are like, for `--with FILE`.
        sources: for "weights", and for every limit that is given, where the number is from.
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,39}$")]
    title: _Text
    weight_bits: Annotated[int, Field(ge=2, le=24, strict=True)]
    resets: Annotated[tuple[Literal["zero", "subtract"], ...], Field(min_length=1)]
    fan_in: Annotated[int, Field(ge=1, strict=True)] | None = None
    neurons: Annotated[int, Field(ge=1, strict=True)] | None = None
    knobs: tuple[OwnKnob, ...] = ()
    probes: Annotated[bool, Field(strict=True)] = False
    capacitance: float | None = Field(None, gt=0, lt=1)
    threshold_volts: float | None = Field(None, gt=0, le=100)
    noise: dict[str, Any] = Field(default_factory=dict)
    evidence: Literal["modelled", "statistical-sim"] = "modelled"
    sources: dict[_Text, _Source]

    @model_validator(mode="after")
    def _sourced(self) -> OwnChip:
        given = ["weights", *(name for name in _SOURCED if getattr(self, name))]
        missing = [name for name in given if name not in self.sources]
        if missing:
            raise ValueError(
                f"sources: none for {', '.join(missing)}; say where the numbers are from, or that they are yours"
            )
        if (self.capacitance is None) != (self.threshold_volts is None):
            raise ValueError("capacitance and threshold_volts: both, or neither")
        return self


def is_chip_file(name: str) -> bool:
    """Whether what a user typed names a file and not a chip of the catalogue."""
    return name.lower().endswith(SUFFIXES)


def read_chip(path: Path, taken: Mapping[str, ChipModel]) -> ChipModel:
    """The chip of a file.

    Args:
        taken: names that are not free.

    Raises:
        FileFormatError: where it cannot be read, naming every entry that is wrong and what is allowed.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise FileFormatError(f"--chip {path}: more than {_LARGEST} bytes; a chip file holds a few numbers")
        told = parse_yaml(
            content.decode("utf-8"), f"--chip {path}: neither YAML nor JSON, or not as a chip is written"
        )  # of which JSON is a part
    except OSError as error:
        raise FileFormatError(
            f"--chip {path}: {error.strerror or error}; known chips are in `neurodeploy chips`"
        ) from error
    except (ValueError, UsageError) as error:
        if isinstance(error, FileFormatError):
            raise
        raise FileFormatError(
            str(error) if isinstance(error, UsageError) else f"--chip {path}: no text ({error})"
        ) from error
    chip = chip_of(told, f"--chip {path}")
    if chip.name in taken:
        raise FileFormatError(f"--chip {path}: name {chip.name!r} is a chip of neurodeploy's own; choose another name")
    return chip


def chip_of(told: Any, where: str) -> ChipModel:
    """The chip that plain values describe; raises FileFormatError naming every wrong entry."""
    if not isinstance(told, dict):
        raise FileFormatError(f"{where}: a mapping is expected, with {', '.join(OwnChip.model_fields)}")
    try:
        own = OwnChip.model_validate(told)
    except (ValidationError, RecursionError) as error:
        problems = error.errors() if isinstance(error, ValidationError) else []
        listed = [_described(problem) for problem in problems[:_MOST_PROBLEMS]] or [str(error)]
        raise FileFormatError(f"{where}: {'; '.join(listed)}") from error
    try:
        knobs = tuple(Knob(**one.model_dump()) for one in own.knobs)
        noise = _noise(own.noise)
        plain = {name: getattr(own, name) for name in OwnChip.model_fields if name not in ("knobs", "noise")}
        return ChipModel(fixed_point=False, knobs=knobs, noise=noise, own=True, **plain)
    except (NeurodeployError, TypeError, ValueError) as error:
        raise FileFormatError(f"{where}: {error}") from error


def plain_values(chip: ChipModel) -> dict[str, Any]:
    """What `chip_of` takes, for a chip of one's own; kept with what was made for it."""
    told = {name: getattr(chip, name) for name in OwnChip.model_fields if name not in ("knobs", "noise")}
    told |= {"knobs": [{one.name: getattr(knob, one.name) for one in fields(knob)} for knob in chip.knobs]}
    told |= {"resets": list(chip.resets), "sources": dict(chip.sources)}
    return told | {"noise": {} if chip.noise is None else _changed(chip.noise)}


def _noise(levels: Mapping[str, Any]) -> NoiseModel | None:
    if not levels:
        return None
    known = {one.name: one.default for one in fields(NoiseModel)}
    for name, value in levels.items():
        if name not in known:
            raise ValueError(f"noise.{name}: unknown, known are {', '.join(known)}")
        kinds = (int, float) if isinstance(known[name], float) else (type(known[name]), list)
        if isinstance(value, bool) or not isinstance(value, kinds):
            raise ValueError(f"noise.{name}={value!r}: a value of the kind of {known[name]!r} is expected")
    plain: dict[str, Any] = {n: tuple(value) if isinstance(value, list) else value for n, value in levels.items()}
    return NoiseModel(**plain)


def _changed(noise: NoiseModel) -> dict[str, Any]:
    found = {one.name: getattr(noise, one.name) for one in fields(noise) if one.default is not MISSING}
    default = NoiseModel()
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in found.items()
        if value != getattr(default, name)
    }


def _described(problem: Any) -> str:
    name = ".".join(map(str, problem["loc"]))
    if problem["type"] == "extra_forbidden":
        known = OwnKnob.model_fields if name.startswith("knobs.") else OwnChip.model_fields
        return f"{name}: unknown, known are {', '.join(known)}"
    message = str(problem["msg"]).removeprefix("Value error, ")
    return (
        f"{name}={str(problem['input'])[:80]!r}: {message}"
        if name and problem["type"] != "missing"
        else (f"{name}: {message}" if name else message)
    )
