"""What NIR leaves open, and how it is settled when graphs are written and read here.

NIR (Pedersen et al., Nat. Commun. 15:8122, 2024) states neurons in continuous time; a Network has steps. With forward
Euler over a step dt, and the current of the same step acting on the potential,

    LIF       decay = 1 - dt / tau,            gain = r dt / tau
    CubaLIF   decay = 1 - dt / tau_mem,        gain = (r dt / tau_mem) (w_in dt / tau_syn),
              current_decay = 1 - dt / tau_syn
    IF        decay = 1,                       gain = r dt

of which an input x adds gain * x to the potential. The exact solution for an input that is constant over a step
("exponential") has exp(-dt / tau) in place of 1 - dt / tau, and 1 minus that in place of dt / tau.

Written are r and w_in with which every gain is 1, so that weights and thresholds stay as they are, dt as snnTorch and
SpikingJelly have it, and metadata as hints: they hold what NIR has no place for (steps, the input's scale and bits,
which edge of a loop waits a step) and the last bits of a decay, never anything else.
"""

from __future__ import annotations

from typing import Literal

DT = 1e-4  # seconds; fixed in snnTorch 1.0, the default of SpikingJelly 2.0
DISCRETISATIONS = ("euler", "exponential")
Discretisation = Literal["euler", "exponential"]

STEPS, DT_HINT, SCALE, BITS = "steps", "dt", "input_scale", "input_bits"
DELAYED = "delayed_edges"  # pairs (source, target) that wait one step, though they are plain edges
DECAY, CURRENT_DECAY = "decay", "current_decay"
