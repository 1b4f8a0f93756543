"""Charts of measurements, in the look of the report, as SVG."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import altair as alt

from neurodeploy.report.drawing import CONFIG, replace_file, svg_of


def write_svg(path: Path, chart: alt.TopLevelMixin) -> None:
    """Draws a chart without a network; the file is whole or as it was before."""
    spec: dict[str, Any] = chart.to_dict() | {"config": CONFIG}
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, svg_of(spec).encode())
