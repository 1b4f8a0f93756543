"""Makes a folder that stands in for samna, Rockpool and a board: its chip is the reference simulator.

Only the calls of Rockpool's own chain are there, with Rockpool's signatures; anything else fails. As in Rockpool 3.1.0,
reset_state() works on Audio 2 alone, and boards name their supplies differently. That neurons are at rest once a
configuration was applied is what the runner supposes of the others.
"""

from __future__ import annotations

from pathlib import Path

HELPER = """
import importlib


def find_xylo_hdks():
    module = importlib.import_module("rockpool.devices.xylo.FAMILY")
    return ["other", "board"], [None, module], ["another", "FAMILY"]
"""
POWER = {
    "syns61201": ("io_power", "afe_core_power", "afe_ldo_power", "snn_core_power"),
    "syns65302": ("io_power", "analog_power", "digital_power"),
    "syns63300": ("io_power", "core_power"),
}
FAMILIES = {"xylo-a2": "syns61201", "xylo-a3": "syns65302", "xylo-imu": "syns63300"}
CHIP = """
import json
import os
import warnings

import numpy as np

from neurodeploy.export.xylo_rockpool import quantised
from neurodeploy.simulate import xylo as reference

STATE = []  # of the board: all that was shown since its neurons were at rest


def config_from_specification(
    weights_in, weights_out, weights_rec=None, dash_mem=None, dash_mem_out=None, dash_syn=None, dash_syn_2=None,
    dash_syn_out=None, threshold=None, threshold_out=None, bias_hidden=None, bias_out=None, weight_shift_in=0,
    weight_shift_rec=0, weight_shift_out=0, aliases=None, *args, **kwargs,
):
    assert not args and not kwargs, kwargs
    assert all(isinstance(value, np.ndarray) for value in (weights_in, weights_out, weights_rec, dash_mem, threshold))
    assert type(weight_shift_in) is int
    specification = {name: value for name, value in locals().items() if name not in ("args", "kwargs")}
    hidden = len(threshold)
    whole = np.zeros((weights_in.shape[0], hidden, *weights_in.shape[2:]), int)
    whole[:, : weights_in.shape[1]] = weights_in
    out = np.zeros((hidden, weights_out.shape[1]), int)
    out[hidden - len(weights_out) :] = weights_out
    return specification | {"weights_in": whole, "weights_out": out}, True, ""


class XyloSamna:
    def __init__(self, device, config=None, dt=1e-3, output_mode="Spike", power_frequency=5.0):
        assert device == "board"
        self.config, self.mode = config, output_mode
        STATE.clear()

    def reset_state(self):
        if "FAMILY" == "syns61201":
            STATE.clear()
        elif "FAMILY" == "syns65302":
            warnings.warn("Reset state is not working yet.")
        return self

    def __call__(self, raster, record=False, read_timeout=None, record_power=False):
        STATE.append(raster)
        shown = np.concatenate(STATE)[:, None].astype(int)
        got = reference.run(quantised(self.config, len(shown), "CHIP"), shown)
        got = type(got)(**{name: values[-len(raster) :] for name, values in vars(got).items()})
        if os.environ.get("STAND_IN_IS_WRONG"):
            got.output_potentials[-1, 0, 0] += 1
            got.output_spikes[-1, 0, 0] ^= 1
        states = {"Vmem": got.potentials, "Spikes": got.spikes, "Vmem_out": got.output_potentials}
        states |= {"Isyn": got.currents[..., 0], "Isyn_out": got.output_currents}
        states |= {"Isyn2": got.currents[..., 1]} if "FAMILY" != "syns63300" else {}
        kept = {name: values[:, 0] for name, values in states.items()} if record else {}
        if record_power:
            kept |= {name: np.array([0.25, 0.75]) for name in POWER} | {"inf_duration": 1.0}
        outputs = {"Spike": got.output_spikes, "Vmem": got.output_potentials}
        return outputs[self.mode][:, 0], {}, kept
"""


def make(folder: Path, chip: str = "xylo-a3") -> Path:
    """Fills the folder, which then goes first on PYTHONPATH; a board of that chip is connected."""
    family = FAMILIES[chip]

    def about(text: str) -> str:
        return text.replace("FAMILY", family).replace("CHIP", chip).replace("in POWER", f"in {POWER[family]}")

    files = {
        "rockpool/__init__.py": "",
        "rockpool/devices/__init__.py": "",
        "rockpool/devices/xylo/__init__.py": "",
        "rockpool/devices/xylo/helper.py": about(HELPER),
        f"rockpool/devices/xylo/{family}.py": about(CHIP),
        "samna/__init__.py": "raise SystemExit('samna is imported by Rockpool alone')\n",
        "samna/samnacpp.so": "",
        "samna-0.99.dist-info/METADATA": "Metadata-Version: 2.1\nName: samna\nVersion: 0.99\n",
        "samna-0.99.dist-info/RECORD": "samna/__init__.py,,\nsamna/samnacpp.so,,\n",
        "rockpool-3.1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: rockpool\nVersion: 3.1.0\n",
        "rockpool-3.1.0.dist-info/RECORD": "rockpool/__init__.py,,\n",
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    return folder
