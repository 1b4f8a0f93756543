"""A generic mixed-signal chip: analogue neurons that differ from each other, digital spikes, a trim DAC per neuron."""

from neurodeploy.hw_models.chip import ChipModel, Knob

CHIP = ChipModel(
    name="mixed-signal",
    title="generic mixed-signal chip (analogue neurons with a trim DAC)",
    fixed_point=False,
    weight_bits=12,
    resets=("zero", "subtract"),
    evidence="modelled",
    knobs=(
        Knob(
            "threshold",
            per="neuron",
            bits=7,
            span=1.0,
            source="ours: a trim DAC of 7 bits over ±100 % of the nominal threshold; no particular chip is meant",
        ),
        Knob("weight", per="synapse", bits=12, source="the chip's own weights, which can be written again"),
    ),
    capacitance=1e-12,
    threshold_volts=0.3,
    sources={
        "neuron": "discrete-time LIF of arXiv:2304.13289, Eq. 2 and 3; both reset modes of Rockpool 3.1.0",
        "weights": "ours: 12 bits, fine enough to stand for a continuous weight and coarse enough for exact sums",
        "capacitance": "ours, illustrative: 1 pF and a swing of 0.3 V, the order of analogue neurons; no chip is meant",
    },
)
