"""Methods by their names, so that another process can open the same ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from moebius.evaluation.methods import Method

Kind = Literal["model", "autoencoder", "ceiling", "peer"]


@dataclass(frozen=True)
class MethodName:
    """What opens to a method."""

    kind: Kind
    text: str
    """A model as `models.parse_model` takes it, or a peer as `peers.open_peer` does."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of models, where the text does not say otherwise."""
    product: bool = False
    """Whether a model's fill fades out beyond the hole, as a person gets it."""

    def open(self) -> Method:
        """The method, ready to fill.

        Raises:
            MoebiusError: there is no such method, its files are not here, or a library is missing.
        """
        if self.kind == "peer":
            from moebius.evaluation.peers import open_peer

            return open_peer(self.text)
        from moebius.evaluation import models

        request = models.parse_model(self.text, **self.settings)
        if self.kind == "autoencoder":
            return models.autoencoder_method(request)
        if self.kind == "ceiling":
            return models.ceiling_method(request)
        return models.model_method(request, product=self.product)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> MethodName:
        """What `to_json` wrote."""
        return cls(**json.loads(text))
