"""SynSense Xylo IMU (SYNS63300)."""

from neurodeploy.hw_models.xylo_core import XyloChip, family_sources

XYLO = XyloChip(
    name="xylo-imu",
    title="SynSense Xylo IMU (SYNS63300)",
    inputs=16,
    hidden=496,
    outputs=16,
    synapses=1,
    fan_out=512,
    fan_out_total=31_744,
    input_targets=128,
    output_sources=128,
    rockpool="rockpool.devices.xylo.syns63300",
    evidence="bit-exact-sim",
    sources=family_sources(
        fan_out="the table of the family's members: at most 512, on average 64",
        fan_out_total="64 targets for each of 496 neurons: the table; the memory is inferred from that average",
        input_targets="the table: inputs to 128 hidden neurons, outputs from 128; Rockpool 3.1.0 takes "
        "the first 128 hidden neurons for inputs and the last 128 for outputs (devices/xylo/syns63300/xylo_samna.py)",
        evidence="Rockpool 3.1.0 simulates this chip with the same xylosim v2 as Xylo Audio 2; no chip was at hand",
    ),
)
