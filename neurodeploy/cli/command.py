"""A command that refuses an option given twice, of which only the last would count."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand


class Command(TyperCommand):
    """As typer's, but no value of an option is dropped without a word; those that may be repeated say so."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Raises BadParameter naming an option that takes one value and was given several."""
        seen: list[Any] = self.make_parser(ctx).parse_args(args=list(args))[2]
        single = [part for part in seen if part.param_type_name == "option" and not (part.multiple or part.is_flag)]
        twice = next((part for part in single if single.count(part) > 1), None)
        if twice is not None:
            option = max(twice.opts, key=len)
            advice = "; several go into one, separated by commas" if "separated by commas" in (twice.help or "") else ""
            raise typer.BadParameter(
                f"{option}: given {single.count(twice)} times, and takes one value{advice}", ctx=ctx
            )
        return super().parse_args(ctx, args)
