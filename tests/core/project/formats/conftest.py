"""A small project with masks of every kind, and what a file of it gives back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow

from maskwright.domain import Mask
from maskwright.project import Project
from maskwright.store import NewAnnotation

SIZE = (30, 40)


def block(rows: slice, columns: slice) -> NDArray[np.bool_]:
    mask = np.zeros(SIZE, bool)
    mask[rows, columns] = True
    return mask


def ring() -> NDArray[np.bool_]:
    """With two holes, one of them between others on the same row."""
    mask = block(slice(2, 20), slice(2, 30))
    mask[5:9, 5:9] = mask[6:12, 14:19] = mask[7, 24] = False
    return mask


def parts() -> NDArray[np.bool_]:
    return block(slice(22, 25), slice(0, 5)) | block(slice(26, 30), slice(30, 40))


@pytest.fixture
def project(tmp_path: Path, rng: np.random.Generator) -> Iterator[Project]:
    """Two images, one in a folder called images; a hole, parts, a pixel; nothing overlaps."""
    with Project.open(tmp_path / "project", create=True) as project:
        for name in ("a 草.png", "train/images/b.png"):
            file = project.folder / "images" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            Pillow.fromarray(rng.integers(0, 255, (*SIZE, 3), dtype=np.uint8)).save(file)
        project.add(project.folder / "images")
        first, second = (one.id for one in project.images.all())
        project.accept(first, ring(), "Kuh 🐄")
        project.accept(first, parts(), '<grass> & "sky"')
        project.accept(first, block(slice(29, 30), slice(0, 1)), "Kuh 🐄")
        project.accept(second, block(slice(3, 12), slice(4, 20)), "Kuh 🐄")
        yield project


def masks(project: Project) -> dict[str, list[tuple[str, bytes]]]:
    """Masks of every image by the last part of its name."""
    return {
        Path(record.file_name).name.replace("train_images_", ""): sorted(
            (one.category, one.mask.to_array().tobytes()) for one in project.annotations(record.id)
        )
        for record in project.images.all()
    }


def add_group(project: Project) -> None:
    image = project.images.all()[1]
    group = Mask.from_array(block(slice(20, 25), slice(0, 40)))
    project.store.masks.add_many([NewAnnotation(image.id, "crowd", group, crowd=True)])


def imported(tmp_path: Path, file: Path, **options: Any) -> tuple[Project, Any]:
    """A new project with what a file holds, and the result; close it."""
    from maskwright.project.coco_import import ImportOptions

    project = Project.open(tmp_path / f"from {file.parent.name} {file.name}", create=True)
    return project, project.exchange.import_coco(file, options=ImportOptions(**options))
