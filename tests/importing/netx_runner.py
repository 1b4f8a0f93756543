"""Runs `.net` files through the real netx in Lava: `python netx_runner.py FOLDER`, in the environment that has Lava.

FOLDER holds `cases.json`, a list of {"net", "inputs", "steps", "bits", "driven"}: files in FOLDER, inputs (T, *shape),
and whether the input has neurons. Each case gets `<net>.npz` with spikes<n> and voltages<n>, (T, *shape), of netx's
layer n, or `error`. The file stands alone, because Lava imports all that lies beside it; it must lead a session of its
own, whose processes it ends (Lava leaves some behind where a case fails).
"""

from __future__ import annotations

import json
import os
import signal
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np

_UNUSED = ("torch", "lava.lib.dl.slayer", "lava.lib.dl.slayer.neuron", "lava.lib.dl.slayer.neuron.rf")


def without_torch() -> None:
    """netx imports torch and slayer for resonate-and-fire neurons and for type hints only."""
    for name in _UNUSED:
        stub: Any = types.ModuleType(name)
        stub.tensor, stub.neuron_params = object, None
        sys.modules[name] = stub


def run(case: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Spikes and voltages of a case; Lava's axes (x, y, channel) become (channel, y, x)."""
    from lava.lib.dl.netx.hdf5 import Network
    from lava.magma.core.run_conditions import RunSteps
    from lava.magma.core.run_configs import Loihi2SimCfg
    from lava.proc.io.sink import RingBuffer as Sink
    from lava.proc.io.source import RingBuffer as Source
    from lava.proc.monitor.process import Monitor

    steps, inputs, net = case["steps"], np.load(folder / case["inputs"]), str(folder / case["net"])
    driven = case["driven"]
    # Biases act while the first input is on its way; each layer forgets that when it arrives.
    resets = {"reset_interval": 4 * steps, "reset_offset": 0 if driven else 1}
    network = Network(net_config=net, input_message_bits=case["bits"], **resets)
    total = steps + len(network.layers)
    if driven:
        transform = network.layers[0].transform
        network.layers[0].neuron.bias_mant.init = transform["weight"] * inputs[0].T + transform["bias"]
    else:
        frames = np.zeros((total, *inputs.shape[1:]), dtype=np.int32)
        frames[:steps] = inputs
        flat = len(network.inp.shape) == 1
        source = Source(data=np.ascontiguousarray(frames.reshape(total, -1).T if flat else frames.T))
        source.s_out.connect(network.inp)
    voltages, spikes = [], []
    for layer in network.layers:
        voltages.append(Monitor())
        voltages[-1].probe(layer.neuron.v, total)
        spikes.append(Sink(shape=layer.neuron.s_out.shape, buffer=total))
        layer.neuron.s_out.connect(spikes[-1].a_in)
    network.run(condition=RunSteps(num_steps=total), run_cfg=Loihi2SimCfg(select_tag="fixed_pt"))
    result = {}
    for index, monitor in enumerate(voltages):
        shape = network.layers[index].neuron.s_out.shape
        lag = index + (0 if driven else 1)
        (content,) = monitor.get_data().values()
        for what, rows in (
            ("voltages", next(iter(content.values())).reshape(total, *shape)),
            ("spikes", np.moveaxis(spikes[index].data.get(), -1, 0)),
        ):
            result[f"{what}{index}"] = np.swapaxes(rows, 1, -1)[lag : lag + steps].astype(np.int64)
    network.stop()
    return result


def main(folder: Path) -> None:
    """Every case, one after the other."""
    for case in json.loads((folder / "cases.json").read_text()):
        try:
            result = run(case, folder)
        except Exception as error:  # noqa: BLE001 (what netx cannot load is part of what is compared)
            result = {"error": np.array(f"{type(error).__name__}: {error}")}
        np.savez(folder / f"{case['net']}.npz", **result)


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    without_torch()
    main(Path(sys.argv[1]).resolve())
    os.killpg(0, signal.SIGKILL)
