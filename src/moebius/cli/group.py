"""A command group whose first word may also be an argument of its default command."""

from __future__ import annotations

from typing import Any

import click


class DefaultGroup(click.Group):
    """`moebius train preview ...` runs the subcommand; `moebius train RECIPE ...` runs the default one."""

    def __init__(self, *arguments: Any, default: str, **options: Any):
        super().__init__(*arguments, **options)
        self._default = default

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = [self._default, *args]
        return super().parse_args(ctx, args)
