"""SynSense DYNAP-SE2: what its cores hold, its neurons' circuit constants and its bias currents, as data with sources.

Its neurons have currents that decay, a membrane that is no linear filter, a hard reset and a refractory period, and
share their parameters by core. Networks for it are `neurodeploy.hw_models.dynapse2_network.Dynapse2Network`; `CHIP` is
the coarse view of it that sweeps and calibrations of Programs have: discrete-time LIF neurons with the reset to zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from neurodeploy.errors import unknown_name
from neurodeploy.hw_models.chip import ChipModel, Evidence, Knob

_TABLES = "Rockpool 3.1.0, devices/dynapse/lookup"
_PAPER = "Richter et al., DYNAP-SE2: a scalable multi-core dynamic neuromorphic asynchronous spiking neural network "
_PAPER += "processor, Neuromorph. Comput. Eng. 4, 2024"


@dataclass(frozen=True)
class Layout:
    """Constants of the circuits of a neuron, which silicon fixes; farad, ampere, volt.

    kappa_n and kappa_p are the subthreshold slope factors, `ut` the thermal voltage, `vth` the transistors' threshold,
    `io` the dark current, which flows through a transistor that is off.
    """

    c_ahp: float = 40e-12
    c_syn: float = 24.5e-12
    c_pulse_ahp: float = 0.5e-12
    c_pulse: float = 0.5e-12
    c_ref: float = 1.5e-12
    c_mem: float = 3e-12
    io: float = 5e-13
    kappa_n: float = 0.75
    kappa_p: float = 0.66
    ut: float = 25e-3
    vth: float = 0.7

    @property
    def kappa(self) -> float:
        """The mean slope factor, which the equations have."""
        return (self.kappa_n + self.kappa_p) / 2

    def leak(self, tau: float, capacitance: float) -> float:
        """The current that gives a time constant of `tau` seconds: I = C Ut / (kappa tau)."""
        return capacitance * self.ut / (self.kappa * tau)

    def pulse(self, seconds: float, capacitance: float) -> float:
        """The current that gives a pulse of so many seconds: I = C Vth / t."""
        return capacitance * self.vth / seconds


@dataclass(frozen=True)
class Bias:
    """One bias current of a core.

    Attributes:
        lowest, highest: of the bias generator, ampere.
        default: Rockpool's, ampere.
        register: its name on the chip.
    """

    lowest: float
    highest: float
    default: float
    register: str


@dataclass(frozen=True)
class Dynapse2Chip:
    """One chip, as data.

    Attributes:
        cores: of a chip; chips: on a board.
        neurons: of a core.
        synapses: that a neuron receives, each with a tag, a sign and a mask (CAM).
        destinations: of a neuron (SRAM), each a chip, a mask of its cores and a tag; one is taken by the monitor where
            the neuron is watched.
        tags: addresses that a chip tells apart; inputs take one each, neurons one, and another to be watched.
        weight_bits: of a synapse's mask, each bit one of the core's base currents.
        input_events: largest number of events of a channel in a step.
        biases: name -> bias current; shared by the neurons of a core.
        evidence: what a number obtained with this model rests on.
        sources: limit -> paper, table, or how it was established.
    """

    name: str
    title: str
    chips: int
    cores: int
    neurons: int
    synapses: int
    destinations: int
    tags: int
    weight_bits: int
    input_events: int
    layout: Layout
    biases: Mapping[str, Bias]
    evidence: Evidence
    sources: Mapping[str, str] = field(default_factory=dict)

    @property
    def all_cores(self) -> int:
        """Cores of a board."""
        return self.chips * self.cores

    @property
    def highest_mask(self) -> int:
        """All base currents at once."""
        return int(2**self.weight_bits - 1)


LAYOUT = Layout()
BASE_CURRENTS = ("Iw_0", "Iw_1", "Iw_2", "Iw_3")
_WEIGHT_RANGE = (8.20e-14, 4.94e-7)
BIASES: Mapping[str, Bias] = MappingProxyType(
    {
        "Idc": Bias(1.42e-13, 8.53e-7, 5e-13, "SOIF_DC_P"),
        "If_nmda": Bias(5.18e-13, 2.39e-6, 5e-13, "DENM_NMREV_N"),
        "Igain_ahp": Bias(2.53e-13, 1.53e-6, LAYOUT.leak(50e-3, LAYOUT.c_ahp), "SOAD_GAIN_P"),
        "Igain_mem": Bias(5.18e-13, 2.39e-6, 4 * LAYOUT.leak(20e-3, LAYOUT.c_mem), "SOIF_GAIN_N"),
        "Igain_syn": Bias(2.53e-13, 1.53e-6, 100 * LAYOUT.leak(10e-3, LAYOUT.c_syn), "DEAM_EGAIN_P, DEGA_IGAIN_P"),
        "Ipulse_ahp": Bias(4.54e-13, 2.09e-6, LAYOUT.pulse(1e-6, LAYOUT.c_pulse_ahp), "SOAD_PWTAU_N"),
        "Ipulse": Bias(4.54e-13, 2.09e-6, LAYOUT.pulse(10e-6, LAYOUT.c_pulse), "SYPD_EXT_N"),
        "Iref": Bias(5.18e-13, 2.39e-6, LAYOUT.pulse(1e-3, LAYOUT.c_ref), "SOIF_REFR_N"),
        "Ispkthr": Bias(1.42e-13, 8.53e-7, 1e-7, "SOIF_SPKTHR_P"),
        "Itau_ahp": Bias(7.46e-14, 4.49e-7, LAYOUT.leak(50e-3, LAYOUT.c_ahp), "SOAD_TAU_P"),
        "Itau_mem": Bias(3.01e-13, 1.39e-6, LAYOUT.leak(20e-3, LAYOUT.c_mem), "SOIF_LEAK_N"),
        "Itau_syn": Bias(7.46e-14, 4.49e-7, LAYOUT.leak(10e-3, LAYOUT.c_syn), "DEAM_ETAU_P, DEGA_ITAU_P"),
        "Iw_ahp": Bias(4.54e-13, 2.09e-6, 5e-13, "SOAD_W_N"),
        "Iw_0": Bias(*_WEIGHT_RANGE, 1e-9, "SYAM_W0_P"),
        "Iw_1": Bias(*_WEIGHT_RANGE, 2e-9, "SYAM_W1_P"),
        "Iw_2": Bias(*_WEIGHT_RANGE, 4e-9, "SYAM_W2_P"),
        "Iw_3": Bias(*_WEIGHT_RANGE, 8e-9, "SYAM_W3_P"),
    }
)
SOURCES: Mapping[str, str] = MappingProxyType(
    {
        "size": f"256 neurons a core, 4 cores a chip: {_PAPER}; 4 chips a board: {_TABLES}/defaults.py",
        "synapses": f"64 CAM entries a neuron: {_PAPER}; {_TABLES}/defaults.py (NUM_SYNAPSES)",
        "destinations": f"4 SRAM entries a neuron: {_PAPER}; {_TABLES}/defaults.py (NUM_DEST)",
        "tags": f"11 bits: {_PAPER}; inputs + 2 neurons share 2048: Rockpool's hardware/config/allocator.py",
        "weights": f"a 4-bit mask over four base currents a core, and a sign (AMPA or GABA): {_PAPER}; the same file",
        "parameters": f"shared by the neurons of a core: {_PAPER}",
        "biases": f"range of each: the smallest and largest entry of {_TABLES}/paramgen.py times the scale factor of "
        "scaling.py; defaults: defaults.py",
        "layout": f"{_TABLES}/defaults.py (default_layout)",
        "input_events": "Rockpool 3.1.0, hardware/interface/samna.py: one event is sent wherever a raster is not 0",
        "neuron": "DPI synapse and adaptive exponential membrane: Chicca et al., Proc. IEEE 102, 2014; as solved by "
        "Rockpool 3.1.0, devices/dynapse/simulation/dynapsim.py",
    }
)

DYNAPSE2 = Dynapse2Chip(
    name="dynapse2",
    title="SynSense DYNAP-SE2",
    chips=4,
    cores=4,
    neurons=256,
    synapses=64,
    destinations=4,
    tags=2048,
    weight_bits=4,
    input_events=1,
    layout=LAYOUT,
    biases=BIASES,
    evidence="modelled",
    sources=SOURCES,
)

CHIP = ChipModel(
    name="dynapse2",
    title="SynSense DYNAP-SE2, seen as discrete-time LIF neurons",
    fixed_point=False,
    weight_bits=5,
    resets=("zero",),
    evidence="modelled",
    knobs=(
        Knob(
            "gain",
            per="core",
            bits=8,
            span=0.9,
            core_size=256,
            source="Igain_mem of a core: fine codes of 8 bits within a coarse range (rockpool 3.1.0, "
            "devices/dynapse/lookup/paramgen.py); that a linear range of ±90 % is used of them is our choice",
        ),
        Knob("weight", per="synapse", bits=5, source="the sign and the 4-bit mask of every CAM entry, as for weights"),
    ),
    capacitance=LAYOUT.c_mem,
    sources={
        "weights": "sign and 4 bits, equally spaced here; the four base currents of a core need not be",
        "neuron": "discrete-time LIF of arXiv:2304.13289, Eq. 2 and 3, in the place of the chip's own; "
        "`export --target dynapse2` has the chip's own",
        "capacitance": SOURCES["layout"],
    },
)

CHIPS: Mapping[str, Dynapse2Chip] = MappingProxyType({DYNAPSE2.name: DYNAPSE2})


def dynapse2_chip(name: str) -> Dynapse2Chip:
    """The chip of that name; raises UsageError naming the known ones."""
    if name not in CHIPS:
        raise unknown_name("chip of --target dynapse2", name, CHIPS)
    return CHIPS[name]
