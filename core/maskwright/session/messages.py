"""Sentences and plurals that both front ends show."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from maskwright.domain import Prediction, PromptKind
from maskwright.store import Counts

__all__ = [
    "CLOSED_PROPOSAL",
    "FIRST_IMAGE",
    "LAST_IMAGE",
    "NO_IMAGE",
    "NO_OPEN_MASK",
    "answer_notice",
    "decision_message",
    "deletion_message",
    "duplicates_hidden",
    "edit_message",
    "image_title",
    "plural",
    "project_counts",
    "unwritten",
]

NO_IMAGE = "Open or select an image first."
NO_OPEN_MASK = "There is no open mask. Type class names and press Find masks first, or click."
FIRST_IMAGE = "This is the first image of the project."
LAST_IMAGE = "This is the last image of the project."
CLOSED_PROPOSAL = "That proposal is no longer open. Run the prompt again."


def plural(count: int, noun: str) -> str:
    """`plural(1, "mask")` is "1 mask", `plural(3, "mask")` is "3 masks"."""
    return f"{count} {noun}{'s' * (count != 1)}"


def decision_message(masks: int, *, accept: bool, repeated: Sequence[str] = ()) -> str:
    """Such as "Accepted 3 masks.".

    Args:
        masks: how many.
        accept: or reject.
        repeated: categories of masks among them that were accepted before and are not added again.
    """
    sentences = [f"{'Accepted' if accept else 'Rejected'} {plural(masks - len(repeated), 'mask')}."]
    if len(repeated) == masks:
        sentences = []
    if repeated:
        names = _quoted(list(dict.fromkeys(repeated)))
        verb = "is" if len(repeated) == 1 else "are"
        sentences.append(f"{plural(len(repeated), 'mask')} {verb} accepted as {names} already: not added again.")
    return " ".join(sentences)


def deletion_message(masks: int) -> str:
    """Such as "Deleted 3 masks; Undo restores them."."""
    return f"Deleted {plural(masks, 'mask')}; Undo restores {'it' if masks == 1 else 'them'}."


def edit_message(*, changed: int, added: int, deleted: int) -> str:
    """Such as "Edited 2 masks. Added 1 mask."."""
    parts = (("Edited", changed), ("Added", added), ("Deleted", deleted))
    return " ".join(f"{verb} {plural(count, 'mask')}." for verb, count in parts if count)


def unwritten(reason: str, masks: int) -> str:
    """Why masks are not saved yet, and how many; empty when everything is saved."""
    return f"{reason} {plural(masks, 'mask')} kept on screen, not saved yet." if masks else ""


def duplicates_hidden(count: int) -> str:
    """Such as "2 duplicates hidden"; empty for none."""
    return f"{plural(count, 'duplicate')} hidden" if count else ""


def image_title(image_id: int, file_name: str) -> str:
    """How an image is called in lists."""
    return f"{image_id}: {Path(file_name).name}"


def project_counts(counts: Counts) -> str:
    """One line: images, and accepted masks per category."""
    total = sum(counts.accepted.values())
    proposed = f", {counts.proposed} proposed" if counts.proposed else ""
    masks = ", ".join(f"{name} {number}" for name, number in counts.accepted.items() if number)
    return (
        f"{plural(counts.images, 'image')}, {plural(total, 'accepted mask')}{': ' + masks if masks else ''}{proposed}"
    )


def answer_notice(prediction: Prediction, categories: Collection[str | None]) -> str:
    """What the user should know of an answer: words the model was not taught, classes without a mask; or empty.

    Args:
        prediction: the answer.
        categories: those that have a mask.
    """
    sentences = [prediction.note] if prediction.note else []
    words = prediction.out_of_vocabulary
    if words:
        pronoun = "it" if len(words) == 1 else "them"
        sentences.append(f"This model was not taught {_quoted(words)}; expect little of {pronoun}.")
    if prediction.unlabelled_by_cleaning is not None and prediction.unlabelled_by_cleaning.any():
        share = 100 * float(prediction.unlabelled_by_cleaning.mean())
        sentences.append(f"Cleaning left {share:.0f} % of the image unlabelled (hatched).")
    missing = [
        (name, best)
        for name, best in zip(prediction.categories, prediction.max_scores, strict=True)
        if name not in categories
    ]
    if missing:
        sentences.append(_missing(prediction, missing))
    return " ".join(sentence for sentence in sentences if sentence)


def _missing(prediction: Prediction, missing: Sequence[tuple[str, float]]) -> str:
    threshold = prediction.provenance.parameters.get("threshold")
    if prediction.kind is PromptKind.EVERYTHING:
        return "No object was found in this image. Click on one, or draw a box around it."
    if prediction.kind.class_agnostic:
        return "Nothing was found there. Click somewhere else, or draw a box."
    if prediction.kind is PromptKind.REFERENCE:
        return f"Nothing like the reference was found ({missing[0][0]})."
    if threshold is None:
        return ""
    weak = sorted((pair for pair in missing if pair[1] < threshold), key=lambda pair: -pair[1])
    covered = [name for name, best in missing if best >= threshold]
    sentences = []
    if len(weak) == 1:
        name, best = weak[0]
        sentences.append(f"No {name} found above {threshold:.2f}; the best score is {best:.2f}. Lower the threshold?")
    elif weak:
        scores = ", ".join(f"{name} {best:.2f}" for name, best in weak)
        sentences.append(f"Not found above {threshold:.2f}; the best scores are: {scores}. Lower the threshold?")
    if covered:
        sentences.append(f"No {' and no '.join(covered)} found: other names fit better everywhere.")
    return " ".join(sentences)


def _quoted(words: Sequence[str]) -> str:
    quoted = [f'"{word}"' for word in words]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} and {quoted[-1]}"
