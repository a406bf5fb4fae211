"""`moebius bench`: how fast it is on this machine, beside the published graph and other networks."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from moebius.errors import InputError

EPILOG = """\b
Interrupt it whenever you like: the same command goes on from there.
moebius train bench measures training steps.
"""


@click.command(short_help="Measure speed and memory on this machine.", epilog=EPILOG)
@click.argument("cases", nargs=-1, metavar="[CASE]...")
@click.option("--list", "listing", is_flag=True, help="List the cases, and leave.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, mps.")
@click.option("--threads", type=click.IntRange(1), help="[default: as many as there are]")
@click.option(
    "--rounds", type=click.IntRange(1), default=5, show_default=True, help="Turns of every variant."
)
@click.option("--minutes", type=click.FloatRange(0), help="Begin no more rounds after that long.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("bench"), show_default=True, help="Folder."
)
@click.option("--baseline", type=click.Choice(["reference"]), help="Also the published graph, as released.")
@click.option(
    "--against",
    multiple=True,
    metavar="NETWORK",
    help="pixelhacker, sd15, sd35-large, flux-fill or lama; repeatable. For against and pictures.",
)
@click.option("--profile", is_flag=True, help="Where a step and a decode spend their time, instead of cases.")
@click.option("--parity", is_flag=True, help="PSNR of pictures by number format, instead of cases.")
@click.option("--model", default="nano", show_default=True, help="Name or folder, for the case engine.")
@click.option("--compare", type=click.Path(path_type=Path), help="An earlier bench.json: what has changed.")
@click.option(
    "--size", type=click.Choice(["full", "tiny"]), default="full", show_default=True, help="Of the networks."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the order of turns.")
@click.option("--json", "as_json", is_flag=True, help="Print bench.json instead of tables.")
def bench(
    cases: tuple[str, ...],
    listing: bool,
    as_json: bool,
    compare: Path | None,
    profile: bool,
    parity: bool,
    baseline: str | None,
    **options: Any,
) -> None:
    """Time the cases, their variants taking turns, and print tables; bench.json and bench.md are in the folder.

    Without CASE, the usual ones. Weights are random where there is no need for trained ones.
    """
    from moebius.benchmarks import run as benchmark
    from moebius.benchmarks.cases import Setting, all_cases
    from moebius.benchmarks.compare import comparison
    from moebius.benchmarks.tables import report

    if listing:
        for case in all_cases().values():
            click.echo(f"{case.name:24s} {case.title}{'' if case.usual else ' (when named)'}")
        return
    earlier = None if compare is None else benchmark.read(compare)
    setting = Setting(
        size=options["size"], device=benchmark.choose_device_name(options["device"]), threads=options["threads"],
        reference=baseline is not None, peers=options["against"], model=options["model"],
    )  # fmt: skip
    if setting.peers and cases and not any(case.startswith(COMPARING) for case in cases):
        raise InputError(f"--against: expected the case against among {', '.join(cases)}, or no case at all")
    if profile or parity:
        if cases or (profile and parity):
            raise InputError("--profile and --parity: expected one of them and no case")
        _instead(setting, options["out"], profile)
        return
    kept = {name: options[name] for name in ("out", "rounds", "minutes", "seed")}
    plan = benchmark.Plan(cases=cases, setting=setting, **kept)
    watched = sys.stderr.isatty()
    try:
        state = benchmark.run(plan, _watch if watched else None)
    finally:
        if watched:
            _watch("")
    if as_json:
        if earlier is not None:
            state |= {"comparison": comparison(earlier, state)}
        click.echo(json.dumps(state))
        return
    click.echo(report(state), nl=False)
    if earlier is not None:
        click.echo("\n" + comparison(earlier, state), nl=False)


COMPARING = ("against", "pictures", "picture-memory")
"""Cases that networks of others take part in."""


def _instead(setting: Any, out: Path, profile: bool) -> None:
    """Measure something else than cases, print it, and write it to profile.md or psnr.md in the folder."""
    from moebius.benchmarks.run import use_threads
    from moebius.imaging.atomic import atomic_file

    use_threads(setting.threads)
    if profile:
        from moebius.benchmarks.profile import profile_report, profiles

        name, text = "profile.md", profile_report(profiles(setting), setting)
    else:
        from moebius.benchmarks.parity import parity_report

        name, text = "psnr.md", parity_report(setting)
    out.mkdir(parents=True, exist_ok=True)
    with atomic_file(out / name, overwrite=True) as file:
        file.write(text.encode())
    click.echo(text, nl=False)


def _watch(words: str) -> None:
    """Progress for a person at a terminal: one line that is written over."""
    click.echo(f"\r\033[K{words}", err=True, nl=False)
