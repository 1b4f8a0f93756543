"""The page: one HTML file that needs no network, and the figures beside it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import vl_convert
from markupsafe import Markup

from neurodeploy.errors import UsageError
from neurodeploy.report import charts, tables
from neurodeploy.report.data import ReportData
from neurodeploy.report.drawing import VEGA_LITE, Figure, png_of, replace_file, svg_of
from neurodeploy.report.imported import imported_table
from neurodeploy.report.sensitivity import budget_table, sensitivity_figures

START = """
for (const box of document.querySelectorAll(".chart")) {
  const spec = JSON.parse(box.querySelector("script").textContent);
  const still = box.querySelector("noscript").textContent;
  const live = document.createElement("div");
  box.append(live);
  const actions = {export: true, source: false, compiled: false, editor: false};
  vegaEmbed(live, spec, {renderer: "svg", ast: true, actions, downloadFileName: box.dataset.name})
    .catch(() => { live.innerHTML = still; });
}
"""


@dataclass(frozen=True)
class Drawn:
    """A figure with its two pictures."""

    figure: Figure
    svg: str
    png: bytes

    @property
    def inline(self) -> Markup:
        """The SVG for the page, with ids that no other figure of the page has."""
        prefix = f"{self.figure.name}-"
        text = re.sub(r'\bid="([^"]*)"', rf'id="{prefix}\1"', self.svg)
        return Markup(re.sub(r"\burl\(#", f"url(#{prefix}", text))

    @property
    def json(self) -> Markup:
        """The specification for a script element: nothing in it can end the element."""
        text = json.dumps(self.figure.spec, allow_nan=False, separators=(",", ":"))
        return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def write_report(data: ReportData, folder: Path) -> Path:
    """Writes `report.html`, and every chart as `figures/<name>.svg` and `.png`, into `folder`.

    Everything is rendered before the first file is touched, and each file replaces its predecessor whole.

    Returns:
        The path of the page.
    """
    figures = _draw_all(data)
    page = _page(data, figures)
    pictures = folder / "figures"
    try:
        pictures.mkdir(parents=True, exist_ok=True)
        for drawn in (one for group in figures.values() for one in group):
            replace_file(pictures / f"{drawn.figure.name}.svg", drawn.svg.encode())
            replace_file(pictures / f"{drawn.figure.name}.png", drawn.png)
        replace_file(folder / "report.html", page.encode())
    except OSError as error:
        raise UsageError(f"cannot write the report into {folder}: {error.strerror or error}") from error
    return folder / "report.html"


def _draw_all(data: ReportData) -> dict[str, list[Drawn]]:
    """Section -> its figures; the name of every figure is its own."""
    sections = {
        "accuracy": charts.accuracy_figures(data),
        "sensitivity": sensitivity_figures(data),
        "training": charts.training_figures(data.training),
        "gamma": charts.gamma_figures(data.training),
        "rates": charts.rate_figures(data),
    }
    taken: set[str] = set()
    return {section: [_draw(figure, taken) for figure in figures] for section, figures in sections.items()}


def _draw(figure: Figure, taken: set[str]) -> Drawn:
    name, number = figure.name, 1
    while name in taken:
        number += 1
        name = f"{figure.name}-{number}"
    taken.add(name)
    own = Figure(name, figure.title, figure.spec, figure.description, figure.note)
    return Drawn(own, svg_of(own.spec), png_of(own.spec))


def _page(data: ReportData, figures: dict[str, list[Drawn]]) -> str:
    folder = files("neurodeploy.report")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    scripts = [_library(), START] if any(figures.values()) else []
    text: str = environment.from_string((folder / "page.html").read_text("utf-8")).render(
        title=data.title,
        style=Markup((folder / "page.css").read_text("utf-8")),
        policy=_policy(scripts),
        scripts=[Markup(script) for script in scripts],
        figures=figures,
        **_tables(data),
    )
    return text


def _tables(data: ReportData) -> dict[str, Any]:
    summary = data.summary
    return {
        "subtitle": _subtitle(data),
        "tiles": tables.tiles(data),
        "curves": tables.curve_table(data),
        "budget": budget_table(data),
        "calibration": tables.calibration_table(data),
        "proofs": tables.proof_table(data),
        "layers": tables.layer_table(data),
        "variants": tables.variant_table(data),
        "imported": imported_table(data.imported),
        "rounding": tables.rounding_table(data),
        "evidence": tables.evidence_table(data),
        "counts": tables.count_table(data),
        "run": tables.run_table(data),
        "environment": tables.pairs("Environment", summary.get("environment") or {}, ("what", "value")),
        "seconds": tables.pairs("Time (seconds)", summary.get("seconds") or {}, ("part", "seconds")),
        "command": tables.command(summary),
    }


def _subtitle(data: ReportData) -> str:
    name = (data.summary.get("data") or {}).get("name")
    seed = data.summary.get("seed")
    parts = [f"data set {name}" if name else "", f"seed {seed}" if seed is not None else ""]
    return " · ".join(part for part in parts if part)


@cache
def _library() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script; nothing in it can end a script element."""
    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=VEGA_LITE)
    return bundle.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _policy(scripts: Sequence[str]) -> str:
    """A content security policy under which the page runs its own scripts, and fetches nothing."""
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests) or "'none'"
    return f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src {allowed}"
