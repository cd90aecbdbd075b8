"""One project, the browser page and napari at once, with real windows, to a COCO file that holds both."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO

from tests.app.conftest import Page
from tests.app.page.conftest import disc, press, propose, wait_stored
from tests.browser import needs_chromium

pytestmark = [pytest.mark.gui, pytest.mark.alone, needs_chromium, pytest.mark.usefixtures("display")]


def _kept(widget: Any, number: int) -> Any:
    return lambda: len([mask for mask in widget._masks if mask.proposal is None]) == number


def _accepted_rows(tab: Any, number: int) -> None:
    """Wait until the page lists so many accepted masks, which have a full swatch."""
    tab.wait_for_function(
        "number => document.querySelectorAll('#masks .mask-row .swatch:not(.dashed)').length === number", arg=number
    )


def _exported(tab: Any, server: Page, file: Path) -> COCO:
    file.write_bytes(tab.request.post(f"{server.url}ui/export", data={"format": "coco"}).body())
    return COCO(file)


def test_browser_to_napari_to_browser_to_coco(
    server: Page,
    open_tab: Callable[..., Any],
    new_image: Callable[..., int],
    qtbot: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import napari

    # napari's note about PyQt5 would lie over the window
    monkeypatch.setattr("napari._qt.qt_main_window.SHOW_QT_WARNING", False)
    from napari_maskwright._widget import AnnotatorWidget

    image = new_image()
    propose(server, image, giraffe=(disc(80, 60, 30), 0.9))
    tab = open_tab(image)
    tab.wait_for_selector("#masks .mask-row")
    press(tab, "Shift+G")
    (by_browser,) = wait_stored(tab, server, image, lambda rows: len(rows) == 1)

    viewer = napari.Viewer(show=True)
    widget = AnnotatorWidget(viewer, project=str(server.project), device="cpu")
    viewer.window.add_dock_widget(widget, name="Maskwright", area="right")
    qtbot.waitUntil(lambda: "accepted" in widget._layers, timeout=30_000)
    shown = np.asarray(widget._layers["accepted"].data) > 0
    assert np.array_equal(shown, by_browser.mask.to_array())

    widget._classes.setText("sky, grass")
    widget._text.background.setChecked(False)
    widget._text.objects.setChecked(False)
    widget.run_action("run")
    qtbot.waitUntil(lambda: widget._proposals.table.count() > 0, timeout=60_000)
    row = next(mask for mask in widget._masks if mask.proposal)
    proposal = row.mask.to_array()
    assert (np.asarray(widget._layers["proposals"].data)[proposal] > 0).all()
    widget._proposals.table.select([widget._proposals.table.rows()[0].key])
    widget.run_action("accept")
    qtbot.waitUntil(_kept(widget, 2), timeout=20_000)
    began = time.monotonic()
    _accepted_rows(tab, 2)
    assert time.monotonic() - began < 2.0, "the page shows it within two seconds"

    # and the other way round, while both are open
    propose(server, image, wall=(disc(250, 180, 20), 0.9))
    tab.wait_for_selector("#masks .mask-row .swatch.dashed")
    press(tab, "Shift+G")
    _accepted_rows(tab, 3)
    began = time.monotonic()
    qtbot.waitUntil(_kept(widget, 3), timeout=20_000)
    assert time.monotonic() - began < 2.0, "so does napari"

    coco = _exported(tab, server, tmp_path / "coco.json")
    rows = {coco.loadCats(one["category_id"])[0]["name"]: one for one in coco.anns.values()}
    assert len(rows) == 3
    assert np.array_equal(coco.annToMask(rows[by_browser.category]).astype(bool), shown)
    assert np.array_equal(coco.annToMask(rows[str(row.mask.category)]).astype(bool), proposal)
    widget.close_project()
    viewer.close()
