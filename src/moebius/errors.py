"""Every exception that Moebius raises on purpose.

    MoebiusError                anything that went wrong here                     exit code 1
      InputError                what the person gave cannot be used               exit code 2
        PhotoError                the photo: missing, not an image, truncated, too large
        MaskError                 the mask: wrong size, not an image
        SettingsError             a setting out of its range
        OutputError               the output exists, or cannot be written
      WeightsError              a model is unknown, damaged or not to be had      exit code 3
        UnknownModelError
        CorruptWeightsError
        DownloadError
      DeviceError               an engine or device is not available              exit code 4
      TrainingError             a training run cannot go on                       exit code 1

Each message is one line that says what was expected and what came.
The command line prints it and leaves with `exit_code`.
"""

from __future__ import annotations


class MoebiusError(Exception):
    """Base of all errors raised on purpose; `exit_code` is what the command line leaves with."""

    exit_code = 1


class InputError(MoebiusError):
    """What the person gave cannot be used."""

    exit_code = 2


class PhotoError(InputError):
    """The photo is missing, not an image, truncated, too large or of an unsupported kind."""


class MaskError(InputError):
    """The mask is missing, not an image, or its size does not fit the photo."""


class SettingsError(InputError):
    """A setting is outside its range or contradicts another one."""


class OutputError(InputError):
    """The output exists already, or cannot be written."""


class WeightsError(MoebiusError):
    """A model's weights are unknown, damaged or not to be had."""

    exit_code = 3


class UnknownModelError(WeightsError):
    """No model of that name, no such folder."""


class CorruptWeightsError(WeightsError):
    """A weights file is damaged, of another model, or not what it says it is."""


class DownloadError(WeightsError):
    """A download failed, was refused, or the network is switched off."""


class DeviceError(MoebiusError):
    """An engine, device or number format is not available on this machine."""

    exit_code = 4


class TrainingError(MoebiusError):
    """A training run cannot go on: its loss is no number any more, or its folder belongs to another run."""
