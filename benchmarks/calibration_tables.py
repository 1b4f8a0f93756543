"""The tables of docs/results-calibration.md, from the rows that `calibration_ladder.py` measured.

    python benchmarks/calibration_tables.py            # writes them into the page
    python benchmarks/calibration_tables.py --check    # ends with 1 where the page says something else

A table stands between `<!-- table: KIND ARGUMENTS -->` and `<!-- end -->`, so that no figure is copied by hand. A cell
is the mean accuracy over chips and networks in percent, in brackets the 5th percentile of chips, and behind a colon the
share of what mismatch took that came back, with its 95 % interval: on Fashion-MNIST the mean of the networks' shares;
on N-MNIST, where a network may lose next to nothing, the share of the sums, its interval over networks (rows of the
first measurements, which have none, the mean of shares). Below a mismatch of 0.3, or where it took less than a point,
there is no share.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

from common import ROOT, read_json

Row = dict[str, Any]
PAGE, RESULTS = ROOT / "docs" / "results-calibration.md", ROOT / "docs" / "results" / "calibration.json"
FASHION, EVENTS = "fashion-mnist", "n-mnist-1000/100"
DATA_NAMES = {FASHION: "Fashion-MNIST", EVENTS: "N-MNIST-1000/100"}
RECIPES = {
    "plain": "PSG & PDA (`plain`)",
    "psg": "PSG (`psg`)",
    "robust": "with noise, PSG (`robust`)",
    "robust-pda": "with noise, PSG & PDA (`robust-pda`)",
}
LADDERS = ("0", "1", "1+2", "1-3", "1-4", "1-5", "1-6", "4", "4+6")
STRONG, ENOUGH = (0.3, 0.5), 0.01
"""Levels of mismatch, and what they must have taken, for a share of it to mean something."""
FULL: dict[str, Row] = {FASHION: {"test_samples": 2000}, EVENTS: {"selection_samples": 550}}
"""Rows of ladders of all levels: 2,000 validation images or 550 recordings accept them."""
CLOSER: dict[str, Row] = {FASHION: {"test_samples": 10000}, EVENTS: {"selection_samples": 550}}
FIRST: dict[str, Row] = {FASHION: {"test_samples": 1000}, EVENTS: {"selection_samples": 100, "n_networks": 6}}
"""Rows of the first measurements: 500 validation images or 100 recordings accept them."""


def find(rows: list[Row], **wanted: Any) -> list[Row]:
    """The rows that have all of these values, of mismatch and of knobs with the chip's own number of bits."""
    wanted = {"recipe": "plain", "bits": None, "noise": "mismatch"} | wanted
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def only(rows: list[Row], **wanted: Any) -> Row:
    """The one row of these values.

    Raises:
        LookupError: there is none, or more than one.
    """
    found = find(rows, **wanted)
    if len(found) != 1:
        raise LookupError(f"{len(found)} rows of {wanted}, one is needed")
    return found[0]


def accuracy(row: Row) -> str:
    """Mean and 5th percentile in percent, as `86.3 (84.9)`."""
    return f"{_percent(row['accuracy_mean'], 1)} ({_percent(row['accuracy_p05'], 1)})"


def recovered(row: Row) -> str:
    """The share that came back and its interval, as `95 % [90, 100]`."""
    name = "recovered_together" if row["data"] == EVENTS and row["recovered_together_ci"] else "recovered"
    share, interval = row[name], row[f"{name}_ci"]
    return f"{_percent(share)} %" + (f" [{_percent(interval[0])}, {_percent(interval[1])}]" if interval else "")


def cell(row: Row) -> str:
    """Accuracy, and the share where the chips were calibrated and had lost enough."""
    enough = row["level"] in STRONG and row["accuracy_without"] - row["accuracy_before"] >= ENOUGH
    return accuracy(row) + (f": {recovered(row)}" if row["ladder"] != "0" and enough else "")


