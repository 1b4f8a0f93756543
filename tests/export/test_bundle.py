"""The form for Loihi 2, and the bundle's files."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hardware_programs import SAMPLES, artifact_of, chip_program, images, uneven, with_neurons

from neurodeploy.errors import DesignRuleError, UsageError
from neurodeploy.export import bundle, loihi2
from neurodeploy.ir.arrays import frozen_ints
from neurodeploy.ir.identity import program_hash
from neurodeploy.ir.nodes import Input
from neurodeploy.ir.program import FixedPointNeurons, Layer, Program
from neurodeploy.ir.synapses import ConvSynapses, DenseSynapses
from neurodeploy.simulate import reference


def layer_of(program: Program, name: str) -> Layer:
    return next(layer for layer in program.layers if layer.name == name)


def parts(layer: Layer) -> FixedPointNeurons:
    assert isinstance(layer.neurons, FixedPointNeurons)
    return layer.neurons


# --- the form for hardware ------------------------------------------------------------------------------------------


def test_layers_behind_convolutions_are_doubled() -> None:
    program = chip_program()
    form = loihi2.hardware_form(program)
    for before, after in zip(program.layers, form.program.layers, strict=True):
        doubled = before.name in ("stem", "x", "joined")
        factor = 2 if doubled else 1
        assert after.scale * factor == before.scale
        np.testing.assert_array_equal(parts(after).threshold, factor * parts(before).threshold)
        np.testing.assert_array_equal(parts(after).bias, factor * parts(before).bias)
        np.testing.assert_array_equal(parts(after).voltage_decay, parts(before).voltage_decay)
        for one, other in zip(before.synapses, after.synapses, strict=True):
            np.testing.assert_array_equal(other.weight, factor * one.weight)
            assert not doubled or not (other.weight % 2).any()
    assert [note.split(":")[0] for note in form.notes[1:]] == ["layer stem", "layer x", "layer joined"]


def test_without_decay_the_form_means_the_same() -> None:
    program = chip_program("membrane", decay=0)
    inputs = images(program, 16)
    before = reference.run(program, inputs)
    after = reference.run(loihi2.hardware_form(program).program, inputs)
    for name, spikes in before.spikes.items():
        np.testing.assert_array_equal(after.spikes[name], spikes)
        factor = 2 if name in ("stem", "x", "joined") else 1
        np.testing.assert_array_equal(after.potentials[name], factor * before.potentials[name])
    np.testing.assert_array_equal(after.readout, before.readout)


def test_with_decay_a_voltage_on_the_threshold_may_fire() -> None:
    """trunc(2v·k) may be one more than 2·trunc(v·k): the reason why differences are counted for every bundle."""
    synapses = ConvSynapses("c", "input", frozen_ints([[[[43]]]]))
    one = FixedPointNeurons(frozen_ints(4000), frozen_ints(44), frozen_ints([[[0]]]), 6)
    program = Program("loihi2", 2, Input((1, 1, 1)), (Layer("a", (1, 1, 1), (synapses,), one, 1.0),), "spike_count")
    form = loihi2.hardware_form(program).program
    inputs = np.ones((2, 1, 1, 1, 1), dtype=int)
    # 43·64 = 2752; trunc(2752 · 96/4096) = trunc(64.5) = 64; 64 + 2752 = 44·64, which is not above the threshold
    assert reference.run(program, inputs).potentials["a"].ravel().tolist() == [2752, 2816]
    # 86·64 = 5504; trunc(5504 · 96/4096) = 129; 129 + 5504 = 88·64 + 1, which is
    assert reference.run(form, inputs).potentials["a"].ravel().tolist() == [5504, 0]
    golden = artifact_of(chip_program()).golden
    run = reference.run(program, inputs)
    own = replace(golden, inputs=inputs, labels=np.zeros(1, int), readout=run.readout, spikes=run.spikes)
    said = "in this form 1 of 2 spikes and 0 of 1 decisions on the artifact's samples differ from its own"
    assert loihi2.difference(reference.run(form, inputs), own) == said


def test_dense_synapses_of_a_doubled_layer_get_a_larger_exponent() -> None:
    program = chip_program()
    layer = program.layers[0]
    weight = frozen_ints(np.random.default_rng(1).integers(-9, 10, (4, 48)))
    own = replace(parts(layer), bias_mantissa=frozen_ints(np.ones(4, int)))
    flat = Layer("flat", (4,), (DenseSynapses("direct", "input", weight),), own, 1.0)
    (doubled,) = loihi2._doubled(flat).synapses
    assert isinstance(doubled, DenseSynapses)
    assert doubled.weight_exponent == 1
    np.testing.assert_array_equal(doubled.weight, weight)
    highest = replace(flat, synapses=(DenseSynapses("direct", "input", weight, weight_exponent=7),))
    obstacle = loihi2._obstacle(highest, program)
    assert obstacle == "synapses direct have the largest weight exponent, 7"
    assert loihi2._obstacle(flat, program) is None


@pytest.mark.parametrize(("threshold", "fits"), [(65535, True), (65536, False)])
def test_thresholds_that_double(threshold: int, fits: bool) -> None:
    form = loihi2.hardware_form(with_neurons(chip_program(), "x", threshold=frozen_ints(threshold)))
    after = parts(layer_of(form.program, "x"))
    assert int(after.threshold) == (2 * threshold if fits else threshold)
    said = f"layer x: twice its threshold is {2 * threshold}, the register holds 131071"
    assert any(note.startswith(said) for note in form.notes) != fits


@pytest.mark.parametrize(
    ("mantissa", "exponent", "expected"),
    [(2047, 6, (4094, 6)), (-2048, 6, (-4096, 6)), (2048, 6, (2048, 7)), (2047, 7, (4094, 7)), (2048, 7, None)],
)
def test_biases_that_double(mantissa: int, exponent: int, expected: tuple[int, int] | None) -> None:
    shape = (3, 4, 6)
    changes = {"bias_mantissa": frozen_ints(np.full(shape, mantissa)), "bias_exponent": exponent}
    form = loihi2.hardware_form(with_neurons(chip_program(), "x", **changes))
    after = parts(layer_of(form.program, "x"))
    assert (int(after.bias_mantissa.flat[0]), after.bias_exponent) == (expected or (mantissa, exponent))
    assert any("twice its bias needs exponent 8" in note for note in form.notes) == (expected is None)


def test_a_current_that_would_wrap_keeps_odd_weights() -> None:
    """8 bits of input: twice the largest sum has to stay below 2^17 weight units."""
    weight = np.zeros((3, 2, 3, 3), dtype=int)
    program = chip_program(bits=8)
    stem = program.layers[0]

    def form(total: int) -> loihi2.HardwareForm:
        weight[0, 0].flat[:3] = total // 3, total // 3, total - 2 * (total // 3)
        changed = replace(stem, synapses=(replace(stem.synapses[0], weight=frozen_ints(weight)),))
        return loihi2.hardware_form(replace(program, layers=(changed, *program.layers[1:])))

    assert 2 * 257 * 255 < 2**17 <= 2 * 258 * 255
    np.testing.assert_array_equal(form(257).program.layers[0].synapses[0].weight, 2 * weight)
    kept = form(258)
    np.testing.assert_array_equal(kept.program.layers[0].synapses[0].weight, weight)
    assert not any("stem" in note for note in kept.notes)  # 86 is even: nothing can be lost
    weight[1, 1, 1, 1] = 1
    assert any("layer stem: twice its current may reach" in note for note in form(258).notes)


@pytest.mark.parametrize(("steps", "period"), [(1, 1), (2, 2), (3, 4), (6, 8), (8, 8), (9, 16)])
def test_the_period_is_a_power_of_two(steps: int, period: int) -> None:
    form = loihi2.hardware_form(chip_program(steps=steps))
    assert (form.program.steps, form.period, form.program_with_period.steps) == (steps, period, period)
    assert form.notes[0].startswith("reset_interval") == (steps != period)


def test_everything_that_keeps_a_program_from_the_chip_is_named() -> None:
    program = with_neurons(chip_program(), "x", threshold=frozen_ints(np.arange(72).reshape(3, 4, 6) + 1))
    program = with_neurons(program, "d", voltage_decay=frozen_ints(np.arange(8)), threshold=frozen_ints(2**17))
    last = program.layers[-1]
    again = DenseSynapses("again", "out", frozen_ints(np.eye(3, dtype=int)), delay=1)
    program = replace(program, layers=(*program.layers[:-1], replace(last, synapses=(*last.synapses, again))))
    with pytest.raises(DesignRuleError) as caught:
        bundle.check(program)
    assert caught.value.violations == (
        "layer d: threshold 131072: allowed are 0 to 131071",
        "layer x: threshold differs between neurons; a layer on the chip has one",
        "layer d: voltage decay differs between neurons; a layer on the chip has one",
        "layer out: synapses again wait 1 steps; what waits when a sample ends cannot be cleared on the chip and would "
        "reach the next one: use no delays",
    )
    bundle.check(with_neurons(chip_program(), "d", voltage_decay=frozen_ints(np.full(8, 5))))


# --- the folder -----------------------------------------------------------------------------------------------------


def test_a_bundle_has_all_that_it_needs(tmp_path: Path) -> None:
    artifact = artifact_of(chip_program())
    notes = bundle.write_bundle(artifact, tmp_path / "bundle", "digits")
    files = {
        path.relative_to(tmp_path / "bundle").as_posix() for path in (tmp_path / "bundle").rglob("*") if path.is_file()
    }
    described = json.loads((tmp_path / "bundle" / "bundle.json").read_text())
    assert set(described["files"]) == files - {"bundle.json"}
    assert {"run.py", "hardware.py", "job.slurm", "README.md", "requirements.txt", "golden.npz"} < files
    assert {"job/lava_job.json", "job/lava_job.npz", "simulator/lava_worker.py", "simulator/lava_network.py"} < files
    form = loihi2.hardware_form(artifact.program)
    assert described["program_hash"] == program_hash(form.program) != program_hash(artifact.program)
    assert described["artifact_program_hash"] == program_hash(artifact.program)
    assert (described["steps"], described["period"], described["samples"]) == (6, 8, SAMPLES)
    expected = reference.run(form.program, artifact.golden.inputs)
    own = artifact.golden
    differing = sum(int((values != own.spikes[name]).sum()) for name, values in expected.spikes.items())
    assert 0 < differing < 60  # a voltage on the threshold itself no longer is, and what follows from it
    assert notes[-1] == (
        f"in this form {differing} of 5448 spikes and 0 of 4 decisions on the artifact's samples differ from its own"
    )
    with np.load(tmp_path / "bundle" / "golden.npz", allow_pickle=False) as golden:
        np.testing.assert_array_equal(golden["readout"], expected.readout)
        np.testing.assert_array_equal(golden["spikes:joined"], expected.spikes["joined"])
    text = (tmp_path / "bundle" / "README.md").read_text()
    assert "@" not in text
    assert all(note in text for note in notes)
    assert "Not run on hardware" in text
    subprocess.run(["bash", "-n", str(tmp_path / "bundle" / "job.slurm")], check=True)


def test_nothing_is_written_of_a_program_that_does_not_fit(tmp_path: Path) -> None:
    artifact = artifact_of(chip_program())
    with pytest.raises(DesignRuleError, match="threshold differs between neurons"):
        bundle.write_bundle(replace(artifact, program=uneven(artifact.program)), tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_only_bundles_are_replaced(tmp_path: Path) -> None:
    artifact = artifact_of(chip_program())
    bundle.write_bundle(artifact, tmp_path / "bundle")
    bundle.write_bundle(artifact, tmp_path / "bundle")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "bundle.json").write_text("{}")
    with pytest.raises(UsageError, match="not a bundle of ours"):
        bundle.write_bundle(artifact, tmp_path / "mine")


def test_odd_weights_are_there_to_be_doubled() -> None:
    weights = [one.weight for layer in chip_program().layers for one in layer.synapses if isinstance(one, ConvSynapses)]
    assert len(weights) == 4
    assert all((weight % 2).any() for weight in weights)
