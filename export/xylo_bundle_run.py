"""Runs this bundle where a Xylo board is: `python run.py --backend board`; or `--backend xylosim`, the simulator.

Self-contained: Python 3.10 or later, NumPy, and Rockpool with the real samna for the board, or xylosim. neurodeploy is
not needed. What comes out is a folder with `result.json` and `result.npz` for `neurodeploy import-run`.

Exit codes: 0 as expected, 1 the output differs or the run failed, 2 wrong usage or a changed bundle, 4 something is
not installed or not connected.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.dont_write_bytecode = True  # the bundle stays what it was
BUNDLE = Path(__file__).resolve().parent
if not __package__:  # run as a file
    sys.path.insert(0, str(BUNDLE))  # an isolated Python (-I) leaves it out
PREFIX = f"{__package__}." if __package__ else ""
shared: Any = importlib.import_module(f"{PREFIX}samna_runner")
Arrays = dict[str, Any]
# Families whose reset works in Rockpool 3.1.0: that of syns65302 only warns that it does not, syns63300 has none.
RESETS = ("syns61201",)


def _specification() -> tuple[dict[str, Any], dict[str, Any]]:
    """What the file says, and config_from_specification's arguments."""
    described = json.loads((BUNDLE / "xylo_specification.json").read_text(encoding="utf-8"))
    arguments = described["arguments"]
    arguments = {name: value if name == "aliases" else np.array(value) for name, value in arguments.items()}
    return described, arguments | {name: int(arguments[name]) for name in arguments if name.startswith("weight_shift")}


def _on_board(bundle: Any, events: Any, options: argparse.Namespace) -> tuple[Arrays, Any]:
    """Rockpool's own chain: find the board, make and check the configuration, sample after sample in a XyloSamna.

    Every sample is to start from neurons at rest: by `reset_state()` where it works, else in a new XyloSamna, which
    applies the configuration again. Whether that clears the neurons of such a board is not proved; a difference from
    the expected output that begins with the second sample says that it does not.
    """
    described, arguments = _specification()
    shared.require_board("Xylo", importlib.import_module(f"{PREFIX}samna_probe").version())
    family = described["rockpool"].rpartition(".")[2]
    boards, modules, versions = importlib.import_module("rockpool.devices.xylo.helper").find_xylo_hdks()
    fitting = [place for place, version in enumerate(versions) if version == family]
    if not fitting:
        others = f"; connected: {', '.join(versions)}" if versions else "; none is connected"
        raise shared.BundleError(f"no {described['chip']} board ({family}) is connected to this machine{others}", 4)
    sys.stderr.write(shared.UNPROVEN + "\n")
    tools = modules[fitting[0]]
    configuration, valid, message = tools.config_from_specification(**arguments)
    if not valid:
        raise shared.BundleError(f"samna refuses the configuration: {message}", 1)
    mode = "Spike" if described["readout"] == "spike_count" else "Vmem"

    def fresh() -> Any:
        return tools.XyloSamna(boards[fitting[0]], configuration, dt=1e-3, output_mode=mode)

    chip = fresh()
    parts: dict[str, list[Any]] = {}
    power: dict[str, list[float]] = {}
    started = time.perf_counter()
    for sample in range(events.shape[1]):
        if family in RESETS:
            chip.reset_state()
        elif sample > 0:
            chip = fresh()
        out, _, record = chip(events[:, sample].astype(int), record=options.record == "all", record_power=options.power)
        found = {"output_spikes" if mode == "Spike" else "output_potentials": out}
        names = {"Spikes": "spikes", "Vmem": "potentials", "Vmem_out": "output_potentials", "Isyn": "currents"}
        names |= {"Isyn2": "currents_2", "Isyn_out": "output_currents"}
        found |= {name: record[key] for key, name in names.items() if key in record and np.size(record[key])}
        for name, values in found.items():
            parts.setdefault(name, []).append(np.asarray(values))
        for key in record:
            if key.endswith("_power"):  # every family names its supplies in its own way
                power.setdefault(key, []).extend(float(one) for one in np.ravel(record[key]))
    facts: dict[str, Any] = {"caution": shared.UNPROVEN, "seconds": time.perf_counter() - started, "board": family}
    if options.power:
        facts["watts"] = {key: sum(values) / len(values) for key, values in power.items() if values}
    return {name: shared.integers(np.stack(values, axis=1)) for name, values in parts.items()}, facts


def _in_simulator(bundle: Any, events: Any, options: argparse.Namespace) -> tuple[Arrays, Any]:
    _, arguments = _specification()
    if importlib.util.find_spec("xylosim") is None:
        raise shared.BundleError("xylosim is not installed; pip install 'xylosim==0.1.3' (needs a C++ compiler)", 4)
    vendor = importlib.import_module("xylosim.v2")
    into, among, out = (np.asarray(arguments[f"weights_{name}"]) for name in ("in", "rec", "out"))
    hidden = among.shape[0]
    whole_in, whole_out = np.zeros((into.shape[0], hidden, *into.shape[2:]), int), np.zeros((hidden, out.shape[1]), int)
    whole_in[:, : into.shape[1]], whole_out[hidden - out.shape[0] :] = into, out

    def connections(weights: Any) -> list[list[Any]]:
        weights = weights[..., None] if weights.ndim == 2 else weights
        return [[vendor.XyloSynapse(int(t), int(s), int(row[t, s])) for t, s in np.argwhere(row)] for row in weights]

    dashes = [arguments["dash_syn"], *([arguments["dash_syn_2"]] if "dash_syn_2" in arguments else [])]
    synapses = [connections(part) for part in (whole_in, among, whole_out)]  # the layer points to them
    layer = vendor.XyloLayer(
        synapses_in=synapses[0],
        synapses_rec=synapses[1],
        synapses_out=synapses[2],
        aliases=arguments["aliases"],
        threshold=arguments["threshold"].tolist(),
        threshold_out=arguments["threshold_out"].tolist(),
        has_bias=bool(arguments["bias_hidden"].any() or arguments["bias_out"].any()),
        bias=arguments["bias_hidden"].tolist(),
        bias_out=arguments["bias_out"].tolist(),
        weight_shift_inp=arguments["weight_shift_in"],
        weight_shift_rec=arguments["weight_shift_rec"],
        weight_shift_out=arguments["weight_shift_out"],
        dash_mem=arguments["dash_mem"].tolist(),
        dash_mem_out=arguments["dash_mem_out"].tolist(),
        dash_syns=np.stack(dashes, axis=1).tolist(),
        dash_syns_out=arguments["dash_syn_out"][:, None].tolist(),
        name="neurodeploy",
    )
    parts: dict[str, list[Any]] = {}
    for sample in range(events.shape[1]):
        layer.reset_all()
        found = {"output_spikes": np.array(layer.evolve(events[:, sample].tolist()))}
        found["output_potentials"] = np.array(layer.rec_v_mem_out).T
        if options.record == "all":
            found |= {"spikes": np.array(layer.rec_recurrent_spikes), "potentials": np.array(layer.rec_v_mem).T}
        for name, values in found.items():
            parts.setdefault(name, []).append(values)
    return {name: shared.integers(np.stack(values, axis=1)) for name, values in parts.items()}, {}


if __name__ == "__main__":
    runner = shared.Runner(
        BUNDLE,
        "Runs this network on a Xylo board or in xylosim.",
        "neurodeploy-xylo-result",
        {shared.BOARD: _on_board, "xylosim": _in_simulator},
        {shared.BOARD: 0.0, "xylosim": 0.0},
        ("numpy", "rockpool", "samna", "xylosim"),
        power=True,
    )
    sys.exit(runner.main())
