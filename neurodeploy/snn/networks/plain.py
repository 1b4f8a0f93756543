"""Networks that are a chain: a multilayer perceptron, small convolutional networks, VGGSNN."""

from __future__ import annotations

import math

from torch import nn

from neurodeploy.config import NetworkConfig
from neurodeploy.snn.networks.plan import Plan

# VGGSNN of TET (Deng et al., ICLR 2022): the channels of the convolutions between one pooling and the next.
VGG_BLOCKS = ((64, 128), (256, 256), (512, 512), (512, 512))


def convnet_blocks(config: NetworkConfig) -> tuple[tuple[int, ...], ...]:
    """The channels of a "convnet", from one pooling to the next."""
    return tuple((channels,) * config.depth for channels in config.channels)


def mlp(plan: Plan) -> int:
    """Whatever comes in as one row of values."""
    if len(plan.shape) > 1:
        plan.add("flatten", nn.Flatten())
    return math.prod(plan.shape)


def convnet(plan: Plan) -> int:
    """`depth` times (convolution, norm, LIF), then a pool, per entry of `channels`."""
    return _blocks(plan, convnet_blocks(plan.config))


def vgg(plan: Plan) -> int:
    """VGGSNN, its channels times `width`, its pools of `pool`'s kind; convolutions before a norm have no bias."""
    return _blocks(plan, tuple(tuple(scaled(channels, plan) for channels in block) for block in VGG_BLOCKS))


def scaled(channels: int, plan: Plan) -> int:
    """A number of channels times the width factor, at least 1."""
    return max(1, round(channels * plan.config.width))


def pooled_size(size: int, blocks: tuple[tuple[int, ...], ...], padding: int) -> int | None:
    """Height or width behind the last pool; None where a pool by two meets an odd size, or nothing is left."""
    for block in blocks:
        size -= 2 * (1 - padding) * len(block)
        if size < 2 or size % 2:
            return None
        size //= 2
    return size


def _blocks(plan: Plan, blocks: tuple[tuple[int, ...], ...]) -> int:
    channels, height, width = plan.shape
    for block in blocks:
        for made in block:
            plan.layers += 1
            plan.convolution(f"conv{plan.layers}", f"norm{plan.layers}", (channels, made))
            plan.spatial_neurons(f"lif{plan.layers}", made)
            channels = made
        plan.pool(f"pool{plan.layers}")
    plan.add("flatten", nn.Flatten())
    rows, columns = (pooled_size(size, blocks, plan.config.padding) or 0 for size in (height, width))
    return channels * rows * columns
