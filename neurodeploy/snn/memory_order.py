"""Channels last: the memory order in which convolutions on CPUs are fastest."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def channels_last(network: nn.Module) -> None:
    """Puts convolutions into channels last, but for those of 1 x 1 with a stride, which stay in plain order.

    Those write past their workspace in oneDNN where there are few input channels, and crash or give wrong gradients
    (uxlfoundation/oneDNN issue 6035; seen here with torch 2.13): they, and what they read, must be in plain order.
    """
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.stride != (1, 1):
            # Both orders call a 1 x 1 kernel contiguous: it is the strides that oneDNN looks at.
            shape, plain = module.weight.shape, module.weight.data.flatten(1).contiguous()
            module.weight.data = plain.reshape(shape)
            module.register_forward_pre_hook(_plain_order)


def flattened(values: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What a linear layer takes from (N, C, H, W), as (N, C H W), and its weights (outputs, C H W).

    In channels last both come in the order (H, W, C), the values as they lie in memory, wherever it is the weights that
    are fewer to be put into another order. Other shapes are flattened as they are.
    """
    if values.ndim != 4 or values.is_contiguous() or weight.numel() > values.numel():
        return values.flatten(1), weight
    ordered = values.permute(0, 2, 3, 1)
    if not ordered.is_contiguous():
        return values.flatten(1), weight
    return ordered.flatten(1), weight.unflatten(1, values.shape[1:]).permute(0, 2, 3, 1).flatten(1)


def _plain_order(module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    values = arguments[0]
    # contiguous() leaves alone what is contiguous in both orders.
    return (values.flatten(1).contiguous().view(values.shape), *arguments[1:])
