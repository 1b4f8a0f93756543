"""An artifact for the tests of files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from neurodeploy.ir.artifact import Artifact, Golden
from neurodeploy.simulate import reference


@pytest.fixture(scope="session")
def make_artifact(lively_case: Any) -> Callable[..., Artifact]:
    """(seed, kind, chip) -> an Artifact whose golden outputs are the reference's; its `facts` hold the seed."""

    def make(seed: int = 0, kind: str = "conv", chip: str = "loihi2", **options: Any) -> Artifact:
        rng = np.random.default_rng(seed)
        network, program, inputs = lively_case(rng, kind, chip, batch=5, static=True, **options)
        recording = reference.run(program, inputs)
        golden = Golden(inputs, rng.integers(0, 3, 5), recording.readout, recording.spikes)
        return Artifact("lava", network, program, golden, {"seed": seed, "metrics": {"accuracy": 0.5}})

    return make
