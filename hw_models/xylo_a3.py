"""SynSense Xylo Audio 3 (SYNS65302)."""

from neurodeploy.hw_models.xylo_core import XyloChip, family_sources

XYLO = XyloChip(
    name="xylo-a3",
    title="SynSense Xylo Audio 3 (SYNS65302)",
    inputs=16,
    hidden=992,
    outputs=32,
    synapses=2,
    fan_out=1024,
    fan_out_total=31_744,
    input_targets=128,
    output_sources=128,
    rockpool="rockpool.devices.xylo.syns65302",
    evidence="bit-exact-sim",
    sources=family_sources(
        outputs="32 (the table of the family's members, and Rockpool's mapper allocates 32); its design rules still "
        "warn above 16",
        fan_out="the table: at most 1024, on average 32 + 32 (two synapses)",
        fan_out_total="32 targets for each of 992 neurons: the size of HFORAM in the memory map of Rockpool 3.1.0 "
        "(devices/xylo/syns65302/ram.py), 31,744 entries",
        input_targets="the table: inputs to 128 hidden neurons, outputs from 128; IWTRAM has 16 x 128 entries; "
        "Rockpool 3.1.0 takes the first 128 hidden neurons for inputs and the last 128 for outputs "
        "(devices/xylo/syns65302/xylo_samna.py)",
        evidence="Rockpool 3.1.0 simulates this chip with the same xylosim v2 as Xylo Audio 2; no chip was at hand",
    ),
)
