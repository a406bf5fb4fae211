"""Bytes from and to URLs, by fsspec: file://, memory://, s3://, gs:// and whatever else is installed. Extra `[ray]`.

S3 and Google's storage go through s3fs and gcsfs where those are there, else through pyarrow, which brings its own.
Credentials and endpoints come from where these look for them (environment, configuration files, the machine's role).
"""

from __future__ import annotations

import logging
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import cache
from pathlib import Path
from typing import Any

from moebius.batch.files import Stamp, make_folder
from moebius.errors import InputError, MoebiusError, OutputError
from moebius.imaging import atomic_file

log = logging.getLogger(__name__)

_ARROW = ("s3", "gs", "gcs")
"""What pyarrow can do if fsspec's own package is missing."""
_BUCKETS = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss"}
"""Where folders are only names."""
_LISTED = _BUCKETS | {"file", "memory"}
"""What lists all files of a folder with their sizes. Web servers do not."""
_TAGS = ("ETag", "etag", "Content-MD5", "md5Hash")
_TIMES = ("mtime", "LastModified", "last_modified", "updated", "Last-Modified")
"""What storages call versions, and times of the last change."""


def read_bytes(url: str) -> bytes:
    """All bytes of an object.

    Raises:
        InputError: it is not there, or cannot be read.
    """
    try:
        files, path = _open(url)
        data: bytes = files.cat_file(path)
        return data
    except FileNotFoundError as error:
        raise InputError(f"{url}: no such file") from error
    except MoebiusError:
        raise
    except Exception as error:  # each storage has exceptions of its own
        raise InputError(f"{url}: cannot be read ({_reason(error)})") from error


def write_bytes(url: str, data: bytes) -> None:
    """Write an object, in the place of one that is there; it appears whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        files, path = _open(url)
        if "file" in _protocols(files):
            make_folder(Path(path).parent)
            with atomic_file(path, overwrite=True) as file:
                file.write(data)
            return
        try:
            files.pipe_file(path, data)
        except FileNotFoundError:
            if _protocols(files) & _BUCKETS:  # the bucket, which is not ours to make
                raise
            files.makedirs(path.rpartition("/")[0], exist_ok=True)
            files.pipe_file(path, data)
    except MoebiusError:
        raise
    except Exception as error:
        raise OutputError(f"{url}: cannot be written ({_reason(error)})") from error


def look(url: str) -> Stamp | None:
    """Size, and version or time, of an object; None if it is not there.

    Raises:
        InputError: the storage does not say: it cannot be reached, or refuses to tell.
    """
    try:
        files, path = _open(url)
        files.invalidate_cache()  # what a listing has left there may be old
        return _stamp(files.info(path))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except MoebiusError:
        raise
    except Exception as error:
        raise InputError(f"{url}: cannot be looked at ({_reason(error)})") from error


def look_in(url: str) -> dict[str, Stamp] | None:
    """What `look` tells of all files in a folder, by their names, from one listing.

    Returns:
        None where a missing name would not mean a missing file: the storage has no listings, or refuses them.
    """
    files, path = _open(url)
    if not _protocols(files) & _LISTED:
        return None
    try:
        files.invalidate_cache()
        entries = files.ls(path, detail=True)
    except FileNotFoundError:
        return {}
    except Exception as error:  # it may tell of single files nevertheless
        log.debug("%s: cannot be listed (%s)", url, _reason(error))
        return None
    base = path.strip("/") + "/"
    found = {entry["name"].strip("/"): _stamp(entry) for entry in entries}
    return {
        name.removeprefix(base): stamp
        for name, stamp in found.items()
        if stamp is not None and name.startswith(base)
    }


def list_files(url: str, *, recursive: bool = False) -> list[str]:
    """Names of the files in a folder, below it and with "/" between folders, sorted.

    Raises:
        InputError: there is no such folder, or it cannot be listed.
    """
    try:
        files, path = _open(url)
        found = [
            name
            for name, what in files.find(path, maxdepth=None if recursive else 1, detail=True).items()
            if what["type"] == "file"
        ]
    except MoebiusError:
        raise
    except Exception as error:
        raise InputError(f"{url}: cannot be listed ({_reason(error)})") from error
    if not found and not files.exists(path):
        raise InputError(f"{url}: no such folder")
    base = path.strip("/")
    return sorted(name.strip("/").removeprefix(base).strip("/") for name in found)


def _stamp(info: dict[str, Any]) -> Stamp | None:
    """From fsspec's description of an object, which each storage writes in its own way; None for folders."""
    if info["type"] == "directory":
        return None
    size = None if info.get("size") is None else int(info["size"])
    tag = next((info[name] for name in _TAGS if info.get(name)), None)
    if tag is not None:
        return Stamp(size, None, str(tag).strip('"'))
    return Stamp(size, next((_nanoseconds(info[name]) for name in _TIMES if info.get(name)), None))


def _nanoseconds(time: Any) -> int | None:
    """From a datetime, a number of seconds or a text. Some listings tell more of a second than a look at one object
    does, so that the fraction is left out where the time is not this machine's own."""
    if isinstance(time, int | float):
        return round(time * 1e9)
    try:
        if isinstance(time, str):
            time = datetime.fromisoformat(time) if time[:1].isdigit() else parsedate_to_datetime(time)
        return int(time.timestamp()) * 10**9
    except (ValueError, TypeError, AttributeError, OverflowError):
        return None


def _open(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it."""
    try:
        import fsspec
    except ImportError as error:
        raise InputError(f"{url}: URLs need fsspec: pip install 'moebius-inpaint[ray]'") from error
    try:
        files, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:  # a storage without its package, or one that nobody knows
        if url.partition("://")[0] in _ARROW and isinstance(error, ImportError):
            return _open_with_arrow(url)
        raise InputError(f"{url}: expected a URL that fsspec can open ({_reason(error)})") from error
    return files, path


def _open_with_arrow(url: str) -> tuple[Any, str]:
    scheme, _, path = url.partition("://")
    try:
        return _arrow_files(scheme, path.partition("/")[0]), path
    except ImportError as error:
        raise InputError(f"{url}: needs pyarrow: pip install 'moebius-inpaint[ray]'") from error


@cache
def _arrow_files(scheme: str, bucket: str) -> Any:
    """The file system that a bucket is in, as fsspec's are; it keeps its connections."""
    from fsspec.implementations.arrow import ArrowFSWrapper
    from pyarrow.fs import FileSystem

    return ArrowFSWrapper(FileSystem.from_uri(f"{scheme}://{bucket}")[0])


def _protocols(files: Any) -> set[str]:
    return {files.protocol} if isinstance(files.protocol, str) else set(files.protocol)


def _reason(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
