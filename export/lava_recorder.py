"""A Lava process that writes what a layer does at every step to a file; goes along with `lava_worker.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lava_python  # type: ignore[import-not-found]  # noqa: F401 (first: it makes Lava importable)
import numpy as np
from lava.magma.core.decorator import implements, requires
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyRefPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort, RefPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

QUANTITIES = ("currents", "voltages", "spikes")  # the order in a row


class Recorder(AbstractProcess):  # type: ignore[misc]
    """Writes currents, voltages and spikes of one layer at every step; Lava's Monitor hands them over one by one."""

    def __init__(self, neurons: Any, path: Path) -> None:
        shape = neurons.s_out.shape
        super().__init__(path=str(path))
        self.spikes = InPort(shape=shape)
        self.currents = RefPort(shape)
        self.voltages = RefPort(shape)
        neurons.s_out.connect(self.spikes)
        self.currents.connect_var(neurons.u)
        self.voltages.connect_var(neurons.v)


@implements(proc=Recorder, protocol=LoihiProtocol)  # type: ignore[untyped-decorator,unused-ignore]
@requires(CPU)  # type: ignore[untyped-decorator,unused-ignore]
class PyRecorder(PyLoihiProcessModel):  # type: ignore[misc]
    """One row a step, as int32: currents and voltages after the step, then the spikes."""

    spikes: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    currents: PyRefPort = LavaPyType(PyRefPort.VEC_DENSE, np.int32)
    voltages: PyRefPort = LavaPyType(PyRefPort.VEC_DENSE, np.int32)

    def run_spk(self) -> None:
        """Receives the spikes of this step."""
        self.received = self.spikes.recv()

    def post_guard(self) -> bool:
        """Asks for the phase in which currents and voltages can be read."""
        return True

    def run_post_mgmt(self) -> None:
        """Appends a row."""
        row = np.stack([self.currents.read(), self.voltages.read(), self.received]).astype("<i4")
        with open(self.proc_params["path"], "ab") as file:
            file.write(row.tobytes())


def read(path: Path, steps: int, shape: tuple[int, ...]) -> dict[str, Any]:
    """quantity -> (steps, *shape) of a Recorder's file; `shape` in our order of axes, Lava's is its reverse."""
    rows = np.fromfile(path, dtype="<i4").reshape(steps, len(QUANTITIES), *shape[::-1])
    rows = rows.transpose(0, 1, *range(rows.ndim - 1, 1, -1))
    return {quantity: rows[:, index] for index, quantity in enumerate(QUANTITIES)}
