"""ResNet-19 for spiking networks (Zheng et al., AAAI 2021; Deng et al., ICLR 2022)."""

from __future__ import annotations

from torch import nn

from neurodeploy.snn.networks.plain import scaled
from neurodeploy.snn.networks.plan import Plan

# (channels, blocks, stride of the first block)
STAGES = ((128, 3, 1), (256, 3, 2), (512, 2, 2))


def resnet19(plan: Plan) -> int:
    """A stem, eight blocks of two 3 x 3 convolutions, the average over all places; the classifier has two layers.

    With a stem of 64, 256 hidden neurons and 10 classes there are 12,630,858 weights, biases and parameters of norms,
    as in TET; 12,697,994 with a stem of 128. Convolutions have no bias, fully connected layers have one.
    """
    channels, size = scaled(plan.config.stem, plan), plan.shape[1]
    plan.convolution("stem", "stem_norm", (plan.shape[0], channels))
    plan.spatial_neurons("stem_lif", channels)
    number = 0
    for made, blocks, stride in STAGES:
        for index in range(blocks):
            number += 1
            step = stride if index == 0 else 1
            _block(plan, f"block{number}", (channels, scaled(made, plan)), step)
            channels, size = scaled(made, plan), halved(size) if step == 2 else size
    plan.add("pool", nn.AvgPool2d(size))
    plan.add("flatten", nn.Flatten())
    return channels


def halved(size: int) -> int:
    """The height or width behind a convolution with a stride of two, or its shortcut."""
    return (size - 1) // 2 + 1


def _block(plan: Plan, name: str, channels: tuple[int, int], stride: int) -> None:
    """Two convolutions and a shortcut around them, which is a 1 x 1 convolution where the shape changes.

    "sum": the last neurons receive the second convolution's current and the shortcut. "sew" (Fang et al., NeurIPS
    2021): the shortcut is spikes, and the block puts out the sum of spikes: whatever reads it reads each of its parts.
    """
    sew = plan.config.residual == "sew"
    start = plan.tip
    share = 1.0 if sew else 0.5**0.5
    shortcut = start
    if stride != 1 or channels[0] != channels[1]:
        plan.convolution(f"{name}_shortcut", f"{name}_shortcut_norm", channels, 1, stride, share)
        if sew:
            plan.spatial_neurons(f"{name}_shortcut_lif", channels[1])
        shortcut = plan.tip
    plan.tip = start
    plan.convolution(f"{name}_conv1", f"{name}_norm1", channels, stride=stride)
    plan.spatial_neurons(f"{name}_lif1", channels[1])
    plan.convolution(f"{name}_conv2", f"{name}_norm2", (channels[1], channels[1]), share=share)
    if not sew:
        plan.tip += shortcut
    plan.spatial_neurons(f"{name}_lif2", channels[1])
    if sew:
        plan.tip += shortcut
