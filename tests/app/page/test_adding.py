"""Adding files in the page: nothing that is passed over goes silently, stacks and missing files have a way on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

from maskwright.project import Project
from tests.app.conftest import Page
from tests.browser import needs_chromium

pytestmark = needs_chromium


def picture(file: Path, seed: int, **options: Any) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 255, (24, 32, 3), dtype=np.uint8)
    Pillow.fromarray(pixels).save(file, **options)
    return file


def test_a_folder_says_what_it_passes_over(tab: Any, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    picture(folder / "a.png", 11)
    (folder / "notes.txt").write_text("hello")
    (folder / "IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    tab.set_input_files("#folder", str(folder))
    tab.wait_for_selector(".notice:has-text('1 image added.')")
    assert tab.locator(".notice", has_text="Passed over, because they are no images: notes.txt.").count() == 1
    assert tab.locator(".notice", has_text="IMG_1.HEIC: this file type is not supported").count() == 1


def test_every_page_of_a_stack_is_one_press_away(tab: Any, server: Page, tmp_path: Path) -> None:
    pages = [Pillow.fromarray(np.full((24, 32), value, np.uint8)) for value in (31, 91, 171)]
    pages[0].save(tmp_path / "cells.tif", save_all=True, append_images=pages[1:])
    tab.set_input_files("#files", str(tmp_path / "cells.tif"))
    tab.click(".notice:has-text('Of cells.tif, which has several pages') >> text=Add every page")
    tab.wait_for_selector(".notice:has-text('3 images added.')")
    with Project.open(server.project) as project:
        names = [record.file_name for record in project.images.all() if "cells" in record.file_name]
    assert len(names) == 4, "the first page by itself, and all three as planes"


def test_a_missing_file_is_found_again_in_a_folder(
    open_tab: Callable[..., Any], server: Page, photo: int, new_image: Callable[..., int], tmp_path: Path
) -> None:
    tab = open_tab(photo)
    lost = new_image()
    with Project.open(server.project) as project:
        file = project.images.file_of(next(one for one in project.images.all() if one.id == lost))
    away = tmp_path / "away"
    away.mkdir()
    file.rename(away / "other name.png")
    tab.evaluate("id => { location.hash = '' + id; location.reload(); }", lost)
    tab.wait_for_selector(".notice:has-text('is missing from')")
    with tab.expect_file_chooser() as chooser:
        tab.click(".notice >> text=Find it in a folder")
    chooser.value.set_files(str(away))
    tab.wait_for_selector(".notice:has-text('1 image known already.')")
    assert file.is_file()


def test_a_phone_accepts_above_a_certainty(open_tab: Callable[..., Any], photo: int) -> None:
    tab = open_tab(photo, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    tab.get_by_role("tab", name="Masks").click()
    for control in ("#above", "#accept-above"):
        assert tab.locator(control).bounding_box()["height"] >= 44
