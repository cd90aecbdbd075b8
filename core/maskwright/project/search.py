"""Search of a project's images by a phrase, for near-duplicates, and for what to label next."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from maskwright.domain import ImageRecord
from maskwright.engine import Engine
from maskwright.errors import MaskwrightError
from maskwright.progress import NO_PROGRESS, Progress
from maskwright.project import Project
from maskwright.project.embeddings import ImageEmbeddings
from maskwright.project.neighbors import farthest_first, similar_groups
from maskwright.store import ImageFilter

__all__ = ["Ranking", "SearchHit", "SearchResult", "find_duplicates", "find_images", "rank_images", "rank_unlabelled"]

_ALIKE = 0.9
"""Cosine of two near-duplicates; see docs/decisions.md."""
_BATCH = 1000


@dataclass(frozen=True, slots=True)
class SearchHit:
    """An image with its score."""

    record: ImageRecord
    score: float
    """Highest cosine similarity between the phrase and a region of the image."""


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The images for a phrase."""

    hits: tuple[SearchHit, ...]
    """The best first."""
    problems: tuple[str, ...]
    """A sentence for each image that could not be read."""


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """Ids of images in an order, without their records: a project may have very many."""

    ids: NDArray[np.int64]
    """The best first."""
    scores: NDArray[np.float32]
    problems: tuple[str, ...]
    """A sentence for each image that could not be read."""

    def result(self, project: Project, limit: int) -> SearchResult:
        """The first images with their records."""
        best = self.ids[:limit].tolist()
        # a statement takes some ten thousand values at most
        parts = (ImageFilter(ids=best[start : start + _BATCH]) for start in range(0, len(best), _BATCH))
        records = {one.record.id: one.record for part in parts for one in project.store.images.find(part)[1]}
        # one that was deleted meanwhile is not there
        hits = [SearchHit(records[key], float(s)) for key, s in zip(best, self.scores, strict=False) if key in records]
        return SearchResult(tuple(hits), self.problems)


def find_images(
    project: Project, engine: Engine, phrase: str, *, limit: int = 20, progress: Progress = NO_PROGRESS
) -> SearchResult:
    """The best images for a phrase, with their records; see `rank_images`.

    Args:
        project: whose images are searched.
        engine: with Talk2DINO.
        phrase: such as "a zebra in the grass".
        limit: maximum number of images.
        progress: reports images, and cancels between them.
    """
    return rank_images(project, engine, phrase, progress=progress).result(project, limit)


def rank_images(project: Project, engine: Engine, phrase: str, *, progress: Progress = NO_PROGRESS) -> Ranking:
    """Rank all images of a project by the cosine of a phrase and their most similar region.

    Each image is encoded once, also for later phrases; a search that was cancelled resumes where it stopped.

    Raises:
        EmptyPhrase: no words.
        Cancelled: on request.
        MaskwrightError: the model cannot compare text with images.
    """
    # raised once, not for every image
    vector = engine.encode_phrase(phrase)
    seen = _see(project, engine, progress)
    scores = seen.embeddings.scores(vector)[seen.rows]
    # of equal scores the lower id first
    order = np.argsort(-scores, kind="stable")
    return Ranking(seen.ids[order], scores[order], seen.problems)


def rank_unlabelled(project: Project, engine: Engine, *, limit: int = 20, progress: Progress = NO_PROGRESS) -> Ranking:
    """The images to label next: each the most different from all that are labelled or come before it.

    That is the greedy choice of a core set (Sener and Savarese, 2018, "Active learning for convolutional neural
    networks: a core-set approach"), on one vector an image. Excluded images take no part.

    Args:
        project: whose images without masks and proposals are ranked.
        engine: with Talk2DINO.
        limit: maximum number of images.
        progress: reports images, and cancels between them.

    Returns:
        Images with their cosine distance, 0 to 2, from the most similar one that is labelled or comes before.
    """
    seen = _see(project, engine, progress)
    vectors = seen.embeddings.vectors()[torch.from_numpy(seen.rows)]
    labelled, open_ = (
        np.isin(seen.ids, [key for status in statuses for key, _ in project.store.images.keys(ImageFilter(status))])
        for statuses in (("done", "complete"), ("none",))
    )
    rows, distances = farthest_first(vectors[torch.from_numpy(open_)], vectors[torch.from_numpy(labelled)], limit)
    return Ranking(seen.ids[open_][rows], distances, seen.problems)


def find_duplicates(
    project: Project, engine: Engine, *, least: float = _ALIKE, progress: Progress = NO_PROGRESS
) -> tuple[list[SearchResult], tuple[str, ...]]:
    """Groups of images that show the same, such as a photograph in two sizes, or neighboring frames of a film.

    Args:
        project: whose images are compared.
        engine: with Talk2DINO.
        least: cosine from which two images are alike.
        progress: reports images, and cancels between them.

    Returns:
        The groups, the largest first, each in id order with the cosine of an image and the most similar other one; and
        a sentence for each image that could not be read.
    """
    seen = _see(project, engine, progress)
    vectors = seen.embeddings.vectors()[torch.from_numpy(seen.rows)]
    groups = similar_groups(vectors.numpy(), least, progress)
    return [Ranking(seen.ids[rows], cosines, ()).result(project, len(rows)) for rows, cosines in groups], seen.problems


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    ids: NDArray[np.int64]
    """In order, without those that cannot be read."""
    embeddings: ImageEmbeddings
    rows: NDArray[np.int64]
    """Of the embeddings, one for each id."""
    problems: tuple[str, ...]


def _see(project: Project, engine: Engine, progress: Progress) -> _Seen:
    """The embeddings of all images; those that the model has not seen yet are encoded."""
    embeddings = ImageEmbeddings(project.folder / "embeddings" / engine.retriever.key)
    keys = project.store.images.keys()
    hashes = [sha256 for _, sha256 in keys]
    missing = [keys[place] for place in np.flatnonzero(embeddings.rows(hashes) < 0)]
    problems = _encode(project, engine, embeddings, missing, progress) if missing else ()
    progress.report(len(keys), len(keys))
    rows = embeddings.rows(hashes)
    ids = np.fromiter((key for key, _ in keys), np.int64, len(keys))
    return _Seen(ids[rows >= 0], embeddings, rows[rows >= 0], problems)


def _encode(
    project: Project,
    engine: Engine,
    embeddings: ImageEmbeddings,
    missing: Sequence[tuple[int, str]],
    progress: Progress,
) -> tuple[str, ...]:
    problems = []
    # also what was seen before it was cancelled
    with ExitStack() as stack:
        stack.callback(embeddings.write)
        for done, (image_id, sha256) in enumerate(missing):
            progress.report(done, len(missing))
            progress.check()
            try:
                embeddings.add(sha256, engine.encode_regions(project.images.open(image_id)))
            except MaskwrightError as error:
                problems.append(str(error))
    return tuple(problems)
