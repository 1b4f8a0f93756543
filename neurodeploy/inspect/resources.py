"""Does it fit: cores, synaptic memory, axons, geometry, feedback, and the number of steps."""

from __future__ import annotations

from neurodeploy.hw_models.chip import ChipModel
from neurodeploy.inspect.finding import Finding, Rule
from neurodeploy.inspect.placement import LARGEST_GROUPS, Placement
from neurodeploy.ir.program import INPUT, Layer, Program
from neurodeploy.ir.synapses import ConvSynapses, Synapses, longest_delay

_LOG = "of the compiler, in lava-dl's notebooks"
_INT8_MAX = 127
_LOOP = "one per layer of the loop"

NEURON_MEMORY = Rule(
    "L2-SYNAPSE-MEMORY",
    "words of synaptic memory for one neuron",
    "violation",
    f"read from public logs {_LOG}; what a word holds is inferred",
    "lower the layer's fan-in: pool before it, or make the layer before it smaller",
)
IN_AXONS = Rule(
    "L2-IN-AXONS",
    "input axons of a core",
    "violation",
    f"inferred from public logs {_LOG}",
    "lower the layer's fan-in: every core needs an axon for each neuron before it",
)
OUT_AXONS = Rule(
    "L2-OUT-AXONS",
    "axon map entries of a core",
    "violation",
    f"inferred from public logs {_LOG}",
    "let the layer feed fewer layers, or make it smaller",
)
CHIPS = Rule(
    "L2-CHIPS",
    "cores",
    "note",
    "Intel, Loihi 2 technology brief (2021): 128 neuron cores a chip",
    "boards with several chips exist (eight on a Kapoho Point); spikes between chips are slower",
)
WIDTH = Rule(
    "L2-CONV-WIDTH",
    "width of a convolution's input, pixels",
    "warning",
    "read from public logs: the compiler warns that spikes from x = 256 n - 1 may get lost",
    "crop or pool the input",
)
GEOMETRY = Rule(
    "L2-GEOMETRY-INT8",
    "largest of kernel, stride, padding and dilation with pooling written out",
    "violation",
    "lava-nc 0.10.0, lava/proc/conv/models.py: kept as int8",
    "pool in a layer of its own, with neurons",
    topic="Lava holds up to",
)
GROUPS = Rule(
    "L2-GROUPS-INT8",
    "groups of a convolution",
    "note",
    "lava-nc 0.10.0, lava/proc/conv/models.py: kept as int8",
    "nothing: exports write it out as one group, and its zeros take synaptic memory",
)
FEEDBACK = Rule(
    "L2-FEEDBACK",
    "steps that a spike has, from",
    "violation",
    "lava-nc 0.10.0: every synapse process takes a step, so that a loop of n layers takes n",
    "give the synapses that come back a delay of as many steps as there are layers in the loop",
    topic="feedback",
)
WAIT = Rule(
    "L2-DELAY-RESET",
    "steps that spikes wait for slower paths, or for their delays",
    "warning",
    "inferred: between samples neurons are reset, waiting spikes are not; the CPU simulator alone can clear them",
    "for a chip that runs sample after sample, let all paths into a layer be equally long",
    topic="wait",
)
STEPS = Rule(
    "L2-STEPS-POWER-OF-TWO",
    "steps of a sample",
    "warning",
    "lava-dl 0.6.0, netx tutorials: reset_interval must be a power of two on the chip",
    "train with that many steps; else the chip idles until the next power of two",
)
RULES = (NEURON_MEMORY, IN_AXONS, OUT_AXONS, CHIPS, WIDTH, GEOMETRY, GROUPS, FEEDBACK, WAIT, STEPS)


def resource_findings(program: Program, chip: ChipModel, placement: Placement | None) -> list[Finding]:
    """What does not fit, or only just, on a chip whose cores are known; nothing on others."""
    if placement is None or chip.cores is None:
        return []
    found = []
    for row in placement.layers:
        if row.synapse_words > chip.cores.synapse_words:
            found.append(NEURON_MEMORY.at(row.layer, row.synapse_words, chip.cores.synapse_words))
        if row.in_axons > chip.cores.in_axons:
            found.append(IN_AXONS.at(row.layer, row.in_axons, chip.cores.in_axons))
        if row.out_axons > chip.cores.out_axons:
            found.append(OUT_AXONS.at(row.layer, row.out_axons, chip.cores.out_axons))
    if placement.cores > chip.cores.per_chip:
        found.append(CHIPS.at("", placement.cores, chip.cores.per_chip))
    for layer in program.layers:
        found += _geometry(layer, program, chip.cores.convolution_width)
    found += _timing(program)
    if program.steps & (program.steps - 1):
        found.append(STEPS.at("", program.steps, _neighbours(program.steps)))
    return found


def lags(program: Program) -> dict[str, int] | None:
    """layer -> steps by which it lies behind the input, where every synapse takes a step; None where a loop cannot.

    lag(target) >= lag(source) + 1 - shortest delay; the smallest are taken, and no lag is below 0.
    """
    late = {INPUT: 0} | {layer.name: 0 for layer in program.layers}
    for _ in range(len(late)):
        before = dict(late)
        for layer in program.layers:
            arriving = (late[one.source] + 1 - _shortest_delay(one) for one in layer.synapses)
            late[layer.name] = max(late[layer.name], *arriving)
        if late == before:
            return late
    return None


def _timing(program: Program) -> list[Finding]:
    late = lags(program)
    order = [layer.name for layer in program.layers]
    found = []
    for index, layer in enumerate(program.layers):
        if late is None:
            back = [one for one in layer.synapses if one.source in order[index + 1 :]]
            found += [FEEDBACK.at(layer.name, f"{one.source}: {_shortest_delay(one)}", _LOOP) for one in back]
            continue
        waits = [late[layer.name] - late[one.source] - 1 + longest_delay(one) for one in layer.synapses]
        if max(waits) > 0:
            found.append(WAIT.at(layer.name, max(waits), 0))
    return found


def _geometry(layer: Layer, program: Program, widest: int) -> list[Finding]:
    found = []
    for one in layer.synapses:
        if not isinstance(one, ConvSynapses):
            continue
        width = program.shapes[one.source][2]
        if width > widest:
            found.append(WIDTH.at(layer.name, width, widest))
        largest = _largest_geometry(one)
        if largest > _INT8_MAX:
            found.append(GEOMETRY.at(layer.name, largest, _INT8_MAX))
        if one.groups > LARGEST_GROUPS:
            found.append(GROUPS.at(layer.name, one.groups, LARGEST_GROUPS))
    return found


def _largest_geometry(one: ConvSynapses) -> int:
    """As `ConvSynapses.expanded` writes it out: with pooling, kernel, stride and padding grow, and dilation ends."""
    kernel = one.weight.shape[2:]
    if one.pool == 1:
        return int(max(*kernel, *one.stride, *one.padding, *one.dilation))
    sizes = [((size - 1) * step + 1) * one.pool for size, step in zip(kernel, one.dilation, strict=True)]
    return int(max(*sizes, *(one.pool * step for step in (*one.stride, *one.padding))))


def _shortest_delay(one: Synapses) -> int:
    if isinstance(one, ConvSynapses) or one.delays is None:
        return one.delay
    return one.delay + int(one.delays.min())


def _neighbours(steps: int) -> str:
    above = 1 << steps.bit_length()
    return f"{above // 2} or {above}"
