"""What does not fit: each limit of a core, and of timing, is silent at its end and fires one past it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from inspected_programs import chain, conv, dense, layer, program, single

from neurodeploy.export import lava_job
from neurodeploy.hw_models import chip
from neurodeploy.inspect.placement import place
from neurodeploy.inspect.resources import lags, resource_findings
from neurodeploy.ir.program import Program

LOIHI = chip("loihi2")


def found(judged: Program) -> list[tuple[Any, ...]]:
    rows = resource_findings(judged, LOIHI, place(judged, LOIHI))
    return [(row.rule, row.layer, row.measured, row.limit) for row in rows]


def test_synaptic_memory_of_a_single_neuron_and_axons() -> None:
    assert found(chain((12000,), [("fc", 2)])) == []
    assert found(chain((12001,), [("fc", 2)])) == [("L2-SYNAPSE-MEMORY", "layer0", 12001, 12000)]
    rules = [("L2-SYNAPSE-MEMORY", "layer0", 16000, 12000)]
    assert found(chain((16000,), [("fc", 2)])) == rules
    more = [("L2-SYNAPSE-MEMORY", "layer0", 16001, 12000), ("L2-IN-AXONS", "layer0", 16001, 16000)]
    assert found(chain((16001,), [("fc", 2)])) == more


@pytest.mark.parametrize(("targets", "fits"), [(4, True), (5, False)])
def test_axon_map(targets: int, fits: bool) -> None:
    first = layer("a", (4000,), dense("input", np.ones((4000, 1))))
    rest = [layer(f"b{index}", (1,), dense("a", np.ones((1, 4000)))) for index in range(targets)]
    rows = [row for row in found(program(first, *rest)) if row[0] == "L2-OUT-AXONS"]
    assert rows == ([] if fits else [("L2-OUT-AXONS", "a", 20000, 16000)])


def test_a_network_larger_than_a_chip() -> None:
    tiles = [("conv", 16, 3, (2, 2), (1, 1))]  # 8 rows of tiles 28 high, as many columns as the width asks for
    fits, large = chain((3, 256, 256), tiles), chain((3, 256, 256), [*tiles, ("conv", 32, 3, (1, 1), (1, 1))])
    assert place(fits, LOIHI).cores <= 128  # type: ignore[union-attr]
    assert "L2-CHIPS" not in [row[0] for row in found(fits)]
    cores = place(large, LOIHI).cores  # type: ignore[union-attr]
    assert ("L2-CHIPS", "", cores, 128) in found(large)


@pytest.mark.parametrize(("width", "fits"), [(256, True), (257, False)])
def test_width_of_a_convolutions_input(width: int, fits: bool) -> None:
    rows = found(chain((1, 4, width), [("conv", 1, 1, (1, 1), (0, 0))]))
    assert rows == ([] if fits else [("L2-CONV-WIDTH", "layer0", 257, 256)])


@pytest.mark.parametrize(
    ("geometry", "kernel", "measured"),
    [
        ({"stride": (127, 1)}, (1, 1, 1, 1), None),
        ({"stride": (128, 1)}, (1, 1, 1, 1), 128),
        ({"padding": (0, 128)}, (1, 1, 1, 1), 128),
        ({"dilation": (1, 128)}, (1, 1, 1, 2), 128),
        ({}, (1, 1, 1, 128), 128),
        ({"pool": 2, "stride": (63, 1)}, (1, 1, 1, 1), None),
        ({"pool": 2, "stride": (64, 1)}, (1, 1, 1, 1), 128),
        ({"pool": 2}, (1, 1, 1, 64), 128),
        ({"pool": 2, "dilation": (1, 63)}, (1, 1, 1, 2), 128),
        ({"pool": 2, "dilation": (1, 62)}, (1, 1, 1, 2), None),
    ],
)
def test_geometry_that_lava_keeps_in_eight_bits(
    geometry: dict[str, Any], kernel: tuple[int, ...], measured: int | None
) -> None:
    synapses = conv("input", np.ones(kernel), **geometry)
    shape = (1, 200, 256)
    judged = program(layer("a", synapses.output_shape(shape), synapses), shape=shape)
    assert found(judged) == ([] if measured is None else [("L2-GEOMETRY-INT8", "a", measured, 127)])
    written = synapses.expanded()
    written_out = (*written.weight.shape[2:], *written.stride, *written.padding, *written.dilation)
    assert (max(written_out) > 127) is (measured is not None)


@pytest.mark.parametrize(("groups", "fits"), [(127, True), (128, False)])
def test_groups(groups: int, fits: bool) -> None:
    rows = found(chain((groups, 1, 1), [("conv", groups, 1, (1, 1), (0, 0), groups)]))
    assert rows == ([] if fits else [("L2-GROUPS-INT8", "layer0", 128, 127)])


@pytest.mark.parametrize(
    ("steps", "limit"), [(1, None), (2, None), (3, "2 or 4"), (4, None), (5, "4 or 8"), (32, None), (20, "16 or 32")]
)
def test_steps_are_a_power_of_two_on_the_chip(steps: int, limit: str | None) -> None:
    assert found(single([[1]], steps=steps)) == ([] if limit is None else [("L2-STEPS-POWER-OF-TWO", "", steps, limit)])


def loop(delay: int, own: int = 1) -> Program:
    """a feeds b, b comes back after `delay` steps, a feeds itself after `own`."""
    first = layer("a", (1,), dense("input", [[1]]), dense("b", [[1]], "back", delay=delay))
    second = layer("b", (1,), dense("a", [[1]]), dense("b", [[1]], "self", delay=own))
    return program(first, second)


def test_feedback_needs_as_many_steps_as_the_loop_has_layers() -> None:
    rows = found(loop(1))
    assert rows == [("L2-FEEDBACK", "a", "b: 1", "one per layer of the loop")]
    assert found(loop(2)) == []
    assert found(loop(3)) == [("L2-DELAY-RESET", "a", 1, 0)]  # then a spike waits for one step
    assert found(loop(2, own=3)) == [("L2-DELAY-RESET", "b", 2, 0)]


def test_paths_of_different_length_make_spikes_wait() -> None:
    first, second = layer("a", (1,), dense("input", [[1]])), layer("b", (1,), dense("a", [[1]]))
    last = layer("c", (1,), dense("b", [[1]]), dense("input", [[1]], "shortcut"))
    assert found(program(first, second, last)) == [("L2-DELAY-RESET", "c", 2, 0)]
    spread = dense("input", [[1, 1]], delays=[[0, 5]])
    assert found(program(layer("a", (1,), spread), shape=(2,))) == [("L2-DELAY-RESET", "a", 5, 0)]


def test_lags_are_those_of_the_exporter() -> None:
    first, second = layer("a", (1,), dense("input", [[1]])), layer("b", (1,), dense("a", [[1]], delay=1))
    last = layer("c", (1,), dense("b", [[1]]), dense("input", [[1]], "shortcut"))
    judged = program(first, second, last)
    assert lags(judged) == {"input": 0, "a": 1, "b": 1, "c": 2}
    for one in (judged, loop(1), loop(2), loop(3, own=2)):
        assert lags(one) == lava_job.lags(one)


def test_a_chip_of_which_nothing_is_known_gives_no_findings() -> None:
    assert resource_findings(single([[1]], steps=3), chip("mixed-signal"), None) == []
