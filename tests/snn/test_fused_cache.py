"""What a process that compiles the neuron kernels computes, the next one computes from disk, to the bit."""

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import torch
from neurodeploy.snn.fused_layer import Settings, fire
torch.set_num_threads(1)
numbers = torch.Generator().manual_seed(0)
current = torch.randn((2, 64, 40), generator=numbers).requires_grad_()
parts = [torch.tensor([value], requires_grad=True) for value in (0.46, 0.25, 1.0)]
spikes, means = fire(current, *parts, Settings(2, 0, 0, False, False), 1)
(spikes * torch.randn(spikes.shape, generator=numbers)).sum().add(means.square().sum()).backward()
for value in (spikes, means, current.grad, *(part.grad for part in parts)):
    print(value.double().sum().item().hex(), value.double().square().sum().item().hex())
print(float(spikes.detach().mean()))
"""


def test_compiled_now_and_read_from_disk_are_the_same_to_the_bit(tmp_path: Path) -> None:
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    outcomes = [
        subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    compiled, read = (outcome.stdout.splitlines() for outcome in outcomes)
    assert any(tmp_path.rglob("*.nbc"))
    assert compiled == read
    assert 0.05 < float(read[-1]) < 0.95
