"""How the masks of a file lie on images that EXIF turns: decided image by image, from its sizes and those of the file.

A tool that ignores EXIF writes the size before the turn. Where a size cannot tell (a half turn, a mirror image, a
square image, a file without sizes), the other images of the file can.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from maskwright.errors import BadCoco
from maskwright.formats.regions import Frame
from maskwright.formats.source import SourceImage, is_number
from maskwright.project.findings import some
from maskwright.project.image_matching import Match

__all__ = ["Orientations"]


@dataclass(slots=True)
class _Seen:
    """What the sizes of a file's images say of it."""

    before_turn: bool = False
    upright: bool = False


class Orientations:
    """Chooses the frame of each image of one file."""

    def __init__(self, pairs: Iterable[tuple[SourceImage, Match]], *, rotate: bool, stretched: bool) -> None:
        """Take the images with their matches.

        Args:
            pairs: all of the file's.
            rotate: whether the user says that masks were drawn before the turn.
            stretched: whether the file is Label Studio's.
        """
        self._rotate, self._stretched = rotate, stretched
        self._seen = _Seen()
        self._turned, self._left, self._scaled = list[str](), list[str](), list[str]()
        for image, match in pairs:
            if match.orientation >= 5 and _is_oblong(match):
                self._seen.upright |= image.size_hw == match.size_hw
                self._seen.before_turn |= image.size_hw == match.size_hw[::-1]

    def frame(self, image: SourceImage, match: Match) -> Frame:
        """How the masks of an image lie on the matched image.

        Raises:
            BadCoco: they do not fit; the message is the reason alone.
        """
        file_hw, image_hw = image.size_hw, match.size_hw
        before_turn = file_hw == image_hw[::-1] != image_hw
        if file_hw not in (None, image_hw) and not before_turn:
            raise BadCoco(_sizes(file_hw, image_hw))
        if before_turn and match.orientation >= 5 and self._stretched:
            self._scaled.append(image.label)
            return self._frame(image, match, stretched=True)
        if before_turn:
            return self._before_turn(image, match)
        unknown = match.orientation != 1 and (file_hw is None or match.orientation < 5 or not _is_oblong(match))
        turned = bool(unknown and image.rows) and not image.upright and not self._stretched and self._turn(image)
        return self._frame(image, match, turned=turned)

    def lines(self) -> list[str]:
        """What to say of images whose masks were moved, or may lie wrong."""
        lines = []
        if self._scaled:
            lines.append(
                f"{some(self._scaled)}: Label Studio scaled the outlines to the size before EXIF turned the image; "
                "they were scaled back."
            )
        if self._turned:
            lines.append(
                f"{some(self._turned)}: turned by --rotate, although the size in the file does not tell whether the "
                "masks were drawn before EXIF turned the image. Check them."
            )
        if self._left:
            way = "" if self._rotate else ", or turn them with --rotate"
            lines.append(
                f"{some(self._left)}: the size in the file does not tell whether the masks were drawn before EXIF "
                f"turned the image; they were not moved. Check them{way}."
            )
        return lines

    def _turn(self, image: SourceImage) -> bool:
        """Whether to turn masks whose image's sizes do not tell how they lie."""
        if self._seen.upright and not self._seen.before_turn:
            return False
        turn = self._rotate and not self._seen.upright
        (self._turned if turn else self._left).append(image.label)
        return turn

    def _before_turn(self, image: SourceImage, match: Match) -> Frame:
        sizes = _sizes(image.size_hw, match.size_hw)
        if match.orientation < 5:
            if not self._rotate:
                raise BadCoco(f"{sizes}: its width and height are swapped; --rotate turns them")
            if _leaves(image, match.size_hw):
                raise BadCoco(f"{sizes}: the image was turned without EXIF, and which way cannot be known")
            return self._frame(image, match)
        if self._rotate:
            return self._frame(image, match, turned=True)
        raise BadCoco(
            f"{sizes} (turned by EXIF orientation {match.orientation}); the masks were made before turning, --rotate "
            "turns them"
        )

    def _frame(self, image: SourceImage, match: Match, *, turned: bool = False, stretched: bool = False) -> Frame:
        return Frame(match.size_hw, match.orientation, turned, self._rotate, image.relative, stretched)


def _is_oblong(match: Match) -> bool:
    return match.size_hw[0] != match.size_hw[1]


def _leaves(image: SourceImage, size_hw: tuple[int, int]) -> bool:
    """Whether a polygon or a box leaves the image by more than a pixel."""
    for row in image.rows:
        polygons, box = row.get("segmentation"), row.get("bbox")
        for polygon in polygons if isinstance(polygons, list) else ():
            if isinstance(polygon, list) and _reaches_beyond(polygon[::2], polygon[1::2], size_hw):
                return True
        if isinstance(box, list) and len(box) == 4 and all(map(is_number, box)):
            x, y, w, h = box
            if _reaches_beyond([x + w], [y + h], size_hw):
                return True
    return False


def _reaches_beyond(across: Sequence[object], down: Sequence[object], size_hw: tuple[int, int]) -> bool:
    return any(
        is_number(value) and value > side + 1
        for values, side in ((across, size_hw[1]), (down, size_hw[0]))
        for value in values
    )


def _sizes(file_hw: tuple[int, int] | None, image_hw: tuple[int, int]) -> str:
    return f"the size in the file is {_shape(file_hw or image_hw)}, that of the upright image {_shape(image_hw)}"


def _shape(size_hw: tuple[int, int]) -> str:
    return f"{size_hw[1]} x {size_hw[0]}"
