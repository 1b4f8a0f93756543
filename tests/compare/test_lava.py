"""Lava as a side: equal to the reference, and a teacher of the reference's layers."""

from __future__ import annotations

from pathlib import Path

import pytest

from neurodeploy.compare.backends import Request, compare_backends
from neurodeploy.deployment import export_model
from neurodeploy.export import lava
from neurodeploy.snn.model_file import Model

pytestmark = pytest.mark.lava


@pytest.fixture(autouse=True, scope="module")
def _lava() -> None:
    """Without Lava these tests fail: equality that was not tried must not look like equality."""
    found = lava.TARGET.backend()
    if found.version is None:
        pytest.fail(found.detail, pytrace=False)


def test_the_reference_on_lavas_spikes_does_as_lava(model: Model, tmp_path: Path) -> None:
    export_model(model, "lava", tmp_path / "out")
    result = compare_backends(Request(tmp_path / "out", "lava", "reference", samples=2, teacher_forced=True))
    assert (result.by_value, result.excess(), result.first.evidence) == (True, [], "bit-exact-sim")
    for layer in result.layers:
        assert layer.differing_voltages == 0
        if layer.fires:
            assert layer.first_rate is not None
            assert 0.05 < layer.first_rate < 0.95


def test_the_host_may_weight_the_input(model: Model, tmp_path: Path) -> None:
    export_model(model, "lava", tmp_path / "out")
    result = compare_backends(Request(tmp_path / "out", "reference", "lava:host-currents", samples=2))
    assert (result.by_value, result.excess()) == (True, [])
    assert result.second.title.startswith("Lava, currents of the input computed by the host")
