"""Protocols of published tables: what a paper's evaluation does otherwise than a preset's own settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from maskwright.domain import ClassName
from maskwright.presets.config import SlideProtocol, WindowProtocol
from maskwright.presets.loading import Preset

__all__ = ["OWN", "PROTOCOLS", "PublishedProtocol"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedProtocol:
    """Settings of one paper's evaluation; None leaves a setting to the preset."""

    method: str | None = None
    """Text method that it measures."""
    first_synonym: bool = False
    """Prompt with the first of a class's synonyms alone; else with their mean."""
    average_background: bool = True
    """On benchmarks with background that is one of the averaged classes."""
    cleaned: tuple[str, ...] | None = None
    """Benchmarks with background cleaning; None leaves it to the preset."""
    square: bool | None = None
    """dinov3.seg: stretch images to a square."""
    class_pooling: tuple[int, int] | None = None
    """dinov3.seg: pooling of the class blocks, in cells."""
    slide: SlideProtocol | None = None
    """dino.txt: sizes, windows and strides."""
    high_resolution: bool = False
    """dino.txt: crops of 1, 10 and 100 % of the image, clustered."""
    windows: WindowProtocol | None = None
    """Talk2DINO: likewise."""
    centred_points: bool | None = None
    """INSID3: count patches from their centres when points are matched."""

    def applied(self, preset: Preset) -> Preset:
        """The preset with these settings."""
        changes: dict[str, Any] = {}
        if preset.dinov3seg is not None:
            settings = preset.dinov3seg.settings
            if self.square is not None:
                settings = replace(settings, protocol=replace(settings.protocol, square=self.square))
            settings = replace(settings, class_pooling=self.class_pooling or settings.class_pooling)
            changes["dinov3seg"] = replace(preset.dinov3seg, settings=settings)
        if preset.dinotxt is not None and self.slide is not None:
            slide = replace(preset.dinotxt.settings, protocol=self.slide)
            changes["dinotxt"] = replace(preset.dinotxt, settings=slide)
        if preset.talk2dino is not None and self.windows is not None:
            windows = replace(preset.talk2dino.settings, protocol=self.windows)
            changes["talk2dino"] = replace(preset.talk2dino, settings=windows)
        if preset.insid3 is not None and preset.insid3.settings.points is not None and self.centred_points is not None:
            points = replace(preset.insid3.settings.points, centred=self.centred_points)
            changes["insid3"] = replace(preset.insid3, settings=replace(preset.insid3.settings, points=points))
        return replace(preset, **changes)

    def classes(self, names: list[str]) -> tuple[ClassName, ...]:
        """The classes of a benchmark's list, whose names hold synonyms after commas."""
        parts = [tuple(part.strip() for part in name.split(",")) for name in names]
        return tuple(
            ClassName(name, synonyms[:1] if self.first_synonym else synonyms)
            for name, synonyms in zip(names, parts, strict=True)
        )

    def cleaning(self, benchmark: str) -> bool | None:
        """Whether predictions on a benchmark are cleaned; None leaves it to the preset."""
        return None if self.cleaned is None else benchmark in self.cleaned


OWN = PublishedProtocol(average_background=False)
"""That of `evaluate` without a protocol: the preset's own settings."""
PROTOCOLS: Mapping[str, PublishedProtocol] = {
    "dinov3seg": PublishedProtocol(
        method="dinov3seg", first_synonym=True, square=True, class_pooling=(1, 1), average_background=False
    ),
    # the paper follows TCL's windows; the DINOv3 release has its own, which are the defaults
    "dinotxt": PublishedProtocol(
        method="dinotxt", first_synonym=True, slide=SlideProtocol(short_sides=(448,), window=448, stride=224)
    ),
    "dinotxt-hr": PublishedProtocol(
        method="dinotxt",
        first_synonym=True,
        slide=SlideProtocol(short_sides=(448,), window=448, stride=224),
        high_resolution=True,
    ),
    "dinov3txt": PublishedProtocol(method="dinotxt", first_synonym=True, slide=SlideProtocol()),
    "talk2dino": PublishedProtocol(
        method="talk2dino", first_synonym=True, cleaned=("voc21", "coco-object"), windows=WindowProtocol()
    ),
    "ovs-dino": PublishedProtocol(method="ovs-dino", first_synonym=True),
    "insid3": PublishedProtocol(centred_points=False),
}
"""By name of the paper (dinotxt-hr: high resolution; dinov3txt: the DINOv3 release's evaluation of dino.txt)."""
