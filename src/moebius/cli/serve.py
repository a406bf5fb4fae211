"""`moebius serve`: a web page with a brush, and an HTTP API."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import click

from moebius import settings as defaults
from moebius.errors import MoebiusError, SettingsError
from moebius.serve.limits import Limits

_LIMITS = {field.name: field.default for field in fields(Limits)}


def _limit(
    option: str, name: str, kind: Any, text: str
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return click.option(option, name, type=kind, default=_LIMITS[name], show_default=True, help=text)


@click.command(short_help="A web page with a brush, and an HTTP API.")
@click.option("--host", default="127.0.0.1", show_default=True, help="0.0.0.0 to be reached from elsewhere.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0: any free one."
)
@click.option(
    "--model", default=defaults.DEFAULT_MODEL, show_default=True, help="A model's name, or a model folder."
)
@click.option(
    "--engine", type=click.Choice([*defaults.ENGINES, "ray"]), default="auto", show_default=True,
    help="ray: the workers are on a Ray cluster, see docs/deploy.md.",
)  # fmt: skip
@click.option(
    "--replicas", metavar="MIN[,MAX]",
    help="Workers on the Ray cluster; more than MIN while photos wait. [default: 1]",
)  # fmt: skip
@click.option(
    "--device", "devices", multiple=True, default=("auto",), show_default=True,
    help="auto, cpu, cuda, cuda:1, mps. Repeat it for a worker on each.",
)  # fmt: skip
@click.option("--dtype", default="auto", show_default=True, help="auto, float32, bfloat16, float16.")
@click.option(
    "--rows", type=click.IntRange(1), default=1, show_default=True,
    help="Regions of all requests that go through the network at once; for GPUs.",
)  # fmt: skip
@click.option(
    "--token",
    envvar="MOEBIUS_TOKEN",
    help="What clients have to show (Authorization: Bearer). [env: MOEBIUS_TOKEN]",
)
@click.option(
    "--allow-origin",
    "origins",
    multiple=True,
    metavar="URL",
    help="A web page that may use the API; repeatable.",
)
@click.option("--page/--no-page", default=True, show_default=True, help="Serve the web page.")
@_limit("--queue", "queue", click.IntRange(1), "Photos that wait; one more is told to come back (429).")
@_limit("--max-upload", "upload_bytes", click.IntRange(1), "Bytes of a request.")
@_limit("--max-pixels", "pixels", click.IntRange(1), "Pixels of a photo.")
@_limit("--max-memory", "memory_bytes", click.IntRange(1), "Bytes of photos and pictures held at once.")
@_limit("--deadline", "deadline_seconds", float, "Seconds from a photo's arrival to its picture.")
@_limit("--upload-time", "upload_seconds", float, "Seconds for a request's body to arrive.")
@_limit("--idle", "idle_seconds", float, "Seconds for a request's head, and longest pause of a client.")
@_limit("--keep", "keep_seconds", float, "Seconds for which a job's picture can be fetched.")
@_limit("--linger", "linger_seconds", float, "Seconds that a job goes on when nobody watches it any more.")
@_limit("--drain", "drain_seconds", float, "Seconds for jobs to end after SIGTERM.")
@click.option("--log-format", type=click.Choice(("text", "json")), default="text", show_default=True)
@click.option(
    "--log-level", type=click.Choice(("debug", "info", "warning", "error")), default="info", show_default=True
)
def serve(
    host: str, port: int, model: str, engine: str, replicas: str | None, devices: tuple[str, ...], dtype: str,
    rows: int, token: str | None, origins: tuple[str, ...], page: bool, log_format: str, log_level: str, **limits: Any,
) -> None:  # fmt: skip
    """Serve a web page with a brush, and an HTTP API that fills photos.

    Three forms are spoken: our own (/docs tells), OpenAI's (/v1/images/edits) and IOPaint's (/api/v1/inpaint). Nothing
    is written to a disk, and nothing is fetched. SIGTERM finishes what is there first.
    """
    bounds = Limits(**limits)
    if token is not None and not token.strip():
        raise SettingsError("token: expected some characters, got none")
    on_ray = engine == "ray"
    if replicas is not None and not on_ray:
        raise SettingsError("--replicas: expected --engine ray with it")
    try:
        from moebius.serve.app import create_app
        from moebius.serve.run import Address, run, start_logging
    except ModuleNotFoundError as error:
        raise MoebiusError(f"serve needs {error.name}: pip install 'moebius-inpaint[serve]'") from error
    from moebius.cli.progress import transfer_bar
    from moebius.serve.worker import WorkerOptions
    from moebius.weights import open_model

    with transfer_bar() as bar:  # here, where it can be watched
        open_model(model, progress=bar)
    workers = [
        WorkerOptions(
            model, device=device, engine="auto" if on_ray else engine, dtype=dtype, rows=rows, max_pixels=bounds.pixels
        )
        for device in devices
    ]  # fmt: skip
    start_logging(log_format == "json", log_level)

    def listening(address: str) -> None:
        click.echo(f"moebius: serving {model} on {address}", err=True)

    options: dict[str, Any] = {"token": token, "origins": origins, "page": page}
    with contextlib.ExitStack() as stack:
        if on_ray:
            from moebius.serve.ray_serve import ray_app

            app = stack.enter_context(ray_app(workers, bounds, replicas or "1", **options))
        else:
            app = create_app(workers, bounds, **options)
        run(app, Address(host=host, port=port), idle_seconds=bounds.idle_seconds, listening=listening)
