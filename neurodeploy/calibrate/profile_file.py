"""The folder of a profile: written whole or not at all, and checked before use.

profile.json            format, chip, program, dates, temperature, what the calibration brought and cost
settings.safetensors    the settings, by name (`hw_models.knobs`)
"""

from __future__ import annotations

import hashlib
import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from neurodeploy.calibrate.profile import Profile
from neurodeploy.errors import FileFormatError, NeurodeployError
from neurodeploy.folders import FolderKind, new_folder, recover
from neurodeploy.hw_models.knobs import Settings

FORMAT = "neurodeploy-profile"
VERSION = 3  # 2 had no hash of profile.json; 1 called selection samples validation samples
FILE, ARRAYS = "profile.json", "settings.safetensors"
KIND = FolderKind("a profile", FILE, FORMAT, (ARRAYS,))
_SEAL = "content_sha256"
_LARGEST = 2**24  # bytes of profile.json
_LARGEST_ARRAYS = 2**32


def save_profile(profile: Profile, folder: Path) -> None:
    """Writes the folder.

    Raises:
        UsageError: where `folder` exists and is not a profile.
        NeurodeployError: where the disk fails; what was there is whole.
    """
    arrays = save_arrays(
        {name: np.atleast_1d(np.asarray(one, dtype=np.int64)) for name, one in profile.settings.items()}
    )
    content = {name: value for name, value in _fields(profile).items() if name not in ("settings", "made", "expires")}
    content |= {"format": FORMAT, "version": VERSION, "made": profile.made.isoformat()}
    content |= {
        "expires": profile.expires.isoformat(),
        "scalars": [k for k, v in profile.settings.items() if v.ndim == 0],
    }
    content |= {"sha256": hashlib.sha256(arrays).hexdigest(), "noise": dict(profile.noise)}
    content |= {_SEAL: _seal(content)}
    with new_folder(folder, KIND) as place:
        (place / ARRAYS).write_bytes(arrays)
        (place / FILE).write_text(json.dumps(content, indent=1), encoding="utf-8")


def load_profile(folder: Path) -> Profile:
    """Reads and checks a folder; nothing in it is executed.

    Raises:
        FileFormatError: naming the file that is missing, truncated, changed or not ours.
    """
    recover(folder)
    path = folder / FILE
    content = _read(path)
    try:
        return _decode(content, folder)
    except FileFormatError:
        raise
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError, NeurodeployError) as error:
        raise FileFormatError(f"{path}: not a valid profile ({type(error).__name__}: {str(error)[:200]})") from error


def _fields(profile: Profile) -> dict[str, Any]:
    """The fields, not copied."""
    return {name: getattr(profile, name) for name in profile.__dataclass_fields__}


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _LARGEST:
            raise FileFormatError(f"{path}: more than {_LARGEST} bytes, no profile of ours is")
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FileFormatError(f"{path}: {error.strerror}; a profile is made by `neurodeploy calibrate -o`") from error
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{path}: truncated or damaged ({str(error)[:100]}); calibrate again") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise FileFormatError(f"{path}: not a profile of ours")
    if content.get("version") != VERSION:
        raise FileFormatError(
            f"{path}: version {content.get('version')!r}, this program reads {VERSION}; calibrate again"
        )
    try:
        whole = content.pop(_SEAL, None) == _seal(content)
    except RecursionError as error:  # nested nearly as deep as can be read
        raise FileFormatError(f"{path}: damaged (nested too deep); calibrate again") from error
    if not whole:
        raise FileFormatError(f"{path}: changed since it was written (SHA-256 differs); calibrate again")
    return content


def _seal(content: dict[str, Any]) -> str:
    """Hash of what profile.json says, in whatever order: against damage and slips, not against forgery."""
    plain = json.loads(json.dumps(content))  # tuples are lists in the file
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def _decode(content: dict[str, Any], folder: Path) -> Profile:
    scalars = set(_list(content["scalars"], str))
    settings = _arrays(folder / ARRAYS, str(content["sha256"]), scalars)
    made, expires = (datetime.fromisoformat(_of(content[name], str)) for name in ("made", "expires"))
    if made.tzinfo is None or expires.tzinfo is None or expires <= made:
        raise ValueError(f"made {made}, expires {expires}: with time zone, one after the other")
    return Profile(
        _of(content["chip"], str),
        _natural(content["chip_id"]),
        _natural(content["seed"]),
        _of(content["noise"], dict),
        _of(content["program"], str),
        tuple(_list(content["knobs"], dict)),
        settings,
        _finite(content["temperature"]),
        made.astimezone(UTC),
        expires.astimezone(UTC),
        tuple(_list(content["steps"], dict)),
        _finite(content["selection_before"]),
        _finite(content["selection_after"]),
        _of(content["cost"], dict),
        _of(content["evidence"], str),
    )


def _arrays(path: Path, digest: str, scalars: set[str]) -> Settings:
    try:
        if path.stat().st_size > _LARGEST_ARRAYS:
            raise FileFormatError(f"{path}: more than {_LARGEST_ARRAYS} bytes, no profile of ours is")
        raw = path.read_bytes()
        if hashlib.sha256(raw).hexdigest() != digest:
            raise FileFormatError(
                f"{path}: truncated or changed since it was written (SHA-256 differs); calibrate again"
            )
        arrays = load_arrays(raw)
    except OSError as error:
        raise FileFormatError(f"{path}: {error.strerror}; calibrate again") from error
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise FileFormatError(f"{path}: damaged ({error}); calibrate again") from error
    for name, values in arrays.items():
        if values.dtype != np.int64 or name.count("/") < 2 or (name in scalars and values.shape != (1,)):
            raise FileFormatError(f"{path}: {name!r} of type {values.dtype}, shape {values.shape} is no setting")
    return {name: values.reshape(()) if name in scalars else values for name, values in arrays.items()}


def _of(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"a {kind.__name__} is expected, not {type(value).__name__}")
    return value


def _list(value: Any, kind: type) -> list[Any]:
    return [_of(one, kind) for one in _of(value, list)]


def _natural(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{value!r}: a number from 0 on is expected")
    return value


def _finite(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r}: a finite number is expected")
    return float(value)
