"""What commands share: where output goes, how errors look, how files are written."""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

import typer

from neurodeploy.errors import NeurodeployError
from neurodeploy.files import replaced

LARGEST_SEED = 2**63 - 1
"""What a study's file can hold."""
_settings = {"tracebacks": False, "verbosity": 0}


def show_tracebacks(wanted: bool) -> None:
    """Whether `fail` prints the traceback of the current error."""
    _settings["tracebacks"] = wanted


def set_verbosity(level: int) -> None:
    """-1 for quiet, 0, or 1 for verbose."""
    _settings["verbosity"] = level
    logging.basicConfig(level=logging.INFO if level >= 0 else logging.WARNING, format="%(message)s", stream=sys.stderr)
    for noisy in ("pytorch_lightning", "lightning", "fsspec", "matplotlib", "jax"):
        logging.getLogger(noisy).setLevel(logging.WARNING if level > 0 else logging.ERROR)


def quiet() -> bool:
    """True where no progress is wanted."""
    return _settings["verbosity"] < 0


def fail(message: str, code: int) -> NoReturn:
    """Prints an error in one line (a list below it where it has several parts) and exits."""
    if _settings["tracebacks"] and sys.exc_info()[0] is not None:
        traceback.print_exc()
    typer.echo(f"error: {message}", err=True)
    sys.exit(code)


def typed_options(context: typer.Context) -> dict[str, Any]:
    """The options that stand on the command line, by their long names, with their values."""
    return {
        max(option.opts, key=len): context.params[option.name]
        for option in context.command.params
        if option.name is not None
        and option.opts[0].startswith("-")
        and getattr(context.get_parameter_source(option.name), "name", "") == "COMMANDLINE"
    }


def as_typed(options: Mapping[str, Any]) -> list[str]:
    """Options as words of a command line: those of several values once for each, those that are None not at all."""
    pairs = [(name, one) for name, value in options.items() for one in (value if isinstance(value, list) else [value])]
    return [word for name, one in pairs if one is not None for word in (name, str(one))]


def give_up_output() -> None:
    """Where standard output cannot be written, drops what is left for it, lest Python fails on it at its end."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        with suppress(OSError), open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())


def say(message: str) -> None:
    """A line on standard error, unless quiet."""
    if not quiet():
        typer.echo(message, err=True)


def print_json(value: Any) -> None:
    """Plain values on standard output."""
    typer.echo(json.dumps(value, indent=2))


def print_table(rows: Sequence[dict[str, Any]]) -> None:
    """Rows with the same keys as an aligned table on standard output."""
    if not rows:
        return
    names = list(rows[0])
    cells = [names, *([_shown(row[name]) for name in names] for row in rows)]
    widths = [max(len(line[index]) for line in cells) for index in range(len(names))]
    for line in cells:
        typer.echo("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def write_text(path: Path, text: str) -> None:
    """Writes a file under another name and renames it; raises NeurodeployError where the disk fails."""
    try:
        with replaced(path) as partial:
            partial.write_text(text, encoding="utf-8")
    except OSError as error:
        raise NeurodeployError(f"{path}: {error}; the file is as it was before") from error


@contextmanager
def progress_bar(description: str) -> Iterator[Callable[[str, int, int], None]]:
    """A function (what, done, of) that shows progress with time left on standard error, unless quiet."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    hidden = quiet() or not console.is_terminal  # in a log, all that would be left of it is an empty line
    with Progress(*columns, console=console, disable=hidden, transient=True) as progress:
        task = progress.add_task(description)

        def update(what: str, done: int, of: int) -> None:
            progress.update(task, description=f"{description} {what}", completed=done, total=of)

        yield update


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)
