"""Level 6: fine-tuning with the chip in the loop.

The forward pass is the chip's: its spikes of every layer and step are recorded. The backward pass goes through the
nominal model with those spikes in it,

    u[t] = decay u[t-1] (1 - o[t-1]) + W o_source[t] + b,    do/du = 1 / (1 + (u - threshold)²), threshold-relative,

the arctangent surrogate of arXiv:2304.13289, Eq. 11, so that every gradient is taken where the chip really is (as
Cramer et al., PNAS 119, 2022, train BrainScaleS-2). The loss is the cross-entropy between the readout of the model,
fed with the chip's spikes, and that of the nominal Program, which needs no labels. After each step the weights are
rounded to the chip's codes and written; what rounding took away is kept for the next step. The rate falls to 0, so that
the last batch decides little.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from neurodeploy.calibrate.device import RackSettings
from neurodeploy.calibrate.recorded_gradient import neurons_of, pooled, recorded
from neurodeploy.calibrate.search import Proposal
from neurodeploy.calibrate.work import Work, current_kept, readout_in_weight_units
from neurodeploy.hw_models.chip import Knob
from neurodeploy.hw_models.knobs import weight_key
from neurodeploy.hw_models.random import frozen_uniforms
from neurodeploy.ir.arrays import IntArray
from neurodeploy.ir.program import INPUT, Layer, Program
from neurodeploy.ir.synapses import ConvSynapses, Synapses
from neurodeploy.simulate import engine
from neurodeploy.simulate.recording import Recording

_MOMENTS = (0.9, 0.99)


def cannot_tune(program: Program) -> str | None:
    """Why a program cannot be fine-tuned, or None."""
    if program.layers[-1].fires:
        return "its readout counts spikes, whose sum has no gradient but through every threshold"
    for layer in program.layers:
        for one in layer.synapses:
            if not isinstance(one, ConvSynapses) and (one.delays is not None or one.weight_exponent):
                return f"layer {layer.name} has delays of single synapses, or a weight exponent"
        if np.any(current_kept(layer) != 0):
            return f"layer {layer.name} has currents with memory"
    return None


def tune(work: Work, knob: Knob, settings: RackSettings) -> Proposal:
    """`tuning_steps` recordings of `tuning_batch` refit samples each; every chip has weights of its own."""
    program, options, inputs = work.program, work.options, work.refit
    static = inputs.ndim == len(program.input.shape) + 1
    count = inputs.shape[0 if static else 1]
    targets = _targets(engine.run(program, inputs, potentials=False).readout)
    models = [_Model(program, _of_chip(program, settings, chip), knob) for chip in range(work.bench.device.chips)]
    settings = dict(settings)
    for step in range(options.tuning_steps):
        order = np.argsort(frozen_uniforms((count,), options.seed, "tuning", step))[: options.tuning_batch]
        batch = inputs[order] if static else inputs[:, order]
        recordings = work.bench.recordings(batch, settings)
        rate = options.tuning_rate * (1 - step / options.tuning_steps)
        for model, recording in zip(models, recordings, strict=True):
            model.learn(batch, recording, targets[torch.from_numpy(order)], rate, step)
        codes = [model.codes() for model in models]
        settings |= {key: np.stack([one[key] for one in codes]) for key in codes[0]}
        work.bench.observe(settings)
    return Proposal(settings, {})


class _Model:
    """The nominal model of one chip, with weights in units of a code."""

    def __init__(self, program: Program, weights: Mapping[str, IntArray], knob: Knob) -> None:
        self.program, self.knob = program, knob
        self.weights = {
            key: torch.tensor(np.asarray(values), dtype=torch.float32).requires_grad_()
            for key, values in weights.items()
        }
        self.sizes = {key: float(one.detach().square().mean().sqrt()) for key, one in self.weights.items()}
        self.first = {key: torch.zeros_like(one) for key, one in self.weights.items()}
        self.second = {key: torch.zeros_like(one) for key, one in self.weights.items()}

    def codes(self) -> dict[str, IntArray]:
        """key -> what is written."""
        return {key: np.rint(one.detach().numpy()).astype(np.int64) for key, one in self.weights.items()}

    def learn(self, inputs: NDArray[Any], recording: Recording, targets: torch.Tensor, rate: float, step: int) -> None:
        """One step of Adam, relative to the size of each array of weights."""
        modelled = self._readout(inputs, recording.spikes)
        measured = torch.from_numpy(readout_in_weight_units(self.program.layers[-1], recording.readout)).float()
        readout = modelled + (measured - modelled).detach()  # the chip's value, the model's gradient
        loss = -(targets * torch.log_softmax(readout / readout.detach().std().clamp(min=1e-6) * _SHARPNESS, dim=1))
        gradients = torch.autograd.grad(loss.sum(dim=1).mean(), list(self.weights.values()), allow_unused=True)
        low, high = -self.knob.highest_code, self.knob.highest_code
        for (key, weight), gradient in zip(self.weights.items(), gradients, strict=True):
            if gradient is None:
                continue
            self.first[key].lerp_(gradient, 1 - _MOMENTS[0])
            self.second[key].lerp_(gradient.square(), 1 - _MOMENTS[1])
            mean = self.first[key] / (1 - _MOMENTS[0] ** (step + 1))
            power = self.second[key] / (1 - _MOMENTS[1] ** (step + 1))
            with torch.no_grad():
                weight -= rate * self.sizes[key] * mean / (power.sqrt() + 1e-12)
                weight.clamp_(low, high)

    def _readout(self, inputs: NDArray[Any], spikes: Mapping[str, NDArray[Any]]) -> torch.Tensor:
        """(B, classes), in weight units."""
        steps = self.program.steps
        whole = inputs if inputs.ndim > len(self.program.input.shape) + 1 else inputs[None]
        put_out: dict[str, torch.Tensor] = {INPUT: torch.tensor(np.asarray(whole), dtype=torch.float32)}
        measured = {name: torch.tensor(np.asarray(one), dtype=torch.float32) for name, one in spikes.items()}
        summed = torch.zeros(())
        later = {one.source for layer in self.program.layers for one in layer.synapses if one.delay > 0}
        put_out |= {name: measured[name] for name in later if name in measured}  # recurrence: no gradient through time
        for layer in self.program.layers:
            arriving = sum(
                (self._brought(layer, part, put_out) for part in range(len(layer.synapses))), torch.zeros(())
            )
            neurons = neurons_of(layer)
            currents = arriving + neurons.bias
            if layer.name in measured:
                put_out[layer.name] = recorded(currents, measured[layer.name], neurons)
                continue
            potential = torch.zeros(())
            for step in range(steps):
                potential = neurons.decay * potential + currents[step if len(currents) > 1 else 0]
                summed = summed + potential
        return summed

    def _brought(self, layer: Layer, part: int, put_out: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """(1 or T, B, *shape) what synapses bring, in weight units."""
        one = layer.synapses[part]
        source = put_out[one.source]
        if one.delay:
            source = source.expand(self.program.steps, *source.shape[1:])
            source = torch.cat([torch.zeros_like(source[: one.delay]), source])[: self.program.steps]
        weight = self.weights[weight_key(layer.name, part)]
        brought: torch.Tensor = _applied(one, weight, source.flatten(0, 1)).unflatten(0, source.shape[:2])
        return brought


def _applied(synapses: Synapses, weight: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
    if synapses.pool > 1:
        source = pooled(source, synapses.pool)
    if isinstance(synapses, ConvSynapses):
        geometry = synapses.stride, synapses.padding, synapses.dilation, synapses.groups
        return torch.nn.functional.conv2d(source, weight, None, *geometry)
    return source.flatten(1) @ weight.T


_SHARPNESS = 3.0  # of the softmax: readouts are brought to this standard deviation


def _targets(readout: NDArray[Any]) -> torch.Tensor:
    """(B, classes), what the nominal Program says, as probabilities."""
    values = torch.tensor(np.asarray(readout, dtype=np.float64), dtype=torch.float32)
    return torch.softmax(values / values.std().clamp(min=1e-6) * _SHARPNESS, dim=1)


def _of_chip(program: Program, settings: RackSettings, chip: int) -> dict[str, IntArray]:
    """The weights that a chip has now, by key."""
    found = {}
    for layer in program.layers:
        for part, one in enumerate(layer.synapses):
            key = weight_key(layer.name, part)
            found[key] = np.asarray(settings[key][chip]) if key in settings else one.weight
    return found
