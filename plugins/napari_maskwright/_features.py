"""Measures of masks in the data of the image layer: mean intensities, and areas in units of the world."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from maskwright.domain import Mask
from maskwright.session import MaskView
from napari_maskwright._workers import Generation

__all__ = ["Intensities", "PixelArea"]


@dataclass(frozen=True, slots=True)
class PixelArea:
    """Area of a pixel in the world."""

    area: float = 1.0
    unit: str = ""
    """Such as "µm²"; empty when the layer has no unit of length."""

    @classmethod
    def of(cls, layer: Any) -> PixelArea:
        """That of a layer, by its scale and units."""
        if layer is None:
            return cls()
        units = [f"{unit:~}" for unit in layer.units[-2:]]
        known = len(set(units)) == 1 and units[0] not in ("", "px", "pixel")
        return cls(abs(float(layer.scale[-1] * layer.scale[-2])), f"{units[0]}²") if known else cls()

    def text(self, pixels: int) -> str:
        """An area such as "412 px", "12.3 µm²" or "20,400 µm²"."""
        if not self.unit:
            return f"{pixels:,} px"
        area = pixels * self.area
        return f"{area:,.0f} {self.unit}" if area >= 1000 else f"{area:.4g} {self.unit}"


class Intensities:
    """Mean values of a layer's own data under masks, measured beside the window's thread, each once."""

    def __init__(
        self, call_soon: Callable[[Callable[[], None]], None], show: Callable[[dict[int, float]], None]
    ) -> None:
        """Take a function that runs a call on the window's thread, and one that shows values by annotation id."""
        self._call_soon, self._show = call_soon, show
        self._requests = Generation()
        self._layer: Any = None
        self._known: dict[tuple[tuple[int, ...], str], float] = {}
        """Values of the layer by plane and run lengths."""

    def request(self, layer: Any, index: tuple[int, ...], masks: Sequence[MaskView]) -> None:
        """Measure masks in a plane of a layer; replaces an earlier request."""
        stale = self._requests.begin()
        if layer is not self._layer:
            self._layer, self._known = layer, {}
        if layer is None or not masks:
            return
        known, keys = self._known, {mask.annotation or 0: (index, mask.mask.rle["counts"]) for mask in masks}
        if all(key in known for key in keys.values()):
            self._show({number: known[key] for number, key in keys.items()})
            return
        data, rgb = layer.data[0] if layer.multiscale else layer.data, bool(layer.rgb)

        def measure() -> None:
            for mask in masks:
                key = keys[mask.annotation or 0]
                if stale():
                    return
                if key not in known:
                    known[key] = _mean(data[index] if index else data, mask.mask, rgb=rgb)
            values = {number: known[key] for number, key in keys.items()}
            self._call_soon(lambda: None if stale() else self._show(values))

        threading.Thread(target=measure, name="maskwright-measure", daemon=True).start()

    def close(self) -> None:
        """Show nothing more, and forget what was measured."""
        self._requests.begin()
        self._layer, self._known = None, {}


def _mean(plane: Any, mask: Mask, *, rgb: bool) -> float:
    """Mean of a plane's values under a mask, over the colours of an RGB(A) image too; NaN where there are none."""
    x, y, width, height = mask.bbox
    part = np.asarray(plane[y : y + height, x : x + width])
    values = part[..., :3].mean(axis=-1) if rgb else part
    inside = mask.part()
    if values.shape != inside.shape:
        return float("nan")
    chosen = values[inside]
    finite = chosen[np.isfinite(chosen)]
    return float(finite.mean()) if finite.size else float("nan")
