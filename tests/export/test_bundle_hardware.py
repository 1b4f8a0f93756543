"""The chip's path of a bundle with a stand-in for Lava that writes down what is asked of it."""

from __future__ import annotations

import argparse
import importlib.machinery
import shutil
import sys
import types
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hardware_programs import SAMPLES, chip_program, images

from neurodeploy.export import bundle_hardware, bundle_run, lava_job, loihi2
from neurodeploy.ir.arrays import frozen_ints
from neurodeploy.ir.program import Program
from neurodeploy.ir.synapses import DenseSynapses

Call = tuple[Any, ...]


class Port:
    """A port by name; connections are written down."""

    def __init__(self, calls: list[Call], name: str, shape: tuple[int, ...]) -> None:
        self.calls, self.name, self.shape = calls, name, shape

    def connect(self, other: Port) -> None:
        assert self.shape == other.shape, (self.name, other.name)
        self.calls.append(("connect", self.name, other.name))

    def transpose(self, axes: list[int]) -> Port:
        return Port(self.calls, f"{self.name}.transpose{tuple(axes)}", tuple(self.shape[axis] for axis in axes))

    def flatten(self) -> Port:
        return Port(self.calls, f"{self.name}.flatten", (int(np.prod(self.shape)),))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """What Lava and lava-loihi were asked for, in order."""
    found: list[Call] = []
    numbers: dict[str, int] = {}

    def maker(kind: str, ports: Callable[[dict[str, Any]], dict[str, tuple[int, ...]]], **extra: Any) -> Any:
        def make(**options: Any) -> Any:
            numbers[kind] = numbers.get(kind, -1) + 1
            name = f"{kind}{numbers[kind]}"
            found.append((name, options))
            made = types.SimpleNamespace(**extra)
            for port, shape in ports(options).items():
                setattr(made, port, Port(found, f"{name}.{port}", tuple(shape)))
            made.run = lambda condition, run_cfg: found.append(("run", condition, run_cfg))
            made.stop = lambda: found.append(("stop",))
            made.v = f"{name}.v"
            return made

        return make

    def neuron_ports(options: dict[str, Any]) -> dict[str, tuple[int, ...]]:
        return {"a_in": options["shape"], "s_out": options["shape"]}

    def adapter_ports(options: dict[str, Any]) -> dict[str, tuple[int, ...]]:
        return {"inp": options["shape"], "out": options["shape"]}

    def conv_ports(options: dict[str, Any]) -> dict[str, tuple[int, ...]]:
        out, width, height, _ = options["weight"].shape
        x, y, _ = options["input_shape"]
        pad = options.get("padding", (0, 0))
        return {"s_in": options["input_shape"], "a_out": (x + 2 * pad[0] - width + 1, y + 2 * pad[1] - height + 1, out)}

    def sink(shape: tuple[int, ...], buffer: int) -> Any:
        made = maker("Sink", lambda options: {"a_in": options["shape"]})(shape=shape, buffer=buffer)
        ones = np.ones((*shape, buffer))
        made.data = types.SimpleNamespace(get=lambda: (found.append(("get",)), ones)[1])
        return made

    def dense_ports(options: dict[str, Any]) -> dict[str, tuple[int, ...]]:
        out, features = options["weights"].shape
        return {"s_in": (features,), "a_out": (out,)}

    def state_probe(var: str) -> Any:
        found.append(("StateProbe", var))
        return types.SimpleNamespace(name="state", time_series=np.arange(3 * 39.0))

    def power(num_steps: int) -> Any:
        found.append(("Loihi2Power", num_steps))
        return types.SimpleNamespace(name="power", total_power=np.array([1.0, 2.0]), static_total_power=0.5)

    def time(buffer_size: int) -> Any:
        found.append(("Loihi2ExecutionTime", buffer_size))
        return types.SimpleNamespace(name="time", avg_time_per_step=25.5)

    def hardware_configuration(callback_fxs: list[Any]) -> Any:
        found.append(("Loihi2HwCfg", [one.name for one in callback_fxs]))
        return "hardware"

    generations = {name: f"generation {name}" for name in bundle_hardware.GENERATIONS}
    modules: dict[str, dict[str, Any]] = {
        "lava.magma": {},
        "lava.utils.loihi": {
            "ChipGeneration": generations,
            "use_slurm_host": lambda **options: found.append(("use_slurm_host", options)),
            "use_ethernet_host": lambda address, **options: found.append(("use_ethernet_host", address, options)),
        },
        "lava.proc.lif.process": {"LIFReset": maker("LIFReset", neuron_ports), "LIF": maker("LIF", neuron_ports)},
        "lava.proc.conv.process": {"Conv": maker("Conv", conv_ports)},
        "lava.proc.dense.process": {"Dense": maker("Dense", dense_ports)},
        "lava.proc.io.source": {"RingBuffer": maker("Source", lambda o: {"s_out": o["data"].shape[:-1]})},
        "lava.proc.io.sink": {"RingBuffer": sink},
        "lava.proc.embedded_io.spike": {
            name: maker(name, adapter_ports) for name in ("PyToN3ConvAdapter", "PyToNxAdapter", "NxToPyAdapter")
        },
        "lava.utils.weightutils": {"SignMode": {"MIXED": "mixed"}},
        "lava.utils.loihi2_profiler": {"Loihi2Power": power, "Loihi2ExecutionTime": time},
        "lava.utils.loihi2_state_probes": {"StateProbe": state_probe},
        "lava.magma.core.run_conditions": {"RunSteps": lambda num_steps: num_steps},
        "lava.magma.core.run_configs": {"Loihi2HwCfg": hardware_configuration},
    } | {name: {} for name in bundle_hardware.LOIHI_MODULES if name != "lava.utils.loihi2_profiler"}
    for name, content in modules.items():
        module = types.ModuleType(name)
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        module.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, module)
    return found


