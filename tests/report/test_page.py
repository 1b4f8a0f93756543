"""The page as a file: by value, safe against hostile text, free of the network, and never half written."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
import re
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest
import vl_convert

from neurodeploy.errors import UsageError
from neurodeploy.report import page
from neurodeploy.report.data import ReportData

HOSTILE = "</script></noscript><img src=x onerror=alert(1)>\"'&<!--"


class Page(HTMLParser):
    """What a browser with scripts off would see: elements, attributes, text outside scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.rows: list[list[str]] = []
        self._open: tuple[str, dict[str, str | None]] | None = None
        self._in_cell = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._open = (tag, dict(attrs))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self._open = None
        if tag in ("td", "th"):
            self._in_cell = False

    def handle_data(self, data: str) -> None:
        if self._open is not None:
            if self._open[0] == "script":
                self.scripts.append((self._open[1], data))
            return
        self.words.append(data)
        if self._in_cell:
            self.rows[-1][-1] += data

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))

    @property
    def specs(self) -> list[dict[str, object]]:
        return [json.loads(body) for attributes, body in self.scripts if attributes.get("type") == "application/json"]


def written(data: ReportData, folder: Path) -> Page:
    return Page(page.write_report(data, folder).read_text("utf-8"))


@pytest.fixture(scope="module")
def synthetic_page(tmp_path_factory: pytest.TempPathFactory, module_data: ReportData) -> tuple[Path, Page]:
    folder = tmp_path_factory.mktemp("report")
    return folder, written(module_data, folder)


def test_headline_figures_are_there_by_value(synthetic_page: tuple[Path, Page]) -> None:
    text = synthetic_page[1].text
    for figure in (
        "98.34 %",
        "97.12 %",
        "98.23 %",
        "of 246,913 compared on loihi2; 0 voltages differ",
        "360 chip runs in 30 points",
    ):
        assert figure in text
    assert "spikes differ in Lava 0.10.0" in text
    assert "neurodeploy demo --data digits --seed 7 -o runs/digits" in text


def test_tables_hold_a_row_for_every_layer_and_point(
    synthetic_page: tuple[Path, Page], module_data: ReportData
) -> None:
    rows = synthetic_page[1].rows
    assert ["Lava 0.10.0", "loihi2", "conv1", "123,456", "18.30 %", "0", "0"] in rows
    assert ["Rockpool 3.1.0", "mixed-signal", "fc1", "123,457", "17.00 %", "0", "0"] in rows
    assert ["Lava 0.10.0", "loihi2", "readout", "4,000", "does not fire", "–", "0"] in rows
    assert ["Lava 0.10.0", "each parameter rounded on its own", "246,913", "8,172", "6"] in rows
    assert ["conv1", "412", "0.11", "0.606531", "0.606445", "0.014", "1.37", "0.00", "4.21"] in rows
    point = module_data.curves.iloc[3]
    mean, low, high = (f"{100 * point[name]:.2f} %" for name in ("accuracy_mean", "ci_low", "ci_high"))
    (row,) = [row for row in rows if row[:5] == ["loihi2", "mismatch", "calibrated", "bit-exact-sim", "5.0 %"]]
    assert row[5:9] == ["12", "397", mean, f"{low} to {high}"]
    nothing = ["loihi2", "mismatch", "0.0 %", "nothing was lost", "98.00 %", "98.00 %", "0", "640", "200"]
    assert nothing in rows
    assert ["seed", "7"] in rows
    assert ["validation samples", "200"] in rows
    assert ["torch", "2.4.0"] in rows


def test_page_says_what_its_numbers_rest_on(synthetic_page: tuple[Path, Page]) -> None:
    text = synthetic_page[1].text
    assert "mismatch on the digital loihi2 is a what-if, since a digital chip has none" in text
    assert "Noise levels are relative standard deviations" in text
    assert "membrane readout is digital and nominal" in text
    for label in ("measured-silicon", "bit-exact-sim", "statistical-sim", "modelled"):
        assert label in text


def test_page_is_accessible(synthetic_page: tuple[Path, Page]) -> None:
    found = synthetic_page[1]
    names = [tag for tag, _ in found.tags]
    assert ("html", {"lang": "en"}) in found.tags
    assert names.count("h1") == 1
    assert names.count("caption") == names.count("table")
    charts = [attributes for _, attributes in found.tags if attributes.get("class") == "chart"]
    ids = [attributes["id"] for _, attributes in found.tags if attributes.get("id")]
    assert len(charts) == 8
    assert all(chart["role"] == "img" and chart["aria-label"] and chart["aria-describedby"] in ids for chart in charts)
    assert len(ids) == len(set(ids))


