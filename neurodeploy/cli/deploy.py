"""export, run: from model.pt to an artifact and the proof that a backend runs it as meant."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from neurodeploy.cli import dynapse2, xylo
from neurodeploy.cli.catalogue import AS_JSON
from neurodeploy.cli.console import LARGEST_SEED, print_json, print_table, say, write_text
from neurodeploy.cli.own_network import refuse
from neurodeploy.errors import NeurodeployError, UsageError
from neurodeploy.files import PROOF, check_output

if TYPE_CHECKING:
    from neurodeploy.importing.loading import Encoding
    from neurodeploy.ir.artifact import Artifact
    from neurodeploy.ir.program import Program
    from neurodeploy.snn.model_file import Model

TARGET = typer.Option(..., "--target", help="lava, rockpool, xylo, dynapse2 or nir; see `neurodeploy targets`.")
CHIP = typer.Option(None, "--chip", help="Chip to quantise for, where it is not the target's own.")
SEARCH_SCALES = typer.Option(
    False, "--search-scales", help="Choose scales anew, though the model was trained with this chip's rounding."
)


def export(
    model: Path = typer.Argument(help="model.pt"),
    target: str = TARGET,
    chip: str = CHIP,
    bits: int = typer.Option(None, "--bits", min=2, help="Of a weight, sign included; short for --chip CHIP@BITS."),
    output: Path = typer.Option(None, "-o", "--output", help="Folder to write; by default beside the model."),
    bundle: bool = typer.Option(False, "--bundle", help="Also OUTPUT/bundle, for a machine with the chip."),
    virtual_chip: int = typer.Option(
        None, "--virtual-chip", min=0, help="Export this virtual chip's own numbers; its noise by --with."
    ),
    noise: list[str] = typer.Option([], "--with", help="Of --virtual-chip: mismatch=0.2, a preset; repeatable."),
    seed: int = typer.Option(
        None, "--seed", min=0, max=LARGEST_SEED, help="Of --virtual-chip, as in `sweep`; 0 by default."
    ),
    allow_dead: bool = typer.Option(False, "--allow-dead", help="Xylo, DYNAP-SE2: silent or saturated layers, too."),
    search_scales: bool = SEARCH_SCALES,
    as_json: bool = AS_JSON,
) -> None:
    """Quantise a network and write an artifact folder; the vendor's package need not be installed."""
    from neurodeploy.deployment import AsChip, export_model
    from neurodeploy.export import target as find_target
    from neurodeploy.snn.model_file import load_model
    from neurodeploy.sweep.plan import parse_noise

    if virtual_chip is None and (noise or seed is not None):
        option = "--with" if noise else "--seed"
        raise UsageError(f"{option}: is for --virtual-chip, the number of the chip that is exported")
    if bundle and virtual_chip is not None:
        raise UsageError("--bundle: takes the nominal network to a chip, which has a mismatch of its own")
    as_chip = None if virtual_chip is None else AsChip(parse_noise(noise), virtual_chip, seed or 0)
    typed = target
    target, chosen = xylo.named(target, chip)
    if target not in (xylo.NAME, dynapse2.NAME):
        find_target(target)
    folder = output if output is not None else model.parent / f"{model.stem}-{typed}"
    if bits is not None:
        chip = _with_bits(chip, target, bits)
    if search_scales:
        check_search(target)
    if target == xylo.NAME:
        if as_chip is not None:
            raise UsageError("--virtual-chip: not for --target xylo, a digital chip without mismatch")
        xylo.export_xylo(model, chosen, folder, allow_dead, as_json, bundle)
        return
    if target == dynapse2.NAME:
        if as_chip is not None:
            raise UsageError(f"--virtual-chip: not for --target {target}; `sweep` on its artifact draws virtual chips")
        dynapse2.export_dynapse2(model, chip, folder, allow_dead, as_json, bundle)
        return
    if allow_dead:
        raise UsageError("--allow-dead: only for --target xylo and dynapse2; other targets warn of such layers")
    loaded = load_model(model)
    if bundle:
        _check_bundle(loaded, target, chip, search_scales)
    artifact, omitted = export_model(loaded, target, folder, chip, as_chip, search_scales)
    notes: list[str] = _write_bundle(artifact, folder, model.stem) if bundle else []
    files = sorted(path.name for path in folder.iterdir())
    warnings, scales = artifact.facts["warnings"], artifact.facts["scales"]
    if as_json:
        content = {"folder": str(folder), "files": files, "omitted": omitted, "warnings": warnings, "scales": scales}
        print_json(content | ({"bundle_notes": notes} if bundle else {}))
        return
    typer.echo(f"{folder}: {', '.join(files)}")
    if loaded.config.noise.quantize:
        typer.echo(f"scales: {scales['from']}")
    for reason in omitted:
        typer.echo(f"left out: {reason}")
    for warning in warnings:
        typer.echo(f"warning: {warning}")
    for note in notes:
        typer.echo(f"bundle: {note}")
    say(f"next: neurodeploy run {folder} --backend {'engine' if target == 'nir' else target}")


