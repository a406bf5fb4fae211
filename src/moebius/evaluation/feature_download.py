"""One file from a plain address, resumable, its checksum known beforehand.

`weights/transfer.py` does this for files of the Hugging Face Hub, which states sizes and checksums itself.
"""

from __future__ import annotations

import hashlib
import http.client
import importlib.util
import logging
import re
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from typing import IO

from moebius._version import __version__
from moebius.errors import DownloadError
from moebius.weights.lock import exclusive

log = logging.getLogger(__name__)

CHUNK = 1 << 18
TIMEOUT = 30.0
"""Seconds without a byte before the connection counts as broken."""


def fetch(url: str, target: Path, sha256: str, *, attempts: int = 5, pause: float = 1.0) -> None:
    """Download a file whose checksum begins with `sha256`, going on from what an earlier call left behind.

    What has arrived lies in `target.partial`; `target` is only ever the whole, checked file. One process
    downloads at a time.

    Args:
        attempts: connections that may break before giving up.
        pause: seconds before the second attempt; doubles with every further one, up to 30.

    Raises:
        DownloadError: the server refuses, cannot be reached or sends something else.
    """
    partial = target.with_name(target.name + ".partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with exclusive(target.parent.with_name(target.parent.name + ".lock")):
            if target.is_file():
                return
            log.info("downloading %s", url)
            for attempt in range(attempts):
                try:
                    _receive(url, partial)
                    break
                except _Broken as error:
                    if attempt == attempts - 1:
                        raise DownloadError(f"{url}: {error}; gave up after {attempts} attempts") from error
                    log.info("%s: %s; trying again", url, error)
                    time.sleep(min(30.0, pause * 2**attempt))
            with partial.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if not digest.startswith(sha256):
                partial.unlink()
                raise DownloadError(
                    f"{url}: expected sha256 {sha256}, got {digest[: len(sha256)]}; the download was thrown away"
                )
            partial.replace(target)
    except OSError as error:
        raise DownloadError(f"{target} cannot be written: {error.strerror or error}") from error


class _Broken(Exception):
    """The connection failed; another one may not."""


_HOPELESS = (socket.gaierror, ConnectionRefusedError, ssl.SSLCertVerificationError)
"""No such host, nobody listening there, or not who it says it is: not worth a wait."""


class _HttpsStays(urllib.request.HTTPRedirectHandler):
    """Follows a publisher to its storage, but never from https to http."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:  # fmt: skip
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            fp.close()
            raise DownloadError(f"{req.full_url}: redirected to {newurl}, expected an https:// address")
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


def _receive(url: str, partial: Path) -> None:
    """One connection: ask for what is missing and add it. The checksum tells whether the pieces belong together."""
    done = partial.stat().st_size if partial.is_file() else 0
    headers = {"User-Agent": f"moebius/{__version__}", "Accept-Encoding": "identity"}
    if done:
        headers["Range"] = f"bytes={done}-"
    opener = urllib.request.build_opener(_HttpsStays(), urllib.request.HTTPSHandler(context=_authorities()))
    try:
        response = opener.open(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # nothing is missing, or these bytes are of another file
            return
        said = f"the server answered {error.code} {error.reason}"
        if error.code in (408, 425, 429) or error.code >= 500:
            raise _Broken(said) from error
        raise DownloadError(f"{url}: expected a file, {said}") from error
    except (OSError, http.client.HTTPException) as error:
        if isinstance(getattr(error, "reason", None), _HOPELESS):
            raise DownloadError(f"{url} cannot be reached: {_reason(error)}") from error
        raise _Broken(_reason(error)) from error
    with response:
        if response.status == 206 and not response.headers.get("Content-Range", "").startswith(
            f"bytes {done}-"
        ):
            partial.unlink()
            raise _Broken("the server sent another part than it was asked for")
        length = response.headers.get("Content-Length", "")
        missing = int(length) if length.isdecimal() else None
        arrived = 0
        with partial.open("ab" if response.status == 206 else "wb", buffering=0) as out:
            for chunk in _chunks(response):
                out.write(chunk)
                arrived += len(chunk)
    if missing is not None and arrived != missing:
        raise _Broken(f"the connection closed after {arrived} of {missing} bytes")


def _chunks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    while True:
        try:
            chunk = response.read1(CHUNK)
        except (OSError, http.client.HTTPException) as error:
            raise _Broken(_reason(error)) from error
        if not chunk:
            return
        yield chunk


def _authorities() -> ssl.SSLContext:
    context = ssl.create_default_context()
    if importlib.util.find_spec("certifi") is not None:  # some Pythons come without any
        import certifi

        context.load_verify_locations(certifi.where())
    return context


def _reason(error: BaseException) -> str:
    reason = re.sub(r"\s+", " ", str(getattr(error, "reason", None) or error))
    return reason or type(error).__name__
