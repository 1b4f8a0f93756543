"""doctor, chips, targets, vendor: what is there, and how to get the rest."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import asdict
from typing import Any

import typer

from neurodeploy.cli.command import Command
from neurodeploy.cli.console import print_json, print_table, say

AS_JSON = typer.Option(False, "--json", help="Print JSON.")

vendor_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Vendors' packages that need an environment of their own."
)


def doctor(as_json: bool = AS_JSON) -> None:
    """Say what is installed, what is missing and how to get it; offline, without side effects."""
    from neurodeploy.proof import versions

    backends = {row["target"]: {"version": row["installed"], "detail": row["detail"]} for row in _targets()}
    found: dict[str, Any] = {
        "python": sys.executable,
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "versions": versions(),
        "backends": backends,
    }
    if as_json:
        print_json(found)
        return
    print_table(
        [{"package": name, "version": version} for name, version in found["versions"].items()]
        + [{"package": "platform", "version": f"{found['platform']}, {found['cpu_count']} CPUs"}]
    )
    typer.echo()
    print_table(
        [{"backend": n, "version": b["version"] or "missing", "detail": b["detail"]} for n, b in backends.items()]
    )


def chips(
    template: bool = typer.Option(False, "--template", help="Print a chip file to copy, for a chip of your own."),
    as_json: bool = AS_JSON,
) -> None:
    """List the chips, their limits and where the numbers come from."""
    from neurodeploy.hw_models import chips as all_chips
    from neurodeploy.hw_models.knobs import described
    from neurodeploy.hw_models.xylo import XYLO_CHIPS

    if template:
        from neurodeploy.hw_models.own_chip import TEMPLATE

        typer.echo(TEMPLATE.read_text(encoding="utf-8").rstrip())
        return
    if as_json:
        listed: dict[str, Any] = {**all_chips(), **XYLO_CHIPS}
        print_json({name: asdict(chip) for name, chip in listed.items()})
        return
    print_table(
        [
            {
                "chip": chip.name,
                "neurons": "fixed point" if chip.fixed_point else "floating point",
                "weight bits": chip.weight_bits,
                "resets": ", ".join(chip.resets),
                "knobs": described(chip.knobs),
                "evidence": chip.evidence,
                "what": chip.title,
            }
            for chip in all_chips().values()
        ]
        + [
            {
                "chip": xylo.name,
                "neurons": "integer, Xylo's own",
                "weight bits": 8,
                "resets": "subtract",
                "knobs": None,
                "evidence": xylo.evidence,
                "what": xylo.title,
            }
            for xylo in XYLO_CHIPS.values()
        ]
    )
    typer.echo("\nSources and all limits: neurodeploy chips --json; a chip of your own: neurodeploy chips --template")


def targets(as_json: bool = AS_JSON) -> None:
    """List the targets that networks can be exported to, and whether they run here."""
    rows = _targets()
    if as_json:
        print_json([row | {"installed": row["installed"] or "no"} for row in rows])
    else:
        print_table([row | {"installed": row["installed"] or "no"} for row in rows])


def _targets() -> list[dict[str, Any]]:
    """Every target, Xylo and DYNAP-SE2 too, whose networks are no Programs; `installed` is the version or None."""
    from neurodeploy.export import dynapse2, xylo
    from neurodeploy.export import targets as all_targets

    known = [(one.name, one.chip, one.title, one.backend()) for one in all_targets().values()]
    known += [(one.NAME, one.CHIP, one.TITLE, one.backend()) for one in (xylo, dynapse2)]
    return [
        {"target": name, "chip": chip, "installed": found.version, "what": title, "detail": found.detail}
        for name, chip, title, found in known
    ]


@vendor_app.command("install", cls=Command)
def vendor_install(name: str = typer.Argument(help="Which one, e.g. lava.")) -> None:
    """Make a vendor's environment, or find that it is there."""
    from neurodeploy import vendor

    place = vendor.install(name)
    say(f"{name}: ready in {place}")