def run(
    artifact: Path = typer.Argument(help="Folder made by `neurodeploy export`, or a .net file of lava-dl."),
    backend: str = typer.Option("engine", "--backend", help="reference, engine, or a target such as lava."),
    data: str = typer.Option(
        None, "--data", help="Test samples of a data set or .npz; by default the artifact's own, or random ones."
    ),
    data_root: str = typer.Option(None, "--data-root", help="Folder with the data set's files."),
    samples: int = typer.Option(None, "--samples", min=1, help="How many samples."),
    steps: int = typer.Option(None, "--steps", min=1, help="Of a .net file: time steps per sample."),
    input_bits: int = typer.Option(None, "--input-bits", min=1, help="Of a .net file: 1 for spikes, up to 8."),
    encoding: str = typer.Option("direct", "--encoding", help="Of a .net file's --data: direct, rate or latency."),
    profile: Path = typer.Option(None, "--profile", help="Run as the calibrated chip of this profile (`calibrate`)."),
    temperature: float = typer.Option(
        None, "--temperature", min=0, help="Of the chip of --profile, kelvin; by default that of its calibration."
    ),
    output: Path = typer.Option(None, "-o", "--output", help="JSON file to write as well."),
    as_json: bool = AS_JSON,
) -> None:
    """Run an artifact or .net file on a backend, and compare all spikes and voltages with the reference; exit 1 where
    they differ."""
    from neurodeploy.importing.loading import known_encoding, load_program
    from neurodeploy.proof import prove, test_samples

    how = known_encoding(encoding)
    check_output("-o", output, PROOF, (artifact, profile, data))
    if temperature is not None and profile is None:
        raise UsageError("--temperature: is that of the chip of --profile; name its folder")
    if xylo.is_artifact(artifact) or dynapse2.is_artifact(artifact):
        of_net = {"--steps": steps is not None, "--input-bits": input_bits is not None, "--encoding": how != "direct"}
        refuse(of_net, f"only for a .net file; {artifact} has its own")
    if xylo.is_artifact(artifact):
        if profile is not None:
            raise UsageError("--profile: a Xylo artifact is not calibrated, the chip is digital")
        xylo.run_xylo(artifact, backend, samples, output, as_json, data, data_root)
        return
    if dynapse2.is_artifact(artifact):
        if profile is not None:
            raise UsageError("--profile: a DYNAP-SE2 artifact has no calibration")
        dynapse2.run_dynapse2(artifact, backend, samples, output, as_json, data, data_root)
        return
    if data is None and (data_root is not None or encoding != "direct"):
        option = "--encoding" if data_root is None else "--data-root"
        raise UsageError(f"{option}: of which data set? name it with --data")
    loaded = load_program(artifact, steps, input_bits)
    if loaded.artifact is not None and encoding != "direct":
        raise UsageError(
            "--encoding: only for .net files; an artifact takes samples as its network was trained on them"
        )
    for warning in loaded.warnings:
        say(f"warning: {warning}")
    if profile is not None:
        proof = _prove_profile(
            loaded.program, loaded.artifact, profile, temperature, backend, data, data_root, samples, how
        )
    elif loaded.artifact is None:
        from neurodeploy.programs import choose_samples, prove_program

        proof = prove_program(loaded.program, backend, choose_samples(loaded.program, data, data_root, samples, how))
    else:
        golden = loaded.artifact.golden
        inputs, labels, whose = None, golden.labels[:samples], "the artifact"
        if data is not None:
            test = test_samples(loaded.artifact, data, data_root, samples)
            inputs, labels, whose = test.inputs, test.labels, data
        elif len(labels) < len(golden.labels):
            static = golden.inputs.ndim == len(loaded.program.input.shape) + 1
            inputs = golden.inputs[:samples] if static else golden.inputs[:, :samples]
        proof = prove(loaded.artifact, backend, inputs, None if inputs is None else labels)
        proof["inputs"] = f"{len(labels)} test samples of {whose}"
    if output is not None:
        write_text(output, json.dumps(proof, indent=2))
    if as_json:
        print_json(proof)
    else:
        _print_proof(proof)
    if proof["mismatched_spikes"] or proof["mismatched_voltages"]:
        raise NeurodeployError(
            f"{backend} differs from the reference in {proof['mismatched_spikes']} spikes and "
            f"{proof['mismatched_voltages']} voltages; {proof['first']}"
        )


