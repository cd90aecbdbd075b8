"""RemoteEngine: answers prompts as `Engine` does, on the computer of a server."""

from __future__ import annotations

import hashlib
import io
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image as Pillow

from maskwright import __version__
from maskwright.domain import (
    Image,
    Mask,
    ModelRef,
    Prediction,
    PromptKind,
    Provenance,
    Reference,
    ReferencePrompt,
    TextPrompt,
    rle,
)
from maskwright.errors import MaskwrightError
from maskwright.progress import NO_PROGRESS, Progress
from maskwright.remote.server import Server

__all__ = ["UNKNOWN_IMAGE", "RemoteEngine"]

UNKNOWN_IMAGE = "The server does not have that image."
"""What a server says of an image that is named by its hash, and that it was not sent."""
_MOST_IMAGES = 1000
"""Images of which it is remembered that the server has them."""


class RemoteEngine:
    """The engine of a running `maskwright ui`; safe to share between threads.

    An image is sent once, as its pixels, and becomes an image of the server's project, where its embeddings serve
    further prompts. The same prompt gives the same masks as on this computer.
    """

    def __init__(self, address: str) -> None:
        """Take the address, with a login if the server needs one; `connect` checks it. Raises UsageError."""
        self._server = Server(address)
        self._lock = threading.Lock()
        self._sent: OrderedDict[str, str] = OrderedDict()
        """Hash of the file that was sent, by that of the image."""

    @property
    def address(self) -> str:
        """The server's address, without the login."""
        return self._server.address

    def connect(self) -> str:
        """A sentence on which models answer there.

        Raises:
            Unreachable: the server does not answer.
            MaskwrightError: it needs another login, or it is another version.
        """
        about = self._server.call("about")
        if about.get("version") != __version__:
            raise MaskwrightError(
                f"The server at {self.address} runs Maskwright {about.get('version')}, this computer {__version__}.",
                "Update the older one: the same prompt must give the same masks.",
            )
        models = ", ".join(dict.fromkeys(str(name) for name in about["models"].values()))
        return f"The server at {self.address} answers with {models}."

    def segment(
        self,
        image: Image,
        prompt: TextPrompt,
        *,
        clicks: object = None,  # noqa: ARG002 - the server has its own
        progress: Progress = NO_PROGRESS,
    ) -> Prediction:
        """As `Engine.segment`; raises what `Server.call` raises."""
        divided = list(prompt.instances) if isinstance(prompt.instances, tuple) else prompt.instances
        options = (
            prompt.text, prompt.method, prompt.background, prompt.threshold, prompt.refine, None, prompt.cleaning,
            prompt.high_resolution, divided, False,
        )  # fmt: skip
        return self._ask(image, "segment_text", lambda: options, progress)

    def segment_like(
        self,
        image: Image,
        references: Sequence[Reference],
        category: str | None = None,
        *,
        negative_references: Sequence[Reference] = (),
        progress: Progress = NO_PROGRESS,
    ) -> Prediction:
        """As `Engine.segment_like`; raises what `Server.call` raises."""
        prompt = ReferencePrompt(references=tuple(references), negative_references=tuple(negative_references))

        def options() -> Sequence[Any]:
            positive, negative = map(self._examples, (prompt.references, prompt.negative_references))
            positive[0]["category"] = category or positive[0]["category"]
            return [], [], None, positive, negative

        answer = self._ask(image, "segment_like", options, progress)
        # the server knows the images by other hashes: those of the files that it was sent
        own = answer.provenance
        identities, others = ([r.identity for r in group] for group in (prompt.references, prompt.negative_references))
        parameters = {**own.parameters, "not_this": others}
        return replace(answer, provenance=replace(own, prompt=identities, parameters=parameters))

    def segment_click(
        self,
        image: Image,
        points: ArrayLike | Sequence[Sequence[float]] = (),
        labels: ArrayLike | None = None,
        box: Sequence[float] | None = None,
        *,
        start: Mask | None = None,
        category: str | None = None,
    ) -> Prediction:
        """As `Engine.segment_click`; raises what `Server.call` raises."""
        coordinates = np.asarray(points, float).reshape(-1, 2)
        signs = np.ones(len(coordinates)) if labels is None else np.asarray(labels, float)
        rows = [[float(x), float(y), float(sign)] for (x, y), sign in zip(coordinates, signs, strict=True)]
        corners = None if box is None else [float(value) for value in box]
        name = category or (start.category if start is not None else None)
        options = rows, corners, None, None, None if start is None else dict(start.rle), name
        return self._ask(image, "segment_click", lambda: options, NO_PROGRESS)

    def segment_everything(self, image: Image, *, progress: Progress = NO_PROGRESS) -> Prediction:
        """As `Engine.segment_everything`; raises what `Server.call` raises."""
        return self._ask(image, "segment_everything", lambda: (), progress)

    def suggest(self, image: Image, mask: Mask, categories: Sequence[str]) -> list[tuple[str, float]]:
        """As `Engine.suggest`; raises what `Server.call` raises."""
        answer = self._call(image, "suggest_names", lambda: (dict(mask.rle), list(categories)), NO_PROGRESS)
        return [(str(name), float(probability)) for name, probability in answer["names"]]

    def prepare_clicks(self, image: Image, *, progress: Progress = NO_PROGRESS) -> None:
        """Do nothing: the server encodes an image for its first click."""

    def _examples(self, references: Sequence[Reference]) -> list[dict[str, Any]]:
        return [
            {
                "image": self._named(reference.image),
                "segmentation": dict(reference.mask.rle),
                "category": reference.mask.category,
            }
            for reference in references
        ]

    def _named(self, image: Image) -> dict[str, Any]:
        """An image as an endpoint takes it: sent now, or named by its hash when it was sent before."""
        with self._lock:
            known = self._sent.get(image.sha256)
        if known is not None:
            return {"sha256": known}
        file = io.BytesIO()
        Pillow.fromarray(image.pixels).save(file, "PNG", compress_level=1)
        content = file.getvalue()
        upload = self._server.upload(f"{image.name or image.sha256[:16]}.png", content)
        with self._lock:
            self._sent[image.sha256] = hashlib.sha256(content).hexdigest()
            while len(self._sent) > _MOST_IMAGES:
                self._sent.popitem(last=False)
        return upload

    def _call(
        self, image: Image, endpoint: str, options: Callable[[], Sequence[Any]], progress: Progress
    ) -> dict[str, Any]:
        progress.check()
        try:
            return self._server.call(endpoint, self._named(image), *options(), progress=progress)
        except MaskwrightError as error:
            if UNKNOWN_IMAGE not in str(error):
                raise
        # the server serves another project now, or somebody has deleted the image
        with self._lock:
            self._sent.clear()
        return self._server.call(endpoint, self._named(image), *options(), progress=progress)

    def _ask(self, image: Image, endpoint: str, options: Callable[[], Sequence[Any]], progress: Progress) -> Prediction:
        answer = self._call(image, endpoint, options, progress)
        masks = tuple(_mask(mask["segmentation"], mask["category"], mask["score"]) for mask in answer["masks"])
        categories, removed = tuple(answer["categories"]), answer.get("left_unlabelled")
        return Prediction(
            _label_map(image, categories, masks),
            categories,
            tuple(answer["scores"]),
            tuple(answer["max_scores"]),
            tuple(answer.get("unfamiliar", ())),
            _provenance(answer["provenance"], image),
            masks,
            None if removed is None else rle.decode(removed),
            answer["note"],
        )


def _mask(segmentation: rle.Rle, category: str | None, score: float | None) -> Mask:
    return Mask(category, {"size": segmentation["size"], "counts": segmentation["counts"]}, score)


def _label_map(image: Image, categories: Sequence[str], masks: Sequence[Mask]) -> NDArray[np.int32]:
    labels = np.zeros(image.size_hw, np.int32)
    numbers = {name: number for number, name in enumerate(categories, start=1)}
    for mask in reversed(masks):
        x, y, width, height = mask.bbox
        labels[y : y + height, x : x + width][mask.part()] = numbers.get(mask.category or "", 1)
    return labels


def _provenance(stored: dict[str, Any], image: Image) -> Provenance:
    kind = PromptKind.of(stored)
    assert kind is not None
    model = ModelRef(stored["preset"], stored["weights"])
    return Provenance(
        kind, model, stored["method"], image.sha256, stored["prompt"], stored["parameters"], stored["version"]
    )
