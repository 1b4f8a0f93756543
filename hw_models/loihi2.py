"""Intel Loihi 2, as the fixed-point processes of lava-nc 0.10.0 compute it.

How large its cores are is not published by Intel: what `cores` says is read, or inferred where it says so, from the
reports that Intel's compiler printed in public notebooks. Of its energy only totals of whole networks are: `costs`
holds Loihi 1's, in two versions.
"""

from neurodeploy.hw_models.chip import ChipModel, Cores, EventCosts, Knob

_NOTEBOOKS = "lava-dl, tutorials/lava/lib/dl/netx"
_DAVIES = "Davies et al., IEEE Micro 38(1), 2018, Table 2 (simulated before silicon, as others quote it)"
_SANA_FE = "SANA-FE, arch/loihi.yaml at 0d49da8 (its authors' fit to Loihi 1)"
_LOG = f"{_NOTEBOOKS}/pilotnet_snn/benchmark.ipynb"

CHIP = ChipModel(
    name="loihi2",
    title="Intel Loihi 2 (lava-nc 0.10.0, fixed point)",
    fixed_point=True,
    weight_bits=8,
    resets=("zero",),
    evidence="bit-exact-sim",
    probes=True,
    knobs=(
        Knob(
            "threshold",
            per="layer",
            bits=9,
            span=1.0,
            source="vth of 17 bits, one per LIF process (lava-nc 0.10.0, lava/proc/lif/models.py); that 9 bits over "
            "±100 % of the threshold are used of it is our choice",
        ),
        Knob(
            "bias",
            per="neuron",
            bits=7,
            span=1.0,
            source="the bias mantissa, which each neuron has of its own; that 7 bits over ±100 % of the threshold are "
            "used of it is our choice",
        ),
        Knob("weight", per="synapse", bits=8, source="lava-nc 0.10.0, lava/proc/dense/models.py: 8 bits with sign"),
    ),
    threshold_max=131071,
    bias_mantissa_max=4095,
    bias_exponents=(6, 6),
    voltage_decay_max=4095,
    cores=Cores(
        per_chip=128,
        neurons=4095,
        synapse_words=12000,
        in_axons=16000,
        out_axons=16000,
        dense_bits=8,
        dense_list_bits=16,
        dense_word_bits=32,
        convolution_bits=9,
        convolution_word_bits=128,
        delay_bits=6,
        tiles=(8, 4),
        per_tile=4,
        convolution_width=256,
    ),
    costs=EventCosts(
        synaptic_operation=(23.6e-12, 35.5e-12),
        neuron_update=(51.2e-12, 81e-12),
        spike=(0.0, 69.3e-12),
        packet=(1.7e-12, 76.8e-12),
        hop=(3.0e-12, 4.2e-12),
        static_watts=0.232,
        step_seconds=(152.8e-6, 182.6e-6),
    ),
    sources={
        "weights": "lava-nc 0.10.0, lava/proc/dense/models.py: 8 bits with sign",
        "threshold": "lava-nc 0.10.0, lava/proc/lif/models.py (PyLifModelBitAcc): vth of 17 bits, one per LIF process",
        "bias": "lava-nc 0.10.0, lava/proc/lif/models.py: mantissa of 13 bits with sign, exponent of 3 bits, per "
        "neuron. "
        "Of the exponents 0 to 7 only 6 is used, whole weight units: the one that lava-dl's netx knows",
        "decay": "lava-nc 0.10.0, lava/proc/lif/models.py: dv of 12 bits, one per LIF process",
        "probes": "lava-nc 0.10.0, lava/proc/monitor: the voltage of any neuron at any step",
        "cores": "Intel, Loihi 2 technology brief (2021): 128 neuron cores a chip",
        "neurons per core": f"inferred from public logs: {_NOTEBOOKS}/yolo_kp/run.ipynb, where 3584 neurons are "
        "87.52 % of a core. The brief says up to 8192",
        "synapse memory": f"read from public logs: {_LOG}, registers['SynMem'] = 12000. What a word holds is inferred "
        "from the tables there, in pilotnet_sdnn/benchmark.ipynb (dense: 8 bits a weight and 16 a list in words of 32) "
        "and in yolo_kp/run.ipynb (convolutions: 9 bits a weight in words of 128). The compiler also compresses, "
        "depending on the weights, in ways that are not known: the notebooks' dense lists take 7.5 to 10 bits a weight",
        "axons": f"inferred from public logs: {_NOTEBOOKS}/mnist/run.ipynb, where 784 input axons are 4.90 % and 64 "
        "entries of the axon map 0.40 % of a core",
        "delays": "lava-dl 0.6.0, netx/hdf5.py: 0 to 62, six bits; that they lie beside each weight is assumed",
        "mesh": "Loihi 1: tiles of four cores, 8 by 4 of them (SANA-FE, arch/loihi.yaml); assumed for Loihi 2",
        "convolution width": f"the compiler's warning in {_NOTEBOOKS}/yolo_kp/run.ipynb: spikes from x = 256 n - 1 may "
        "get lost",
        "costs": f"Loihi 1, no table of Loihi 2 is published: {_DAVIES}; {_SANA_FE}. The lower and the higher of both",
        "static power": f"measured on Loihi 2 with PilotNet LIF on 74 cores: {_LOG}",
        "step time": f"measured on Loihi 2 with PilotNet LIF on 74 cores: {_LOG}, 408.91 and (at 12f0402) 342.29 "
        "frames of 16 steps a second",
    },
)