def _prove_profile(
    program: Program,
    artifact: Artifact | None,
    folder: Path,
    temperature: float | None,
    backend: str,
    data: str | None,
    data_root: str | None,
    samples: int | None,
    how: Encoding,
) -> dict[str, Any]:
    """A backend with the calibrated chip of a profile against the reference with it; on the artifact's own samples, or
    those of a data set."""
    from neurodeploy.profiles import with_profile
    from neurodeploy.programs import Chosen, choose_samples, prove_program
    from neurodeploy.proof import test_samples

    own, profile = with_profile(program, folder, temperature=temperature)
    if artifact is None:
        chosen = choose_samples(program, data, data_root, samples, how)
    elif data is None:
        golden = artifact.golden
        axis = 0 if golden.inputs.ndim == len(program.input.shape) + 1 else 1
        count = min(samples or len(golden.labels), len(golden.labels))
        chosen = Chosen(
            golden.inputs.take(range(count), axis), golden.labels[:count], f"{count} test samples of the artifact"
        )
    else:  # with the bits, frames and classes that it was trained on
        test = test_samples(artifact, data, data_root, samples)
        chosen = Chosen(test.inputs, test.labels, f"{len(test)} test samples of {data}")
    before, after = profile.selection_before, profile.selection_after
    left_out = list(profile.virtual_chip_noise.outside_program)
    if left_out:
        say(f"noise left out: {', '.join(left_out)}; a backend runs a chip's Program, of which these are no part")
    return prove_program(own, backend, chosen) | {
        "profile": {"chip_id": profile.chip_id, "selection_before": before, "selection_after": after},
        "noise_left_out": left_out,
    }


def check_search(target: str) -> None:
    """Refuses --search-scales for a target that has a quantisation of its own."""
    if target in (xylo.NAME, dynapse2.NAME):
        raise UsageError(f"--search-scales: not for --target {target}, which keeps no scales of training")


def _with_bits(chip: str | None, target: str, bits: int) -> str:
    """The name of the chip, by default the target's own, with weights of so many bits."""
    from neurodeploy.export import target as find_target

    if target in (xylo.NAME, dynapse2.NAME) or (chip is not None and "@" in chip):
        raise UsageError(f"--bits {bits}: not for --target {target}, nor beside --chip CHIP@BITS")
    return f"{chip or find_target(target).chip}@{bits}"


def _check_bundle(model: Model, target: str, chip: str | None, search_scales: bool) -> None:
    """Before anything is written: whether Loihi 2 itself can take the network."""
    from neurodeploy.deployment import prepare
    from neurodeploy.export.bundle import check

    if target != "lava":
        raise UsageError(f"--bundle: only for --target lava, this is {target}")
    check(prepare(model, target, chip, search_scales).program)


def _write_bundle(artifact: Artifact, folder: Path, name: str) -> list[str]:
    from neurodeploy.export.bundle import FOLDER, write_bundle

    return write_bundle(artifact, folder / FOLDER, name)


def _print_proof(proof: dict[str, Any]) -> None:
    typer.echo(f"{proof['backend']} {proof['version']}, chip {proof['chip']}, {proof['samples']} samples")
    print_table(proof["layers"])
    if "inputs" in proof:
        right = "" if proof["accuracy"] is None else f"; the reference is right in {100 * proof['accuracy']:.2f} %"
        typer.echo(f"inputs: {proof['inputs']}{right}")
    for variant in proof["variants"]:
        typer.echo(
            f"{variant['name']} ({variant['title']}): {variant['mismatched_spikes']} of {variant['spikes_compared']} "
            f"spikes and {variant['decisions_differing']} of {variant['samples']} decisions differ from the reference"
        )
