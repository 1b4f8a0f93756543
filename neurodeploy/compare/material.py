"""What a comparison is made from: a trained model, an artifact or a `.net` file, and the samples to compare on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from neurodeploy.compare.definition import Definition, define_network
from neurodeploy.config import ExperimentConfig, parse_config
from neurodeploy.data.matching import matching_test
from neurodeploy.errors import DesignRuleError, UsageError
from neurodeploy.export import target as find_target
from neurodeploy.hw_models import chip as find_chip
from neurodeploy.hw_models import remember
from neurodeploy.importing.loading import NET_SUFFIX, Encoding, data_for, load_program, random_inputs, shaped
from neurodeploy.ir.artifact import Artifact, load_artifact
from neurodeploy.ir.network import Network
from neurodeploy.ir.nodes import Input
from neurodeploy.ir.program import Program

RANDOM_SAMPLES = 16  # where there are no others

if TYPE_CHECKING:
    from neurodeploy.snn.model_file import Model
    from neurodeploy.snn.spiking_network import SpikingNetwork


@dataclass(frozen=True)
class NetSays:
    """What the user says of a `.net` file, which does not say it itself.

    Attributes:
        samples: of random integers.
    """

    steps: int | None = None
    input_bits: int | None = None
    samples: int | None = None


@dataclass(frozen=True, eq=False)
class Material:
    """A network in all the forms that are at hand, and samples.

    Attributes:
        network: the float network; None of a `.net` file, which holds a Program alone.
        stored: the Program, where there is one.
        module: the PyTorch network, of a model that was trained.
        inputs: integers, (B, *shape) or (T, B, *shape).
        labels: (B,), or None where they are not known.
        config: what the network was trained with, or None.
        net: the `.net` file, where it is one.
        notes: what its tool does silently and it is affected by; where scales come from, if training rounded.
    """

    network: Network | None
    stored: Program | None
    module: SpikingNetwork | None
    inputs: NDArray[Any]
    labels: NDArray[np.int64] | None
    config: ExperimentConfig | None = field(default=None)
    net: Path | None = None
    notes: tuple[str, ...] = ()

    @property
    def input(self) -> Input:
        """What comes in."""
        return self.program.input if self.network is None else self.network.input

    @property
    def program(self) -> Program:
        """The Program; raises UsageError where there is none."""
        if self.stored is None:
            raise UsageError(
                "a model has no Program before it is quantised for a chip: name it with --target (see `neurodeploy "
                "targets`) or --chip"
            )
        return self.stored

    @cached_property
    def network_definition(self) -> Definition:
        """What the Network computes; raises UsageError where there is none."""
        if self.network is None:
            raise UsageError(
                f"{self.net} holds the integers of a chip and no float network; compare reference, engine, lava, netx "
                "or run:FOLDER"
            )
        return define_network(self.network)

    @property
    def static(self) -> bool:
        """Whether samples are the same at every step."""
        return self.inputs.ndim == len(self.input.shape) + 1

    def first(self, count: int | None) -> Material:
        """With the first samples only."""
        labels = None if self.labels is None else self.labels[:count]
        return replace(self, inputs=self.inputs[:count] if self.static else self.inputs[:, :count], labels=labels)


def open_material(
    path: Path,
    sides: Sequence[str],
    target: str | None = None,
    chip: str | None = None,
    said: NetSays | None = None,
) -> Material:
    """From model.pt, from an artifact folder, or from a `.net` file.

    Args:
        sides: the names that will be compared: what a model is quantised for follows from them where `target` is None.
        said: what a `.net` file does not say itself.

    Raises:
        FileFormatError: where it is neither, or damaged.
        UsageError: for a target or a chip where there is nothing to quantise, and as `from_model`.
        DesignRuleError: naming every limit of the target that the network violates.
    """
    from neurodeploy.compare.sides import needs_program, target_of

    said, alone = said or NetSays(), path.suffix == NET_SUFFIX and not path.is_dir()
    if (path.is_dir() or alone) and (target or chip):
        option, what = "--target" if target else "--chip", "a .net file" if alone else "an artifact"
        raise UsageError(f"{option}: {path} is {what}, whose Program is made already; leave it out")
    if alone:
        return from_net(path, said)
    for option, value in (("--steps", said.steps), ("--input-bits", said.input_bits)):
        if value is not None:
            raise UsageError(f"{option} {value}: only for a .net file; {path} says its own")
    if path.is_dir():
        return from_artifact(load_artifact(path))
    from neurodeploy.snn.model_file import load_model

    model = load_model(path)
    wanted = [name for name in sides if needs_program(name)]
    if target is None and chip is None:
        target = next((found for found in map(target_of, wanted) if found), None)
    return from_model(model, target if wanted else None, chip if wanted else None)


def from_model(model: Model, target: str | None, chip: str | None = None) -> Material:
    """A model with its Program for a target, or for a chip without one; without either it has none."""
    from neurodeploy.snn.trace import trace
    from neurodeploy.snn.trained_scales import quantize_model

    module = None if isinstance(model.network, Network) else model.network  # an imported model is a Network
    network, program, notes = trace(model.network), None, list[str]()
    if target is not None or chip is not None:
        found = None if target is None else find_target(target)
        model_of_chip = find_chip(chip or (found.chip if found else ""))
        quantised = quantize_model(model, model_of_chip)
        program, notes = quantised.program, [f"scales: {quantised.scales}"] if quantised.notable else []
        violations = [] if found is None else found.violations(program)
        if found is not None and violations:
            raise DesignRuleError(f"target {found.name}", violations)
    golden = model.golden
    return Material(network, program, module, golden.inputs, golden.labels, model.config, notes=tuple(notes))


def from_artifact(artifact: Artifact) -> Material:
    """An artifact, on its golden samples."""
    remember(artifact.facts)
    trained = artifact.facts.get("experiment")
    config = parse_config(trained) if trained else None
    golden = artifact.golden
    return Material(artifact.network, artifact.program, None, golden.inputs, golden.labels, config)


def from_net(path: Path, said: NetSays) -> Material:
    """A `.net` file, on random integers: it holds no samples."""
    loaded = load_program(path, said.steps, said.input_bits)
    inputs = random_inputs(loaded.program, said.samples or RANDOM_SAMPLES)
    return Material(None, loaded.program, None, inputs, None, net=path, notes=loaded.warnings)


def with_data(
    material: Material, name: str, root: str | None, count: int | None, encoding: Encoding = "direct"
) -> Material:
    """On test samples of a data set, as the network takes them.

    A `.net` file gets them rounded to its input's bits, or in the `encoding`; others as `neurodeploy.data.matching`
    says.

    Raises:
        UsageError: where shape, bits, scale or classes are not the network's, naming both.
    """
    if material.network is None:
        program = material.program
        test = data_for(program, name, root, encoding).test.take(slice(count))
        inputs = shaped(program, test.inputs)
        return replace(material, inputs=inputs, labels=test.labels)
    config = material.config or ExperimentConfig()
    network = material.network
    classes = math.prod(network.shapes[network.readout])
    test = matching_test(config, name, root, network.steps, network.input, classes).take(slice(count))
    return replace(material, inputs=test.inputs, labels=test.labels)
