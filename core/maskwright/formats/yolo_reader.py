"""YOLO folders of boxes and outlines, as Ultralytics documents them and other tools write them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from maskwright.errors import BadCoco, MaskwrightError
from maskwright.formats.leftovers import Leftovers
from maskwright.formats.source import Row, Source, SourceCategory, SourceImage, path_in
from maskwright.formats.xml_files import number
from maskwright.imaging.reading import is_image_file

__all__ = ["is_yolo", "read_yolo"]

_SUBSETS = ("train", "val", "valid", "test")
_CLASS_FILES = ("classes.txt", "obj.names", "labels.txt")
_KEYS = {"path", "nc", "names", *_SUBSETS}
_FARTHEST = 1.1
"""Fractions of the image's size beyond which a coordinate is none."""


def is_yolo(folder: Path) -> bool:
    """Whether a folder is a YOLO dataset."""
    if _class_file(folder) is not None and ((folder / "labels").is_dir() or (folder / "obj.data").is_file()):
        return True
    return _yaml_in(folder) is not None


def _yaml_in(folder: Path) -> Path | None:
    found = sorted(file for suffix in ("yaml", "yml") for file in folder.glob(f"*.{suffix}"))
    named = [file for file in found if file.stem in ("data", "dataset")]
    return next(
        (file for file in named or found if isinstance(_loaded(file), Mapping) and "names" in _loaded(file)), None
    )


def _class_file(folder: Path) -> Path | None:
    return next((folder / name for name in _CLASS_FILES if (folder / name).is_file()), None)


def _loaded(file: Path) -> Any:
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return None


def read_yolo(path: Path) -> Source:
    """Read a YOLO dataset.

    Args:
        path: `data.yaml`, or the folder with it or with `classes.txt`.

    Raises:
        MaskwrightError: there is no such file.
        BadCoco: it names no classes, or neither images nor labels are there.
    """
    if not path.exists():
        raise MaskwrightError(f"There is no file {path}.", "Check the name.")
    file = path if path.is_file() else _yaml_in(path)
    folder = file.parent if file else path
    settings = _loaded(file) if file else {}
    if not isinstance(settings, Mapping):
        raise BadCoco(f"{path} is not YAML that can be read.", "Check data.yaml.")
    reader = _Reader(folder, _names(folder, settings), "kpt_shape" in settings)
    files = list(_images(folder, settings))
    users = Counter(map(_label_of, files))
    images = [reader.image(image, shared=users[_label_of(image)] > 1) for image in files]
    images += reader.without_image()
    if not images:
        root = (folder / str(settings.get("path") or "")).resolve()
        if file and root.is_dir() and not _is_inside(root, folder):
            raise BadCoco(f"The images of {file.name} are in {root}, outside its folder.", f"Put it into {root}.")
        raise BadCoco(f"{folder} holds no images and no labels of YOLO.", "Labels lie in labels/ beside images/.")
    for key in settings:
        if key not in _KEYS and key not in ("kpt_shape", "flip_idx"):
            reader.leftovers.add(f"{key} of data.yaml", "", cosmetic=True)
    categories = tuple(SourceCategory(key + 1, name) for key, name in sorted(reader.names.items()))
    found = reader.leftovers
    return Source(
        file or folder / "labels", categories, tuple(images), tuple(reader.skipped), found.not_kept,
        found.also_not_kept, homes=(folder,),
    )  # fmt: skip


def _names(folder: Path, settings: Mapping[str, Any]) -> dict[int, str]:
    """Class names by number, from a list or a mapping with numbers as numbers or as text."""
    names = settings.get("names")
    if isinstance(names, list):
        return {key: str(name) for key, name in enumerate(names)}
    if isinstance(names, Mapping):
        try:
            return {int(key): str(name) for key, name in names.items()}
        except (TypeError, ValueError) as error:
            raise BadCoco("names in data.yaml has a key that is no number.", "Number the classes from 0.") from error
    file = _class_file(folder)
    if file is None:
        raise BadCoco(f"{folder} names no classes.", "Write names: [first, second] into data.yaml.")
    lines = file.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    return {key: name.strip() for key, name in enumerate(lines) if name.strip()}


def _images(folder: Path, settings: Mapping[str, Any]) -> Iterator[Path]:
    """Image files that data.yaml lists for any subset, or those below images/."""
    root = folder / str(settings.get("path") or "")
    seen = set[Path]()
    for place in _places(folder, root, settings):
        for file in _files_at(place, folder):
            if file not in seen and is_image_file(file):
                seen.add(file)
                yield file


