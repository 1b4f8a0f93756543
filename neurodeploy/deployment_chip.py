"""What the ways to chips whose networks are not Programs (Xylo, DYNAP-SE2) have in common: facts, samples, outcomes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from neurodeploy import __version__
from neurodeploy.config import ExperimentConfig, parse_config
from neurodeploy.data.matching import matching_test
from neurodeploy.errors import UsageError
from neurodeploy.export.sealed_folder import ChipArtifact, ChipNetwork, Folder, Golden
from neurodeploy.folders import check_replaceable
from neurodeploy.ir.arrays import IntArray
from neurodeploy.ir.channels import flat
from neurodeploy.ir.populations import PopulationNetwork
from neurodeploy.snn.model_file import Model
from neurodeploy.snn.trace import trace

N = TypeVar("N", bound=ChipNetwork)


@dataclass(frozen=True, eq=False)
class Prepared(Generic[N]):
    """A model quantised for a chip, with what inspection says on its calibration data.

    Attributes:
        layers: one row per layer, plain values: how alive it is.
        agreement: share of decisions that are the float network's.
        dead: layers that are silent, deaf or saturated, with the cause.
        warnings: what is allowed but likely wrong.
        cores: one row per core, on chips that have them.
    """

    float_network: PopulationNetwork
    network: N
    layers: list[dict[str, Any]]
    agreement: float
    dead: list[str]
    warnings: list[str]
    cores: list[dict[str, Any]] | None = None


@dataclass(frozen=True, eq=False)
class Labelled:
    """Inputs, (B, channels) or (steps, B, channels), labels (B,), and what they are."""

    inputs: NDArray[Any]
    labels: IntArray
    title: str


@dataclass(frozen=True, eq=False)
class Way(Generic[N]):
    """How a trained model comes to the chips of one family.

    Attributes:
        prepare_network: (float network, calibration inputs, chip's name or None, allow_dead=) -> Prepared.
        golden_of: (network, inputs, labels) -> golden vectors.
        evidence: what numbers rest on, of a chip's name.
        folder: how artifacts lie in folders.
    """

    prepare_network: Callable[..., Prepared[N]]
    golden_of: Callable[[N, NDArray[Any], IntArray], Golden]
    evidence: Callable[[str], str]
    folder: Folder[N]

    def prepare(self, model: Model, chip_name: str | None = None, *, allow_dead: bool = False) -> Prepared[N]:
        """Traces, quantises and checks a trained model; see `prepare_network`."""
        return self.prepare_network(trace(model.network), model.calibration.inputs, chip_name, allow_dead=allow_dead)

    def export_model(
        self, model: Model, folder: Path, chip_name: str | None = None, *, allow_dead: bool = False
    ) -> tuple[ChipArtifact[N], list[str]]:
        """Writes the artifact folder; returns it and what was left out, with the reasons.

        Raises:
            UsageError, DesignRuleError: where `folder` may not be replaced; as `prepare_network`.
            NeurodeployError: where the disk fails; a previous artifact in `folder` is whole.
        """
        check_replaceable(folder, self.folder.kind)
        prepared = self.prepare(model, chip_name, allow_dead=allow_dead)
        network = prepared.network
        golden = self.golden_of(network, flat(network.input.shape[0], model.golden.inputs), model.golden.labels)
        facts: dict[str, Any] = {
            "experiment": model.config.model_dump(mode="json"),
            "metrics": model.metrics,
            "layers": prepared.layers,
            "agreement": prepared.agreement,
            "warnings": [*prepared.dead, *prepared.warnings],
            "evidence": self.evidence(network.chip),
            "neurodeploy": __version__,
        }
        if prepared.cores is not None:
            facts["cores"] = prepared.cores
        artifact = ChipArtifact(network, golden, facts)
        return artifact, self.folder.save(artifact, folder)


def samples_of(
    artifact: ChipArtifact[Any], data: str | None = None, root: str | None = None, count: int | None = None
) -> Labelled | None:
    """The samples that somebody asks for; None for all of the artifact's own.

    Args:
        data: test samples of a data set or .npz, as the network takes them; see `neurodeploy.data.matching`. The
            artifact's own where None.
        root: the data set's folder.
        count: only the first so many.

    Raises:
        UsageError: where shape, bits, scale or classes are not the network's, naming both.
    """
    golden = artifact.golden
    if data is not None:
        return _test_samples(artifact, data, root, count)
    if root is not None:
        raise UsageError("--data-root: of which data set? name it with --data")
    if count is None or count >= len(golden.labels):
        return None
    return Labelled(golden.first(count), golden.labels[:count], f"{count} test samples of the artifact")


def test_set(artifact: ChipArtifact[Any], root: str | None = None, count: int | None = None) -> Labelled:
    """The test samples of the data set that the artifact's network was trained on."""
    trained = artifact.facts.get("experiment")
    if not isinstance(trained, Mapping):
        raise UsageError("the artifact does not say what its network was trained on; export it again from its model.pt")
    return _test_samples(artifact, parse_config(dict(trained)).data.name, root, count)


def rightness(labels: IntArray | None, decisions: Mapping[str, NDArray[np.int64]]) -> dict[str, float]:
    """Name -> share of decisions that are right; nothing where labels are not known."""
    if labels is None:
        return {}
    return {name: float((decided == labels).mean()) for name, decided in decisions.items()}


def _test_samples(artifact: ChipArtifact[Any], data: str, root: str | None, count: int | None) -> Labelled:
    trained, network = artifact.facts.get("experiment"), artifact.network
    config = parse_config(trained) if trained else ExperimentConfig()
    whole = matching_test(config, data, root, network.steps, network.input, network.outputs, channels=True)
    test = whole.take(slice(count))
    inputs = flat(network.input.shape[0], test.inputs)
    return Labelled(inputs, test.labels, f"{len(test.labels)} test samples of {data}")
