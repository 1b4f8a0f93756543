"""Runs exported networks in Lava: `python lava_worker.py [--host-currents] FOLDER [FOLDER ...]`.

Together with the `lava_*.py` files beside it self-contained: the standard library, NumPy, lava-nc 0.10.0 (and lava-dl
0.6.0 for `.net` files), Python 3.10 or later. Copies go along with every export, so that it runs where Lava is and
neurodeploy is not.

FOLDER holds

* `lava_job.json`, `lava_job.npz`: the layers and their integers, as neurodeploy wrote them, or a job of kind "netx";
* `inputs.npy`: integers, (samples, *shape) shown at every step, or (steps, samples, *shape).

With `--host-currents` the host weights the input, and hands the neurons currents in the place of pixels.

`result.npz` is put there when all is done: `spikes:<layer>`, `voltages:<layer>` and `currents:<layer>`, each
(steps, samples, *shape).
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.dont_write_bytecode = True  # Lava imports every file beside these in search of processes
sys.path.insert(0, str(Path(__file__).resolve().parent))  # an isolated Python (-I) leaves it out

import lava_network  # type: ignore[import-not-found]
import lava_recorder  # type: ignore[import-not-found]
import numpy as np
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi2SimCfg


def execute(job: dict[str, Any], arrays: dict[str, Any], inputs: Any, folder: Path | None = None) -> dict[str, Any]:
    """Runs a job in Lava.

    Args:
        job, arrays: contents of `lava_job.json` and `lava_job.npz`.
        inputs: integers, (B, *shape) or (T, B, *shape).
        folder: where the files of a run go, and where a job's `.net` file lies; None for a temporary one.

    Returns:
        "spikes:<layer>" (uint8), "voltages:<layer>" and "currents:<layer>" (int32), each (T, B, *shape).
    """
    if folder is None:
        with tempfile.TemporaryDirectory() as temporary:
            return execute(job, arrays, inputs, Path(temporary))
    steps = int(job["steps"])
    static = inputs.ndim == len(job["input_shape"]) + 1
    batch = int(inputs.shape[0 if static else 1])
    frames = np.repeat(inputs, steps, axis=0) if static else np.concatenate(list(inputs.swapaxes(0, 1)))
    total = steps * batch + max(layer["lag"] for layer in job["layers"])
    if job["kind"] == "netx":
        import lava_netx  # type: ignore[import-not-found]

        built = lava_netx.build(job, frames, total, folder)
    else:
        built = lava_network.build(job, arrays, frames, total)
    files = {name: folder / f"record-{index}.bin" for index, name in enumerate(built.neurons)}
    for name, neurons in built.neurons.items():
        files[name].unlink(missing_ok=True)  # of a run that was interrupted
        lava_recorder.Recorder(neurons, files[name])
    _run(built, total)
    result = {}
    for layer in job["layers"]:
        name, shape, lag = layer["name"], tuple(layer["shape"]), layer["lag"]
        for quantity, rows in lava_recorder.read(files[name], total, shape).items():
            by_sample = rows[lag : lag + steps * batch].reshape(batch, steps, *shape).swapaxes(0, 1)
            kind = np.uint8 if quantity == "spikes" else np.int32
            result[f"{quantity}:{name}"] = np.ascontiguousarray(by_sample, dtype=kind)
        files[name].unlink()
    return result


def _run(built: Any, total: int) -> None:
    configuration = Loihi2SimCfg(select_tag="fixed_pt")
    done = 0
    for pause in sorted({step for step, _ in built.clearings if 0 < step < total} | {total}):
        built.any_process.run(condition=RunSteps(num_steps=pause - done), run_cfg=configuration)
        done = pause
        if done < total:
            for step, clear in built.clearings:
                if step == done:
                    clear()
    built.any_process.stop()


def main(folder: Path, host_currents: bool = False) -> None:
    """Runs the job of a folder; the result appears only when it is complete."""
    job = json.loads((folder / "lava_job.json").read_text(encoding="utf-8"))
    if host_currents:
        job["host_currents"] = True
    with np.load(folder / "lava_job.npz", allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    inputs = np.load(folder / "inputs.npy", allow_pickle=False)
    result = execute(job, arrays, inputs, folder)
    unfinished = folder / "result.unfinished.npz"
    np.savez(unfinished, **result)
    os.replace(unfinished, folder / "result.npz")


def _end_with_parent() -> None:
    """Ends this session once the process that started it is gone, however that happened: its pipe to us closes then."""

    def watch() -> None:
        os.read(0, 1)  # returns when the other end closes; sys.stdin would hold a lock at exit
        if hasattr(os, "killpg"):
            os.killpg(0, signal.SIGKILL)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    folders = sys.argv[1:]
    if "--attached" in folders:  # neurodeploy gave us a session of our own
        folders.remove("--attached")
        _end_with_parent()
    by_host = "--host-currents" in folders
    for each in folders:
        if each != "--host-currents":
            main(Path(each).resolve(), by_host)
