"""SynSense Xylo Audio 2 (SYNS61201)."""

from neurodeploy.hw_models.xylo_core import XyloChip, family_sources

XYLO = XyloChip(
    name="xylo-a2",
    title="SynSense Xylo Audio 2 (SYNS61201)",
    inputs=16,
    hidden=1000,
    outputs=8,
    synapses=2,
    fan_out=64,
    fan_out_total=32_000,
    input_targets=1000,
    output_sources=1000,
    rockpool="rockpool.devices.xylo.syns61201",
    evidence="bit-exact-sim",
    sources=family_sources(
        fan_out="the table of the family's members: at most 64, on average 32 + 32 (two synapses)",
        fan_out_total="32 targets for each of 1000 neurons: the table, and the distance of RFORAM from RWTRAM in the "
        "memory map of Rockpool 3.1.0 (devices/xylo/syns61201/xa2_devkit_utils.py): 32,000 entries",
    ),
)
