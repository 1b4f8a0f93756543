"""The board: what is written to samna, with classes that stand in for samna's and for the board."""

from __future__ import annotations

import importlib
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dynapse2_networks import chip_network, events

from neurodeploy.errors import MissingBackendError, UsageError
from neurodeploy.export import dynapse2_board as board
from neurodeploy.export import samna_boards
from neurodeploy.export.dynapse2_folder import Dynapse2Artifact, golden_of
from neurodeploy.export.dynapse2_memory import OUTSIDE, memories
from neurodeploy.export.target import Backend
from neurodeploy.simulate import dynapse2_engine

jax = pytest.importorskip("jax", reason="needs jax: the extra `dynapse2`")


class Plain:
    """Anything with attributes."""

    def __init__(self, *values: Any, **named: Any) -> None:
        self.__dict__.update(named, values=values)


def stand_in() -> Any:
    """A samna whose Dynapse2Configuration has 4 chips of 4 cores of 256 neurons."""
    samna = types.ModuleType("samna")

    def configuration() -> Plain:
        def core() -> Plain:
            from rockpool.devices.dynapse.lookup import sim2device_se2

            names = [*sim2device_se2.values()]
            return Plain(parameters={name: Plain() for name in names}, neurons=[Plain() for _ in range(256)])

        return Plain(chips=[Plain(cores=[core() for _ in range(4)]) for _ in range(4)])

    parts = {"Dynapse2Configuration": configuration, "Dynapse2Synapse": Plain, "Dynapse2Destination": Plain}
    samna.dynapse2 = types.SimpleNamespace(**parts, Dendrite=lambda kind: kind)  # type: ignore[attr-defined]
    return samna


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> Any:
    """(samna, rockpool.devices.dynapse) with the stand-in where Rockpool looks for samna."""
    from neurodeploy.export.dynapse2_simulator import without_samna

    with without_samna():
        package = importlib.import_module("rockpool.devices.dynapse")
        allocator = importlib.import_module("rockpool.devices.dynapse.hardware.config.allocator")
    samna = stand_in()
    monkeypatch.setattr(allocator, "samna", samna)
    monkeypatch.setitem(sys.modules, "samna", samna)
    return samna, package


def test_every_core_is_configured(tools: Any) -> None:
    network = chip_network(1)
    made = board.configuration(network, *tools)
    for one in memories(network):
        core = made.chips[one["chip"]].cores[one["core"]]
        for place, neuron in enumerate(one["neurons"]):
            written = core.neurons[place]
            assert (len(written.synapses), len(written.destinations)) == (64, 4)
            used = [part for part in written.synapses if any(part.weight)]
            read = [(part.tag, part.dendrite.name, sum(bit << i for i, bit in enumerate(part.weight))) for part in used]
            assert read == [(tag, "ampa" if sign > 0 else "gaba", mask) for tag, sign, mask in neuron["synapses"]]
            sent = [part for part in written.destinations if any(part.core)]
            assert [(part.x_hop, part.core, part.tag) for part in sent] == [tuple(d) for d in neuron["destinations"]]
            assert all((part.y_hop == OUTSIDE) == (part.x_hop == OUTSIDE) for part in sent)
        codes = core.parameters["SOIF_SPKTHR_P"]
        lookup = importlib.import_module("rockpool.devices.dynapse.lookup")
        current = lookup.paramgen_se2["P"][codes.coarse_value][codes.fine_value] * 0.38
        assert abs(current / one["biases"]["Ispkthr"] - 1) < 0.1


def test_readout_by_tags_and_events_in_the_first_step(tools: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    network = chip_network(2)
    shown = events(network, 5)
    golden = golden_of(network, shown, np.arange(5) % network.outputs)
    artifact = Dynapse2Artifact(network, golden, {})
    seen: list[Any] = []

    class Device:
        """Answers as the engine decides; outputs without spikes have no channel."""

        def __init__(self, found: Any, config: Any, channels: Any, dt: float) -> None:
            assert (found, dt) == ("board", network.dt)
            assert len(channels) == network.input.shape[0]

        def __call__(self, raster: Any, record: bool) -> Any:
            seen.append(raster)
            sample = len(seen) - 1
            counts = dynapse2_engine.run(network, shown[:, sample : sample + 1]).readout[0]
            tags = np.flatnonzero(counts)
            out = np.zeros((4, len(tags)))
            out[1] = counts[tags]
            return out, {}, {"channel_map": {i: Plain(tag=int(tag)) for i, tag in enumerate(tags)}}

    samna, package = tools
    monkeypatch.setattr(samna_boards, "samna", lambda: Backend("0.48", "here"))
    monkeypatch.setattr(package, "find_dynapse_boards", lambda: ["board"])
    monkeypatch.setattr(package, "DynapseSamna", Device)
    result = board.run_on_board(artifact, "the simulator")
    assert result["readout"] == golden.readout.tolist()
    assert (result["agreement"], result["samples"], result["evidence"]) == (1.0, 5, "measured-silicon")
    assert np.array_equal(seen[0][: network.steps * 2 : 2], shown[:, 0])
    assert not seen[0][1::2].any()
    assert samna is sys.modules["samna"]


def test_no_samna_and_no_board(tools: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    network = chip_network(2)
    artifact = Dynapse2Artifact(network, golden_of(network, events(network, 2), np.zeros(2, np.int64)), {})
    monkeypatch.setattr(samna_boards, "samna", lambda: Backend(None, "samna is not installed"))
    with pytest.raises(MissingBackendError, match=r"samna is not installed(.|\n)*the simulator: run it"):
        board.run_on_board(artifact, "run it")
    monkeypatch.setattr(samna_boards, "samna", lambda: Backend("0.48", "here"))

    def nothing() -> Any:
        raise ConnectionError("No samna device found")

    monkeypatch.setattr(tools[1], "find_dynapse_boards", nothing)
    with pytest.raises(MissingBackendError, match=r"No samna device found(.|\n)*run it"):
        board.run_on_board(artifact, "run it")


def test_the_command_of_another_artifact(tmp_path: Path) -> None:
    from neurodeploy.cli import dynapse2 as command

    with pytest.raises(UsageError, match="--target dynapse2"):
        command.deploy_dynapse2(tmp_path, "dynapse2", None, tmp_path / "run", False)
