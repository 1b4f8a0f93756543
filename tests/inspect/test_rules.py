"""All rules together: order, strictness, what export targets say beside them, and the page that documents them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from inspected_programs import conv, dense, layer, program, single

from neurodeploy.export import target
from neurodeploy.hw_models import chip
from neurodeploy.inspect import RULES, Finding, Inspection, inspect_program, strict, warnings
from neurodeploy.inspect.finding import ordered
from neurodeploy.inspect.rules import TARGET
from neurodeploy.ir.network import Network, sequential
from neurodeploy.ir.nodes import LIF, Input, Linear, MembraneReadout
from neurodeploy.ir.program import Program
from neurodeploy.quantize import quantize

LOIHI = chip("loihi2")


def network(weight: float = 1.0, decay: float = 0.5, steps: int = 4) -> Network:
    hidden = Linear(np.array([[1.0, 0.5], [0.25, weight]]), np.zeros(2))
    last = Linear(np.array([[1.0, -1.0]]), np.zeros(1))
    nodes = [("in", Input((2,))), ("fc", hidden), ("a", LIF(decay, 0.6)), ("last", last), ("out", MembraneReadout())]
    return sequential(nodes, steps)


def inspected(judged: Network, changes: Any = None, inputs: Any = None, said: tuple[str, ...] = ()) -> Inspection:
    """Inspection of the network for Loihi 2, with some numbers of its first layer changed."""
    stored = quantize(judged, LOIHI)
    neurons = replace(stored.layers[0].neurons, **{n: np.array(v) for n, v in (changes or {}).items()})
    layers = (replace(stored.layers[0], neurons=neurons), *stored.layers[1:])
    return inspect_program(judged, replace(stored, layers=layers), LOIHI, inputs, said)


def test_a_sound_network_has_notes_at_most() -> None:
    samples = np.array([[1, 0], [0, 1], [1, 1], [0, 0]])
    found = inspected(network(), inputs=samples)
    assert [one for one in found.findings if one.severity != "note"] == []
    assert found.fits
    assert found.placement is not None
    assert (found.placement.cores, [row.layer for row in found.headroom]) == (2, ["a", "out"])
    rate = found.observed["a"].firing_rate
    assert rate is not None
    assert 0.05 < rate < 0.95
    assert [row["layer"] for row in found.life()] == ["a", "out"]


def test_everything_is_found_at_once_and_violations_come_first() -> None:
    bad = {"threshold": 140000, "voltage_decay": [10, 20], "bias_mantissa": [9000, 0]}
    found = inspected(network(decay=0.9999, steps=6), bad, np.zeros((3, 2), dtype=int))
    by_severity = [(one.severity, one.rule) for one in found.findings]
    assert by_severity == [
        ("violation", "L2-THR-17BIT"),
        ("violation", "L2-DECAY-SHARED"),
        ("violation", "L2-BIAS-13BIT"),
        ("warning", "L2-STEPS-POWER-OF-TWO"),
        ("warning", "DECAY-GRID"),
        ("warning", "THRESHOLD-ROUNDED"),
        ("warning", "LIFE-LAYER-SILENT"),
        ("warning", "LIFE-NEURONS-NEVER"),
        *[("note", one.rule) for one in found.findings if one.severity == "note"],
    ]
    assert not found.fits


def test_strict_makes_warnings_violations_and_leaves_notes() -> None:
    one = Finding("R", "a", "size", 3, 2, "a source", "less", "warning")
    note, violation = replace(one, severity="note"), replace(one, severity="violation")
    assert strict([one, note, violation]) == [violation, note, violation]
    assert ordered([note, one, violation]) == [violation, one, note]


def test_a_finding_is_one_sentence() -> None:
    one = Finding("R-1", "a", "size", 3.14159, 2, "a source", "use less", "warning")
    assert str(one) == "layer a: size: 3.142 (limit 2); use less [R-1]"
    assert str(replace(one, layer="", limit="", suggestion="")) == "size: 3.142 [R-1]"


def test_without_data_nothing_is_measured() -> None:
    found = inspected(network())
    assert (found.observed, found.life()) == ({}, [])
    assert all(row.current_measured is None for row in found.headroom)


def test_plain_values_hold_everything() -> None:
    plain = inspected(network(), inputs=np.array([[1, 0]])).plain()
    assert set(plain) == {"rounding", "findings", "headroom", "life", "placement"}
    assert plain["placement"]["cores"] == 2
    assert plain["findings"][0]["source"]


def saying(*sentences: str) -> list[str]:
    """The sentences of a target that are left beside a threshold of 18 bits."""
    found = inspected(network(), {"threshold": 140000}, said=sentences)
    return [str(one.measured) for one in found.findings if one.rule == "TARGET"]


def test_what_a_target_says_is_not_repeated() -> None:
    own = "layer a: threshold 140000: allowed are 0 to 131071"
    assert saying(own) == []
    assert saying("layer out: threshold 140000: allowed are 0 to 131071") == ["layer out: " + own[9:]]
    assert saying("layer a: it is blue", "made for another chip") == ["layer a: it is blue", "made for another chip"]
    found = inspected(network(), said=("layer a: it is blue",))
    assert not found.fits
    assert found.findings[0] == TARGET.at("", "layer a: it is blue", "")


LAVA = {
    "threshold": single([[2]], threshold=131072),
    "decay": single([[2]], voltage_decay=4096),
    "current decay": single([[2]], current_decay=0),
    "bias": single([[2]], bias_mantissa=[4096]),
    "bias beyond int16": single([[2]], bias_mantissa=[40000]),
    "weights": single([[-129, 127]]),
    "weights of a convolution": program(
        layer("a", (1, 1, 1), conv("input", [[[[-129, 127]]]])), shape=(1, 1, 2)
    ),
    "weights and exponent": program(
        layer("a", (1,), dense("input", [[-127, 127]], weight_exponent=-8)), shape=(2,)
    ),
    "readout": single([[1025]], fires=False, threshold=1024, bits=8, steps=16),
    "sums": single([[127] * 33156], bits=8),
    "current": single([[127] * 1037], bits=8),
    "geometry": program(layer("a", (1, 2, 1), conv("input", [[[[2]]]], stride=(128, 1))), shape=(1, 129, 1)),
    "feedback": program(
        layer("a", (1,), dense("input", [[2]]), dense("b", [[2]], "back", delay=1)), layer("b", (1,), dense("a", [[2]]))
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LAVA)
def test_what_lava_refuses_is_found_here_too(name: str) -> None:
    """The exporter's sentence and a rule of ours agree, so that one is left of two."""
    judged: Program = LAVA[name]
    said = target("lava").violations(judged)
    assert said
    found = _findings(judged, tuple(said))
    assert [one for one in found if one.rule == "TARGET"] == []
    assert any(one.severity == "violation" for one in found)


