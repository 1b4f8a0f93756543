"""Lava's side of `engine_vs_lava.py`; runs in the Python that has Lava: FOLDER [FOLDER ...].

Every FOLDER holds a job as `export.lava_job` writes it, `inputs.npy` and, beside this file, the worker's modules. The
network is what `lava_network` builds, with nothing recorded but the spikes of the last layer, by Lava's own sink. One
sample is run first, for compiling and starting; the seconds of all others, in one uninterrupted run, go to `time.json`,
and the spikes to `spikes.npy`.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

if __name__ == "__main__":
    sys.dont_write_bytecode = True  # Lava imports every file beside this one
sys.path.insert(0, str(Path(__file__).resolve().parent))

import lava_network  # type: ignore[import-not-found]
import numpy as np
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.proc.io.sink import RingBuffer


def main(folder: Path) -> None:
    """Runs one job."""
    job = json.loads((folder / "lava_job.json").read_text(encoding="utf-8"))
    with np.load(folder / "lava_job.npz", allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    inputs = np.load(folder / "inputs.npy", allow_pickle=False)
    steps, batch = inputs.shape[:2]
    frames = np.concatenate(list(inputs.swapaxes(0, 1)))
    last = job["layers"][-1]
    total = steps * batch + last["lag"]
    built = lava_network.build(job, arrays, frames, total)
    neurons = built.neurons[last["name"]]
    sink = RingBuffer(shape=neurons.s_out.shape, buffer=total)
    neurons.s_out.connect(sink.a_in)
    configuration = Loihi2SimCfg(select_tag="fixed_pt")
    built.any_process.run(condition=RunSteps(num_steps=steps), run_cfg=configuration)
    started = time.perf_counter()
    built.any_process.run(condition=RunSteps(num_steps=total - steps), run_cfg=configuration)
    seconds = time.perf_counter() - started
    spikes = sink.data.get().astype(np.uint8).T[last["lag"] :].reshape(batch, steps, *last["shape"])
    built.any_process.stop()
    np.save(folder / "spikes.npy", spikes.swapaxes(0, 1))
    (folder / "time.json").write_text(json.dumps({"seconds": seconds, "samples": batch - 1}), encoding="utf-8")


if __name__ == "__main__":
    for each in sys.argv[1:]:
        main(Path(each).resolve())
