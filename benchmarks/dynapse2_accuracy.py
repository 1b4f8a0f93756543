"""Digits and N-MNIST-1000/100 on DYNAP-SE2: float, limited float, quantised, DynapSim; against Rockpool's own mapping.

    python benchmarks/dynapse2_accuracy.py -o docs/results/dynapse2-accuracy.json --data-root DATA

Per data set and seed, accuracy on the test split of

    float       an mlp without the chip's limits: all inputs, biases, membrane readout
    limited     the preset `dynapse2_*`: 64 inputs a neuron, no biases, spike counts
    quantised   the limited network through `quantize_dynapse2`, in our engine
    dynapsim    the same in Rockpool's DynapSim, and in how many spikes the two differ
    binary      as quantised, with base currents 1 : 2 : 4 : 8 at max |w| / 15, rounded, the same gains
    rockpool    the limited network as LIFTorch through Rockpool's mapper into DynapSim, weights unquantised; and with
                `autoencoder_quantization` (--autoencoder), which takes minutes

N-MNIST-1000/100 is the part of N-MNIST that is at hand (1,000 and 100 recordings): no accuracy on N-MNIST.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import mean_interval, provenance, write_json

from neurodeploy.config import load_config
from neurodeploy.data.dataset import DataSet
from neurodeploy.data.sources import load_data_set
from neurodeploy.errors import NeurodeployError
from neurodeploy.experiment import train_model
from neurodeploy.export import dynapse2
from neurodeploy.hw_models.dynapse2 import DYNAPSE2
from neurodeploy.ir.channels import flat
from neurodeploy.ir.populations import PopulationNetwork
from neurodeploy.ir.to_populations import to_populations
from neurodeploy.quantize_dynapse2 import quantize_dynapse2, troubles
from neurodeploy.quantize_dynapse2_build import edges_of, in_thresholds
from neurodeploy.quantize_dynapse2_weights import binary
from neurodeploy.simulate import dynapse2_engine
from neurodeploy.simulate import populations as float_simulator
from neurodeploy.snn.model_file import Model
from neurodeploy.snn.trace import trace
from neurodeploy.snn.train import accuracy

PRESETS = {"digits": "dynapse2_digits", "n-mnist": "dynapse2_n-mnist"}
FLOAT = {"network.fan_in": None, "network.readout": "membrane", "network.norm": "batch"}
QUICK = {"train.epochs": 3, "network.hidden": [32]}


def main() -> None:
    """Trains, quantises and measures; writes one JSON file after every run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--data-root", help="of N-MNIST; without it digits alone")
    parser.add_argument("--only", nargs="*", choices=tuple(PRESETS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--autoencoder", action="store_true", help="also Rockpool's default quantisation")
    parser.add_argument("--quick", action="store_true", help="3 epochs, 32 hidden neurons")
    options = parser.parse_args()
    torch.set_num_threads(1)
    names = options.only or (list(PRESETS) if options.data_root else ["digits"])
    runs: list[dict[str, Any]] = []
    for name in names:
        for seed in range(options.seeds):
            runs.append({"data": name, "seed": seed} | _measured(name, seed, options))
            print(runs[-1], flush=True)
            write_json(options.output, {"provenance": provenance(), "summary": _summary(runs), "runs": runs})
    for row in _summary(runs):
        print(row)


def _measured(name: str, seed: int, options: Any) -> dict[str, Any]:
    model, data, seconds = _trained(name, seed, {}, options)
    plain, plain_data, _ = _trained(name, seed, FLOAT, options)
    network = to_populations(trace(model.network))
    channels = network.input.shape[0]
    calibration = flat(channels, model.calibration.inputs)
    test, labels = flat(channels, data.test.inputs), data.test.labels
    wanted = float_simulator.run(network, test)
    started = time.process_time()
    made = quantize_dynapse2(network, DYNAPSE2, calibration, allow_dead=True)
    quantising = time.process_time() - started
    got = dynapse2_engine.run(made, test)
    row: dict[str, Any] = {
        "float": accuracy(plain.network, plain_data.test),
        "limited": float((wanted.decisions == labels).mean()),
        "quantised": float((got.decisions == labels).mean()),
        "agreement": float((got.decisions == wanted.decisions).mean()),
        "dead": troubles(made, dynapse2_engine.run(made, calibration)),
        "training_cpu_seconds": round(seconds, 1),
        "quantise_cpu_seconds": round(quantising, 2),
        "test_samples": len(labels),
    }
    rounded = _binary(network, made, test)
    row |= {
        "binary": float((rounded == labels).mean()),
        "binary_agreement": float((rounded == wanted.decisions).mean()),
    }
    if dynapse2.backend().version is not None:
        simulated = dynapse2.run(made, test)
        row |= {
            "dynapsim": float((simulated.decisions == labels).mean()),
            "spikes_differing": int((simulated.spikes != got.spikes).sum()),
            "spikes_compared": int(got.spikes.size),
        }
        row |= _rockpool(network, test, labels, options.autoencoder)
    return row


def _trained(name: str, seed: int, changes: dict[str, Any], options: Any) -> tuple[Model, DataSet, float]:
    overrides: dict[str, Any] = {"seed": seed, "data.root": options.data_root} | changes
    config = load_config(None, [], overrides | (QUICK if options.quick else {}), preset=PRESETS[name])
    with tempfile.TemporaryDirectory() as folder:
        started = time.process_time()
        model = train_model(config, Path(folder) / "model.pt", progress=False)
        seconds = time.process_time() - started
    return model, load_data_set(config.data, config.network.steps, config.seed), seconds


def _binary(network: PopulationNetwork, made: Any, test: Any) -> Any:
    """Decisions with binary-weighted currents and rounding, the sum of each core's weight currents kept as it is."""
    into, among = in_thresholds(network)
    codes = [np.array(made.codes_in), np.array(made.codes_rec)]
    base = np.array(made.base)
    for core in range(made.cores):
        mine = made.core == core
        stacked = np.concatenate([into[:, mine], among[:, mine]])
        unit = np.abs(stacked).max() / 15
        rounded = binary(stacked, unit)
        codes[0][:, mine], codes[1][:, mine] = np.split(rounded.codes, [len(into)])
        strongest = np.abs(np.concatenate([part[:, mine] for part in made.weights()])).sum()
        base[core] = rounded.base * strongest / np.abs(stacked).sum()
    plain = replace(made, codes_in=codes[0], codes_rec=codes[1], base=base)
    return dynapse2_engine.run(plain, test, record=False).decisions


def _rockpool(network: PopulationNetwork, test: Any, labels: Any, autoencoder: bool) -> dict[str, Any]:
    """Rockpool's own way: LIFTorch layers, its mapper, DynapSim from the specification."""
    from dynapse2_rockpool import mapped_decisions

    found: dict[str, Any] = {}
    for way in ("float", "autoencoder") if autoencoder else ("float",):
        try:
            decided, spikes = mapped_decisions(network, test, edges_of(network), way)
            found[f"rockpool_{way}"] = float((decided == labels).mean())
            found[f"rockpool_{way}_output_spikes"] = spikes
        except (NeurodeployError, ValueError, RuntimeError) as error:
            found[f"rockpool_{way}_failed"] = str(error)
    return found


_SHOWN = ("float", "limited", "quantised", "agreement", "dynapsim", "binary", "binary_agreement")
_SHOWN += ("rockpool_float", "rockpool_autoencoder")


def _summary(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    for name in dict.fromkeys(run["data"] for run in runs):
        mine = [run for run in runs if run["data"] == name]
        row: dict[str, Any] = {"data": name, "seeds": len(mine), "dead": sum(bool(run["dead"]) for run in mine)}
        for key in _SHOWN:
            values = [run[key] for run in mine if key in run]
            row[key] = mean_interval(values) if values else None
        row["loss_to_limited"] = mean_interval([run["limited"] - run["quantised"] for run in mine])
        row["spikes_differing"] = sum(run.get("spikes_differing", 0) for run in mine)
        row["spikes_compared"] = sum(run.get("spikes_compared", 0) for run in mine)
        rows.append(row)
    return rows


if __name__ == "__main__":
    main()