def ladders(rows: list[Row], chip: str, data: str, part: str, recipe: str = "plain") -> list[str]:
    """Ladder by mismatch; a column's rows are of the same networks, as many as climbed all levels."""
    mine = find(rows, chip=chip, data=data, part=part, recipe=recipe, **FULL[data])
    networks: dict[float, int] = {}
    for row in mine:
        if row["ladder"] == "1-6":
            networks[row["level"]] = max(row["n_networks"], networks.get(row["level"], 0))
    levels = sorted(networks)
    cells = {(row["ladder"], row["level"]): row for row in mine if row["n_networks"] == networks.get(row["level"])}
    table = _head("ladder", [f"{level:g}" for level in levels])
    table.append(_line("no mismatch", [_percent(cells["0", level]["accuracy_without"], 1) for level in levels]))
    for ladder in LADDERS:
        if any((ladder, level) in cells for level in levels):
            name = "none" if ladder == "0" else ladder
            table.append(_line(name, [cell(cells[ladder, at]) if (ladder, at) in cells else "" for at in levels]))
    return [*table, _line("networks", [str(networks[level]) for level in levels])]


def closer(rows: list[Row]) -> list[str]:
    """Level 4 alone on the whole test set and on as many networks as there are, before and after."""
    kinds = (
        ("trims of thresholds (`mixed-signal`)", "mixed-signal", "levels"),
        ("the same, thermal noise 0.1", "mixed-signal", "thermal"),
        ("trims of thresholds and leaks (`mixed-signal-leak`), thermal noise 0.1", "mixed-signal-leak", "thermal"),
        ("biases (`loihi2`)", "loihi2", "levels"),
        ("7 thresholds, 31 decays, biases (`loihi1`)", "loihi1", "levels"),
        ("the same, thermal noise 0.1", "loihi1", "thermal"),
    )
    columns = [(data, level) for data in (FASHION, EVENTS) for level in STRONG]
    table = _head("chip, noise", _names(columns))
    for name, chip, part in kinds:
        found = [find(rows, chip=chip, part=part, data=d, level=at, ladder="4", **CLOSER[d]) for d, at in columns]
        table.append(_line(name, [_closer(max(one, key=lambda row: row["n_networks"], default=None)) for one in found]))
    return table


def _closer(row: Row | None) -> str:
    if row is None:
        return ""
    before, after, of = (_percent(row[f"accuracy_{name}"], 1) for name in ("before", "mean", "without"))
    text = f"{before} to {after} of {of}: {recovered(row)}"
    return text + (f", {_percent(row['recovered_together'])}" if row["data"] == FASHION else f" ({row['n_networks']})")


def sources(rows: list[Row]) -> list[str]:
    """Mismatch of one parameter alone, on N-MNIST-1000/100."""
    columns = (
        ("thresholds alone", "mixed-signal", "threshold_mismatch"),
        ("decays alone", "mixed-signal", "decay_mismatch"),
        ("decays alone, leaks trimmed", "mixed-signal-leak", "decay_mismatch"),
    )
    table = _head("ladder", [name for name, _, _ in columns])
    for ladder in ("0", "1-3", "1-5", "4"):
        case = {"data": EVENTS, "part": "sources", "ladder": ladder, "level": 0.5} | FIRST[EVENTS]
        found = [find(rows, chip=chip, noise=noise, **case) for _, chip, noise in columns]
        table.append(_line("none" if ladder == "0" else ladder, [cell(one[0]) if one else "" for one in found]))
    return table


