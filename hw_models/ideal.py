"""No chip at all: the Network itself, with weights of float32 precision and double-precision neurons."""

from neurodeploy.hw_models.chip import ChipModel

CHIP = ChipModel(
    name="ideal",
    title="no chip: the trained network itself",
    fixed_point=False,
    weight_bits=32,
    resets=("zero", "subtract"),
    evidence="modelled",
    sources={"weights": "32-bit integers with a power-of-two scale, finer than the float32 that training uses"},
)
