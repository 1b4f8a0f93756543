"""The noise vocabulary and its presets as tables, for listings and for `docs/noise.md`."""

from __future__ import annotations

from collections.abc import Sequence

from neurodeploy.hw_models.noise import OPTIONS, NoiseModel
from neurodeploy.hw_models.noise_presets import PRESETS
from neurodeploy.hw_models.noise_terms import NOISE_TERMS

_ORDER = ("never", "chip", "trial", "step")
Row = dict[str, str]


def noise_rows() -> list[Row]:
    """One row per noise, sorted by when it is drawn."""
    rows = [
        {
            "noise": name,
            "drawn": term.drawn,
            "acts on": term.acts_on,
            "equation": term.equation,
            "unit of x": term.unit,
            "source": term.source,
            "valid": term.validity,
            "exported": "with the chip" if term.where == "program" else "no",
        }
        for name, term in NOISE_TERMS.items()
    ]
    return sorted(rows, key=lambda row: _ORDER.index(row["drawn"]))


def preset_rows() -> list[Row]:
    """One row per preset; its settings are what differs from no noise."""
    nothing = NoiseModel()
    rows = []
    for name, preset in PRESETS.items():
        changed = [one for one in (*NOISE_TERMS, *OPTIONS) if getattr(preset.noise, one) != getattr(nothing, one)]
        settings = " ".join(f"{one}={getattr(preset.noise, one)}" for one in changed)
        rows.append({"preset": name, "sets": settings, "source": preset.source, "leaves out": preset.leaves_out})
    return rows


def markdown(rows: Sequence[Row]) -> str:
    """Rows with the same keys as a Markdown table; the first column is code."""
    columns = list(rows[0])
    lines = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    for row in rows:
        cells = [f"`{row[columns[0]]}`", *(row[column] for column in columns[1:])]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
