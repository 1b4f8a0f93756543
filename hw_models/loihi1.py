"""Intel Loihi of the first generation: neurons choose among the thresholds and decays that their core holds.

What neurons compute is taken from `loihi2`, that is from lava-nc's fixed-point processes: the first generation has the
same hard-wired neuron, but nothing here was compared with its silicon.
"""

from dataclasses import replace

from neurodeploy.hw_models import loihi2
from neurodeploy.hw_models.chip import Knob

_NENGO = "nengo-loihi, nengo_loihi/hardware"
_PROFILES = f"{_NENGO}/builder.py at f93bc9b (build_block): each compartment names one of its core's profiles"
_LIMITS = f"{_NENGO}/nxsdk_objects.py at 4cf0e82"
_THRESHOLDS = f"{_PROFILES} of thresholds, fewer than 8 ({_LIMITS}, MAX_VTH_CFGS): 7 codes"
_DECAYS = f"{_PROFILES} of decays, fewer than 32 ({_LIMITS}, MAX_COMPARTMENT_CFGS): 31 codes"
_EVENLY = "that they lie evenly over ±100 % of the nominal one, and that a layer has its cores to itself, is our choice"

CHIP = replace(
    loihi2.CHIP,
    name="loihi1",
    title="Intel Loihi, first generation (neurons as in lava-nc 0.10.0, profiles of thresholds and decays)",
    evidence="modelled",
    knobs=(
        Knob("threshold", per="neuron", bits=3, span=1.0, source=f"{_THRESHOLDS}; {_EVENLY}"),
        Knob("leak", per="neuron", bits=5, span=1.0, source=f"{_DECAYS}; {_EVENLY}"),
        *loihi2.CHIP.knobs,
    ),
    cores=None,
    costs=None,
    sources={
        "weights": loihi2.CHIP.sources["weights"],
        "threshold": f"{loihi2.CHIP.sources['threshold']}; on the chip {_THRESHOLDS}",
        "bias": loihi2.CHIP.sources["bias"],
        "decay": f"{loihi2.CHIP.sources['decay']}; on the chip {_DECAYS}",
        "probes": "nengo-loihi, nengo_loihi/probe.py: the voltage of any compartment",
    },
)
