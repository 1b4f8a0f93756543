"""`neurodeploy inspect --load`: the load of the model on its own samples, as tables and as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from neurodeploy.deployment import measure_load, prepare
from neurodeploy.simulate import reference
from neurodeploy.snn.model_file import Model


def test_json_holds_what_deployment_measures(run: Any, model_file: Path, model: Model) -> None:
    outcome = run("inspect", model_file, "--target", "lava", "--load", "--json")
    assert outcome.code == 0
    content = json.loads(outcome.out)
    load = content["load"]
    prepared = prepare(model, "lava")
    assert load == json.loads(json.dumps(measure_load(model, prepared)))
    rates = reference.run(prepared.program, model.golden.inputs).firing_rates()
    assert {row["layer"]: row["firing_rate"] for row in load["neurons"]} == pytest.approx(rates | {"readout": None})
    assert (load["samples"], load["steps"]) == (len(model.golden.labels), 4)
    assert [row["network"] for row in load["totals"]] == ["SNN", "ANN"]
    learned = [part.numel() for part in model.network.parameters() if part.requires_grad]
    assert (load["learnable_parameters"], load["training_seconds"]) == (sum(learned), None)
    stored = sum(one.weight.size for layer in prepared.program.layers for one in layer.synapses)
    # 8 bits for a weight, 32 for the rest: biases after folding, two numbers per firing layer, one per readout.
    assert load["neurobench"]["Footprint"] == stored + 4 * (4 + 32 + 10 + 2 + 2 + 1)
    assert load["neurobench"]["ModelExecutionRate"] is None
    assert "load" not in json.loads(run("inspect", model_file, "--target", "lava", "--json").out)


def test_tables(run: Any, model_file: Path) -> None:
    outcome = run("inspect", model_file, "--target", "rockpool", "--load")
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert "load per sample, mean of 32 samples, 4 steps" in lines
    for start in ("SNN ", "ANN ", "conv1 ", "linear2 ", "lif1 ", "SynapticOperations: Effective_MACs "):
        assert sum(line.startswith(start) for line in lines) >= 1, start
    assert "training: -" in lines
    assert "ModelExecutionRate: -" in lines
    assert lines[-1] == "fits rockpool: yes"


def test_training_seconds_and_the_rate_of_real_time(model: Model) -> None:
    from dataclasses import replace

    config = model.config.model_copy(update={"data": model.config.data.model_copy(update={"window": 0.05})})
    timed = replace(model, config=config, metrics=model.metrics | {"training_seconds": 61.5})
    load = measure_load(timed, prepare(timed, "lava"))
    assert load["training_seconds"] == 61.5
    assert load["neurobench"]["ModelExecutionRate"] == pytest.approx(20.0)  # a step of 50 ms
