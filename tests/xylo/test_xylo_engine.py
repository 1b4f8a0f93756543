"""The compiled engine against the reference, and both against SynSense's own simulator."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from xylo_networks import FIELDS, random_events, random_network

from neurodeploy.errors import DesignRuleError, MissingBackendError, UsageError
from neurodeploy.export import xylo as vendor
from neurodeploy.simulate import xylo as reference
from neurodeploy.simulate import xylo_engine


@pytest.fixture(scope="session")
def xylosim_is_installed() -> None:
    if vendor.backend().version is None:
        pytest.fail(vendor.backend().detail)  # a comparison that is left out proves nothing


def differing(first: Any, second: Any) -> int:
    for name in FIELDS:
        assert getattr(first, name).shape == getattr(second, name).shape, name
    return sum(int((getattr(first, name) != getattr(second, name)).sum()) for name in FIELDS)


@pytest.mark.parametrize("wild", [False, True])
def test_the_engine_computes_what_the_reference_does(wild: bool) -> None:
    rng = np.random.default_rng(10 + wild)
    for _ in range(20):
        network = random_network(rng, wild=wild)
        events = random_events(rng, network, batch=3)
        wanted, got = reference.run(network, events), xylo_engine.run(network, events)
        assert differing(wanted, got) == 0
        assert np.array_equal(wanted.saturated, got.saturated)


def test_threads_and_what_is_not_recorded_change_nothing() -> None:
    rng = np.random.default_rng(4)
    network = random_network(rng)
    events = random_events(rng, network, batch=7)
    whole, parts = xylo_engine.run(network, events), xylo_engine.run(network, events, threads=3)
    assert differing(whole, parts) == 0
    assert np.array_equal(whole.saturated, parts.saturated)
    brief = xylo_engine.run(network, events, record=False, threads=99)
    assert brief.spikes.shape[0] == brief.currents.shape[0] == brief.potentials.shape[0] == 0
    for name in ("output_spikes", "output_currents", "output_potentials", "readout", "saturated"):
        assert np.array_equal(getattr(brief, name), getattr(whole, name))
    assert 0.05 < (whole.spikes > 0).mean() < 0.95


def test_the_engine_refuses_what_the_reference_refuses() -> None:
    network = random_network(np.random.default_rng(0))
    with pytest.raises(UsageError, match="integers are expected"):
        xylo_engine.run(network, np.zeros((network.steps, 1, network.input.shape[0])))


def test_the_compiled_kernel_on_disk_depends_on_the_files_that_it_is_made_of() -> None:
    """numba looks at the closure: the hash of the other files must be in it."""
    kernel = xylo_engine._kernel()
    names = kernel.py_func.__code__.co_freevars
    assert "fingerprint" in names
    closed = dict(zip(names, (cell.cell_contents for cell in kernel.py_func.__closure__), strict=True))
    assert len(closed["fingerprint"]) == 64


@pytest.mark.usefixtures("xylosim_is_installed")
@pytest.mark.parametrize("wild", [False, True])
def test_synsense_s_simulator_computes_the_same(wild: bool) -> None:
    """Every current, potential and spike of 40 random networks."""
    rng = np.random.default_rng(20 + wild)
    rates, synapses, aliased = [], set(), 0
    for _ in range(20):
        network = random_network(rng, wild=wild)
        events = random_events(rng, network)
        wanted = reference.run(network, events)
        got = vendor.run(network, events, limits=False)
        assert differing(wanted, got) == 0
        assert got.saturated is None
        rates.append((wanted.spikes > 0).mean())
        synapses.add(network.synapses)
        aliased += int((network.aliases >= 0).any())
    assert 0.05 < np.mean(rates) < 0.95
    assert synapses == {1, 2}
    assert 3 < aliased < 17


@pytest.mark.usefixtures("xylosim_is_installed")
def test_a_run_in_the_simulator_keeps_to_the_chip_s_limits() -> None:
    rng = np.random.default_rng(1)
    network = random_network(rng)
    while network.synapses == 1:
        network = random_network(rng)
    imu = replace(network, chip="xylo-imu")
    with pytest.raises(DesignRuleError, match="2 synapses per neuron, xylo-imu has 1"):
        vendor.run(imu, random_events(rng, imu))


def test_a_missing_simulator_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise vendor.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(vendor.importlib.metadata, "distribution", missing)
    network = random_network(np.random.default_rng(0))
    with pytest.raises(MissingBackendError, match=r"xylosim is not installed; pip install 'xylosim==0\.1\.3'"):
        vendor.run(network, np.zeros((network.steps, 1, network.input.shape[0]), dtype=int))


def test_another_version_of_the_simulator_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other:
        version = "0.2.0"

        def locate_file(self, name: str) -> Path:
            return Path(name)

    monkeypatch.setattr(vendor.importlib.metadata, "distribution", lambda name: Other())
    assert vendor.backend().version is None
    assert "0.2.0 is installed, 0.1.3 is known" in vendor.backend().detail
