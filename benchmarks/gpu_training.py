"""CIFAR-10 on a GPU: ResNet-19 in two and in four steps; accuracy, images per second, seconds per epoch.

    python benchmarks/gpu_training.py --data-root DATA -o docs/results/gpu-training.json
    python benchmarks/gpu_training.py --iterations 50 -o speed.json          # how fast alone, on random images

First, for each number of steps, the bare iteration (forward, loss, backward, optimiser) on random images that lie on
the GPU already, under the flags that training sets: row "timed". With --data-root the preset is then trained: in row
"trained", `seconds_per_epoch` and `images_per_second` are of training as a user runs it; augmentation, validation, the
test set after every epoch and checkpoints are included. Each row says on what device and with which commit it was made.

--minutes ends the process after so long, at the end of a batch and with a checkpoint; the same command goes on from
there, with the same bits as without the break, and what is finished stays. The epoch is chosen on the validation
split; `best_on_test` is the highest test accuracy of all epochs, selected on the test set, as most publications report.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import os
import platform
import signal
import statistics
import threading
import time
from pathlib import Path
from typing import Any

_NEEDED = ["numpy", "scipy", "torch", "numba", "pytorch_lightning", "pydantic", "yaml", "rich", "safetensors", "kornia"]


def lacking() -> str:
    """The sentence that names the packages which are not here; empty where all are."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if not missing:
        return ""
    return (
        f"gpu_training: Python {platform.python_version()} here has no {', no '.join(missing)}; pip install -e . "
        "brings them, and benchmarks/README.md says what to carry to a machine without internet"
    )


try:
    import numpy as np
    import torch
    from common import provenance, read_json, write_json
    from trained import check_same, train_or_go_on

    from neurodeploy.config import ExperimentConfig, NoiseConfig, load_config
    from neurodeploy.errors import NeurodeployError
    from neurodeploy.ir.nodes import Input
    from neurodeploy.snn.checkpoints import InterruptedTrainingError
    from neurodeploy.snn.determinism import check_products, deterministic
    from neurodeploy.snn.losses import records, training_losses
    from neurodeploy.snn.memory_order import arranged
    from neurodeploy.snn.networks import build
    from neurodeploy.snn.optimise import make_optimizer
except ImportError as error:
    raise SystemExit(lacking() or f"gpu_training: {error}") from error

IMAGE = Input((3, 32, 32), 1 / 255, 8)
WARM = 10  # iterations: kernels are compiled, and convolutions chosen, in the first ones


def main() -> None:
    """Times, then trains what is not trained yet."""
    options = _options()
    if missing := lacking():
        raise SystemExit(missing)
    device = torch.device("cuda" if options.accelerator == "gpu" else "cpu")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SystemExit("--accelerator gpu: torch finds no GPU here; --accelerator cpu shows that this script works")
    if options.minutes:
        _interrupt_after(60 * options.minutes)
    try:
        measure(options, device)
    except (KeyboardInterrupt, InterruptedTrainingError) as error:
        told = f"{error}, which" if isinstance(error, InterruptedTrainingError) else "interrupted: going on is what"
        raise SystemExit(f"{told} the same command does; {options.output} has what is finished") from error
    except NeurodeployError as error:
        raise SystemExit(f"gpu_training: {error}") from error


