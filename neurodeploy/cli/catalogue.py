"""doctor, chips, targets, vendor: what is there, and how to get the rest."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import asdict
from typing import Any

import typer

from neurodeploy.cli.console import print_json, print_table, say

AS_JSON = typer.Option(False, "--json", help="Print JSON.")

vendor_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Vendors' packages that need an environment of their own."
)


def doctor(as_json: bool = AS_JSON) -> None:
    """Say what is installed, what is missing and how to get it; offline, without side effects."""
    from neurodeploy.deployment import versions
    from neurodeploy.export import targets as all_targets

    backends = {name: asdict(target.backend()) for name, target in all_targets().items()}
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


def chips(as_json: bool = AS_JSON) -> None:
    """List the chips, their limits and where the numbers come from."""
    from neurodeploy.hw_models import chips as all_chips

    if as_json:
        print_json({name: asdict(chip) for name, chip in all_chips().items()})
        return
    print_table(
        [
            {
                "chip": chip.name,
                "neurons": "fixed point" if chip.fixed_point else "floating point",
                "weight bits": chip.weight_bits,
                "resets": ", ".join(chip.resets),
                "trim": f"{chip.trim.quantity}, {chip.trim.bits} bits per {chip.trim.per}" if chip.trim else None,
                "evidence": chip.evidence,
                "what": chip.title,
            }
            for chip in all_chips().values()
        ]
    )
    typer.echo("\nSources and all limits: neurodeploy chips --json")


def targets(as_json: bool = AS_JSON) -> None:
    """List the targets that networks can be exported to, and whether they run here."""
    from neurodeploy.export import targets as all_targets

    rows = []
    for target in all_targets().values():
        backend = target.backend()
        rows.append(
            {
                "target": target.name,
                "chip": target.chip,
                "installed": backend.version or "no",
                "what": target.title,
                "detail": backend.detail,
            }
        )
    if as_json:
        print_json(rows)
    else:
        print_table(rows)


@vendor_app.command("install")
def vendor_install(name: str = typer.Argument(help="Which one, e.g. lava.")) -> None:
    """Make a vendor's environment, or find that it is there."""
    from neurodeploy import vendor

    place = vendor.install(name)
    say(f"{name}: ready in {place}")
