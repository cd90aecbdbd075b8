"""Classes in visual and text space: beside scikit-learn, and beside loops over pixels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image as Pillow

from maskwright.domain import Image, rle
from maskwright.errors import MaskwrightError, UsageError
from maskwright.evaluation.classes import ClassSpaces, LabelledClasses, analyse_classes, class_spaces, prototype_fit
from maskwright.models.normalization import IMAGENET_MEAN, IMAGENET_STD
from maskwright.presets.loading import load_dinotxt

CPU = torch.device("cpu")


def test_the_fit_is_scikit_learns() -> None:
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import KFold, cross_val_score

    rng = np.random.default_rng(0)
    text = rng.normal(size=(23, 6))
    seen = text @ rng.normal(size=(6, 4)) + rng.normal(size=(23, 4))
    expected = cross_val_score(Ridge(alpha=1.0), text, seen, cv=KFold(5)).mean()
    assert prototype_fit(torch.from_numpy(text), torch.from_numpy(seen)) == pytest.approx(expected)
    with pytest.raises(MaskwrightError, match="too few"):
        prototype_fit(torch.zeros(9, 2), torch.zeros(9, 2))


def _spaces(rng: np.random.Generator, count: int, names: str) -> ClassSpaces:
    vectors = [F.normalize(torch.from_numpy(rng.normal(size=(count, 3)).astype(np.float32)), dim=1) for _ in range(3)]
    return ClassSpaces(tuple(f"{names}{n}" for n in range(count)), *vectors)


def test_neighbours_and_seen_classes() -> None:
    rng = np.random.default_rng(1)
    tested, trained = _spaces(rng, 12, "t"), _spaces(rng, 7, "u")
    scores: dict[str, float | None] = {f"t{n}, something": n / 12 for n in range(11)} | {"t11": None}
    report = analyse_classes("p", tested, trained, scores)
    for name, space, vectors in (("t3", "visual", tested.visual), ("t8", "local", tested.local_text)):
        chosen = vectors[tested.names.index(name)]
        alike = sorted(((-float(chosen @ vectors[n]), other) for n, other in enumerate(tested.names) if other != name))
        assert report.neighbours[name][space] == [other for _, other in alike[:5]]
    both = [torch.cat([g, local]) / 2**0.5 for g, local in zip(tested.global_text, tested.local_text, strict=True)]
    others = [torch.cat([g, local]) / 2**0.5 for g, local in zip(trained.global_text, trained.local_text, strict=True)]
    for kind, own, against in (("visual", list(tested.visual), list(trained.visual)), ("text", both, others)):
        seen = [n for n in range(12) if any(float(own[n] @ one) > 0.9 for one in against)]
        assert report.seen[kind]["seen"] == [f"t{n}" for n in seen]
        assert report.seen[kind]["unseen"] == [f"t{n}" for n in range(12) if n not in seen]
        for part, members in (("seen", seen), ("unseen", [n for n in range(12) if n not in seen])):
            known = [n / 12 for n in members if n < 11]
            found = report.seen[kind]["miou"][part]
            assert found == (pytest.approx(np.mean(known)) if known else None)
    assert "miou" not in analyse_classes("p", tested, trained).seen["text"]


@pytest.fixture
def folder(tmp_path: Path) -> tuple[Path, list[Any]]:
    """Three pictures of 48 x 64 pixels; the class of the third never occurs."""
    rng = np.random.default_rng(2)
    (tmp_path / "images").mkdir()
    images, rows, maps = [], [], []
    for number in range(3):
        pixels = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
        Pillow.fromarray(pixels).save(tmp_path / "images" / f"{number}.png")
        labels = np.full((48, 64), -1)
        labels[: 20 + number, : 30 + 5 * number] = 0
        if number:
            labels[30:, 10:] = 1
        images.append({"id": number, "file_name": f"{number}.png", "width": 64, "height": 48})
        rows += [
            {"id": len(rows) + 1, "image_id": number, "category_id": 5 + k, "segmentation": rle.encode(labels == k)}
            for k in (0, 1)
            if (labels == k).any()
        ]
        maps.append((pixels, labels))
    categories = [{"id": 5 + k, "name": name} for k, name in enumerate(("cow", "sky", "grass"))]
    (tmp_path / "annotations.json").write_text(
        json.dumps({"images": images, "annotations": rows, "categories": categories})
    )
    return tmp_path, maps


def test_prototypes_are_means_inside_the_masks(folder: tuple[Path, list[Any]], small_preset: Path) -> None:
    root, maps = folder
    preset = load_dinotxt(small_preset)
    found = class_spaces(preset, LabelledClasses.of(root), CPU, size=64)
    assert found.names == ("cow", "sky")
    rows: dict[int, list[torch.Tensor]] = {0: [], 1: []}
    for pixels, labels in maps:
        image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None] / 255
        square = F.interpolate(image, (64, 64), mode="bilinear", antialias=True)
        normed = (square - torch.tensor(IMAGENET_MEAN)[:, None, None]) / torch.tensor(IMAGENET_STD)[:, None, None]
        with torch.no_grad():
            features = preset.model.visual_model.backbone(normed).patch_map()[0].double()
        for k, means in rows.items():
            # cells of 12 x 16 pixels of the image
            shares = torch.from_numpy((labels == k).reshape(4, 12, 4, 16).mean(axis=(1, 3)))
            if shares.any():
                means.append(sum(features[:, y, x] * shares[y, x] for y in range(4) for x in range(4)) / shares.sum())  # type: ignore[arg-type]
    for k, means in rows.items():
        expected = F.normalize(torch.stack(means).mean(dim=0), dim=0).float()
        torch.testing.assert_close(found.visual[k], expected, atol=1e-5, rtol=0)
    with torch.no_grad():
        text = preset.model.encode_text(preset.tokenizer(["A photo of a sky in the scene"]))[0]
    torch.testing.assert_close(found.local_text[1], F.normalize(text[32:], dim=0))
    torch.testing.assert_close(found.global_text[1], F.normalize(text[:32], dim=0))


def test_where_labelled_images_come_from(folder: tuple[Path, list[Any]]) -> None:
    with pytest.raises(UsageError, match="no benchmark of label maps spair"):
        LabelledClasses.of(folder[0], "spair")
    data = LabelledClasses.of(folder[0])
    image, labels = data.read(data.images[1])
    assert isinstance(image, Image)
    assert np.array_equal(labels, folder[1][1][1])
