"""Time of a training iteration against a hand-written PyTorch loop, snnTorch, SpikingJelly and Norse, in one process.

    python benchmarks/train_speed.py --json train_speed.json

The network: 1 x 28 x 28, convolution to 16, LIF, average pooling, convolution to 32, LIF, average pooling, linear
layer to 10, mean over T steps; single precision, no batch norm. An iteration is zero_grad, forward, cross-entropy and
backward. All variants have the same weights and the same dynamics, u[t] = 0.25 u[t-1] (1 - o[t-1]) + I[t],
o = 1[u > 0.46]; that their losses agree is checked before anything is timed. Variants take turns, so that whatever
else the machine does falls on all of them. What is not installed, or does not run, is reported as missing.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from common import provenance, write_json
from torch import nn
from train_speed_variants import Layers, SpikingJelly, variants

BATCH = 128
RIVALS = ("torch", "snntorch", "spikingjelly", "norse")
BARS = {"ours_eager_over_hand_loop": 0.75, "ours_compiled_over_best_compiled_rival": 0.9, "psg_pda_over_plain": 1.15}


def load(module: nn.Module, weights: dict[str, torch.Tensor]) -> None:
    """The same weights in all variants, times what the variant wants."""
    parameters = {name.removeprefix("_orig_mod."): part for name, part in module.named_parameters()}
    factor = getattr(module, "factor", 1.0)
    with torch.no_grad():
        for name, value in weights.items():
            target = parameters.get(name, parameters.get(f"layers.{name}"))
            target.copy_(value if name.startswith("linear") else value * factor)


def iteration(name: str, module: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """One iteration; returns the cross-entropy alone, which the variants must agree in."""
    from neurodeploy.snn.potential import gaussian_divergence, potential_loss

    module.zero_grad()
    if isinstance(module, SpikingJelly):
        module.forget(module)
    output = module(images)
    logits = output if isinstance(output, torch.Tensor) else output.logits
    loss = entropy = nn.functional.cross_entropy(logits, labels)
    if "pda" in name:
        loss = entropy + potential_loss(gaussian_divergence(moments) for moments in output.moments.values())
    loss.backward()
    return float(entropy.detach())


def firing(modules: dict[str, nn.Module], images: torch.Tensor) -> dict[str, float]:
    """Share of neurons that fire, per layer; every variant has the same loss, so of ours is enough."""
    for name, module in modules.items():
        if name.startswith("ours"):
            return {layer: float(rates.mean()) for layer, rates in module(images).rates.items()}
    return {}


def measure(
    modules: dict[str, nn.Module], rounds: int, images: torch.Tensor, labels: torch.Tensor
) -> tuple[dict[str, float], dict[str, float]]:
    """Medians in milliseconds: of the process's time on all cores, and of the clock's."""
    cpu: dict[str, list[float]] = {name: [] for name in modules}
    wall: dict[str, list[float]] = {name: [] for name in modules}
    synchronize = torch.cuda.synchronize if images.is_cuda else lambda: None
    for _ in range(rounds):
        for name, module in modules.items():
            synchronize()
            wall_start, cpu_start = time.perf_counter(), time.process_time()
            iteration(name, module, images, labels)
            synchronize()
            cpu[name].append(1e3 * (time.process_time() - cpu_start))
            wall[name].append(1e3 * (time.perf_counter() - wall_start))
    medians = [{name: statistics.median(values) for name, values in times.items()} for times in (cpu, wall)]
    return medians[0], medians[1]


def ratios(ms: dict[str, float]) -> dict[str, Any]:
    """The three ratios, each of the best memory formats, and which variants they compare."""

    def best(*starts: str, end: str = "") -> str | None:
        names = [n for n in ms if n.startswith(starts) and n.endswith("_compiled") == bool(end)]
        return min(names, key=ms.__getitem__, default=None)

    plain = {n: t for n, t in ms.items() if n.startswith("ours") and "pda" not in n}
    eager = min((n for n in plain if not n.endswith("_compiled")), key=ms.__getitem__, default=None)
    fast = min((n for n in plain if n.endswith("_compiled")), key=ms.__getitem__, default=None)
    pairs = {
        "ours_eager_over_hand_loop": (eager, best("hand_loop")),
        "ours_compiled_over_best_compiled_rival": (
            fast, best("hand_loop", "snntorch", "spikingjelly", "norse", end="_compiled"),
        ),
        "psg_pda_over_plain": (best("ours_psg_pda"), eager),
    }  # fmt: skip
    made: dict[str, Any] = {k: ms[a] / ms[b] if a and b else None for k, (a, b) in pairs.items()}
    return made | {"compared": pairs}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where the result goes")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--threads", type=int, help="of the CPU; PyTorch's own choice by default")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--no-compile", action="store_true", help="leave out torch.compile, which takes minutes")
    parser.add_argument("--only", default="", help="variants whose name has this in it")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    torch._dynamo.config.cache_size_limit = 64  # one code object, many variants
    device = torch.device(options.device)
    images, labels = torch.rand(BATCH, 1, 28, 28, device=device), torch.randint(0, 10, (BATCH,), device=device)
    weights = {name: 2 * value.detach() for name, value in Layers().named_parameters()}  # a fifth of the neurons fires
    modules: dict[str, nn.Module] = {}
    missing: dict[str, str] = {}
    losses: dict[str, float] = {}
    for name, make in variants(not options.no_compile).items():
        if options.only not in name:
            continue
        try:
            module = make().to(device)
            load(module, weights)
            losses[name] = iteration(name, module, images, labels)
            for _ in range(2):  # compilation and caches
                iteration(name, module, images, labels)
            modules[name] = module
        except Exception as error:  # noqa: BLE001 — a rival may fail in any way; that it did is the result
            missing[name] = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        print(f"{name}: {losses.get(name, missing.get(name))}", flush=True)
    reference = statistics.median(losses.values())
    wrong = {name: loss for name, loss in losses.items() if abs(loss - reference) > 1e-5}
    if wrong:
        raise SystemExit(f"losses differ from {reference}: {wrong}; dynamics are not the same, nothing was timed")
    rates = firing(modules, images)
    if not all(0.05 < rate < 0.95 for rate in rates.values()):
        raise SystemExit(f"rates {rates}: a network that is silent, or fires always, times nothing")
    cpu, wall = measure(modules, options.rounds, images, labels)
    origin = provenance()
    used = ratios(wall if options.device == "cuda" else cpu)
    result = {
        "loss": reference,
        "rates": rates,
        "cpu_ms": cpu,
        "wall_ms": wall,
        "ratios": used,
        "ratios_wall": ratios(wall),
        "bars": BARS,
        "missing": missing,
        "machine": {
            "cpu": origin["machine"],
            "threads": torch.get_num_threads(),
            "device": torch.cuda.get_device_name() if options.device == "cuda" else "cpu",
            "load": os.getloadavg(),
        },
        "versions": origin["packages"] | {name: _version(name) for name in (*RIVALS, "numba", "triton")},
        "command": origin["command"],
        "commit": origin["commit"],
    }
    for name in sorted(modules, key=lambda name: cpu[name]):
        print(f"{name:40} cpu {cpu[name]:8.1f} ms   wall {wall[name]:8.1f} ms")
    for name, bar in BARS.items():
        print(f"{name}: {used[name]} (bar {bar}), by {used['compared'][name]}")
    for name, reason in missing.items():
        print(f"missing {name}: {reason}")
    if options.json:
        write_json(options.json, result)


if __name__ == "__main__":
    main()
