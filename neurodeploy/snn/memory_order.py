"""Channels last, the memory order in which convolutions on CPUs are fastest; torch.compile, which takes it as well."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from neurodeploy.config import TrainConfig


def channels_last(network: nn.Module) -> None:
    """Puts convolutions into channels last, but for those of 1 x 1 with a stride, which stay in plain order.

    Those write past their workspace in oneDNN where there are few input channels, and crash or give wrong gradients
    (uxlfoundation/oneDNN issue 6035; seen here with torch 2.13): they, and what they read, must be in plain order.
    """
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for module in _strided_points(network):
        # Both orders call a 1 x 1 kernel contiguous: it is the strides that oneDNN looks at.
        shape, plain = module.weight.shape, module.weight.data.flatten(1).contiguous()
        module.weight.data = plain.reshape(shape)
        module.register_forward_pre_hook(lambda module, arguments: (_plain(arguments[0]), *arguments[1:]))


def arranged(network: nn.Module, config: TrainConfig, device: str) -> Any:
    """What training calls: the network, put into the memory order of `channels_last`, compiled where `compile` says so.

    Args:
        device: its kind, "cpu" or "cuda"; CPUs have channels last where the configuration says nothing.
    """
    if device == "cpu" if config.channels_last is None else config.channels_last:
        channels_last(network)
    return compiled(network, device) if config.compile else network


def compiled(network: nn.Module, device: str = "cpu") -> Any:
    """torch.compile of a network for a kind of device; for CPUs with channels last in the backward graph as well.

    Inductor puts convolutions on CPUs into channels last whatever their weights are in. It does not see that a graph
    with nothing but gradients of convolutions has any, and rearranges what goes into those of one input channel.
    Convolutions of 1 x 1 with a stride are left to PyTorch itself, for the reason that `channels_last` has.
    """
    if device != "cpu":
        return torch.compile(network)
    for module in _strided_points(network):
        module.forward = _alone(module.forward)  # type: ignore[assignment]
    return torch.compile(network, options={"force_layout_optimization": True})


def _alone(convolution: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
    """Outside of what is compiled, where the order of what arrives is Inductor's."""
    done: Callable[[torch.Tensor], torch.Tensor] = torch.compiler.disable(lambda values: convolution(_plain(values)))
    return done


def _strided_points(network: nn.Module) -> Iterator[nn.Conv2d]:
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.stride != (1, 1):
            yield module


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


def _plain(values: torch.Tensor) -> torch.Tensor:
    # contiguous() leaves alone what is contiguous in both orders.
    return values.flatten(1).contiguous().view(values.shape)
