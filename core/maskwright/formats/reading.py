"""Any file or folder of annotations that is read, told apart by its content."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError
from zipfile import is_zipfile

from maskwright.errors import BadCoco, MaskwrightError
from maskwright.formats.cityscapes import is_cityscapes, read_cityscapes
from maskwright.formats.coco_reader import read_coco_source
from maskwright.formats.cvat import read_cvat
from maskwright.formats.imagefolder import METADATA, read_datasets_folder
from maskwright.formats.index_png import read_index_masks
from maskwright.formats.labelled_folder import load_json
from maskwright.formats.labelme import is_labelme, read_labelme
from maskwright.formats.panoptic import is_panoptic, read_panoptic
from maskwright.formats.source import Source
from maskwright.formats.supervisely import is_supervisely, read_supervisely
from maskwright.formats.via import is_via, read_via
from maskwright.formats.voc import is_voc, read_voc, read_voc_file
from maskwright.formats.xml_files import read_xml
from maskwright.formats.yolo_reader import is_yolo, read_yolo

__all__ = ["IMPORTED", "read_source"]

IMPORTED = (
    "COCO (instances, panoptic)", "YOLO", "LabelMe", "CVAT XML 1.1", "Pascal VOC", "Cityscapes", "Supervisely", "VIA",
    "Hugging Face imagefolder", "label images with classes.json",
)  # fmt: skip
"""Formats that `read_source` tells apart."""

_SKIPPED_JSON = re.compile(r"(.*\.schema|package|tsconfig|split|classes|info)\.json")
_WHAT = "Name a COCO, CVAT, VIA or LabelMe file, data.yaml of YOLO, or the folder of another format."


def read_source(path: Path) -> Source:
    """Read a file or folder of annotations.

    Args:
        path: a COCO, panoptic, LabelMe or VIA JSON file; a CVAT or Pascal VOC XML file; `data.yaml` of YOLO; or a
            folder of one of the formats in `IMPORTED`.

    Raises:
        MaskwrightError: there is no such file.
        BadCoco: no format that is read, or the file contradicts itself.
    """
    if path.is_dir():
        return _read_folder(path)
    suffix = path.suffix.lower()
    if is_zipfile(path):
        raise BadCoco(f"{path.name} is a zip archive.", "Unpack it, and name the file or the folder in it.")
    if suffix in (".yaml", ".yml"):
        return read_yolo(path)
    if suffix == ".xml":
        return _read_xml(path)
    return _read_json(path)


def _read_json(file: Path) -> Source:
    data = load_json(file)
    readers: tuple[tuple[Callable[[Any], bool], Callable[[], Source]], ...] = (
        (is_panoptic, lambda: read_panoptic(file, data)),
        (is_labelme, lambda: read_labelme(file.parent, [file])),
        (is_via, lambda: read_via(file, data)),
    )
    for is_format, read in readers:
        if is_format(data):
            return read()
    if isinstance(data, Mapping) and "classes" in data and file.name == "meta.json":
        return read_supervisely(file.parent)
    return read_coco_source(file, data)


def _read_xml(file: Path) -> Source:
    root = read_xml(file)
    if root.tag == "annotations":
        return read_cvat(file, root)
    if root.tag == "annotation":
        return read_voc_file(file, root)
    raise BadCoco(f"{file.name} is neither a CVAT nor a Pascal VOC file: it begins with <{root.tag}>.", _WHAT)


def _read_folder(folder: Path) -> Source:
    if is_yolo(folder):
        return read_yolo(folder)
    if (folder / METADATA).is_file() or any(folder.glob(f"*/{METADATA}")):
        return read_datasets_folder(folder)
    for is_format, read in (
        (is_voc, read_voc),
        (is_cityscapes, read_cityscapes),
        (is_supervisely, read_supervisely),
    ):
        if is_format(folder):
            return read(folder)
    if (folder / "classes.json").is_file() and (folder / "masks").is_dir():
        return read_index_masks(folder)
    return _read_files_of(folder)


def _read_files_of(folder: Path) -> Source:
    """A folder with one file of annotations, or with LabelMe's file for each image."""
    xml = sorted(folder.glob("*.xml"))
    of_cvat = [file for file in xml if _root_tag(file) == "annotations"]
    if of_cvat:
        return _read_xml(_only(of_cvat, folder))
    if xml and all(_root_tag(file) == "annotation" for file in xml):
        return read_voc(folder)
    files = sorted(file for file in folder.rglob("*.json") if not _SKIPPED_JSON.fullmatch(file.name))
    shapes = [file for file in files if is_labelme(_loaded(file))]
    if shapes:
        return read_labelme(folder, shapes)
    for place in (folder, folder / "annotations"):
        mine = [file for file in files if file.parent == place and not file.name.startswith(".")]
        if mine:
            return _read_json(_only(mine, folder))
    raise BadCoco(f"{folder} holds no annotations in a format that is read.", _WHAT)


def _only(files: list[Path], folder: Path) -> Path:
    if len(files) > 1:
        names = ", ".join(file.name for file in files[:3])
        raise BadCoco(f"{folder} has several files of annotations ({names}).", "Name the one to import.")
    return files[0]


def _loaded(file: Path) -> Any:
    try:
        return load_json(file)
    except MaskwrightError:
        return None


def _root_tag(file: Path) -> str:
    root: Element
    try:
        root = read_xml(file)
    except (MaskwrightError, ParseError):
        return ""
    return root.tag
