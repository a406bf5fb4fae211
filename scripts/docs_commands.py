"""Every `moebius` command line in the documentation, held against the commands and options that there are.

And every Python block: whether it is Python, and whether the names exist that it takes from `moebius`.

`reference()` writes the page with every command's help.
"""

from __future__ import annotations

import ast
import re
import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path

import click

from moebius.cli import moebius
from moebius.cli.group import DefaultGroup

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT / "docs" / "reference" / "cli.md"
PLACES = "README.md", "CONTRIBUTING.md", "examples/README.md", "src/moebius/models/nano/README.md"
WIDTH = 80

FENCE = re.compile(r"^(```+)[^\n]*\n(.*?)^\1$", re.DOTALL | re.MULTILINE)
INDENTED = re.compile(r"(?:^(?: {4}|\t)[^\n]*\n)+", re.MULTILINE)
SPAN = re.compile(r"`(moebius [^`]+)`")
CALL = re.compile(
    r"^(?:\$ )?(?:\w+=\S* )*(?:(?:torchrun|accelerate launch|python3?|taskset|env|exec) .*)?moebius (?P<rest>.*)$"
)
"""A call of the program, by itself or by one that starts it."""
PYTHON = re.compile(r"^(?P<space> *)```python[^\n]*\n(?P<body>.*?)^(?P=space)```$", re.DOTALL | re.MULTILINE)
HEADING = """# Commands

Every command's own help, as `moebius COMMAND --help` prints it.
`moebius --debug COMMAND` shows the traceback of an error.

Exit codes: 0; 2 for input that cannot be used; 3 for a model's weights; 4 for a device; 1 for anything else; 130 when
stopped.
"""


def documents() -> list[Path]:
    """The files whose commands are checked."""
    return [ROOT / place for place in PLACES] + sorted(set((ROOT / "docs").rglob("*.md")) - {REFERENCE})


def command_lines(text: str) -> Iterator[str]:
    """What follows `moebius` in blocks and spans of a document, without comments, prompts and what it is piped into."""
    without_fences = FENCE.sub("", text)
    blocks = [match[2] for match in FENCE.finditer(text)]
    blocks += INDENTED.findall(without_fences)
    for block in blocks:
        for line in re.sub(r"\\\n\s*", " ", block).splitlines():
            for part in re.split(r"&&|\|(?=\s)|;", line.strip()):
                found = CALL.search(re.split(r"\s#\s|\s{3,}", part.strip())[0])
                if found:
                    yield re.sub(r"\s\d?>+\s*\S+", "", found["rest"])
    yield from (
        match[1].removeprefix("moebius ") for match in SPAN.finditer(without_fences.replace("\n", " "))
    )


def fault(line: str) -> str | None:
    """What is wrong with a command line (without `moebius`): an unknown command, option or word; None if nothing."""
    try:
        words = shlex.split(line, comments=True)
    except ValueError as error:
        return str(error)
    words = [word for word in words if word != "..."]
    context = click.Context(moebius, info_name="moebius", **moebius.context_settings)
    command: click.Command = moebius
    while isinstance(command, click.Group):
        is_default = isinstance(command, DefaultGroup) and words and words[0] not in command.commands
        if is_default and not words[0].startswith("-"):
            words = ["run", *words]
        parser = command.make_parser(context)
        parser.allow_interspersed_args = False
        try:
            _, words, _ = parser.parse_args(words)
        except click.UsageError as error:
            return error.format_message()
        if not words or re.fullmatch(r"COMMAND|\.\.\.", words[0]):
            return None
        inner = command.get_command(context, words[0])
        if inner is None:
            return f"no command {words[0]!r}"
        command, words = inner, words[1:]
        context = click.Context(command, info_name=command.name, parent=context)
    return _fault_of_words(command, context, words)


def _fault_of_words(command: click.Command, context: click.Context, words: list[str]) -> str | None:
    try:
        values, rest, order = command.make_parser(context).parse_args(list(words))
    except click.UsageError as error:
        return error.format_message()
    if rest:
        return f"too many words: {' '.join(rest)}"
    for param in order:
        given = values.get(param.name)
        kinds = click.Choice, click.types.IntParamType, click.types.FloatParamType
        if isinstance(param, click.Option) and isinstance(param.type, kinds):
            for word in given if isinstance(given, list) else [given]:
                if isinstance(word, str) and not word.isupper():  # capitals stand for a value
                    try:
                        param.type.convert(word, param, context)
                    except click.UsageError as error:
                        return error.format_message()
    return None


def python_faults(text: str) -> Iterator[str]:
    """What is wrong with a document's Python: what does not parse, and names that are not there to be imported."""
    for match in PYTHON.finditer(text):
        code = textwrap.dedent(match["body"])
        try:
            tree = ast.parse(code)
        except SyntaxError as error:
            yield f"{error.msg}: {error.text}"
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "moebius":
                known = _names(node.module or "")
                yield from (
                    f"{node.module} has no {each.name}" for each in node.names if each.name not in known
                )


def _names(module: str) -> set[str]:
    """What the module's source defines or imports; nothing is run, so no library has to be installed."""
    place = ROOT / "src" / module.replace(".", "/")
    file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    if not file.is_file():
        return set()
    names = {path.stem for path in place.glob("*.py")} | {path.name for path in place.glob("*/")}
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.ImportFrom):
            names |= {each.asname or each.name for each in node.names}
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return names


def reference() -> str:
    """The page of all commands and their help."""
    parts = [HEADING]
    for name, command, context in _walk(moebius, "moebius", None):
        depth = min(3, 1 + len(name.split()))
        help_text = "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
        parts.append(f"{'#' * depth} `{name}`\n\n```text\n{help_text}\n```\n")
    return "\n".join(parts)


def _walk(
    command: click.Command, name: str, parent: click.Context | None
) -> Iterator[tuple[str, click.Command, click.Context]]:
    context = click.Context(
        command, info_name=name.split()[-1], parent=parent, terminal_width=WIDTH, max_content_width=WIDTH,
        **({} if parent else command.context_settings),
    )  # fmt: skip
    yield name, command, context
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            found = command.get_command(context, inner)
            if found is not None and not found.hidden:
                yield from _walk(found, f"{name} {inner}", context)
