"""Neurons, spike functions and weights as Rockpool modules, for `rockpool_modules`. Imports rockpool.

LIFTorch's order within a step is I += input; V *= alpha; I *= beta; V += sum of I over the neuron's synapses + bias.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from rockpool.nn.modules.torch import TorchModule
from scipy import sparse


def spike_function(threshold: torch.Tensor, resets_to_zero: bool, at_threshold: bool) -> type[torch.autograd.Function]:
    """The `spike_generation_fn` that makes V -= s * module.threshold a program's reset; for simulation, no gradient.

    To subtract, s is 1 where a neuron fires, however far V is above the threshold. To reset to zero, s is V itself and
    the module's threshold is 1: V - V is exactly 0, (V / threshold) * threshold is not always V.

    Args:
        threshold: per neuron.
        at_threshold: True where V == threshold fires.
    """

    class Fires(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, potential: torch.Tensor, *unused: Any) -> torch.Tensor:
            fired = potential >= threshold if at_threshold else potential > threshold
            if not resets_to_zero:
                return fired.to(potential.dtype)
            # A neuron that fires at 0 (its threshold is 0) is told from a silent one by the sign of its zero.
            return torch.where(fired, torch.where(potential == 0, -0.0, potential), 0.0)

    return Fires


class SpikesTorch(TorchModule):  # type: ignore[misc]
    """The potentials at which neurons fired -> spikes, 0 or 1."""

    def __init__(self, size: int) -> None:
        super().__init__(shape=(size, size), spiking_input=True, spiking_output=True)

    def forward(self, data: torch.Tensor) -> torch.Tensor:
        """(B, T, n) -> (B, T, n)."""
        return ((data > 0) | torch.signbit(data)).to(data.dtype)


class AddTorch(TorchModule):  # type: ignore[misc]
    """y = x + bias, a rounding of its own (a matrix product may round its bias first)."""

    def __init__(self, bias: torch.Tensor) -> None:
        super().__init__(shape=(len(bias), len(bias)))
        self.values = bias

    def forward(self, data: torch.Tensor) -> torch.Tensor:
        """(B, T, n) -> (B, T, n)."""
        return data + self.values


class SparseTorch(TorchModule):  # type: ignore[misc]
    """y = weight x with a sparse weight, (outputs, inputs): unrolled convolutions and pooling."""

    def __init__(self, weight: sparse.csr_array) -> None:
        outputs, inputs = weight.shape
        super().__init__(shape=(inputs, outputs))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta state", UserWarning)
            starts, places, values = map(torch.from_numpy, (weight.indptr, weight.indices, weight.data))
            self.values = torch.sparse_csr_tensor(starts, places, values, weight.shape, check_invariants=True)

    def forward(self, data: torch.Tensor) -> torch.Tensor:
        """(B, T, inputs) -> (B, T, outputs)."""
        columns = data.flatten(0, 1).T.contiguous()
        product: torch.Tensor = torch.sparse.mm(self.values, columns)
        return product.T.reshape(*data.shape[:2], -1)


class DecayNeurons(TorchModule):  # type: ignore[misc]
    """Neurons that LIFNeuronTorch cannot be: decays that no tau_mem gives, and synaptic currents with memory.

    They are LIFTorch in its leak mode "decays", a block of neurons at a time. LIFTorch loses some of a current before
    it is integrated, I[t] = beta (I[t-1] + x[t]); a Program loses nothing first, i[t] = current_decay i[t-1] + x[t].
    So each neuron has three synapses, whose currents add up in this order, with the Program's own roundings:

        memory     beta = current_decay, given x one step late:  I[t] = current_decay * i[t-1]
        arriving   beta = 1, given the changes of x:             I[t] = x[t], exact on the grid of inputs
        bias       beta = 1, given the bias at the first step

    Where no current has memory, the first of them is left out.
    """

    def __init__(self, blocks: Sequence[TorchModule], bias: torch.Tensor) -> None:
        super().__init__(shape=(len(bias), len(bias)), spiking_input=False, spiking_output=True)
        self.constant = bias
        self.count = len(blocks)
        for index, block in enumerate(blocks):
            setattr(self, f"block_{index}", block)

    def blocks(self) -> list[TorchModule]:
        """The LIFTorch modules, in the order of the neurons."""
        return [getattr(self, f"block_{index}") for index in range(self.count)]

    @property
    def remembers(self) -> bool:
        """Whether currents have memory."""
        return bool(self.block_0.n_synapses == 3)

    def evolve(self, data: torch.Tensor, record: bool = False) -> tuple[torch.Tensor, Any, dict[str, torch.Tensor]]:
        """(B, T, n) -> spikes (B, T, n), states, record of `vmem` and, where there is memory, `isyn` (B, T, n)."""
        before = torch.cat([torch.zeros_like(data[:, :1]), data[:, :-1]], dim=1)
        constant = torch.zeros_like(data)
        constant[:, 0] = self.constant
        parts = ([before] if self.remembers else []) + [data - before, constant]
        given = torch.stack(parts, dim=3)
        outputs, potentials, currents, first = [], [], [], 0
        for block in self.blocks():
            output, _, recorded = block(given[:, :, first : first + block.size_out].flatten(2), record=True)
            outputs.append(output)
            potentials.append(recorded["vmem"])
            currents.append(recorded["isyn"][..., 0])
            first += block.size_out
        kept = {"vmem": torch.cat(potentials, dim=2)}
        if self.remembers:
            kept["isyn"] = torch.cat(currents, dim=2) + data
        return torch.cat(outputs, dim=2), self.state(), kept if record else {}

    def resume(self, potentials: torch.Tensor, currents: torch.Tensor | None) -> None:
        """Goes on from potentials and currents (B, n), as if no step had been before."""
        first = 0
        for block in self.blocks():
            part = slice(first, first + block.size_out)
            block.reset_state()
            block.vmem.data = potentials[:, part]
            if currents is not None:
                state = torch.zeros(len(currents), block.size_out, 3)
                state[..., 0] = currents[:, part]
                block.isyn.data = state
            first += block.size_out
