"""A virtual DYNAP-SE2 chip in the names of Rockpool's DynapSim; NumPy alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.hw_models.dynapse2_mismatch import Realised
from neurodeploy.hw_models.dynapse2_network import SHARED
from neurodeploy.simulate.dynapse2 import SCALE

STATES = ("imem", "iampa", "iahp")
# Ours -> DynapSim's.
_CONSTANTS = {
    "c_ahp": "C_ahp",
    "c_syn": "C_syn",
    "c_pulse_ahp": "C_pulse_ahp",
    "c_pulse": "C_pulse",
    "c_ref": "C_ref",
    "c_mem": "C_mem",
    "io": "Io",
    "kappa_n": "kappa_n",
    "kappa_p": "kappa_p",
    "ut": "Ut",
    "vth": "Vth",
}


def parameters(chip: Realised) -> dict[str, NDArray[Any]]:
    """DynapSim's own names -> (neurons,) float32, and w_rec (neurons, neurons) in units of SCALE.

    States start at each neuron's own dark current; Rockpool leaves them at the nominal one under mismatch.
    """
    named = {name: chip.values[name] for name in SHARED} | {
        theirs: chip.values[ours] for ours, theirs in _CONSTANTS.items()
    }
    return {name: np.asarray(values, dtype=np.float32) for name, values in named.items()} | {
        "w_rec": (chip.weights_rec / SCALE).astype(np.float32),
        **dict.fromkeys(STATES, chip.values["io"].astype(np.float32)),
    }


def input_weights(chip: Realised) -> NDArray[np.float32]:
    """(channels, neurons) in units of SCALE."""
    return (chip.weights_in / SCALE).astype(np.float32)