def _places(folder: Path, root: Path, settings: Mapping[str, Any]) -> Iterator[Path]:
    entries = [settings[key] for key in _SUBSETS if settings.get(key)]
    texts = [str(text) for entry in entries for text in (entry if isinstance(entry, list) else [entry])]
    for text in texts:
        # Roboflow writes ../train/images for a folder that lies beside the file
        inner = PurePosixPath(*(part for part in PurePosixPath(text.replace("\\", "/")).parts if part != ".."))
        choices = (folder / inner.relative_to(inner.anchor), root / text, folder / text)
        yield next((choice for choice in choices if choice.exists() and _is_inside(choice, folder)), choices[0])
    if not texts:
        yield from (folder / "images", folder)


def _is_inside(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


def _files_at(place: Path, folder: Path) -> Sequence[Path]:
    if place.is_dir():
        return sorted(place.rglob("*"))
    if place.suffix == ".txt" and place.is_file():
        lines = place.read_text(encoding="utf-8-sig", errors="replace").splitlines()
        files = [folder / line.strip().replace("\\", "/") for line in lines if line.strip()]
        return [file for file in files if _is_inside(file, folder)]
    return []


class _Reader:
    """Labels as rows, whose coordinates are fractions of the image's size."""

    def __init__(self, folder: Path, names: dict[int, str], keypoints: bool) -> None:  # noqa: FBT001
        self._folder, self.names, self._keypoints = folder, names, keypoints
        self.leftovers, self.skipped = Leftovers(), list[str]()
        self._read = set[Path]()

    def image(self, file: Path, *, shared: bool) -> SourceImage:
        """An image with the lines of its labels, unless those may be another image's."""
        name, label = file.relative_to(self._folder).as_posix(), _label_of(file)
        if shared and label.is_file():
            self._read.add(label)
            self.skipped.append(f"{name}: another image has the same labels {label.name}; they were not taken")
        rows = () if shared else tuple(self._rows(label))
        return SourceImage(None, path_in(name), rows=rows, relative=True)

    def without_image(self) -> list[SourceImage]:
        """Label files that belong to none of the images."""
        files = sorted(set(self._folder.rglob("*.txt")) - self._read)
        homeless = [
            file
            for file in files
            if "labels" in file.relative_to(self._folder).parts[:-1] and file.name not in _CLASS_FILES
        ]
        return [self._homeless(file) for file in homeless]

    def _homeless(self, file: Path) -> SourceImage:
        parts = ["images" if part == "labels" else part for part in file.relative_to(self._folder).parent.parts]
        name = PurePosixPath(*parts, file.stem)
        return SourceImage(None, path_in(str(name)), rows=tuple(self._rows(file)), relative=True)

    def _rows(self, file: Path | None) -> Iterator[Row]:
        if file is None or not file.is_file():
            return
        self._read.add(file)
        label = file.relative_to(self._folder).as_posix()
        for line, text in enumerate(file.read_text(encoding="utf-8-sig", errors="replace").splitlines(), start=1):
            words = text.split()
            if not words:
                continue
            numbers = [number(word) for word in words]
            values = [value for value in numbers if value is not None]
            if len(values) != len(words) or len(words) < 5 or values[0] != int(values[0]):
                self.skipped.append(f"{label}, line {line}: it is no class number with coordinates")
            elif int(values[0]) not in self.names:
                self.skipped.append(f"{label}, line {line}: data.yaml has no class {int(values[0])}")
            elif not self._keypoints and max(map(abs, values[1:])) > _FARTHEST:
                self.skipped.append(
                    f"{label}, line {line}: its coordinates are no fractions of the image's size, but pixels, or "
                    "keypoints without kpt_shape in data.yaml"
                )
            else:
                yield self._row(int(values[0]), values[1:])

    def _row(self, category: int, values: list[float]) -> Row:
        # classes count from 0, categories of a project from 1
        category += 1
        if self._keypoints and len(values) > 4:
            self.leftovers.add("keypoints")
            values = values[:4]
        if len(values) in (4, 5):
            x, y, w, h, *score = values
            return {"category_id": category, "bbox": [x - w / 2, y - h / 2, w, h], **_score(score)}
        # an outline has pairs; predictions are followed by their confidence
        score = values[-1:] if len(values) % 2 else []
        return {"category_id": category, "segmentation": [values[: len(values) // 2 * 2]], **_score(score)}


def _score(score: list[float]) -> Row:
    return {"score": score[0]} if score else {}


def _label_of(image: Path) -> Path:
    """Where readers look for the labels of an image: the last folder `images` becomes `labels`."""
    parts = list(image.parent.parts)
    for place in reversed(range(len(parts))):
        if parts[place] == "images":
            parts[place] = "labels"
            return Path(*parts, f"{image.stem}.txt")
    beside = image.with_suffix(".txt")
    return beside if beside.is_file() else image.parent / "labels" / f"{image.stem}.txt"