def _findings(judged: Program, said: tuple[str, ...]) -> list[Finding]:
    from neurodeploy.inspect import place
    from neurodeploy.inspect.headroom import headroom_findings
    from neurodeploy.inspect.registers import register_findings
    from neurodeploy.inspect.resources import resource_findings
    from neurodeploy.inspect.rules import _others

    found = [
        *register_findings(judged, LOIHI),
        *headroom_findings(judged, {}),
        *resource_findings(judged, LOIHI, place(judged, LOIHI)),
    ]
    return [*found, *_others(said, found)]


def test_warnings_are_sentences_about_rates_registers_and_rounding() -> None:
    stored = single([[2**16, 2**16 + 1]])
    found = warnings(stored, LOIHI, {"a": 0.0}, [])
    assert [text.rpartition(" ")[2] for text in found] == ["[LIFE-LAYER-SILENT]", "[L2-CURRENT-WRAP]"]
    assert found[0].startswith("layer a: silent, mean firing rate: 0.00% (limit 0.1%)")
    assert warnings(single([[2]]), LOIHI, {"a": 0.5}, []) == []


def test_every_rule_is_documented_with_its_severity() -> None:
    assert len({rule.id for rule in RULES}) == len(RULES)
    assert all(rule.source and rule.suggestion for rule in RULES)
    page = (Path(__file__).parents[2] / "docs" / "inspect.md").read_text(encoding="utf-8")
    documented = dict(re.findall(r"^\| `([A-Z0-9-]+)` \| (violation|warning|note) \|", page, re.MULTILINE))
    assert documented == {rule.id: rule.severity for rule in RULES}
