"""The command line. Each command lives in a file of its own, imported when called; `--help` imports none."""

from __future__ import annotations

import logging
import os
import sys
from importlib import import_module

import click

from moebius._version import __version__
from moebius.errors import MoebiusError

COMMANDS = {
    "inpaint": "Take something out of a photo, or fill a hole in it.",
    "mask": "Make a mask, or look at what it will do.",
    "batch": "Fill folders of photos; can be stopped and gone on with.",
    "serve": "A web page with a brush, and an HTTP API.",
    "demo": "The Gradio app: a page with a brush, as on a Space.",
    "evaluate": "Measure quality: one report, beside other methods.",
    "bench": "Measure speed and memory on this machine.",
    "study": "Vary one thing of a model, and measure what it does.",
    "train": "Train a network by a recipe; look at its data first.",
    "distill": "Train a compact student to reach a teacher.",
    "finetune": "Go on training a model on your own photos.",
    "export": "Write a model for other runtimes.",
    "models": "List, download and import models.",
    "doctor": "Versions, devices, caches and a self test.",
}
"""Every command and its line in the help; `moebius.cli.<name>` holds the function `<name>`."""


class LazyGroup(click.Group):
    """A group that knows its commands' names and help lines without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"moebius.cli.{cmd_name}"), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=LazyGroup, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__, prog_name="moebius")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_context
def moebius(context: click.Context, debug: bool) -> None:
    """Take things out of photos, and fill holes in them."""
    context.obj = {"debug": debug}
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def main(arguments: list[str] | None = None) -> None:
    """Run the command line. Errors become one line on standard error and an exit code (`moebius.errors`)."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if "numpy" not in sys.modules:
        # Products of matrices are small here, and threads that wait for the next one by spinning slow down all others.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    warnings = _WarningLines(logging.WARNING)
    logging.getLogger("moebius").addHandler(warnings)
    try:
        moebius(arguments, prog_name="moebius", standalone_mode=False)
        sys.stdout.flush()  # a reader that has gone away shows here, not at exit
    except MoebiusError as error:
        if "--debug" in arguments:
            raise
        _fail(str(error), error.exit_code)
    except click.ClickException as error:
        _fail(error.format_message(), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _fail("stopped", 130)
    except BrokenPipeError:
        _abandon_stdout()
        sys.exit(1)
    except Exception as error:  # the last resort: nobody should have to read a traceback
        if "--debug" in arguments:
            raise
        _fail(f"{type(error).__name__}: {error} (moebius --debug shows the traceback)", 1)
    finally:
        logging.getLogger("moebius").removeHandler(warnings)


def _fail(message: str, code: int) -> None:
    line = " ".join(message.split())
    click.echo(f"moebius: error: {line}", err=True)
    sys.exit(code)


def _abandon_stdout() -> None:
    """Point standard output at nothing, or Python complains of the broken pipe once more when it ends."""
    with open(os.devnull, "wb") as nothing:  # noqa: PTH123
        os.dup2(nothing.fileno(), sys.stdout.fileno())


class _WarningLines(logging.Handler):
    """The package's warnings as lines on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        line = " ".join(record.getMessage().split())
        click.echo(f"moebius: warning: {line}", err=True)
