"""The page of a comparison: by value, one file, safe against hostile names."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neurodeploy.compare.backends import Request, compare_backends
from neurodeploy.compare.definition import define_network
from neurodeploy.compare.result import SideComparison
from neurodeploy.compare.sides import network_side, program_side
from neurodeploy.compare.stream import compare_sides
from neurodeploy.errors import UsageError
from neurodeploy.ir.program import Program
from neurodeploy.report.comparison import render_comparison, write_comparison
from neurodeploy.report.comparison_charts import error_figures, neuron_figure, share_figure
from neurodeploy.simulate import reference

HOSTILE = "</script></noscript><img src=x onerror=alert(1)>\"'&<!--"


class Page(HTMLParser):
    """Tags outside scripts, and the cells of every row."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self._in_cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._in_cell = False

    def handle_data(self, data: str) -> None:
        if self._in_cell:
            self.rows[-1][-1] += data


@pytest.fixture(scope="module")
def result(model_file: Path) -> SideComparison:
    return compare_backends(Request(model_file, "float", "reference", target="lava"))


def test_the_tables_hold_the_numbers(result: SideComparison) -> None:
    rows = Page(render_comparison(result)).rows
    layer = result.layers[0]
    assert layer.first_rate is not None
    assert layer.share is not None
    row = next(one for one in rows if one[:2] == [layer.layer, f"{layer.neurons:,}"])
    assert row[2] == f"{100 * layer.first_rate:.2f} %"
    assert row[4:6] == [f"{layer.differing_spikes:,}", f"{100 * layer.share:.3f} %"]
    first = result.first_difference
    assert first is not None
    assert first.first is not None
    assert first.explanation is not None
    assert [first.layer, str(first.first.step), str(first.first.sample)] in [one[:3] for one in rows]
    assert first.explanation.sentence in [one[-1] for one in rows]
    for one in first.explanation.tried:
        assert [first.layer, one.quantity] in [row[:2] for row in rows]
    for step in range(result.steps):
        assert [str(step + 1), f"{layer.differing_by_step[step]:,}"] in [row[:2] for row in rows]
    assert ["reference", result.second.title, "bit-exact-sim", str(result.second.correct)] in rows


def test_charts_hold_the_series(result: SideComparison) -> None:
    drawn = share_figure(result)
    assert drawn is not None
    layer = result.layers[0]
    points = drawn.spec["layer"][0]["data"]["values"]
    wanted = [100 * count * result.steps / layer.compared for count in layer.differing_by_step]
    assert [one["y"] for one in points if one["state"] == layer.layer] == pytest.approx(wanted, abs=1e-6)
    (errors,) = error_figures(result)
    assert layer.error is not None
    points = errors.spec["layer"][0]["data"]["values"]
    assert [one["y"] for one in points if one["state"] == layer.layer] == pytest.approx(list(layer.error.by_step), 1e-5)
    neuron = neuron_figure(result, 0)
    assert neuron is not None
    assert layer.explanation is not None
    assert layer.explanation.trace is not None
    points = neuron.spec["layer"][0]["data"]["values"]
    own = [one for one in points if one["side"] == "reference"]
    assert [one["potential"] for one in own] == pytest.approx(layer.explanation.trace.second_potential, abs=1e-6)
    assert [int(one["spike"]) for one in own] == list(layer.explanation.trace.second_spikes or ())


def test_the_page_needs_nothing_else(result: SideComparison) -> None:
    page = render_comparison(result)
    tags = Page(page).tags
    assert not [attributes for _, attributes in tags if {"src", "srcset"} & set(attributes)]
    assert not [attributes for tag, attributes in tags if tag == "link"]
    policy = next(attributes for tag, attributes in tags if attributes.get("http-equiv"))["content"]
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "unsafe-inline" not in policy.split("script-src")[1]


def test_equal_sides_make_a_page_without_differences(lively_case: Callable[..., Any]) -> None:
    _, program, inputs = lively_case(np.random.default_rng(0), "dense", "loihi2")
    side = program_side(program, "reference", "NumPy reference", reference.run)
    page = render_comparison(compare_sides((side, side), (inputs, inputs)))
    assert "There is no difference." in page
    assert "No chart of a neuron." in page
    rows = Page(page).rows
    assert [row[4] for row in rows if row[0] == "a"] == ["0"]


def test_names_of_layers_and_sides_stay_text(lively_case: Callable[..., Any], tmp_path: Path) -> None:
    network, program, inputs = lively_case(np.random.default_rng(2), "dense", "loihi2")
    first = replace(program.layers[0], name=HOSTILE)
    later = tuple(
        replace(layer, synapses=tuple(replace(one, source=HOSTILE) for one in layer.synapses))
        for layer in program.layers[1:]
    )
    hostile: Program = replace(program, layers=(first, *later))
    definition = define_network(network)
    names = [HOSTILE, *(layer.name for layer in later)]
    layers = tuple(
        replace(layer, name=name, synapses=one.synapses if index == 0 else tuple(
            replace(s, source=HOSTILE) for s in one.synapses
        ))
        for index, (layer, one, name) in enumerate(zip(definition.layers, definition.layers, names, strict=True))
    )  # fmt: skip
    sides = (
        network_side(replace(definition, layers=layers), name=HOSTILE),
        program_side(hostile, HOSTILE, HOSTILE, reference.run),
    )
    result = compare_sides(sides, (inputs, inputs))
    assert result.first_difference is not None
    page = render_comparison(replace(result, notes=(HOSTILE,)))
    tags = [tag for tag, _ in Page(page).tags]
    assert "img" not in tags
    assert HOSTILE not in re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert write_comparison(result, tmp_path / "x" / "page.html").read_text() == render_comparison(result)


def test_a_page_that_cannot_be_written_is_one_clear_error(result: SideComparison, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"--html .*page\.html"):
        write_comparison(result, tmp_path / "file" / "page.html")
    assert (tmp_path / "file").read_text() == ""
