"""What is copied into a static site, from where, and on which terms."""

from __future__ import annotations

from moebius._version import __version__
from moebius.weights import ModelSpec

_MIT = """Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE."""


def licences(runtime: str, spec: ModelSpec) -> str:
    """The text of LICENSES.txt.

    Args:
        runtime: version of ONNX Runtime Web.
        spec: the model's registry entry.
    """
    return f"""This site is made of parts by different authors.

index.html, service_worker.js, manifest.webmanifest, page/
    Moebius {__version__}, by the Moebius developers. Apache License, version 2.0:
    https://www.apache.org/licenses/LICENSE-2.0

model/
    The model {spec.name} ({spec.title}). Licence: {spec.licence}

page/examples/
    Photographs in the public domain (CC0).

runtime/
    ONNX Runtime Web {runtime} (npm package onnxruntime-web). Copyright (c) Microsoft Corporation. MIT License, below.
    Its binaries contain works of others; their notices are in ThirdPartyNotices.txt of the source repository,
    https://github.com/microsoft/onnxruntime

MIT License

{_MIT}
"""