def trainings(rows: list[Row], data: str) -> list[str]:
    """How networks were trained, by mismatch, before and after level 4 (and levels 4 to 6 where synapses deviate)."""
    columns = ["no mismatch", "0.3", "0.3, level 4", "0.5", "0.5, level 4"]
    columns += ["0.3 and synapses", "levels 4-6"] if data == FASHION else []
    table = _head("trained", columns)
    for recipe, name in RECIPES.items():
        case = {"data": data, "chip": "mixed-signal", "recipe": recipe} | FIRST[data]
        none, after = (
            {level: only(rows, part="levels", level=level, ladder=ladder, **case) for level in STRONG}
            for ladder in ("0", "4")
        )
        cells = [_percent(none[0.3]["accuracy_without"], 1)]
        cells += [accuracy(found[level]) for level in STRONG for found in (none, after)]
        if data == FASHION:
            cells += [accuracy(only(rows, part="synapses", ladder=ladder, **case)) for ladder in ("0", "4-6")]
        table.append(_line(name, cells))
    return table


def other_chips(rows: list[Row]) -> list[str]:
    """Trained without and with noise on the other chips, none and the best ladder of levels 1 to 5."""
    columns = [(data, level) for data in (FASHION, EVENTS) for level in STRONG]
    table = _head("chip | trained, ladder", _names(columns))
    for chip, best in (("loihi2", "4"), ("dynapse2", "1-5")):
        for recipe in ("plain", "robust"):
            for ladder in ("0", best):
                case = {"chip": chip, "recipe": recipe, "ladder": ladder, "part": "levels"}
                found = [only(rows, data=data, level=level, **FIRST[data], **case) for data, level in columns]
                name = f"`{chip}` | `{recipe}`, {'none' if ladder == '0' else ladder}"
                table.append(_line(name, [accuracy(row) for row in found]))
    return table


def synapses(rows: list[Row]) -> list[str]:
    """The ladder where synapses deviate, by training."""
    table = _head("ladder", list(RECIPES.values()))
    for ladder in ("0", "4", "4+5", "4-6"):
        case = {"data": FASHION, "part": "synapses", "chip": "mixed-signal", "ladder": ladder} | FIRST[FASHION]
        found = [only(rows, recipe=recipe, **case) for recipe in RECIPES]
        table.append(_line("none" if ladder == "0" else ladder, [cell(row) for row in found]))
    return table


KINDS: dict[str, Callable[..., list[str]]] = {
    "ladders": ladders,
    "closer": closer,
    "sources": sources,
    "trainings": trainings,
    "other-chips": other_chips,
    "synapses": synapses,
}
_TABLE = re.compile(r"(<!-- table: (\S+)((?: \S+)*) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(page: str, rows: list[Row]) -> str:
    """The page with every table as the rows have it.

    Raises:
        KeyError: a table of no known kind.
        LookupError: rows that a table needs are missing.
    """

    def table(found: re.Match[str]) -> str:
        opening, kind, arguments, end = found.groups()
        lines = KINDS[kind](rows, *arguments.split())
        return "\n".join([opening, *lines, "", end])

    return _TABLE.sub(table, page)


def _percent(share: float, digits: int = 0) -> str:
    text = f"{100 * share:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def _names(columns: Sequence[tuple[str, float]]) -> list[str]:
    """Mismatch, the first of each data set with the name of the data."""
    before = [None, *(data for data, _ in columns)]
    return [
        f"{level:g}" if data == last else f"{DATA_NAMES[data]}, {level:g}"
        for (data, level), last in zip(columns, before, strict=False)
    ]


def _head(first: str, columns: Sequence[str]) -> list[str]:
    line = _line(first, columns)
    return [line, "|" + "---|" * (line.count("|") - 1)]


def _line(first: str, cells: Sequence[str]) -> str:
    return f"| {first} | " + " | ".join(cells) + " |"


def main() -> None:
    """Fills the page, or checks it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; end with 1 where the page differs")
    options = parser.parse_args()
    page = PAGE.read_text(encoding="utf-8")
    wanted = filled(page, read_json(RESULTS))
    if options.check:
        sys.exit(int(page != wanted))
    PAGE.write_text(wanted, encoding="utf-8")


if __name__ == "__main__":
    main()
