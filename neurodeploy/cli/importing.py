"""import: a NIR file of another tool becomes a model file, which everything here takes."""

from __future__ import annotations

from pathlib import Path

import typer

from neurodeploy.cli.catalogue import AS_JSON
from neurodeploy.cli.console import print_json, print_table, say
from neurodeploy.errors import UsageError
from neurodeploy.files import MODEL, check_output


def import_network(
    graph: Path = typer.Argument(help="A .nir file."),
    data: str = typer.Option(..., "--data", help="Data set or .npz: samples for calibration, proofs and accuracy."),
    data_root: str = typer.Option(None, "--data-root", help="Folder with the data set's files."),
    encoding: str = typer.Option("direct", "--encoding", help="direct, rate or latency."),
    steps: int = typer.Option(None, "--steps", min=1, help="Time steps per sample, where the file does not say."),
    dt: float = typer.Option(None, "--dt", help="Seconds per step; by default what the file says, or 1e-4."),
    discretisation: str = typer.Option("euler", "--discretisation", help="euler (forward) or exponential."),
    input_bits: int = typer.Option(None, "--input-bits", min=1, max=8, help="By default the file's, or the data's."),
    input_scale: float = typer.Option(None, "--input-scale", help="Value of the integer 1; likewise."),
    samples: int = typer.Option(1000, "--samples", min=1, help="Test samples on which the accuracy is measured."),
    output: Path = typer.Option(None, "-o", "--output", help="Model file to write; by default beside the graph."),
    as_json: bool = AS_JSON,
) -> None:
    """Read a network of another tool (NIR) into a model file for inspect, export, sweep and calibrate."""
    from neurodeploy.imported_model import make_imported
    from neurodeploy.importing.loading import NET_SUFFIX, known_encoding
    from neurodeploy.importing.nir import read_nir
    from neurodeploy.snn.model_file import save_model

    if graph.suffix == NET_SUFFIX:
        raise UsageError(f"{graph}: .net files need no import: neurodeploy run {graph} --steps …")
    how = known_encoding(encoding)
    place = output if output is not None else graph.with_suffix(".pt") if graph.name else graph
    check_output("-o", place, MODEL, (graph, data))
    imported = read_nir(
        graph, dt=dt, discretisation=discretisation, steps=steps, input_scale=input_scale, input_bits=input_bits
    )
    for note in imported.notes:
        say(f"{graph}: {note}")
    model, network = make_imported(imported, str(graph.name), data, data_root, how, samples)
    save_model(model, place)
    nodes = [
        {"node": name, "kind": type(node).__name__, "shape": " x ".join(map(str, network.shapes[name]))}
        for name, node in network.nodes.items()
    ]
    if as_json:
        print_json({"model": str(place), "nodes": nodes, "metrics": model.metrics, "notes": list(imported.notes)})
        return
    print_table(nodes)
    accuracy, count = model.metrics["test_accuracy"], model.metrics["test_images"]
    typer.echo(f"{place}: right in {100 * accuracy:.2f} % of {count} test samples of {model.metrics['data_set']}")
    say(f"next: neurodeploy inspect {place} --target lava")
