"""Bytes from and to URLs, by fsspec: file://, memory://, s3://, gs:// and whatever else is installed. Extra `[ray]`.

S3 and Google's storage go through s3fs and gcsfs where those are there, else through pyarrow, which brings its own.
Credentials and endpoints come from where these look for them (environment, configuration files, the machine's role).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from moebius.batch.files import make_folder
from moebius.errors import InputError, MoebiusError, OutputError
from moebius.imaging import atomic_file

_ARROW = ("s3", "gs", "gcs")
"""What pyarrow can do if fsspec's own package is missing."""
_BUCKETS = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss"}
"""Where folders are only names."""


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


def file_size(url: str) -> int | None:
    """Bytes of an object; None if it is not there, or the storage does not say."""
    try:
        files, path = _open(url)
        size = files.size(path)
        return None if size is None else int(size)
    except MoebiusError:
        raise
    except Exception:
        return None


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
