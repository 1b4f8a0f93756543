"""Cores: as the tables in lava-dl's public notebooks say that Intel's compiler places them, and by hand."""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from typing import Any

import numpy as np
import pytest
from inspected_programs import chain, conv, dense, layer, program

from neurodeploy.hw_models import chip
from neurodeploy.hw_models.chip import ChipModel
from neurodeploy.inspect.placement import LayerPlacement, Placement, destinations, place
from neurodeploy.ir.arrays import Shape
from neurodeploy.ir.program import Program
from neurodeploy.ir.synapses import ConvSynapses
from neurodeploy.simulate import reference

LOIHI = chip("loihi2")


def placed(judged: Program, on: ChipModel = LOIHI) -> Placement:
    found = place(judged, on)
    assert found is not None
    return found


# Geometry and number of cores per layer as printed in the notebooks (tutorials/lava/lib/dl/netx).
PILOTNET = [
    ("conv", 24, 3, (2, 2), (0, 0)),
    ("conv", 36, 3, (2, 2), (0, 0)),
    ("conv", 48, 3, (2, 2), (0, 0)),
    ("conv", 64, 3, (2, 1), (1, 0)),
    ("conv", 64, 3, (1, 1), (0, 0)),
    ("fc", 100),
    ("fc", 50),
    ("fc", 10),
    ("fc", 1),
]
PILOTNET_CORES = [25, 13, 3, 3, 2, 12, 1, 1, 1]
YOLO = [(16, 3, 2), (32, 3, 2), (64, 3, 2), (128, 3, 2), (256, 3, 1), (256, 3, 2), (512, 3, 1), (256, 1, 1)]
YOLO += [(512, 3, 1), (48, 1, 1)]
REPORTS: dict[str, tuple[Shape, list[Any], list[int]]] = {
    "mnist/run.ipynb": ((784,), [("fc", 128), ("fc", 64), ("fc", 10)], [3, 1, 1]),
    "pilotnet_sdnn/benchmark.ipynb": ((3, 66, 200), PILOTNET, PILOTNET_CORES),
    # Its input is a layer of neurons that are driven by their bias: here by a spike each.
    "pilotnet_snn/benchmark.ipynb": (
        (3, 66, 200),
        [("conv", 3, 1, (1, 1), (0, 0), 3), *PILOTNET],
        [13, *PILOTNET_CORES],
    ),
    "yolo_kp/run.ipynb": (
        (3, 448, 448),
        [("conv", channels, kernel, (stride, stride), (kernel // 2, kernel // 2)) for channels, kernel, stride in YOLO],
        [224, 112, 56, 28, 56, 16, 32, 14, 32, 4],
    ),
}
TOTALS = {
    "mnist/run.ipynb": 5,
    "pilotnet_sdnn/benchmark.ipynb": 61,
    "pilotnet_snn/benchmark.ipynb": 74,
    "yolo_kp/run.ipynb": 574,
}


@pytest.mark.parametrize("report", REPORTS)
def test_cores_of_every_layer_are_those_of_the_public_report(report: str) -> None:
    shape, parts, cores = REPORTS[report]
    found = placed(chain(shape, parts))
    assert [row.cores for row in found.layers] == cores
    assert (found.cores, found.chips) == (TOTALS[report], ceil(TOTALS[report] / 128))


def test_tiles_and_memory_of_pilotnet() -> None:
    """Neurons and, of dense layers, words of synaptic memory on a core, as the report of the SDNN has them."""
    shape, parts, _ = REPORTS["pilotnet_sdnn/benchmark.ipynb"]
    rows = placed(chain(shape, parts)).layers
    assert [row.neurons for row in rows[:5]] == [3072, 2160, 2688, 2048, 2048]
    assert [row.tile[1:] for row in rows[:5]] == [(32, 4), (15, 4), (7, 8), (4, 8), (2, 16)]
    assert [row.in_axons for row in rows[5:]] == [2560, 100, 50, 10]
    assert [row.out_axons for row in rows[5:]] == [9, 50, 10, 1]  # the report's mean over 12 cores is 8
    # Reported: 7253 (mean of 11 cores with 9 neurons and one with 1), 1500 (1300 in the SNN), 150, 10.
    assert [row.synapse_words for row in rows[5:]] == [2560 * 3, 1300, 150, 10]


def test_one_public_report_is_missed() -> None:
    """oxford/run.ipynb: 5 cores, of which the first layer takes 3; two hold it by every limit that is known."""
    assert [row.cores for row in placed(chain((200,), [("fc", 256), ("fc", 200)])).layers] == [2, 2]


def test_dense_layers_by_hand() -> None:
    """A list of n weights takes ceil((8 n + 16) / 32) words."""
    row = placed(chain((3,), [("fc", 10)])).layers[0]
    assert row == LayerPlacement("layer0", 1, (10,), 10, 3, 3 * 3, 3, 10)
    wide = placed(chain((4000,), [("fc", 10), ("fc", 1)])).layers  # 12000 words: just one core
    assert (wide[0].cores, wide[0].synapse_words) == (1, 12000)
    wide = placed(chain((4001,), [("fc", 10)])).layers  # one list too many: half
    assert (wide[0].cores, wide[0].tile, wide[0].synapse_words) == (2, (5,), 4001 * 2)
    assert placed(chain((1,), [("fc", 4095)])).cores == 1
    assert placed(chain((1,), [("fc", 4096)])).layers[0].tile == (2048,)
    assert placed(chain((12001,), [("fc", 2)])).layers[0].synapse_words == 12001  # does not fit, and says so


def test_several_synapses_delays_and_feedback_share_a_core() -> None:
    into = dense("input", np.ones((10, 5)))
    slow = dense("input", np.ones((10, 5)), "slow", delays=np.ones((10, 5), dtype=int))
    back = dense("a", np.ones((10, 10)), "back", delay=1)
    row = placed(program(layer("a", (10,), into, slow, back), shape=(5,))).layers[0]
    assert row.synapse_words == 5 * 3 + 5 * ceil((14 * 10 + 16) / 32) + 10 * 3
    assert (row.in_axons, row.fan_in, row.out_axons) == (20, 20, 10)


def test_convolutions_by_hand() -> None:
    """A list of n channels takes ceil(9 n / 32) quarters of a word, one list per input channel and kernel place."""
    row = placed(chain((2, 8, 8), [("conv", 8, 3, (1, 1), (1, 1))])).layers[0]
    assert row == LayerPlacement("layer0", 1, (8, 8, 8), 512, 18, ceil(18 * 3 / 4), 1, 512)
    grouped = placed(chain((2, 8, 8), [("conv", 8, 3, (1, 1), (1, 1), 2)])).layers[0]
    assert (grouped.synapse_words, grouped.fan_in) == (ceil(18 * 2 / 4), 9)  # two lists of four channels
    many = placed(chain((128, 1, 1), [("conv", 128, 1, (1, 1), (0, 0), 128)])).layers[0]
    assert many.synapse_words == 128 * 9  # more groups than Lava counts: written out, 128 lists of 128 channels


def test_pooling_is_written_into_the_kernel() -> None:
    pooled = conv("input", np.ones((8, 2, 3, 3)), pool=2, padding=(1, 1))
    row = placed(program(layer("a", (8, 4, 4), pooled), shape=(2, 8, 8))).layers[0]
    assert (row.synapse_words, row.fan_in) == (ceil(2 * 36 * 3 / 4), 72)
    spread = conv("input", np.ones((8, 2, 3, 3)), pool=2, padding=(2, 2), dilation=(2, 2))
    row = placed(program(layer("a", (8, 4, 4), spread), shape=(2, 8, 8))).layers[0]
    assert row.synapse_words == ceil(2 * 100 * 3 / 4)  # 5 x 5 places, each 2 x 2
    flat = dense("input", np.ones((4, 8)), pool=2)
    row = placed(program(layer("a", (4,), flat), shape=(2, 4, 4))).layers[0]
    assert (row.in_axons, row.fan_in) == (32, 32)


def test_channels_are_divided_only_where_memory_or_neurons_ask_for_it() -> None:
    assert placed(chain((148, 1, 1), [("conv", 128, 3, (1, 1), (1, 1))])).layers[0].tile[0] == 128  # 1332 · 9 = 11988
    assert placed(chain((149, 1, 1), [("conv", 128, 3, (1, 1), (1, 1))])).layers[0].tile[0] == 64  # 1341 · 9 = 12069
    assert placed(chain((1, 1, 1), [("conv", 4095, 1, (1, 1), (0, 0))])).cores == 1
    assert placed(chain((1, 1, 1), [("conv", 4096, 1, (1, 1), (0, 0))])).layers[0].tile == (2048, 1, 1)


def test_a_tile_counts_its_whole_width() -> None:
    """64 · 2 · 32 neurons would be one too many, although the layer is only 20 wide."""
    rows = placed(chain((1, 2, 20), [("conv", 64, 1, (1, 1), (0, 0))])).layers
    assert (rows[0].cores, rows[0].tile, rows[0].neurons) == (2, (64, 2, 16), 2048)


def test_a_tile_is_no_wider_than_it_must_be() -> None:
    assert placed(chain((1, 16, 8), [("conv", 1, 1, (1, 1), (0, 0))])).layers[0].tile == (1, 16, 8)
    assert placed(chain((1, 16, 9), [("conv", 1, 1, (1, 1), (0, 0))])).layers[0].tile == (1, 16, 16)


def test_more_cores_than_a_chip_has() -> None:
    assert LOIHI.cores is not None
    for per_chip, chips in ((5, 1), (4, 2), (2, 3)):
        small = replace(LOIHI, cores=replace(LOIHI.cores, per_chip=per_chip))
        assert placed(chain((784,), [("fc", 128), ("fc", 64), ("fc", 10)]), small).chips == chips


def test_axons_of_a_layer_that_feeds_several() -> None:
    image = layer("a", (2, 4, 4), conv("input", np.ones((2, 1, 1, 1))))
    again = layer("b", (2, 4, 4), conv("a", np.ones((2, 2, 3, 3)), padding=(1, 1)))
    out = layer("c", (3,), dense("a", np.ones((3, 32))), dense("b", np.ones((3, 32)), "other"))
    rows = placed(program(image, again, out, shape=(1, 4, 4))).layers
    assert [row.out_axons for row in rows] == [16 + 32, 32, 3]
    assert [row.in_axons for row in rows] == [1, 1, 64]


def test_nothing_is_known_about_the_cores_of_other_chips() -> None:
    assert place(chain((3,), [("fc", 2)]), chip("ideal")) is None
    assert place(chain((3,), [("fc", 2)]), chip("mixed-signal")) is None


GEOMETRIES: list[tuple[Shape, dict[str, Any], tuple[int, ...]]] = [
    ((2, 6, 9), {"padding": (1, 1)}, (4, 2, 3, 3)),
    ((2, 6, 9), {"stride": (2, 1), "padding": (0, 1)}, (3, 2, 3, 2)),
    ((4, 6, 8), {"groups": 2, "dilation": (1, 2)}, (6, 2, 2, 3)),
    ((2, 8, 8), {"pool": 2, "padding": (1, 0)}, (4, 2, 3, 3)),
    ((3, 5, 5), {"groups": 3, "stride": (3, 2)}, (3, 1, 1, 1)),  # places that nothing reads
]


@pytest.mark.parametrize(("shape", "geometry", "kernel"), GEOMETRIES)
@pytest.mark.parametrize("tile", [(1, 1, 1), (2, 3, 2), (4, 2, 4), (8, 8, 16)])
def test_destinations_are_the_cores_that_a_spike_changes(
    shape: Shape, geometry: dict[str, Any], kernel: tuple[int, ...], tile: tuple[int, int, int]
) -> None:
    """Counted by showing one spike after the other to the reference's convolution."""
    synapses = conv("input", np.ones(kernel, dtype=int), **geometry)
    target = synapses.output_shape(shape)
    cores = int(np.prod([ceil(whole / part) for whole, part in zip(target, tile, strict=True)]))
    row = LayerPlacement("a", cores, tile, 0, 0, 0, 0, 0)
    expected = np.zeros(shape, dtype=int)
    for place_ in np.ndindex(*shape):
        spike = np.zeros((1, *shape), dtype=int)
        spike[(0, *place_)] = 1
        reached = np.argwhere(reference.current(synapses, spike)[0])
        expected[place_] = len({tuple(where // np.array(tile)) for where in reached})
    assert isinstance(synapses, ConvSynapses)
    np.testing.assert_array_equal(destinations(synapses, shape, row, target), expected)


def test_a_spike_into_dense_synapses_goes_to_all_cores_of_the_layer() -> None:
    row = LayerPlacement("a", 7, (3,), 3, 0, 0, 0, 0)
    np.testing.assert_array_equal(destinations(dense("b", np.ones((20, 4))), (4,), row, (20,)), [7, 7, 7, 7])
