"""One file over HTTP, resumable: what has arrived stays on disk, and the next try asks for the rest.

    target.partial          bytes so far
    target.partial.json     the ETag they belong to
    target                  only ever the whole file, its size and SHA-256 checked

huggingface_hub gives the address and nothing else: since version 1.18 its own downloads begin anew after an
interruption (each attempt writes to a temporary file of its own), and Moebius resumes with any version.
No token is sent: every file in the registry is public.
"""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import re
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from email.message import Message
from pathlib import Path
from typing import IO

from moebius._version import __version__
from moebius.errors import DownloadError
from moebius.weights.partial import Note, Partial
from moebius.weights.spec import ModelFile

Progress = Callable[[str, int, "int | None"], None]
"""Called with what is being done, and how many bytes of how many (None where nobody knows) are done."""

log = logging.getLogger(__name__)

HUB = "https://huggingface.co"
CHUNK = 1 << 18
TIMEOUT = 30.0
"""Seconds without a byte before the connection counts as broken."""
_SHA256 = re.compile(r"[0-9a-f]{64}")
_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


def offline() -> str | None:
    """The environment variable that forbids the network, or None."""
    truths = ("1", "on", "yes", "true")
    return next((name for name in _OFFLINE if os.environ.get(name, "").strip().lower() in truths), None)


def file_url(file: ModelFile) -> str:
    """Where the file is to be had: on the Hub, or on the mirror that HF_ENDPOINT names.

    Raises:
        DownloadError: HF_ENDPOINT is no http(s) address.
    """
    from huggingface_hub import hf_hub_url

    endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or HUB
    if not endpoint.startswith(("https://", "http://")):
        raise DownloadError(f"HF_ENDPOINT: expected an http:// or https:// address, got {endpoint!r}")
    return str(hf_hub_url(file.repository, file.path, revision=file.revision, endpoint=endpoint))


def fetch(
    file: ModelFile, target: Path, *, progress: Progress | None = None, attempts: int = 6, pause: float = 1.0
) -> Path:
    """Download `file` to `target`, going on from what an earlier call left behind.

    Args:
        file: what to get; its size and checksum are checked, or those the Hub states where it has none.
        target: where the whole file goes; its folder is created.
        progress: called as bytes arrive.
        attempts: fruitless attempts in a row before giving up; new bytes start the count anew.
        pause: seconds before the second attempt; doubles with every further one, up to 30.

    Raises:
        DownloadError: the network is switched off, the server refuses, gives up or sends something else. What
            arrived is kept for the next call, unless it is wrong.
    """
    if target.is_file():
        return target
    forbidden = offline()
    if forbidden:
        raise DownloadError(
            f"{file.repository}/{file.path} is not here, and {forbidden} forbids downloading it"
        )
    url = file_url(file)
    part = Partial(target.with_name(target.name + ".partial"))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        best, failures, first = part.size, 0, True
        while part.size != (file.bytes or part.note.bytes):
            try:
                _transfer(url, file, part, progress)
                break
            except _Interrupted as error:
                failures = 1 if part.size > best else failures + 1
                best = max(best, part.size)
                if first and isinstance(error, _Unreachable):
                    raise DownloadError(f"{url} cannot be reached: {error}") from error
                first = False
                if failures >= attempts:
                    raise DownloadError(f"{url}: {error}; gave up after {attempts} attempts") from error
                wait = min(30.0, pause * 2 ** (failures - 1))
                log.info("%s: %s; trying again in %g s", url, error, wait)
                time.sleep(wait)
        _check(url, file, part, progress)
        part.path.replace(target)
        part.discard()
    except OSError as error:
        raise DownloadError(f"{target} cannot be written: {error.strerror or error}") from error
    return target


class _Interrupted(Exception):
    """The transfer stopped for a reason that another attempt may not meet."""


class _Unreachable(_Interrupted):
    """No such host, nobody listening there, or not who it says it is: at first sight not worth a wait."""


_HOPELESS = (socket.gaierror, ConnectionRefusedError, ssl.SSLCertVerificationError)


