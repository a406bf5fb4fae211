"""The option --format, and what the formats of pictures are called."""

from __future__ import annotations

from collections.abc import Callable

import click

FORMATS = ("png", "jpeg", "webp", "tiff", "bmp", "avif", "heic")
"""What `write_photo` writes; here because help is printed without loading it, and a test holds it to that."""
_EXTRAS = {"heic": "heic"}
"""Format -> the extra of this package that brings its library."""


def format_option(default: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add the option to a command, which gets it as `format_`.

    Args:
        default: what happens without it, for the help.
    """
    named = [name + (f" (with the extra [{_EXTRAS[name]}])" if name in _EXTRAS else "") for name in FORMATS]
    told = f"{', '.join(named[:-1])} or {named[-1]}. [default: {default}]"
    return click.option("--format", "format_", metavar="FORMAT", help=told)
