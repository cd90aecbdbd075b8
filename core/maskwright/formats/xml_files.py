"""XML files of other tools, read without trusting them."""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import Element, ParseError, TreeBuilder, XMLParser

from maskwright.errors import BadCoco, MaskwrightError

__all__ = ["number", "read_xml", "text_of"]


class _NoEntities(TreeBuilder):
    """Refuses a document type: entities of a file of annotations could only do harm."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:  # noqa: ARG002 - expat's
        raise ParseError(f"it has a document type {name}")


def read_xml(file: Path) -> Element:
    """The root of an XML file.

    Raises:
        MaskwrightError: there is no such file.
        BadCoco: not XML, or with a document type.
    """
    if not file.is_file():
        raise MaskwrightError(f"There is no file {file}.", "Check the name.")
    parser = XMLParser(target=_NoEntities())
    try:
        parser.feed(file.read_bytes())
        root: Element = parser.close()
    except (OSError, ParseError, ValueError, LookupError) as error:
        raise BadCoco(f"{file} is not an XML file that can be read ({error}).", "Export it again.") from error
    return root


def text_of(element: Element, path: str) -> str:
    """The text at a path, or an empty one."""
    return (element.findtext(path) or "").strip()


def number(text: str | None) -> float | None:
    """A finite number of a file, or None."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if abs(value) < 1e9 else None
