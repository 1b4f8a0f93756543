"""The chip as data, its rules, where networks lie on it, and its virtual copies."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
from dynapse2_networks import chip_network, events, float_network

from neurodeploy.errors import UsageError
from neurodeploy.hw_models import chip as find_chip
from neurodeploy.hw_models.dynapse2 import BASE_CURRENTS, BIASES, DYNAPSE2, LAYOUT, dynapse2_chip
from neurodeploy.hw_models.dynapse2_mismatch import PRESETS, WEIGHT, Mismatch, nominal, preset, realise
from neurodeploy.hw_models.dynapse2_network import Dynapse2Network, weight_currents
from neurodeploy.hw_models.dynapse2_placement import destinations, place, split_layer, target_chips, uneven
from neurodeploy.hw_models.dynapse2_rules import misfits, too_large, violations
from neurodeploy.ir.nodes import Input
from neurodeploy.ir.populations import Population, PopulationNetwork, Projection
from neurodeploy.ir.program import INPUT
from neurodeploy.simulate import dynapse2_engine
from neurodeploy.simulate import populations as float_simulator


def test_the_chip_is_known_and_says_where_its_numbers_come_from() -> None:
    assert dynapse2_chip("dynapse2") is DYNAPSE2
    assert (DYNAPSE2.neurons, DYNAPSE2.cores, DYNAPSE2.synapses, DYNAPSE2.destinations) == (256, 4, 64, 4)
    assert (DYNAPSE2.tags, DYNAPSE2.weight_bits, DYNAPSE2.highest_mask, DYNAPSE2.all_cores) == (2048, 4, 15, 16)
    assert all(len(text) > 20 for text in DYNAPSE2.sources.values())
    assert (find_chip("dynapse2").weight_max, find_chip("dynapse2").resets) == (15, ("zero",))
    with pytest.raises(UsageError, match="known: dynapse2"):
        dynapse2_chip("dynapse3")


def test_its_numbers_are_rockpools() -> None:
    pytest.importorskip("jax", reason="needs jax: the extra `dynapse2`")
    from neurodeploy.export.dynapse2_simulator import without_samna

    with without_samna():
        from rockpool.devices.dynapse import lookup
    constants = {name.lower(): value for name, value in lookup.default_layout.items()}
    ours = asdict(LAYOUT)
    assert {name: constants["c_ampa" if name == "c_syn" else name] for name in ours} == ours
    for name, bias in BIASES.items():
        theirs = {"Igain_syn": "Igain_ampa", "Itau_syn": "Itau_ampa"}.get(name, name)
        registers = bias.register.split(", ")
        assert lookup.sim2device_se2[theirs] == registers[0]
        table = lookup.paramgen_se2[registers[0][-1]]
        made = [value * lookup.scale_factor_se2[registers[0]] for values in table.values() for value in values]
        assert np.allclose([bias.lowest, bias.highest], [min(made), max(made)], rtol=5e-3)
        default = lookup.default_weights if name in BASE_CURRENTS else lookup.default_currents
        assert np.isclose(bias.default, default[theirs], rtol=1e-9)
    for name in ("NUM_CHIPS", "NUM_CORES", "NUM_NEURONS", "NUM_SYNAPSES", "NUM_DEST", "NUM_TAGS"):
        own = {"NUM_DEST": "destinations"}.get(name, name.removeprefix("NUM_").lower())
        assert getattr(lookup, name) == getattr(DYNAPSE2, own)


def test_a_code_names_the_base_currents_of_the_neurons_core() -> None:
    base = np.array([[1.0, 2.0, 4.0, 8.0], [0.5, 3.0, 5.0, 20.0]])
    codes = np.array([[5, 5], [-15, -15], [0, 8], [1, -2]])
    assert weight_currents(codes, base).tolist() == [[5, 5.5], [-15, -28.5], [0, 20], [1, -3]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"codes_in": 16}, "codes_in: .* 16, -15 to 15"),
        ({"codes_rec": -16}, "codes_rec: -16"),
        ({"base": -1e-12}, "base currents"),
        ({"base": np.nan}, "base currents"),
        ({"dt": 0.0}, "dt 0.0"),
        ({"steps": 0}, "0 steps"),
        ({"substeps": 0}, "of 0"),
        ({"steps": 2**20}, "at most 1048576"),
        ({"core": 2}, "cores"),
    ],
)
def test_a_network_that_cannot_be(changes: dict[str, Any], message: str) -> None:
    network = chip_network(0)
    for name, value in changes.items():
        now = getattr(network, name)
        if isinstance(now, np.ndarray):
            edited = np.array(now)
            edited.flat[0] = value
            changes = {name: edited}
    with pytest.raises(UsageError, match=message):
        replace(network, **changes)


def test_a_network_with_wrong_shapes_or_names() -> None:
    network = chip_network(0)
    with pytest.raises(UsageError, match="codes_in of shape"):
        replace(network, codes_in=network.codes_in[:, :-1])
    with pytest.raises(UsageError, match="biases"):
        replace(network, biases={"Idc": np.ones(2)})
    with pytest.raises(UsageError, match="bias Iref"):
        replace(network, biases={**network.biases, "Iref": np.zeros(2)})
    with pytest.raises(UsageError, match="without gaps"):
        replace(network, blocks=network.blocks[:1])
    with pytest.raises(ValueError, match="read-only"):
        network.codes_in[0, 0] = 1


def wide(fan_in: int, hidden: int = 4) -> PopulationNetwork:
    network = float_network(channels=fan_in, hidden=hidden)
    return network


def test_fan_in_at_its_limit_and_one_past() -> None:
    assert misfits(wide(64), DYNAPSE2) == []
    (found,) = misfits(wide(65), DYNAPSE2)
    assert "layer hidden: 4 of 4 neurons read up to 65 inputs" in found
    assert "64 synapses" in found
    assert "network.fan_in=64" in found


def test_two_connections_from_one_source_are_one_synapse() -> None:
    network = wide(64)
    doubled = replace(network, projections=(*network.projections, network.projections[0]))
    assert misfits(doubled, DYNAPSE2) == []


def test_everything_that_is_wrong_is_said_at_once() -> None:
    network = float_network(channels=70, fires=False, threshold=np.full(5, np.inf))
    hidden = replace(network.populations[0], reset="subtract", bias=np.full(20, 0.1), decay=np.linspace(0.1, 0.9, 20))
    network = replace(network, input=Input((70,), 1.0, 4), populations=(hidden, network.populations[1]))
    found = "\n".join(misfits(network, DYNAPSE2))
    for part in ("70 inputs", "4 bits", "reset 'subtract'", "20 biases", "decays 0.1 to 0.9", "read out as potentials"):
        assert part in found
    assert len(found.splitlines()) == 6


@pytest.mark.parametrize(("neurons", "fits"), [(1000, True), (1001, False)])
def test_tags_at_their_limit_and_one_past(neurons: int, fits: bool) -> None:
    """48 channels and 2 tags for each neuron."""
    found = too_large({"one": neurons - 10, "two": 10}, 48, DYNAPSE2)
    assert (found == []) == fits
    assert fits or "2050 tags" in found[0]


def test_cores_at_their_limit_and_one_past() -> None:
    layers = {f"layer{number}": 1 for number in range(16)}
    assert too_large(layers, 4, DYNAPSE2) == []
    (found,) = too_large(layers | {"another": 1}, 4, DYNAPSE2)
    assert "17 cores" in found


@pytest.mark.parametrize(("size", "cores"), [(255, 1), (256, 1), (257, 2), (512, 2), (513, 3)])
def test_a_layer_takes_as_many_cores_as_it_needs(size: int, cores: int) -> None:
    """Rockpool 3.1.0 gives 256 neurons two cores, and of 257 one neuron to a core that has no parameters."""
    placed = place(float_network(hidden=size, channels=4), DYNAPSE2)
    crowded = np.bincount(placed.core)
    assert len(crowded) == placed.cores == cores + 1
    assert crowded[:-1].max() <= 256
    assert np.ptp(crowded[:-1]) <= 1
    assert placed.layer_of == ("hidden",) * cores + ("output",)


def test_skip_connections_come_too_early() -> None:
    network = float_network()
    skip = Projection(INPUT, "output", np.ones((24, 5)))
    network = replace(network, projections=(*network.projections, skip))
    assert uneven(network) == [(INPUT, "output", 1)]
    assert any("come 1 steps of the chip before" in text for text in misfits(network, DYNAPSE2))


def test_destinations_name_chips_cores_and_tags() -> None:
    core = np.array([0, 1, 4, 5, 9])
    codes = np.zeros((5, 5), dtype=np.int64)
    codes[0, [1, 2, 3]] = 1
    codes[4, 0] = -3
    sent = destinations(codes, core, 100, DYNAPSE2)
    assert [(one.chip, one.hops, one.cores, one.tag) for one in sent[0]] == [
        (0, 0, (False, True, False, False), 100),
        (1, 1, (True, True, False, False), 100),
    ]
    assert [(one.chip, one.hops, one.tag) for one in sent[4]] == [(0, -2, 104)]
    assert target_chips(codes, core, DYNAPSE2).tolist() == [2, 0, 0, 0, 1]


def spread(chips: int) -> PopulationNetwork:
    """A small layer that feeds as many layers as fill so many chips, each of one neuron."""
    many = 4 * chips - 1
    rng = np.random.default_rng(0)

    def one(name: str, size: int) -> Population:
        return Population(
            name, np.full(size, 0.9), np.zeros((1, size)), np.full(size, 0.5), np.zeros(size), reset="zero"
        )

    fed = [one(f"layer{number}", 1) for number in range(many)]
    links = [Projection(INPUT, "first", rng.normal(0.2, 0.3, (8, 3)))]
    links += [Projection("first", layer.name, rng.normal(0.3, 0.3, (3, 1))) for layer in fed]
    return PopulationNetwork(Input((8,), 1.0, 1), (one("first", 3), *fed), tuple(links), "spike_count", 10)


def test_a_neuron_reaches_three_chips_beside_the_monitor() -> None:
    assert misfits(spread(3), DYNAPSE2) == []
    (found,) = misfits(spread(4), DYNAPSE2)
    assert "layer first: 3 neurons reach 4 chips" in found
    assert "split_layer" in found


def test_splitting_a_layer_changes_nothing_else() -> None:
    network = float_network(hidden=9, outputs=6)
    split = split_layer(network, "hidden", 3)
    assert [one.name for one in split.populations] == ["hidden.1", "hidden.2", "hidden.3", "output"]
    shown = (np.random.default_rng(2).random((15, 30, 24)) < 0.3).astype(np.int64)
    before, after = float_simulator.run(network, shown), float_simulator.run(split, shown)
    assert 0.05 < before.spikes["output"].mean() < 0.95
    assert np.array_equal(before.spikes["output"], after.spikes["output"])
    targets = [(one.weight != 0).any(axis=0) for one in split.projections if one.source != INPUT]
    assert np.array_equal(np.sum(targets, axis=0), np.ones(6))


def test_what_cannot_be_split() -> None:
    network = float_network(hidden=6)
    with pytest.raises(UsageError, match="hidden layer"):
        split_layer(network, "output", 2)
    itself = Projection("hidden", "hidden", np.ones((6, 6)), delay=1)
    with pytest.raises(UsageError, match="feeds itself"):
        split_layer(replace(network, projections=(*network.projections, itself)), "hidden", 2)


def test_limits_of_a_quantised_network() -> None:
    network = chip_network(0, sizes=(70, 5, 3))
    assert violations(replace(network, codes_in=np.zeros_like(network.codes_in)), DYNAPSE2) == []
    codes = np.ones_like(network.codes_in)
    high = dict(network.biases) | {"Iref": np.array([3e-6, 1e-9])}
    found = violations(replace(network, codes_in=codes, biases=high), DYNAPSE2)
    assert any("read up to 7" in text for text in found)
    assert any("core 0: Iref (SOIF_REFR_N) of 3e-06 A" in text for text in found)
    base = np.array(network.base)
    base[1, 2] = 5e-7
    assert any("Iw_2 (SYAM_W2_P)" in text for text in violations(replace(network, base=base), DYNAPSE2))


def test_a_bias_at_the_end_of_its_range_is_within_it() -> None:
    network = replace(chip_network(0), codes_in=np.zeros_like(chip_network(0).codes_in))
    ends = {name: np.array([BIASES[name].lowest, BIASES[name].highest]) for name in network.biases}
    assert violations(replace(network, biases=ends), DYNAPSE2) == []


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_level_0_is_the_nominal_chip_to_the_bit(name: str) -> None:
    network = chip_network(1)
    own, plain = realise(network, preset(name).mismatch.scaled(0), 7), nominal(network)
    assert all(np.array_equal(own.values[one], plain.values[one]) for one in plain.values)
    assert np.array_equal(own.weights_in, plain.weights_in)
    shown = events(network)
    assert np.array_equal(dynapse2_engine.run(own, shown).membranes, dynapse2_engine.run(network, shown).membranes)


@pytest.mark.parametrize("distribution", ["gaussian", "lognormal"])
def test_factors_have_the_spread_and_the_mean_that_they_say(distribution: Any) -> None:
    network = chip_network(2, sizes=(40, 30, 6))
    levels = {"Itau_mem": 0.2, "kappa_n": 0.1, WEIGHT: 0.3}
    chips = [realise(network, Mismatch(levels, distribution), chip_id) for chip_id in range(60)]
    for name, level in levels.items():
        plain = nominal(network)
        if name == WEIGHT:
            there = plain.weights_in != 0
            factors = np.stack([one.weights_in[there] / plain.weights_in[there] for one in chips])
        else:
            factors = np.stack([one.values[name] / plain.values[name] for one in chips])
        assert abs(factors.mean() - 1) < 0.02
        assert abs(factors.std() / level - 1) < 0.05
        assert factors.min() > 0
    untouched = set(nominal(network).values) - set(levels)
    assert all(np.array_equal(chips[0].values[one], nominal(network).values[one]) for one in untouched)


def test_a_chip_does_not_depend_on_levels_nor_on_what_else_is_drawn() -> None:
    network = chip_network(3)
    small, large = (realise(network, Mismatch({"Ispkthr": level}), 5) for level in (0.05, 0.1))
    plain = nominal(network).values["Ispkthr"]
    assert np.allclose((large.values["Ispkthr"] / plain - 1) / (small.values["Ispkthr"] / plain - 1), 2)
    both = realise(network, Mismatch({"Itau_mem": 0.3, "Ispkthr": 0.1}), 5)
    assert np.array_equal(both.values["Ispkthr"], large.values["Ispkthr"])
    assert not np.array_equal(realise(network, Mismatch({"Ispkthr": 0.1}), 6).values["Ispkthr"], plain)


def test_rockpools_preset_leaves_out_what_makes_nan() -> None:
    levels = preset("rockpool").mismatch.levels
    assert "Ipulse_ahp" not in levels
    assert WEIGHT not in levels
    assert set(levels.values()) == {0.1}
    assert len(levels) == 23


def test_wrong_mismatch() -> None:
    with pytest.raises(UsageError, match="did you mean Itau_mem"):
        Mismatch({"Itau_men": 0.1})
    with pytest.raises(UsageError, match="finite level"):
        Mismatch({"Itau_mem": -0.1})
    with pytest.raises(UsageError, match="distribution"):
        Mismatch({}, "uniform")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="did you mean dynap-se"):
        preset("dynap-sse")


def test_networks_are_frozen_and_sized() -> None:
    network: Dynapse2Network = chip_network(4)
    assert network.chip_steps == network.steps * network.substeps + 1
    assert network.outputs == network.output.stop - network.output.start
    assert np.array_equal(network.fan_in(), (network.codes_in != 0).sum(axis=0) + (network.codes_rec != 0).sum(axis=0))
    with pytest.raises(TypeError):
        network.biases["Idc"] = np.ones(2)  # type: ignore[index]