def measure(options: argparse.Namespace, device: torch.device) -> None:
    """Writes the rows that are not there yet, each as soon as it is finished.

    Raises:
        SystemExit: where the file is of other options, another device or another torch.
    """
    asked = {
        "preset": options.preset,
        "settings": options.settings,
        "seed": options.seed,
        "accelerator": options.accelerator,
        "iterations": options.iterations,
        "device": _name(device),
        "torch": str(torch.__version__),
    }
    kept = read_json(options.output) or {}
    check_same(options.output, kept.get("asked", {}), asked)
    result: dict[str, Any] = {"asked": asked, "rows": kept.get("rows", {})}
    for steps in options.steps:
        settings = [*options.settings, f"network.steps={steps}", f"train.accelerator={options.accelerator}"]
        config = load_config(None, settings, {"seed": options.seed}, options.preset)
        row = result["rows"].setdefault(str(steps), {})
        for name in ("timed", "trained"):
            if name in row or not (options.iterations if name == "timed" else options.data_root):
                continue
            found = (
                iterations(config, device, options.iterations) if name == "timed" else trained(options, steps, settings)
            )
            row[name] = found | {"device": _name(device), "provenance": provenance()}
            write_json(options.output, result)
            print(f"T = {steps}, {name}: {found}", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", help="folder with CIFAR-10's binary files; without it nothing is trained")
    parser.add_argument("--preset", default="cifar-10-accurate")
    parser.add_argument("--steps", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--iterations", type=int, default=100, help="that are timed; 0 for none")
    parser.add_argument("--minutes", type=float, help="end after so long; the same command goes on")
    parser.add_argument("--set", action="append", default=[], dest="settings", help="of training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--accelerator", choices=("gpu", "cpu"), default="gpu")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("runs/gpu-training"), help="where models go")
    return parser.parse_args()


def check_timed(config: ExperimentConfig) -> None:
    """SystemExit where training does what the bare iteration leaves out."""
    left_out = ["noise"] * (config.noise != NoiseConfig()) + ["train.precision=16"] * (config.train.precision == "16")
    if left_out:
        raise SystemExit(
            f"--iterations: the bare iteration leaves out {' and '.join(left_out)}; with --iterations 0 such a "
            "training is measured as a whole"
        )


def iterations(config: ExperimentConfig, device: torch.device, count: int) -> dict[str, Any]:
    """Median seconds of an iteration on random images, and the memory that it takes."""
    check_timed(config)
    gc.collect()  # of what was trained before, or its memory would count
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    with deterministic():
        check_products(device)
        return _iterations(config, device, count)


def _iterations(config: ExperimentConfig, device: torch.device, count: int) -> dict[str, Any]:
    torch.set_num_threads(config.train.threads or torch.get_num_threads())
    torch.manual_seed(config.seed)
    network = build(config.network, IMAGE, 10).to(device)
    called, passes = arranged(network, config.train, device.type), 1 if network.first_dropout is None else 2
    optimizer = make_optimizer(network, config.train)
    size = config.train.batch_size
    images, labels = torch.rand(size, 3, 32, 32, device=device), torch.randint(0, 10, (size,), device=device)
    synchronize = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    seconds, rates = [], {}
    for number in range(WARM + count):
        synchronize()
        start = time.perf_counter()
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=config.train.precision == "bf16"):
            output = called(images, records(config.train), None, passes)
            loss = training_losses(output, labels, config.train).total
        loss.backward()
        optimizer.step()
        network.keep_positive()
        synchronize()
        if number >= WARM:
            seconds.append(time.perf_counter() - start)
        rates = {layer: float(part.mean()) for layer, part in output.rates.items()}
    if not np.isfinite(float(loss.detach())) or not all(0.01 < rate < 0.99 for rate in rates.values()):
        raise SystemExit(f"loss {float(loss.detach())}, rates {rates}: a network that does not work times nothing")
    median = statistics.median(seconds)
    memory = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else None
    return {
        "iteration_seconds": median,
        "images_per_second": size / median,
        "batch_size": size,
        "gibibytes": memory,
        "rates": rates,
    }


def trained(options: argparse.Namespace, steps: int, settings: list[str]) -> dict[str, Any]:
    """The preset trained to its end; goes on where it was stopped."""
    path = options.work / f"{options.preset}-{steps}-{options.seed}.pt"
    options.work.mkdir(parents=True, exist_ok=True)
    settings = [*settings, "train.report_best_on_test=true"]
    model = train_or_go_on(path, options.preset, "cifar-10", options.data_root, settings, options.seed)
    metrics = model.metrics
    seconds = metrics["training_seconds"] / metrics["epochs"]
    return {
        "epochs": metrics["epochs"],
        "seconds_per_epoch": seconds,
        "images_per_second": metrics["train_images"] / seconds,
        "validation_accuracy": metrics["validation_accuracy"],
        "test_accuracy": metrics["test_accuracy"],
        "best_on_test": metrics["best_on_test_accuracy"],
        "rates": {name: value for name, value in model.history[-1].items() if name.startswith("rate.")},
    }


def _interrupt_after(seconds: float) -> None:
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT))
    timer.daemon = True
    timer.start()


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name() if device.type == "cuda" else "cpu"


if __name__ == "__main__":
    main()
