"""Optimisers and the learning rates that they follow."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from neurodeploy.config import TrainConfig
from neurodeploy.snn.spiking_network import SpikingNetwork


def make_optimizer(network: SpikingNetwork, config: TrainConfig) -> Optimizer:
    """An optimiser of three groups: weights, what thresholds and decays are made of, and gammas.

    Only weights decay; gammas have a learning rate of their own.
    """
    groups = network.parameter_groups()
    rows = [
        (groups.weights, config.learning_rate, config.weight_decay),
        (groups.neurons, config.learning_rate, 0.0),
        (groups.gammas, config.gamma_learning_rate, 0.0),
    ]
    made = [{"params": part, "lr": rate, "weight_decay": decay} for part, rate, decay in rows]
    if config.optimizer == "sgd":
        return SGD(made, momentum=config.momentum)
    return (AdamW if config.optimizer == "adamw" else Adam)(made)


def make_schedule(optimizer: Optimizer, config: TrainConfig, steps_per_epoch: int) -> LRScheduler:
    """A schedule that is to be advanced after every optimiser step; each group keeps its share of the learning rate.

    With n the steps taken, N those of all epochs and e = n // steps_per_epoch the epoch, the factor is

        one_cycle   torch's OneCycleLR: up over the first 30 % of N, then down by a cosine; 1 where N is 1. Adam's and
                    AdamW's first beta falls from 0.95 to 0.85 and rises again meanwhile; SGD's momentum stays
        cosine      (1 + cos(pi n / N)) / 2
        steps       the product of the factors of all milestones <= e
        constant    1
    """
    total = config.epochs * steps_per_epoch
    if config.schedule == "one_cycle" and total > 1:  # a cycle of one step is its end, which trains nothing
        rates, cycles = [float(group["lr"]) for group in optimizer.param_groups], config.optimizer != "sgd"
        return OneCycleLR(optimizer, rates, total_steps=total, cycle_momentum=cycles)
    return LambdaLR(optimizer, _factor(config, steps_per_epoch, total))


def _factor(config: TrainConfig, steps_per_epoch: int, total: int) -> Callable[[int], float]:
    def cosine(step: int) -> float:
        return (1 + math.cos(math.pi * min(step, total) / total)) / 2

    def steps(step: int) -> float:
        passed = zip(config.milestones, config.factors, strict=True)
        return math.prod(factor for epoch, factor in passed if epoch <= step // steps_per_epoch)

    return {"cosine": cosine, "steps": steps, "constant": lambda step: 1.0, "one_cycle": lambda step: 1.0}[
        config.schedule
    ]
