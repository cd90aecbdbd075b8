"""What the user does in the dock and on the canvas beside its actions by name, passed on to the controller."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_error
from qtpy.QtWidgets import QFileDialog

from maskwright.domain.proposal_id import ProposalId
from maskwright.session import JudgedImage, MaskView, MaskwrightError, plural
from napari_maskwright._controller import Controller
from napari_maskwright._display import Display
from napari_maskwright._features import Intensities
from napari_maskwright._judged import JudgedWindow
from napari_maskwright._layer_prompts import LayerUse, uses_of
from napari_maskwright._mask_table import THUMBNAIL

if TYPE_CHECKING:
    import napari

__all__ = ["Acting"]


class Acting(Display):
    """Clicks, classes, models, and layers of the user; holds nothing that decides."""

    def __init__(self, viewer: napari.Viewer) -> None:
        super().__init__(viewer)
        self.controller: Controller | None = None
        self.judged_window: JudgedWindow | None = None
        self._intensities = Intensities(self.call_soon, self._show_intensities)
        self._accepted.selection_changed.connect(self._show_selected)
        self._accepted.delete_requested.connect(self._delete)
        self._accepted.history_requested.connect(self._request_history)
        self._accepted.by_object.toggled.connect(lambda on: self._canvas.accepted.set_by_object(on=on))
        self._classes_box.requested.connect(self._change_classes)
        self._classes_box.chosen.connect(self._name.setText)
        self._classes_box.given.connect(self._give_class)
        self._models.acted.connect(self._act_on_preset)
        self._models.server_requested.connect(self._use_server)
        runs = self._finetuning.runs
        runs.acted.connect(lambda act, run: self.with_controller(lambda c: c.managing.act_on_run(act, run)))
        runs.judged.connect(lambda run: self.with_controller(lambda c: self._show_judged(c, run)))
        self._layer_menu.aboutToShow.connect(self._fill_layer_menu)

    def with_controller(self, then: Callable[[Controller], None]) -> None:
        """Call a function with the controller, if a project is open."""
        if self.controller is not None:
            then(self.controller)

    # the mouse

    def add_point(self, x: float, y: float, *, opposite: bool, radius: float) -> None:
        """Add a point of the current sign or its opposite, or remove the one within a radius."""
        label = int(self._subtract.isChecked() == opposite)
        self.with_controller(lambda controller: controller.click(x, y, label, radius=radius))

    def add_box(self, box: tuple[float, float, float, float]) -> None:
        """Draw a box around an object."""
        self.with_controller(lambda controller: controller.box(box))

    def correct_at(self, x: float, y: float) -> None:
        """Let clicks correct the smallest accepted mask at a pixel."""
        ids = self._accepted_at(x, y)
        if ids and self.controller is not None:
            # the mask keeps its name, unless the user types another one
            self._name.setText(next(mask.mask.category or "" for mask in self._masks if mask.annotation == ids[0]))
            self.controller.correct(ids[0])

    def select_at(self, x: float, y: float) -> None:
        """Select the topmost accepted mask at a pixel; if it is selected already, the one below."""
        ids, before = self._accepted_at(x, y), self._accepted.ids
        place = ids.index(before[0]) + 1 if len(before) == 1 and before[0] in ids else 0
        self._accepted.select([ids[place % len(ids)]] if ids else [])

    def show_refusal(self, message: str) -> None:
        """Say why a click did nothing."""
        self.show_status(message)

    def _accepted_at(self, x: float, y: float) -> list[int]:
        masks = [mask for mask in self._masks if mask.annotation is not None]
        return [mask.annotation for mask in self._canvas.masks_at(masks, x, y) if mask.annotation is not None]

    def _delete(self, ids: list[int]) -> None:
        if self.controller is not None:
            self.controller.delete(ids)

    def _request_history(self, annotation: int | None) -> None:
        if self.controller is not None:
            self.controller.history(annotation)

    # lists

    def show_masks(self, masks: Sequence[MaskView], unwritten: Collection[ProposalId]) -> None:
        """Draw the masks, and list them; their thumbnails and mean intensities follow."""
        super().show_masks(masks, unwritten)
        controller = self.controller
        if controller is None:
            return
        views = {mask.proposal or mask.annotation: mask for mask in masks}
        tables = (self._proposals.table, self._accepted.list)
        wanted = [key for table in tables for key in table.without_thumbnail() if key in views]

        def show(thumbnails: dict[Any, Any]) -> None:
            for table in tables:
                table.show_thumbnails(thumbnails)

        # twice as many pixels as the list has, for screens with small ones
        controller.managing.thumbnails(controller.image_id, {key: views[key] for key in wanted}, 2 * THUMBNAIL, show)
        accepted = [mask for mask in masks if mask.annotation is not None]
        self._intensities.request(self._canvas.image_layer, self._canvas.index, accepted)

    def _show_intensities(self, values: dict[int, float]) -> None:
        self._canvas.accepted.set_values("mean intensity", values)

    def save_table(self) -> None:
        """Write the table of the accepted masks of the image in view as CSV."""
        layer = self._canvas.accepted.layer
        if layer is None or not len(layer.features):
            show_error("There is no accepted mask on this image.")
            return
        file, _ = QFileDialog.getSaveFileName(self, "Table of the masks", "masks.csv", "CSV (*.csv)")
        if file:
            layer.features.to_csv(Path(file), index=False)
            self.show_status(f"Wrote {plural(len(layer.features), 'row')} to {file}.")

    # classes and models

    def use_class(self, key: int) -> None:
        """Give the class of a number key to the selected masks, else to the next mask."""
        name = self._classes_box.name_of_key(key)
        if not name:
            self.show_status(f"No class has the key {key}.")
        elif self._selected_annotations():
            self._give_class(name)
        else:
            self._classes_box.choose(name)
            self._name.setText(name)
            self.show_status(f"The next mask is named {name}.")

    def _selected_annotations(self) -> list[int]:
        """Ids of the masks that are selected in the two lists; those of a click have none yet."""
        stored = [key.annotation_id for key in self._proposals.selected]
        return [*self._accepted.ids, *(number for number in stored if number is not None)]

    def _give_class(self, name: str) -> None:
        self.with_controller(lambda controller: controller.managing.reclassify(self._selected_annotations(), name))

    def _change_classes(self, change: Callable[[Any], object]) -> None:
        self.with_controller(lambda controller: controller.managing.change_classes(change))

    def _show_judged(self, controller: Controller, run: str) -> None:
        """Open a window with the held-out images of a run."""
        managing = controller.managing

        def show(images: list[JudgedImage]) -> None:
            if not images:
                show_error(f"No held-out image was kept of {run}.")
                return
            ask = partial(managing.judged_overlays, run)
            self.judged_window = JudgedWindow(self, f"Held-out images of {run}", images, ask)
            self.judged_window.show()

        managing.judged_images(run, show)

    def _act_on_preset(self, action: str, name: str) -> None:
        self.with_controller(lambda controller: controller.managing.preset(action, name))

    def _use_server(self, address: str) -> None:
        self.with_controller(lambda controller: controller.managing.use_server(address))

    # layers of the user

    def _fill_layer_menu(self) -> None:
        menu = self._layer_menu
        menu.clear()
        uses = self._layer_uses()
        for use in uses:
            menu.addAction(use.text).triggered.connect(lambda _=False, use=use: self._use_layer(use))
        if not uses:
            menu.addAction("Select a layer of points, shapes or labels of your own first.").setEnabled(False)

    def use_layer(self) -> None:
        """Use the selected layer of the user in the first way that there is."""
        uses = self._layer_uses()
        if uses:
            self._use_layer(uses[0])
        else:
            show_error("Select a layer of points, shapes or labels of your own first.")

    def _layer_uses(self) -> list[LayerUse]:
        canvas, active = self._canvas, self._viewer.layers.selection.active
        if active is None or canvas.image_layer is None or canvas.owns(active):
            return []
        return uses_of(active, self._viewer, canvas.image_layer, canvas.index, canvas.size_hw)

    def _use_layer(self, use: LayerUse) -> None:
        active = self._viewer.layers.selection.active
        origin = str(active.name)
        category = self._name.text().strip() or self._classes_box.name or "object"
        try:
            masks = use.masks() if use.masks is not None else []
            prompts = use.prompts() if use.prompts is not None else []
        except MaskwrightError as error:
            show_error(str(error))
            return
        if use.masks is not None:
            self.with_controller(lambda controller: controller.managing.propose_masks(masks, category, origin))
        else:
            self.with_controller(lambda controller: controller.managing.propose_drawn(prompts, category))
