"""Large images in tiles: clicks see the part around them, words and objects show no seam, memory stays small."""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import maskwright as mw
from maskwright.domain.mask import iou
from maskwright.engine import Engine
from maskwright.engine.label_map import label
from maskwright.engine.text_method import Scores
from maskwright.engine.text_tiles import label_tiles
from maskwright.engine.tiles import Piece, Tile, around, grid, join_objects, whole
from maskwright.imaging.geometry import label_components
from maskwright.progress import NO_PROGRESS, Progress

DISCS = ((300, 150), (1010, 150), (2700, 140), (4100, 170))
RADIUS = 16


@pytest.fixture
def strip(rng: np.random.Generator) -> mw.Image:
    """Bright discs, 32 pixels across, on dark ground of 300 x 4200 pixels: 9 pixels in SAM's view of the whole."""
    pixels = rng.integers(20, 40, (300, 4200), dtype=np.uint8)
    ys, xs = np.mgrid[:300, :4200]
    for x, y in DISCS:
        pixels[(xs - x) ** 2 + (ys - y) ** 2 < RADIUS**2] = 200
    return mw.Image.from_array(pixels, rgb=False)


def test_an_ordinary_image_is_one_tile_and_a_large_one_is_covered() -> None:
    assert list(around((3000, 4096), (5, 5, 6, 6))) == [Tile(0, 0, 4096, 3000)] == grid((3000, 4096), 4096)
    first, second, last = around((8000, 12_000), (5000, 700, 5010, 705))
    assert (first.width, first.height, first.factor) == (1024, 1024, 1)
    assert first.contains((5000 - 300, 700 - 300, 5010 + 300, 705 + 300))
    assert second.width == second.height == 4096
    assert (last, last.size_hw) == (whole((8000, 12_000)), (2667, 4000))
    assert [tile.width for tile in around((8000, 12_000), (100, 100, 900, 200))] == [4096, 12_000]
    covered = np.zeros((2050, 4999), np.uint8)
    for tile in grid(covered.shape):
        left, top, right, bottom = tile.edges
        assert (left % 4, top % 4) == (0, 0)
        covered[top:bottom, left:right] += 1
    assert covered.min() == 1


def test_objects_cut_by_tiles_come_out_whole_and_once(rng: np.random.Generator) -> None:
    pixels = np.zeros((2300, 2700), bool)
    ys, xs = np.mgrid[:2300, :2700]
    for _ in range(60):
        x, y, radius = rng.integers(0, 2700), rng.integers(0, 2300), rng.integers(4, 60)
        pixels |= (xs - x) ** 2 + (ys - y) ** 2 < radius**2
    # longer than two tiles
    pixels[1000:1040, 100:2600] = True
    expected = label_components(pixels)
    tiles, by_tile = grid(pixels.shape), []
    for tile in tiles:
        left, top, right, bottom = tile.edges
        parts = label_components(pixels[top:bottom, left:right])
        by_tile.append([Piece.of(parts == n, 0.5, tile, pixels.shape) for n in range(1, parts.max() + 1)])
    found = join_objects(tiles, by_tile)
    assert len(found) == expected.max()
    for piece in found:
        mask = piece.mask("cell", pixels.shape).to_array()
        assert np.array_equal(mask, expected == expected[mask].min())


def test_labels_of_tiles_are_those_of_the_whole(rng: np.random.Generator) -> None:
    pixels = F.interpolate(torch.from_numpy(rng.random((1, 3, 26, 66), np.float32)), (1500, 4203), mode="bilinear")
    image = mw.Image((pixels[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8))

    def scores_of(part: mw.Image, progress: Progress) -> Scores:
        height, width = part.size_hw
        planes = torch.from_numpy(part.pixels.copy()).permute(2, 0, 1)[None].float() / 255
        planes = F.pad(planes, (0, -width % 4, 0, -height % 4), mode="replicate")
        return Scores(F.avg_pool2d(planes, 4)[0])

    found = label_tiles(image, 3, scores_of, 0.5, NO_PROGRESS)
    expected = label(Scores(scores_of(image, NO_PROGRESS).maps), (1500, 4204), 0.5)
    assert (found.label_map == expected.label_map[:, :4203]).mean() > 0.9999
    assert np.allclose(found.scores, expected.scores, atol=1e-3)
    assert np.allclose(found.max_scores, expected.max_scores, atol=1e-3)


def test_a_click_on_a_large_image_sees_the_part_around_it(strip: mw.Image) -> None:
    engine = Engine.load("tiny", "cpu")
    ys, xs = np.mgrid[:300, :4200]
    for x, y in DISCS[1:3]:
        before = engine.encoder_calls
        mask = engine.segment_click(strip, [(x, y)]).masks()[0]
        assert engine.encoder_calls == before + 1
        assert iou(mask.to_array(), (xs - x) ** 2 + (ys - y) ** 2 < RADIUS**2) > 0.8
        # the next click goes on in the same part
        corrected = engine.segment_click(strip, [(x, y), (x + 40, y)], [1, 0], start=mask)
        assert engine.encoder_calls == before + 1
        assert corrected.label_map.shape == (300, 4200)
        assert corrected.provenance["parameters"]["tile"][2:] == [1024, 300]


def test_prompts_of_every_kind_on_a_large_image(small_preset: Path, strip: mw.Image) -> None:
    engine = Engine.load(small_preset, "cpu")
    words = engine.segment_text(strip, ["cow", "grass"], instances=("cow",), background=True, threshold=0.1)
    assert words.label_map.shape == strip.size_hw
    for mask in words.masks():
        assert tuple(mask.rle["size"]) == strip.size_hw
        assert mask.category in ("cow", "grass")
    calls = engine.encoder_calls
    engine.segment_text(strip, ["sky"])
    assert engine.encoder_calls == calls, "the tiles are in the cache"
    ys, xs = np.mgrid[:300, :4200]
    x, y = DISCS[0]
    disc = mw.Mask.from_array((xs - x) ** 2 + (ys - y) ** 2 < RADIUS**2, category="disc")
    like = engine.segment_like(strip, [mw.Reference(strip, disc)])
    assert like.label_map.shape == strip.size_hw
    everything = engine.segment_everything(strip, points_per_side=4, pred_iou_thresh=0.0, stability_score_thresh=0.0)
    assert all(tuple(mask.rle["size"]) == strip.size_hw for mask in everything.masks())


@pytest.mark.slow
def test_a_click_on_400_megapixels_takes_little_memory() -> None:
    engine = Engine.load("tiny", "cpu")
    pixels = np.zeros((20_000, 20_000), np.uint8)
    pixels[9_990:10_020, 9_990:10_020] = 200
    image = mw.Image.from_array(pixels, rgb=False)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    masks = engine.segment_click(image, [(10_005, 10_005)]).masks()
    assert 400 < masks[0].area < 1600
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1.0e6, "KB: less than 1 GB"
