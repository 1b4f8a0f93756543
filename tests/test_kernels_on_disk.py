"""What a process that compiles a kernel computes, the next one computes with the kernel from disk, to the bit."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

LAYERS = """
import torch
from neurodeploy.snn.fused_layer import Settings, fire
from neurodeploy.snn.surrogate import RULES, SHAPES
torch.set_num_threads(1)
for number, shape in enumerate(SHAPES):
    for rule in range(len(RULES)):
        numbers = torch.Generator().manual_seed(number)
        size = (1 + number % 2, 64, 3, 8, 8)
        current = torch.randn(size, generator=numbers).requires_grad_()
        parts = [torch.tensor([value], requires_grad=True) for value in (0.46, 0.25, 1.3)]
        spikes, means = fire(current, *parts, Settings(2, number, rule, False, False), 1 + rule % 2)
        given = torch.randn(spikes.shape, generator=numbers)
        (spikes * given).sum().add(means.square().sum()).backward()
        for value in (means, current.grad, *(part.grad for part in parts)):
            print(None if value is None else [value.double().pow(power).sum().item().hex() for power in (1, 2)])
        assert 0.05 < float(spikes.detach().mean()) < 0.95
"""

DYNAPSE2 = """
import hashlib
from dynapse2_networks import chip_network, events, fires
from neurodeploy.hw_models.dynapse2_mismatch import preset, realise
from neurodeploy.simulate import dynapse2_engine as engine
for seed in range(4):
    network = chip_network(seed, recurrent=seed % 2 == 0)
    got = engine.run(realise(network, preset("dynap-se").mismatch, seed), events(network))
    for part in (got.spikes, got.membranes, got.synapses, got.readout):
        print(hashlib.sha256(part.tobytes()).hexdigest())
    assert fires(got.spikes)
"""


@pytest.mark.parametrize("script", [LAYERS, DYNAPSE2], ids=["training", "dynapse2"])
def test_compiled_now_and_read_from_disk_are_the_same_to_the_bit(script: str, tmp_path: Path) -> None:
    paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": paths}
    command = [sys.executable, "-c", script]
    outcomes = [subprocess.run(command, env=environment, capture_output=True, text=True, check=True) for _ in range(2)]
    compiled, read = (outcome.stdout.splitlines() for outcome in outcomes)
    assert any(tmp_path.rglob("*.nbc"))
    assert len(read) >= 16
    assert compiled == read