def test_page_fetches_nothing(synthetic_page: tuple[Path, Page]) -> None:
    found = synthetic_page[1]
    for tag, attributes in found.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base", "img", "image")
        for name in ("src", "href", "xlink:href", "srcset", "action"):
            assert (attributes.get(name) or "#").startswith("#")
    source = (synthetic_page[0] / "report.html").read_text("utf-8")
    assert "@import" not in source
    assert not re.search(r"url\(\s*[\"']?(?!#)", "".join(re.findall(r"<style>.*?</style>", source, re.DOTALL)))
    assert all('"url"' not in json.dumps(spec) for spec in found.specs)


def test_policy_allows_the_scripts_of_the_page_alone(synthetic_page: tuple[Path, Page]) -> None:
    found = synthetic_page[1]
    (policy,) = [at["content"] for tag, at in found.tags if at.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert policy.startswith("default-src 'none';")
    code = [body for attributes, body in found.scripts if "type" not in attributes]
    digests = [base64.b64encode(hashlib.sha256(body.encode()).digest()).decode() for body in code]
    assert re.findall(r"'sha256-([^']*)'", policy) == digests
    assert "'unsafe-eval'" not in policy


def test_every_chart_is_inline_and_beside_the_page(synthetic_page: tuple[Path, Page]) -> None:
    folder, found = synthetic_page
    vectors = sorted((folder / "figures").glob("*.svg"))
    assert len(vectors) == len(found.specs) == 8
    assert [tag for tag, _ in found.tags].count("noscript") == 8
    for vector in vectors:
        root = ElementTree.fromstring(vector.read_text("utf-8"))
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert float(root.attrib["width"]) > 400
        picture = vector.with_suffix(".png").read_bytes()
        assert picture.startswith(b"\x89PNG\r\n\x1a\n")
        assert len(picture) > 2000
    assert [path.name for path in folder.rglob("*.tmp")] == []


def test_hostile_text_stays_text(report_data: ReportData, tmp_path: Path) -> None:
    layers = [{**layer, "layer": HOSTILE} for layer in report_data.proofs[0]["layers"]]
    data = replace(
        report_data,
        title=HOSTILE,
        summary={**report_data.summary, "command": ["neurodeploy", HOSTILE], "environment": {HOSTILE: HOSTILE}},
        proofs=[{**report_data.proofs[0], "layers": layers, "chip": HOSTILE, "first": HOSTILE}],
        training=report_data.training.rename(columns={"gamma.conv1": f"gamma.{HOSTILE}"}),
        rounding=report_data.rounding.assign(layer=HOSTILE),
        curves=report_data.curves.replace({"chip": {"loihi2": HOSTILE}}),
    )
    found = written(data, tmp_path)
    names = [tag for tag, _ in found.tags]
    assert "img" not in names
    assert names.count("script") == 8 + 2
    assert all(not name.startswith("on") for _, attributes in found.tags for name in attributes)
    assert any(HOSTILE in json.dumps(spec, ensure_ascii=False).replace('\\"', '"') for spec in found.specs)
    source = (tmp_path / "report.html").read_text("utf-8")
    assert source.count("</noscript>") == 8
    assert html.escape(HOSTILE, quote=False) in source.replace("&#34;", '"').replace("&#39;", "'")
    for vector in (tmp_path / "figures").iterdir():
        assert re.fullmatch(r"[a-z0-9-]+\.(svg|png)", vector.name)


def test_figures_whose_names_collide_are_kept_apart(report_data: ReportData, tmp_path: Path) -> None:
    curves = report_data.curves.replace({"chip": {"loihi2": "mixed signal"}})
    page.write_report(replace(report_data, curves=curves), tmp_path)
    assert (tmp_path / "figures/accuracy-mixed-signal-mismatch.svg").is_file()
    assert (tmp_path / "figures/accuracy-mixed-signal-mismatch-2.svg").is_file()


def test_empty_run_gives_sentences_and_no_charts(tmp_path: Path) -> None:
    found = written(ReportData("Empty", {}), tmp_path)
    for sentence in (
        "No headline figures: the run's summary holds no accuracy, and nothing was proved or swept.",
        "No chart of accuracy against noise: the run holds no sweep.",
        "No calibration table: the run calibrated no chips.",
        "No proof: the exported network was not run in another simulator.",
        "No chart of firing rates: neither the proofs nor the training log hold any.",
        "No training curve: the run holds no training log.",
        "No chart of the surrogate gradient: the training log holds no learned γ.",
        "The run's summary does not hold its command.",
    ):
        assert sentence in found.text
    assert found.specs == []
    assert found.scripts == []
    assert list((tmp_path / "figures").iterdir()) == []


def test_missing_training_and_calibration_leave_the_rest(report_data: ReportData, tmp_path: Path) -> None:
    found = written(replace(report_data, training=pd.DataFrame(), calibration=pd.DataFrame()), tmp_path)
    assert "No training curve: the run holds no training log." in found.text
    assert "No calibration table: the run calibrated no chips." in found.text
    assert len(found.specs) == 4


def test_calibration_without_its_sweep_does_not_say_that_nothing_was_lost(
    report_data: ReportData, tmp_path: Path
) -> None:
    calibration = report_data.calibration.assign(recovered=float("nan"))
    curves = report_data.curves[~report_data.curves["calibrated"]]
    found = written(replace(report_data, calibration=calibration, curves=curves), tmp_path)
    assert "not swept" in found.text
    assert "nothing was lost" not in found.text


def test_means_of_counts_read_as_numbers(report_data: ReportData, tmp_path: Path) -> None:
    calibration = report_data.calibration.assign(chip_runs=640.0, samples=1234.5)
    data = ReportData("Means", {"data": {"name": "digits", "train": None}}, calibration=calibration)
    found = written(data, tmp_path)
    assert found.rows[1][-2:] == ["640", "1,234.5"]
    assert "train samples" not in found.text
    assert "None" not in found.text


def test_mismatching_export_is_shown_as_such(report_data: ReportData, tmp_path: Path) -> None:
    first = "first at step 3, layer conv1, neuron (2, 1, 4), sample 0: spike 1 expected, 0 got"
    proof = {**report_data.proofs[0], "mismatched_spikes": 41, "mismatched_voltages": 977, "first": first}
    found = written(replace(report_data, proofs=[proof]), tmp_path)
    assert "41 spikes differ in Lava 0.10.0 of 246,913 compared on loihi2; 977 voltages differ" in found.text
    assert first in found.text
    assert ("li", {"class": "bad"}) in found.tags


@pytest.mark.parametrize("step", ["vegalite_to_png", "vegalite_to_svg"])
def test_failure_while_rendering_leaves_the_previous_report(
    report_data: ReportData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    before = ReportData("Before", {}, training=report_data.training)
    page.write_report(before, tmp_path)
    kept = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def fail(*_: object, **__: object) -> None:
        raise ValueError("no renderer")

    monkeypatch.setattr(vl_convert, step, fail)
    with pytest.raises(ValueError, match="no renderer"):
        page.write_report(report_data, tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == kept


def test_failure_while_writing_leaves_the_previous_page(
    report_data: ReportData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = page.write_report(ReportData("Before", {}), tmp_path)
    kept = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(UsageError, match="No space left on device"):
        page.write_report(ReportData("After", {}), tmp_path)
    assert path.read_bytes() == kept
    assert list(tmp_path.rglob("*.tmp")) == []


def test_same_data_give_the_same_bytes(report_data: ReportData, tmp_path: Path) -> None:
    small = replace(report_data, curves=pd.DataFrame(), chips=pd.DataFrame())
    first, second = (page.write_report(small, tmp_path / name) for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.skipif("NEURODEPLOY_BROWSER" not in os.environ, reason="NEURODEPLOY_BROWSER=/path/to/chromium runs it")
def test_browser_draws_every_chart(synthetic_page: tuple[Path, Page], tmp_path: Path) -> None:
    options = (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--virtual-time-budget=8000",
        f"--user-data-dir={tmp_path}",
    )
    address = (synthetic_page[0] / "report.html").as_uri()
    command = [os.environ["NEURODEPLOY_BROWSER"], *options, "--dump-dom", address]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert shown.count('<div class="chart-wrapper"') == 8
