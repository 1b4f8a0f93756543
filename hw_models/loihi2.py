"""Intel Loihi 2, as the fixed-point processes of lava-nc 0.10.0 compute it."""

from neurodeploy.hw_models.chip import ChipModel, ThresholdTrim

CHIP = ChipModel(
    name="loihi2",
    title="Intel Loihi 2 (lava-nc 0.10.0, fixed point)",
    fixed_point=True,
    weight_bits=8,
    resets=("zero",),
    trim=ThresholdTrim(per="layer", bits=8, span=0.5),
    evidence="bit-exact-sim",
    threshold_max=131071,
    bias_mantissa_max=4095,
    bias_exponents=(6, 6),
    sources={
        "weights": "lava-nc 0.10.0, lava/proc/dense/models.py: 8 bits with sign",
        "threshold": "lava-nc 0.10.0, lava/proc/lif/models.py (PyLifModelBitAcc): vth of 17 bits, one per LIF process",
        "bias": "lava-nc 0.10.0, lava/proc/lif/models.py: mantissa of 13 bits with sign, exponent of 3 bits, per "
        "neuron. "
        "Of the exponents 0 to 7 only 6 is used, whole weight units: the one that lava-dl's netx knows",
        "decay": "lava-nc 0.10.0, lava/proc/lif/models.py: dv of 12 bits, one per LIF process",
        "trim": "follows from the threshold: one per LIF process. The range is ours: ±50 % of the nominal value",
    },
)