def options(**changes: Any) -> argparse.Namespace:
    plain = vars(bundle_run._parse(["--backend", "loihi2"])) | {"partition": "oheogulch", "board": None}
    return argparse.Namespace(**(plain | {"generation": "N3B3"} | changes))


def on_stand_in(program: Program, **changes: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    form = loihi2.hardware_form(program)
    job, arrays = lava_job.describe(form.program_with_period)
    described = {"period": form.period, "steps": program.steps, "input_shape": list(program.input.shape)}
    return bundle_hardware.run(job, arrays, bundle_run._frames(images(program), described), options(**changes))


def test_nothing_is_missing_where_all_is_there(calls: list[Call], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    assert bundle_hardware.missing(options()) == []
    assert bundle_hardware.missing(options(host="ethernet", address="10.0.0.1")) == []
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert [line.split(":")[0] for line in bundle_hardware.missing(options())] == ["no SLURM"]


def test_the_chip_is_asked_in_the_right_order(calls: list[Call]) -> None:
    program = chip_program("membrane")
    result, facts = on_stand_in(program, record="all")
    kinds = [call[0].rstrip("0123456789") for call in calls]
    assert kinds[0] == "use_slurm_host"
    assert calls[0][1] == {"partition": "oheogulch", "board": None, "loihi_gen": "generation N3B3"}
    total = 8 * SAMPLES + 5 + 1 + 1  # period · samples, the last layer's lag, both adapters
    neurons = [call[1] for call in calls if call[0].startswith("LIFReset")]
    assert [one["reset_offset"] for one in neurons] == [3, 4, 5, 6, 7]  # lags 1 to 5, plus 1, plus the input adapter
    assert {one["reset_interval"] for one in neurons} == {8}
    assert {one["du"] for one in neurons} == {4095}
    assert [one["vth"] for one in neurons] == [280, 320, 360, 150, 131071]
    weights = [call[1]["weight"] for call in calls if call[0].startswith("Conv")]
    assert all(not (weight % 2).any() and weight.min() >= -256 and weight.max() <= 254 for weight in weights)
    names = [call[0] for call in calls]
    assert names.index("Source0") < names.index("PyToN3ConvAdapter0") < names.index("Conv0")
    for link in (
        ("connect", "Source0.s_out", "PyToN3ConvAdapter0.inp"),
        ("connect", "PyToN3ConvAdapter0.out", "Conv0.s_in"),
        ("connect", "Conv0.a_out", "LIFReset0.a_in"),
        ("connect", "LIFReset0.s_out", "Conv1.s_in"),
        ("connect", "LIF0.s_out", "Conv4.s_in"),  # the shortcut, held back by a relay
        ("connect", "LIFReset2.s_out.transpose(2, 1, 0).flatten", "Dense0.s_in"),
        ("connect", "LIFReset0.s_out", "NxToPyAdapter0.inp"),
        ("connect", "NxToPyAdapter0.out", "Sink0.a_in"),
        ("connect", "LIFReset3.s_out", "NxToPyAdapter3.inp"),
    ):
        assert link in calls
    assert kinds.count("Sink") == 4
    tail = [call for call in calls if call[0] in ("StateProbe", "Loihi2Power", "Loihi2ExecutionTime", "Loihi2HwCfg")]
    assert tail == [
        ("StateProbe", "LIFReset4.v"),
        ("Loihi2Power", total),
        ("Loihi2ExecutionTime", total),
        ("Loihi2HwCfg", ["power", "time", "state"]),
    ]
    assert calls[-6:] == [("run", total, "hardware"), *[("get",)] * 4, ("stop",)]
    assert total == 39
    data = next(call[1]["data"] for call in calls if call[0] == "Source0")
    assert data.shape == (6, 4, 2, total)
    np.testing.assert_array_equal(data[..., 8], images(program)[0, 1].T)  # the second sample's first step
    voltages = result["voltages:out"]
    np.testing.assert_array_equal(voltages[0, 0], [6, 45, 84])  # step 5 + 1 of each neuron's series of 39
    np.testing.assert_array_equal(voltages[7, 1], [21, 60, 99])
    assert result["spikes:joined"].shape == (8, SAMPLES, 3, 4, 6)
    assert "spikes:out" not in result
    assert facts["probes"] == {
        "power": {
            "total_watt": 1.5,
            "static_watt": 0.5,
            "cores_watt": None,
            "memory_watt": None,
            "io_watt": None,
        },
        "time": {"microseconds_per_step": 25.5, "mean_of_steps_microseconds": None},
    }
    assert facts["latency_steps"] == {"input": 1, "output": 1}


def test_only_the_last_layer_comes_back_unless_all_is_asked_for(calls: list[Call]) -> None:
    result, facts = on_stand_in(chip_program(), probes="none", input_latency=2, host="ethernet", address="10.0.0.1")
    assert list(result) == ["spikes:out"]
    assert facts["probes"] == {}
    assert calls[0] == ("use_ethernet_host", "10.0.0.1", {"loihi_gen": "generation N3B3"})
    assert next(call[1] for call in calls if call[0] == "LIFReset0")["reset_offset"] == 4
    assert ("Loihi2HwCfg", []) in calls
    assert not any(call[0] == "StateProbe" for call in calls)


def test_graded_and_dense_inputs_have_their_own_adapters(calls: list[Call]) -> None:
    on_stand_in(chip_program(bits=8), probes="none")
    assert next(call[1] for call in calls if call[0] == "PyToN3ConvAdapter0") == {
        "shape": (6, 4, 2),
        "num_message_bits": 16,
    }
    calls.clear()
    program = chip_program()
    weight = frozen_ints(np.random.default_rng(0).integers(-9, 10, (3, 48)))
    only = replace(program.layers[-1], synapses=(DenseSynapses("direct", "input", weight),))
    on_stand_in(replace(program, layers=(only,)), probes="none")
    made = {call[0]: call[1] for call in calls if len(call) == 2 and isinstance(call[1], dict)}
    assert made["PyToNxAdapter0"] == {"shape": (48,)}
    np.testing.assert_array_equal(made["Source1"]["data"][:, 8], images(program)[0, 1].ravel())
    (terms,) = [call[1] for call in calls if call[0].startswith("Dense")]
    np.testing.assert_array_equal(terms["weights"], 2 * weight)
    assert terms["weight_exp"] == -1


def test_an_input_that_skips_a_layer_is_sent_later(calls: list[Call]) -> None:
    program = chip_program()
    stem, x, *others = program.layers
    skipping = replace(x, synapses=(*x.synapses, stem.synapses[0]))
    on_stand_in(replace(program, layers=(stem, skipping, *others)), probes="none")
    first, second = (call[1]["data"] for call in calls if call[0].startswith("Source"))
    np.testing.assert_array_equal(second[..., 1:], first[..., :-1])
    assert not second[..., 0].any()
    assert first[..., 0].any()


def test_the_run_is_stopped_when_it_fails(calls: list[Call], monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(**_: Any) -> None:
        raise RuntimeError("board lost")

    monkeypatch.setattr(sys.modules["lava.magma.core.run_configs"], "Loihi2HwCfg", lambda callback_fxs: failing)
    original = sys.modules["lava.proc.lif.process"].LIFReset

    def neurons(**options: Any) -> Any:
        made = original(**options)
        made.run = failing
        return made

    monkeypatch.setattr(sys.modules["lava.proc.lif.process"], "LIFReset", neurons)
    with pytest.raises(RuntimeError, match="board lost"):
        on_stand_in(chip_program(), probes="none")
    assert calls[-1] == ("stop",)
