"""Makes a folder that stands in for samna, Rockpool and a DYNAP-SE2 board: its chip is our engine.

The board reads the network out of the configuration that it is given, from CAM, SRAM and currents alone. Only the calls
of Rockpool's own chain are there, with Rockpool's signatures; anything else fails.
"""

from __future__ import annotations

from pathlib import Path

SAMNA = """
class Plain:
    def __init__(self):
        self.coarse_value = self.fine_value = None
        self.synapses, self.destinations = [], []


class Core:
    def __init__(self):
        self.parameters = {}
        self.neurons = [Plain() for _ in range(256)]


class Parameters(dict):
    def __missing__(self, name):
        self[name] = Plain()
        return self[name]


class Chip:
    def __init__(self):
        self.cores = [Core() for _ in range(4)]
        for core in self.cores:
            core.parameters = Parameters()


class Dynapse2Configuration:
    def __init__(self):
        self.chips = [Chip() for _ in range(4)]


class dynapse2:
    pass


dynapse2.Dynapse2Configuration = Dynapse2Configuration
"""
ALIAS = """
from dataclasses import dataclass


@dataclass
class Dynapse2Destination:
    core: list
    x_hop: int
    y_hop: int
    tag: int
"""
ALLOCATOR = """
from rockpool.devices.dynapse.samna_alias import Dynapse2Destination


class WeightAllocator:
    @staticmethod
    def get_dendrite(sign):
        return {1: "ampa", -1: "gaba"}[sign]

    @staticmethod
    def cam_entry(dendrite=None, weight=None, tag=0, use_samna=False):
        assert use_samna
        return (dendrite, weight or [False] * 4, tag)

    @staticmethod
    def sram_entry(core=None, x_hop=0, y_hop=0, tag=0, use_samna=False):
        assert use_samna
        return Dynapse2Destination(core or [False] * 4, x_hop, y_hop, tag)
"""
DYNAPSE = """
import os

import numpy as np

from neurodeploy.hw_models.dynapse2 import BASE_CURRENTS
from neurodeploy.hw_models.dynapse2_network import SHARED, Block, Dynapse2Network
from neurodeploy.ir.nodes import Input
from neurodeploy.simulate import dynapse2_engine


def find_dynapse_boards():
    return ["board"]


class DynapSimCore:
    def __init__(self, **currents):
        assert "Igain_syn" not in currents and "Itau_shunt" in currents
        self.currents = currents

    def export_Dynapse2Parameters(self):
        return {name: (value, 0) for name, value in self.currents.items()}


class DynapseSamna:
    def __init__(self, board, config, input_map, dt):
        assert board == "board"
        self.dt, self.channels = dt, len(input_map)
        cores = [core for chip in config.chips for core in chip.cores if core.parameters]
        neurons = [(index, one) for index, core in enumerate(cores) for one in core.neurons if one.synapses]
        count = len(neurons)
        self.core = np.array([index for index, _ in neurons])
        self.codes_in, self.codes_rec = np.zeros((self.channels, count), int), np.zeros((count, count), int)
        watched = []
        for number, (index, one) in enumerate(neurons):
            assert (len(one.synapses), len(one.destinations)) == (64, 4)
            for dendrite, mask, tag in one.synapses:
                code = sum(bit << place for place, bit in enumerate(mask)) * {"ampa": 1, "gaba": -1, None: 0}[dendrite]
                if code and tag < self.channels:
                    assert input_map[tag][0].core[index] and input_map[tag][0].x_hop == 1, "the event does not arrive"
                    self.codes_in[tag, number] = code
                elif code:
                    source = neurons[tag - self.channels][1]
                    assert any(sent.tag == tag and sent.core[index] for sent in source.destinations if sent.x_hop == 0)
                    self.codes_rec[tag - self.channels, number] = code
            watched += [(sent.tag, number) for sent in one.destinations if sent.x_hop == -7 and sent.y_hop == -7]
        assert watched == list(enumerate(range(count - len(watched), count)))
        self.hidden = count - len(watched)
        named = {"Igain_syn": "Igain_ampa", "Itau_syn": "Itau_ampa"}
        read = {name: [core.parameters[named.get(name, name)].coarse_value for core in cores] for name in SHARED}
        self.biases = {name: np.array(values) for name, values in read.items()}
        self.base = np.array([[core.parameters[name].coarse_value for name in BASE_CURRENTS] for core in cores])

    def __call__(self, raster, record=False):
        steps, count = len(raster), len(self.core)
        assert record and raster.shape[1] == self.channels
        blocks = (Block("hidden", 0, self.hidden), Block("output", self.hidden, count))
        network = Dynapse2Network(
            "dynapse2", steps, 1, self.dt, Input((self.channels,), 1.0, 1), self.codes_in, self.codes_rec, self.core,
            self.base, self.biases, blocks,
        )
        spikes = dynapse2_engine.run(network, raster[:, None].astype(np.uint8), record=False).spikes[:, 0].astype(float)
        if os.environ.get("STAND_IN_IS_WRONG"):
            spikes[::2] = 0
        tags = np.flatnonzero(spikes.any(axis=0))

        class Destination:
            def __init__(self, tag):
                self.tag = int(tag)

        return spikes[:, tags], {}, {"channel_map": {place: Destination(tag) for place, tag in enumerate(tags)}}
"""


def make(folder: Path) -> Path:
    """Fills the folder, which then goes first on PYTHONPATH."""
    files = {
        "rockpool/__init__.py": "",
        "rockpool/devices/__init__.py": "",
        "rockpool/devices/dynapse/__init__.py": DYNAPSE,
        "rockpool/devices/dynapse/samna_alias.py": ALIAS,
        "rockpool/devices/dynapse/hardware/__init__.py": "",
        "rockpool/devices/dynapse/hardware/config/__init__.py": "",
        "rockpool/devices/dynapse/hardware/config/allocator.py": ALLOCATOR,
        "samna/__init__.py": SAMNA,
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
