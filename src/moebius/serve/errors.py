"""What a server says no with: each with its HTTP status and the word that clients can tell it by."""

from __future__ import annotations

from moebius.errors import InputError, MaskError, MoebiusError, OutputError, PhotoError, SettingsError


class ServeError(MoebiusError):
    """A request that gets no picture. The message is one line for people.

    Args:
        retry_after: seconds after which it is worth asking again; None where it is not.
    """

    status = 500
    type = "worker"

    def __init__(self, message: str, *, retry_after: float | None = None):
        super().__init__(message)
        self.retry_after = retry_after

    def to_dict(self) -> dict[str, str]:
        return {"type": self.type, "message": str(self)}


class BadRequestError(ServeError):
    """The body or the query is not what the route takes."""

    status, type = 400, "request"


class BadPhotoError(BadRequestError):
    type = "photo"


class BadMaskError(BadRequestError):
    type = "mask"


class BadSettingsError(BadRequestError):
    type = "settings"


class BadOutputError(BadRequestError):
    """The format asked for cannot hold the picture, or is not known."""

    type = "output"


class UnauthorisedError(ServeError):
    status, type = 401, "auth"


class NotFoundError(ServeError):
    status, type = 404, "not_found"


class TooSlowError(ServeError):
    """The upload did not come to an end in time."""

    status, type = 408, "request"


class TooLargeError(ServeError):
    status, type = 413, "limit"


class WrongMediaTypeError(ServeError):
    status, type = 415, "request"


class BusyError(ServeError):
    """The queue is full."""

    status, type = 429, "busy"


class CancelledError(ServeError):
    """Somebody cancelled the job; who asked for its picture has mostly left."""

    status, type = 409, "cancelled"


class UnavailableError(ServeError):
    """The server is starting, or ending."""

    status, type = 503, "busy"


class DeadlineError(ServeError):
    status, type = 504, "deadline"


class WorkerError(ServeError):
    """Something failed that is not the client's doing."""

    status, type = 500, "worker"


_KINDS: tuple[tuple[type[MoebiusError], type[ServeError]], ...] = (
    (PhotoError, BadPhotoError),
    (MaskError, BadMaskError),
    (SettingsError, BadSettingsError),
    (OutputError, BadOutputError),
    (InputError, BadRequestError),
)


def from_library(error: MoebiusError) -> ServeError:
    """The server's error for one of the library's."""
    if isinstance(error, ServeError):
        return error
    for kind, ours in _KINDS:
        if isinstance(error, kind):
            return ours(" ".join(str(error).split()))
    return WorkerError(" ".join(str(error).split()))
