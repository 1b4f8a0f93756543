"""Intel Loihi 2, as the fixed-point processes of lava-nc 0.10.0 compute it."""

from neurodeploy.hw_models.chip import ChipModel, Trim

CHIP = ChipModel(
    name="loihi2",
    title="Intel Loihi 2 (lava-nc 0.10.0, fixed point)",
    fixed_point=True,
    weight_bits=8,
    resets=("zero",),
    trim=Trim("bias", per="neuron", bits=7, span=1.0),
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
        "trim": "the bias mantissa, which each neuron has of its own (a threshold is shared by a LIF process); that 7 "
        "bits over ±100 % of the threshold are used of it is our choice",
    },
)
