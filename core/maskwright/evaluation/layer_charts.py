"""Charts of a `LayerReport` as PNG files: components, similarity, and how much detail each layer keeps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw

from maskwright.evaluation.layers import LayerReport

__all__ = ["save_charts"]

_CELL = 96
"""Side of a cell in pixels."""
_MARGIN = 28
_INK, _PAPER = (30, 30, 30), (255, 255, 255)


def save_charts(report: LayerReport, folder: Path) -> list[Path]:
    """Write `components.png`, `frequency.png` and, where the preset has a SAM, `cka.png`; returns their paths."""
    charts = {"components": _components(report), "frequency": _frequency(report)}
    if report.cka:
        charts["cka"] = _similarity(report)
    paths = []
    for name, chart in charts.items():
        paths.append(folder / f"{name}.png")
        chart.save(paths[-1])
    return paths


def _components(report: LayerReport) -> Pillow.Image:
    """Rows are images, columns are layers."""
    images, layers = report.components.shape[:2]
    chart = Pillow.new("RGB", (layers * _CELL, images * _CELL + _MARGIN), _PAPER)
    draw = ImageDraw.Draw(chart)
    for column in range(layers):
        draw.text((column * _CELL + 4, 8), str(column + 1), _INK)
        for row in range(images):
            cell = Pillow.fromarray(report.components[row, column]).resize((_CELL, _CELL), Pillow.Resampling.NEAREST)
            chart.paste(cell, (column * _CELL, row * _CELL + _MARGIN))
    return chart


def _similarity(report: LayerReport) -> Pillow.Image:
    """Rows are blocks of the backbone, columns layers of SAM; darker is more alike."""
    size = len(report.sam_layers) * _CELL + _MARGIN, len(report.backbone_layers) * _CELL + _MARGIN
    chart = Pillow.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(chart)
    for column, name in enumerate(report.sam_layers):
        draw.text((column * _CELL + _MARGIN + 4, 8), name, _INK)
    for row, (block, values) in enumerate(zip(report.backbone_layers, report.cka, strict=True)):
        draw.text((4, row * _CELL + _MARGIN + _CELL // 2), str(block), _INK)
        for column, value in enumerate(values):
            left, top = column * _CELL + _MARGIN, row * _CELL + _MARGIN
            shade = round(255 - 200 * float(np.clip(value, 0, 1)))
            draw.rectangle((left, top, left + _CELL - 2, top + _CELL - 2), (shade, shade, 255))
            draw.text((left + 8, top + _CELL // 2), f"{value:.2f}", _INK)
    return chart


def _frequency(report: LayerReport) -> Pillow.Image:
    """The ratio of high to low frequencies by layer."""
    width, height = max(4, len(report.ratio)) * 60 + 2 * _MARGIN, 320
    chart = Pillow.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(chart)
    low, high = min(report.ratio), max(report.ratio)
    points = [
        (
            _MARGIN * 1.5 + index * 60,
            height - _MARGIN * 2 - (value - low) / max(high - low, 1e-9) * (height - 4 * _MARGIN),
        )
        for index, value in enumerate(report.ratio)
    ]
    draw.text((8, 6), "log10 of high over low frequencies, by layer", _INK)
    if len(points) > 1:
        draw.line(points, (60, 90, 200), 2)
    for index, ((x, y), value) in enumerate(zip(points, report.ratio, strict=True), start=1):
        draw.ellipse((x - 3, y - 3, x + 3, y + 3), (60, 90, 200))
        draw.text((x - 12, y - 18), f"{value:.2f}", _INK)
        draw.text((x - 4, height - _MARGIN), str(index), _INK)
    return chart
