"""The command line: a thin skin that reads files, makes one call and writes files.

Results go to standard output, progress and errors to standard error. Exit codes: 0 ok, 1 a check failed, 2 usage, 3 a
design rule is violated, 4 a backend is missing.
"""

from __future__ import annotations

import errno
import sys

import typer

from neurodeploy import __version__
from neurodeploy.cli import (
    calibrating,
    catalogue,
    comparing,
    demonstrate,
    deploy,
    hardware,
    importing,
    inspecting,
    learn,
    population,
)
from neurodeploy.cli.command import Command
from neurodeploy.cli.console import fail, give_up_output, set_verbosity, show_tracebacks
from neurodeploy.errors import NeurodeployError

# typer has carried click inside itself since 0.29: its exception types are reached by what both versions export.
_WrongUsage: type[Exception] = typer.BadParameter.__bases__[0]
_AnyTrouble: type[Exception] = _WrongUsage.__bases__[0]

app = typer.Typer(
    name="neurodeploy",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="From a PyTorch spiking network to neuromorphic chips, and how well it will work there.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _common(
    version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Print the version."),
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks."),
    quiet: bool = typer.Option(False, "-q", "--quiet", help="No progress."),
    verbose: bool = typer.Option(False, "-v", "--verbose", help="More about what happens."),
) -> None:
    show_tracebacks(debug)
    set_verbosity(-1 if quiet else int(verbose))


app.command(cls=Command)(catalogue.doctor)
app.command(cls=Command)(catalogue.chips)
app.command(cls=Command)(catalogue.targets)
app.command(cls=Command)(learn.train)
app.command("import", cls=Command)(importing.import_network)
app.command(cls=Command)(inspecting.inspect)
app.command(cls=Command)(deploy.export)
app.command(cls=Command)(deploy.run)
app.command(cls=Command)(comparing.compare)
app.command(cls=Command)(hardware.deploy)
app.command(cls=Command)(hardware.import_run)
app.command(cls=Command)(population.sweep)
app.command(cls=Command)(calibrating.calibrate)
app.command(cls=Command)(demonstrate.report)
app.command(cls=Command)(demonstrate.demo)
app.add_typer(catalogue.vendor_app, name="vendor")


_OF_OUTPUT = (errno.ENOSPC, errno.EIO, errno.EBADF, errno.EDQUOT, errno.EFBIG)


def main() -> None:
    """Runs the command line and exits with its code."""
    try:
        code = app(standalone_mode=False, prog_name="neurodeploy")
        if sys.stdout is not None:  # closed by whoever started this
            sys.stdout.flush()
    except NeurodeployError as error:
        fail(str(error), error.exit_code)
    except typer.Abort:
        fail("interrupted", 130)
    except _AnyTrouble as error:
        message = str(error.format_message() if hasattr(error, "format_message") else error)
        if type(error).__name__ == "NoArgsIsHelpError":
            typer.echo(message)
            sys.exit(2)
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "neurodeploy"
        fail(f"{message} (see `{command} --help`)" if isinstance(error, _WrongUsage) else message, 2)
    except BrokenPipeError:
        give_up_output()
        sys.exit(1)
    except OSError as error:  # of no file that a command reads or writes by name
        give_up_output()
        written = "standard output, or a file that is written" if error.errno in _OF_OUTPUT else None
        where = error.filename or written
        fail(f"{where}: {error.strerror or error}" if where else str(error), 1)
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "can't allocate memory" not in str(error):  # torch's way to say it
            raise
        reason = " ".join(str(error).split())[:200] or "no more is there"
        fail(f"not enough memory ({reason}): take fewer samples, or smaller batches or layers", 1)
    sys.exit(code if isinstance(code, int) else 0)
