"""report, demo: the page that shows a run, and the whole path in one command."""

from __future__ import annotations

from pathlib import Path

import typer

from neurodeploy.cli.console import progress_bar, quiet, say


def report(
    folder: Path = typer.Argument(help="Folder with model.pt, *.sqlite and proof-*.json, as far as there."),
    output: Path = typer.Option(None, "-o", "--output", help="Folder to write; by default the same."),
) -> None:
    """Make report.html and its figures from stored results."""
    from neurodeploy.report.collect import collect
    from neurodeploy.report.page import write_report

    typer.echo(write_report(collect(folder), output or folder))


def demo(
    output: Path = typer.Option(Path("runs/demo"), "-o", "--output", help="Folder to write."),
    chips: int = typer.Option(20, "--chips", min=1, help="Virtual chips per point."),
    epochs: int = typer.Option(None, "--epochs", min=1, help="Training epochs."),
    samples: int = typer.Option(None, "--samples", min=1, help="Test samples of the sweep; by default the whole set."),
    setup_seconds: float = typer.Option(0.0, "--setup-seconds", help="Time that set-up took, for the summary."),
) -> None:
    """Train on handwritten digits, export to Lava and Rockpool, prove both, sweep noise, calibrate, report."""
    from neurodeploy.demo import run_demo

    with progress_bar("demo") as progress:
        page = run_demo(output, chips, epochs, samples, setup_seconds, say, progress, bar=not quiet())
    typer.echo(page)