def _transfer(url: str, file: ModelFile, part: Partial, progress: Progress | None) -> None:
    """One connection: ask for what is missing and append it to the partial file."""
    noted = part.note
    if file.sha256 is None and not noted.etag:
        part.discard()  # nothing could prove that the rest belongs to these bytes
    offset = part.size
    with _open(url, part, offset) as response:
        done, total = _extent(response.headers, response.status == 206)
        note = Note(response.etag, response.sha256, total)
        changed = noted.etag and note.etag and noted.etag != note.etag
        if response.status == 206 and (done != offset or changed):
            part.discard()
            raise _Interrupted("the file there has changed since the download began")
        if file.bytes is not None and total is not None and total != file.bytes:
            part.discard()
            raise DownloadError(f"{url}: expected {file.bytes} bytes, the server offers {total}")
        if response.status != 206:  # the whole file, asked for or not
            part.begin(note)
        with part.path.open("ab", buffering=0) as out:
            while chunk := response.read(CHUNK):
                out.write(chunk)
                done += len(chunk)
                if progress is not None:
                    progress(file.path, done, total or file.bytes)
            os.fsync(out.fileno())
    if total is not None and done != total:
        raise _Interrupted(f"the connection closed after {done} of {total} bytes")


class _Response:
    """An open HTTP response whose network errors are `_Interrupted`, so that the disk's stay `OSError`."""

    def __init__(self, raw: http.client.HTTPResponse, redirects: _Redirects):
        self._raw = raw
        self.status: int = raw.status
        self.headers: Message = raw.headers
        linked = _unquote(redirects.linked_etag or raw.headers.get("X-Linked-ETag", ""))
        self.etag: str = linked or _unquote(raw.headers.get("ETag", ""))
        self.sha256: str = linked if _SHA256.fullmatch(linked) else ""
        """The Hub states the SHA-256 of its large files; a storage's own ETag may be any other hash."""

    def read(self, count: int) -> bytes:
        try:
            return self._raw.read1(count)
        except (OSError, http.client.HTTPException) as error:
            raise _Interrupted(_reason(error)) from error

    def __enter__(self) -> _Response:
        return self

    def __exit__(self, *_: object) -> None:
        self._raw.close()


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows the Hub to its storage, never from https to http; notes the checksum it states on the way."""

    linked_etag = ""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:  # fmt: skip
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            fp.close()
            raise DownloadError(f"{req.full_url}: redirected to {newurl}, expected an https:// address")
        self.linked_etag = self.linked_etag or headers.get("X-Linked-ETag", "")
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


def _open(url: str, part: Partial, offset: int) -> _Response:
    headers = {"User-Agent": f"moebius/{__version__}", "Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
    redirects = _Redirects()
    opener = urllib.request.build_opener(redirects, urllib.request.HTTPSHandler(context=_certificates()))
    try:
        raw = opener.open(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        said = f"{error.code} {error.reason}"
        if error.code == 416:  # there is nothing beyond what we have: it is not the beginning of this file
            part.discard()
            raise _Interrupted(said) from error
        if error.code in (408, 425, 429) or error.code >= 500:
            raise _Interrupted(f"the server answered {said}") from error
        raise DownloadError(f"{url}: expected the file, the server answered {said}") from error
    except (OSError, http.client.HTTPException) as error:
        hopeless = isinstance(getattr(error, "reason", None), _HOPELESS)
        raise (_Unreachable if hopeless else _Interrupted)(_reason(error)) from error
    return _Response(raw, redirects)


def _certificates() -> ssl.SSLContext:
    """The system's authorities, and certifi's where it is installed (some Pythons come without any)."""
    context = ssl.create_default_context()
    try:
        import certifi
    except ImportError:
        return context
    context.load_verify_locations(certifi.where())
    return context


def _extent(headers: Message, resumed: bool) -> tuple[int, int | None]:
    """(first byte in the body, size of the whole file or None) that a response states."""
    if not resumed:
        length = headers.get("Content-Length", "")
        return 0, int(length) if length.isdecimal() and not headers.get("Content-Encoding") else None
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range", "").strip())
    if match is None:
        return -1, None
    return int(match[1]), None if match[2] == "*" else int(match[2])


def _check(url: str, file: ModelFile, part: Partial, progress: Progress | None) -> None:
    """The size and the SHA-256 of what arrived; wrong bytes are thrown away."""
    size, noted = part.size, part.note
    if file.bytes is not None and size != file.bytes:
        part.discard()
        raise DownloadError(f"{url}: expected {file.bytes} bytes, got {size}; the download was thrown away")
    expected = file.sha256 or noted.sha256
    if not expected:
        return
    if progress is not None:
        progress("checking " + file.path, 0, None)
    with part.path.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    if not digest.startswith(expected):
        part.discard()
        raise DownloadError(
            f"{url}: expected sha256 {expected[:12]}, got {digest[:12]}; the download was thrown away"
        )


def _unquote(etag: str) -> str:
    return etag.removeprefix("W/").strip('"')


def _reason(error: BaseException) -> str:
    reason = getattr(error, "reason", None) or error
    return " ".join(str(reason).split()) or type(error).__name__
