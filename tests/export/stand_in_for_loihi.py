"""A stand-in for lava-loihi in Lava's own simulator: `python stand_in_for_loihi.py SCRIPT ARGUMENTS`.

Adapters are processes that pass on, one step later, what they receive; a state probe writes down a variable at every
step; Loihi2HwCfg runs everything on the CPU. So the whole path to the chip runs but for Intel's own parts. Needs
lava-nc and a folder of its own (Lava imports what lies beside a process).
"""

from __future__ import annotations

import importlib
import importlib.machinery
import os
import runpy
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

import numpy as np
from lava.magma.core import run_configs
from lava.magma.core.decorator import implements, requires
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort, PyRefPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort, OutPort, RefPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.utils import loihi


class Adapter(AbstractProcess):  # type: ignore[misc]
    """One step between the CPU and the chip."""

    def __init__(self, shape: tuple[int, ...], num_message_bits: int = 0) -> None:
        super().__init__(shape=shape)
        self.inp = InPort(shape=shape)
        self.out = OutPort(shape=shape)


@implements(proc=Adapter, protocol=LoihiProtocol)  # type: ignore[untyped-decorator,unused-ignore]
@requires(CPU)  # type: ignore[untyped-decorator,unused-ignore]
class PyAdapter(PyLoihiProcessModel):  # type: ignore[misc]
    """Sends what came in the step before."""

    inp: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self.before = np.zeros(proc_params["shape"], dtype=np.int32)

    def run_spk(self) -> None:
        """One step."""
        self.out.send(self.before)
        self.before = self.inp.recv()


class Watcher(AbstractProcess):  # type: ignore[misc]
    """Appends a variable to a file at every step."""

    def __init__(self, var: Any, path: str) -> None:
        super().__init__(path=path)
        self.var = RefPort(var.shape)
        self.var.connect_var(var)


@implements(proc=Watcher, protocol=LoihiProtocol)  # type: ignore[untyped-decorator,unused-ignore]
@requires(CPU)  # type: ignore[untyped-decorator,unused-ignore]
class PyWatcher(PyLoihiProcessModel):  # type: ignore[misc]
    """Reads between two steps."""

    var: PyRefPort = LavaPyType(PyRefPort.VEC_DENSE, np.int32)

    def post_guard(self) -> bool:
        """Asks for the phase in which variables can be read."""
        return True

    def run_post_mgmt(self) -> None:
        """Appends."""
        with open(self.proc_params["path"], "ab") as file:
            file.write(np.asarray(self.var.read()).astype("<i8").tobytes())


class StateProbe:
    """The values of a variable at every step, (neurons · steps,), neuron by neuron."""

    def __init__(self, var: Any) -> None:
        self.size = int(np.prod(var.shape))
        self.path = tempfile.mktemp()
        Watcher(var, self.path)

    @property
    def time_series(self) -> Any:
        """What the file holds."""
        values = np.fromfile(self.path, dtype="<i8").reshape(-1, self.size).T.ravel()
        os.unlink(self.path)
        return values


def install() -> None:
    """Puts the stand-ins where lava-loihi's modules would be."""
    power = types.SimpleNamespace(total_power=np.array([0.25, 0.75]), static_total_power=0.125)
    modules: dict[str, dict[str, Any]] = {
        "lava.magma.core.model.nc": {},
        "lava.magma.compiler.subcompilers.nc": {},
        "lava.magma.compiler.subcompilers.nc.ncproc_compiler": {},
        "lava.proc.embedded_io": {},
        "lava.proc.embedded_io.spike": dict.fromkeys(("PyToN3ConvAdapter", "PyToNxAdapter", "NxToPyAdapter"), Adapter),
        "lava.utils.loihi2_state_probes": {"StateProbe": StateProbe},
        "lava.utils.loihi2_profiler": {"Loihi2Power": lambda num_steps: power},
    }
    for name, content in modules.items():
        module = types.ModuleType(name)
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        module.__dict__.update(content)
        sys.modules[name] = module
    run_configs.Loihi2HwCfg = lambda callback_fxs: run_configs.Loihi2SimCfg(select_tag="fixed_pt")
    loihi.use_slurm_host = lambda **_: None


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    importlib.import_module("stand_in_for_loihi").install()  # Lava finds no processes in __main__
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")
