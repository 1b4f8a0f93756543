"""A section of a configuration: entries that are known, unchanging, and of the type that they say."""

from __future__ import annotations

import reprlib
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator


class Section(BaseModel):
    """What all sections have in common."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """True is 1 to Python; whoever writes `steps: true` did not mean one step."""
        annotation = cls.model_fields[info.field_name or ""].annotation
        parts = value if isinstance(value, list | tuple) else (value,)
        if (
            annotation is not bool
            and bool not in get_args(annotation)
            and any(isinstance(part, bool) for part in parts)
        ):
            raise ValueError("true and false are not allowed here")
        return value


def described(problem: Any, root: type[Section]) -> str:
    """One of the errors that pydantic found in values for `root`: the entry, its value, what is allowed."""
    # Of a field that may be of several types, pydantic appends which type it tried.
    parts = [part for place, part in enumerate(problem["loc"]) if place < 2 or isinstance(part, int)]
    name = ".".join(map(str, parts))
    if not parts:
        return str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] != "extra_forbidden":
        return f"{name}={reprlib.repr(problem['input'])}: {problem['msg']}"
    section: Any = root
    for part in problem["loc"][:-1]:
        section = section.model_fields[part].annotation
    return f"{name}: unknown, known are {', '.join(section.model_fields)}"
