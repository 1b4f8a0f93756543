"""The noise vocabulary as data: when each noise is drawn, what it acts on, its equation, unit, source and validity.

N is a standard normal number, U a uniform one in [0, 1), x the level. `docs/noise.md` is made from this table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Drawn = Literal["never", "chip", "trial", "step"]
Where = Literal["program", "input", "spikes", "readout"]

_BUECHEL = "Büchel et al., Sci. Rep. 11, 2021 (s41598-021-02779-x)"
_PAPER = "arXiv:2304.13289, section 5.4"
_GAUSSIAN = "0 to 0.3: beyond, more than one value in 2,000 is clipped at 0 (Gaussian); a log-normal factor has no clip"
_FAULTS = "0 to 0.1: faults are taken as independent, so that a dead row, column or core is not described"
_LINK = "independent losses; congestion, which loses spikes in bursts, is not described"


@dataclass(frozen=True)
class NoiseTerm:
    """One noise.

    Attributes:
        drawn: "chip" once per chip, "trial" once per measurement and sample, "step" at every step, or "never", where
            nothing is random.
        where: "program" where it changes the chip's own parameters (so that it is exported with them), "input" where it
            is added to neurons' inputs, "spikes" where it changes what leaves a neuron, "readout" where it changes the
            sums that are read at the end.
        unit: of the level.
        valid_to: the largest level at which the equation stands for something; larger ones are computed.
        limit: the largest level that has a meaning at all, or None.
    """

    title: str
    drawn: Drawn
    where: Where
    acts_on: str
    equation: str
    unit: str
    source: str
    validity: str
    valid_to: float
    limit: float | None = None


_FRACTION = "fraction of nominal"
_PROBABILITY = "probability"


def _mismatch(title: str, acts_on: str, equation: str, source: str, validity: str = _GAUSSIAN) -> NoiseTerm:
    return NoiseTerm(title, "chip", "program", acts_on, equation, _FRACTION, source, validity, 0.3)


def _fault(title: str, where: Where, what: str, equation: str) -> NoiseTerm:
    acts_on = {"synapses": "every weight", "neurons": "firing neurons"}[what]
    return NoiseTerm(title, "chip", where, acts_on, equation, f"fraction of {what}", "ours", _FAULTS, 0.1, 1.0)


NOISE_TERMS: Mapping[str, NoiseTerm] = MappingProxyType(
    {
        "mismatch": _mismatch(
            "mismatch of thresholds and decays",
            "thresholds and decays of firing neurons",
            "threshold · F, decay · F' (or tau · F'), F = 1 + x N per neuron",
            f"{_PAPER}; {_BUECHEL}",
        ),
        "weight_mismatch": _mismatch(
            "mismatch of weights",
            "every weight",
            "weight · F, F = 1 + x N per synapse, rounded to the Program's weights, at most the largest code",
            f"{_BUECHEL}; Büchel, Faber & Muir, ICLR 2022 (arXiv:2106.05009)",
            "0 to 0.3: measured weights are skewed, for which the log-normal distribution is meant",
        ),
        "thermal": NoiseTerm(
            "thermal noise on the input of every step",
            "step",
            "input",
            "inputs of firing neurons",
            "input + x · nominal threshold · N",
            "fraction of threshold",
            _PAPER,
            "0 to 0.5: 65,536 values within ±4.2 standard deviations",
            0.5,
        ),
        "threshold_mismatch": _mismatch(
            "mismatch of thresholds",
            "thresholds of firing neurons",
            "threshold · F; the neurons' N are those of mismatch, and both levels add in squares",
            _BUECHEL,
        ),
        "decay_mismatch": _mismatch(
            "mismatch of decays",
            "decays of firing neurons",
            "decay · F clipped to [0, 1] (decay_as eps), or decay^(1/F), that is tau · F (decay_as tau); N as mismatch",
            f"{_PAPER} (eps); {_BUECHEL} (tau)",
            "eps: 0 to (1 - decay) / 2, beyond, more than 2 % of the neurons never forget; tau: 0 to 0.3",
        ),
        "bias_mismatch": _mismatch(
            "mismatch of biases",
            "biases of firing neurons",
            "bias · F per neuron",
            "as the bias currents of Rockpool's mismatch_generator (rockpool 3.1.0, transform/mismatch.py)",
        ),
        "gain_mismatch": _mismatch(
            "mismatch of input gain",
            "synaptic input of firing neurons, and the noise on it",
            "input · g, g = max(F, 0.01) per neuron; stored as threshold / g and bias / g, which spikes the same",
            "Rockpool 3.1.0 varies Igain_mem of every neuron; Cakal et al., NCE 4, 2024 (arXiv:2303.12167)",
        ),
        "core_mismatch": _mismatch(
            "mismatch between cores of thresholds and decays",
            "thresholds and decays of all neurons of a core together",
            "threshold · F, decay · F' (or tau · F'), F = 1 + x N per core (core_size; 0: a layer is a core)",
            "ours: neuron parameters of DYNAP-SE2 are shared by a core (rockpool 3.1.0, devices/dynapse/lookup)",
        ),
        "core_gain_mismatch": _mismatch(
            "mismatch between cores of input gain",
            "synaptic input of all neurons of a core together",
            "as gain_mismatch, N per core",
            "ours: weights of DYNAP-SE2 are sums of four currents of the core (rockpool 3.1.0, devices/dynapse)",
        ),
        "quantization": NoiseTerm(
            "quantisation of weights",
            "never",
            "program",
            "every weight",
            "d · round(weight / d), d = x · largest weight of the connection; x = 1 / (2^(bits - 1) - 1)",
            "fraction of the largest weight",
            f"{_BUECHEL}, 4 to 6 bits",
            "0 to 1: 1 leaves three values",
            1.0,
            1.0,
        ),
        "temperature": NoiseTerm(
            "distance from nominal temperature",
            "chip",
            "program",
            "thresholds and decays of firing neurons",
            "threshold · (1 + a ΔT (1 + s N)), tau · (1 + b ΔT (1 + s N')), ΔT = ±x, a = temperature_threshold, "
            "b = temperature_tau, s = temperature_spread",
            "K",
            "tau: U_T = kT/q, +1/300 per K in tau = C U_T / (kappa I); threshold: -0.2 % per K, illustrative "
            "(-1 mV/K on 0.5 V); spread: ours",
            "0 to 60 K around 300 K: coefficients are taken as constant",
            60.0,
        ),
        "supply": NoiseTerm(
            "deviation of the supply",
            "chip",
            "program",
            "all thresholds of a chip together",
            "threshold · (1 + x N), one N per chip",
            _FRACTION,
            "ours: thresholds follow the supply in proportion; ±10 % is a usual tolerance",
            "0 to 0.1: linear in the supply",
            0.1,
        ),
        "drift": NoiseTerm(
            "drift of thresholds since calibration",
            "chip",
            "program",
            "thresholds of firing neurons",
            "threshold · (1 + x · age · (N of the chip + N of the neuron) / √2)",
            "fraction of nominal per hour",
            "ours: linear, half of the variance common to the chip",
            "x · age up to 0.3, within which ageing is taken as linear",
            0.3,
        ),
        "dead_neurons": _fault(
            "neurons that never fire",
            "program",
            "neurons",
            "threshold = never, where U < x; U of a neuron does not depend on x, so that the dead stay dead",
        ),
        "stuck_neurons": _fault(
            "neurons that fire at every step",
            "spikes",
            "neurons",
            "spike = 1 where U < x (U of the neuron)",
        ),
        "dead_synapses": _fault(
            "synapses without effect",
            "program",
            "synapses",
            "weight = 0 where U < x (U of the synapse)",
        ),
        "stuck_synapses": _fault(
            "synapses stuck at the largest weight",
            "program",
            "synapses",
            "weight = ± largest weight of the connection, its sign kept, where U < x (U of the synapse)",
        ),
        "ktc": NoiseTerm(
            "kT/C noise of the membrane capacitance",
            "step",
            "input",
            "inputs of firing neurons",
            "input + x · √(k T / C · (1 - decay²)) · nominal threshold / threshold_volts · N, "
            "which gives a leaky potential √(k T / C) volts; T = 300 K + temperature",
            "multiple of the physical noise",
            "equipartition (Nyquist, Phys. Rev. 32, 1928); C and threshold_volts are the chip model's",
            "chips with a capacitance and threshold_volts; at 1 a single capacitor, larger stands for more of them",
            100.0,
        ),
        "flicker": NoiseTerm(
            "flicker (1/f) noise on the input",
            "step",
            "input",
            "inputs of firing neurons",
            "input + x · nominal threshold · Σ N_k / √12 over 12 rows; row k is drawn anew every 2^k steps",
            "fraction of threshold",
            "Voss & Clarke, J. Acoust. Soc. Am. 63, 1978 (Voss's algorithm, Gardner, Sci. Am. 238, 1978)",
            "frequencies from 1/4096 to 1/4 per step, 0 to 0.5; every sample starts with noise of its own",
            0.5,
        ),
        "spike_loss": NoiseTerm(
            "spikes lost on the way",
            "step",
            "spikes",
            "spikes of firing neurons",
            "a spike is lost where U < x; the neuron is reset all the same",
            _PROBABILITY,
            f"ours: {_LINK}",
            "0 to 0.5",
            0.5,
            1.0,
        ),
        "spike_jitter": NoiseTerm(
            "spikes that arrive a step late",
            "step",
            "spikes",
            "spikes of firing neurons",
            "a spike is a step late where U < x; two in one step are one, and after the last step it is lost",
            _PROBABILITY,
            "ours: the smallest delay that a clocked simulation can express",
            "0 to 0.5",
            0.5,
            1.0,
        ),
        "background_spikes": NoiseTerm(
            "spikes that no neuron fired",
            "step",
            "spikes",
            "spikes of firing neurons",
            "a spike is added where U < x; no neuron is reset",
            "probability per neuron and step",
            "ours: Poisson background in discrete time",
            "0 to 0.1: independent of each other",
            0.1,
            1.0,
        ),
        "readout": NoiseTerm(
            "noise of the readout",
            "trial",
            "readout",
            "the sums that are read after the last step",
            "readout + x · s · N per sample and class, s = standard deviation of the sample's own readout over classes",
            "fraction of the spread between classes",
            "ours",
            "0 to 1: relative to what is read, not to the range of a converter",
            1.0,
        ),
    }
)
