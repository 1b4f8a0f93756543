"""The generic mixed-signal chip with a second trim per neuron, of its leak."""

from dataclasses import replace

from neurodeploy.hw_models import mixed_signal
from neurodeploy.hw_models.chip import Knob

CHIP = replace(
    mixed_signal.CHIP,
    name="mixed-signal-leak",
    title="generic mixed-signal chip (analogue neurons with trim DACs of threshold and leak)",
    knobs=(
        *mixed_signal.CHIP.knobs,
        Knob(
            "leak",
            per="neuron",
            bits=7,
            span=1.0,
            source="ours: a trim DAC of 7 bits over ±100 % of the nominal decay; the neurons of BrainScaleS-2 have a "
            "bias current of their own for the leak (Pehle et al., Front. Neurosci. 16, 2022), with another relation "
            "to it",
        ),
    ),
)
