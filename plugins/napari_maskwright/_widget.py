"""The dock widget: draws what the controller shows, and passes the user's actions to it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_error
from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtWidgets import QFileDialog, QMessageBox

from maskwright.domain import Image, PlaneRecord
from maskwright.domain.proposal_id import ProposalId
from maskwright.session import (
    FINETUNE_ACTIONS,
    AnnotationSession,
    LocationKind,
    MaskEdit,
    MaskView,
    MaskwrightError,
    ProjectLocation,
    StackPlane,
    default_project,
)
from napari_maskwright._acting import Acting
from napari_maskwright._controller import Controller
from napari_maskwright._editing import Editing
from napari_maskwright._following import Following
from napari_maskwright._keys import KEYS, KeyBindings
from napari_maskwright._opening import ProjectOpener
from napari_maskwright._planes import Plane
from napari_maskwright._pointer import Pointer, Tool
from napari_maskwright._stack_objects import add_stack_objects

if TYPE_CHECKING:
    import napari

__all__ = ["KEYS", "AnnotatorWidget"]


class AnnotatorWidget(Acting):
    """Annotation in one viewer: prompts on layers and project images, decisions, search, fine-tuning."""

    def __init__(
        self,
        napari_viewer: napari.Viewer,
        *,
        project: str | None = None,
        preset: str = "tiny",
        device: str = "auto",
        engine: str | None = None,
    ) -> None:
        """Show the widget in a viewer, and open a project.

        Args:
            napari_viewer: shows the image and its masks.
            project: folder or database URL, which is created if it is new; by default the default project, which is
                opened if it exists, and created by the first prompt.
            preset: preset name or checkpoint folder.
            device: as for `Engine.load`.
            engine: address of a running `maskwright ui` that answers prompts; None takes the user's setting.
        """
        super().__init__(napari_viewer)
        self._opener = ProjectOpener(self.call_soon, preset=preset, device=device, engine=engine)
        self.destroyed.connect(self._opener.cancel)
        self._following = Following(napari_viewer, self._canvas, self._target, self._channels, self._show_plane)
        self._pointer = Pointer(napari_viewer, self._canvas, lambda: Tool(self._tool.current()), self)
        self._keys = KeyBindings(napari_viewer, self._run_by_key)
        self._editing = Editing(self._canvas.accepted, self._save_strokes, self.run_action)
        self._planes: dict[int, Plane] = {}
        self._docked = self._closed = False
        self.triggered.connect(self.run_action)
        self._accepted.like_requested.connect(self._find_like)
        for other in self._other_docks():
            other.give_up_input()
        self.take_input()
        self._following.attach()
        location = project or default_project()
        self._project.location.setText(location)
        if project or (Path(location) / "project.db").exists():
            self.open_project(location, create=bool(project))

    # opening and closing

    def event(self, event: QEvent) -> bool:
        """End with the dock: napari out of its window when its x is pressed, and does not delete it."""
        if event.type() == QEvent.ParentChange and hasattr(self, "_docked"):
            if self.parent() is not None:
                self._docked = True
            elif self._docked:
                self.shut_down()
        elif event.type() == QEvent.Show and self.window() is not self:
            self.window().installEventFilter(self)
        return bool(super().event(event))

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        """Ask before a window is closed in which something is not saved."""
        if event.type() == QEvent.Close and watched is self.window() and self.controller is not None:
            unsaved = self.controller.unsaved or ("The last stroke is not saved yet." if self._editing.unsaved else "")
            if (
                unsaved
                and QMessageBox.question(self, "Maskwright", f"{unsaved} Close all the same?") != QMessageBox.Yes
            ):
                event.ignore()
                return True
        return bool(super().eventFilter(watched, event))

    def take_input(self) -> None:
        """Bind keys and listen to the mouse, as the dock of this viewer that was opened last."""
        self._pointer.attach()
        taken = self._keys.attach()
        if taken:
            self.show_status(
                f"Bound to something of your own, and left so: {', '.join(taken)}. The buttons do the same."
            )

    def give_up_input(self) -> None:
        """Leave keys and mouse to another dock."""
        self._pointer.detach()
        self._keys.detach()

    def _other_docks(self) -> list[AnnotatorWidget]:
        docks = self._viewer.window.dock_widgets.values()
        return [dock for dock in docks if isinstance(dock, AnnotatorWidget) and dock is not self and not dock._closed]

    def shut_down(self) -> None:
        """End everything that belongs to this dock: keys, mouse, threads, layers."""
        if self._closed:
            return
        self._editing.close()
        self._closed = True
        self.give_up_input()
        self._following.detach()
        self._intensities.close()
        self._activity.close()
        self._opener.cancel()
        self.close_project()
        self._canvas.close()
        for other in self._other_docks()[-1:]:
            other.take_input()

    def go_to_plane(self, image_id: int, record: PlaneRecord | None) -> bool:
        """Move the sliders to the plane that an image was taken from, if its layer is there."""
        # a plane that came into view later would take the place of this image
        self._following.follow_now()
        plane = self._planes.get(image_id) or self._following.find(record)
        if plane is None or not self._following.has(plane.layer):
            return False
        self._following.go_to(plane)
        # what comes next is meant for this plane, not for the one before
        self._following.follow_now()
        return True

    def show_masks(self, masks: Sequence[MaskView], unwritten: Collection[ProposalId]) -> None:
        """Draw the masks, and list them; strokes that are not stored yet stay."""
        super().show_masks(masks, unwritten)
        self._editing.saved()

    def _save_strokes(self, edits: list[MaskEdit]) -> bool:
        if self.controller is None:
            return False
        category = self._name.text().strip() or "object"
        return self.controller.edit(edits, category, self._editing.failed)

    def _find_like(self, where: str) -> None:
        """Find what the selected masks show: here, in the next image, or in the planes of the layer."""
        ids, controller = self._accepted.ids, self.controller
        if controller is None or not ids:
            return
        if where == "here":
            controller.prompts.like(ids)
        elif where == "next":
            controller.images.step(1, lambda: controller.prompts.like(ids))
        elif where == "later":
            controller.prompts.like_on_planes(ids, self._later_images(controller), "image")
        else:
            planes, place = self._following.planes()
            if not planes:
                show_error("This layer has a single plane. Choose a stack or a series in the list of layers.")
                return
            stack = [StackPlane(plane.name, plane.read) for plane in planes]
            if where == "stack":
                controller.prompts.like_on_planes(ids, stack)
            else:
                controller.prompts.propagate(ids[0], stack, place)

    def _later_images(self, controller: Controller) -> list[StackPlane]:
        numbers = [number for _, number in self._titles]
        first = numbers.index(controller.image_id) + 1 if controller.image_id in numbers else 0
        get = controller.session.images.get
        return [StackPlane(title, partial(get, number)) for title, number in self._titles[first:]]

    def show_image(self, image_id: int, image: Image | None) -> None:
        """Show another image, and allow undo and redo on it."""
        self._editing.flush()
        if image is not None:
            self._following.release()
        super().show_image(image_id, image)

    # actions

    def open_project(self, location: str, *, create: bool = False, then: Callable[[], None] = lambda: None) -> None:
        """Open a project in place of the one that is open.

        Args:
            location: folder or database URL.
            create: whether it is created where there is none; else a button offers that.
            then: called when it is open.
        """

        def opened(session: AnnotationSession, message: str) -> None:
            self.show_busy("")
            self.close_project()
            self._project.location.setText(location)
            self.controller = Controller(session, self)
            self.controller.managing.show_presets()
            self.controller.show_duplicates(visible=self._proposals.duplicates.isChecked())
            # not a bound method of ours: when the signal arrives, this widget is deleted
            self.destroyed.connect(self.controller.close)
            plane = self._following.plane()
            if plane is not None:
                self._show_plane(plane)
            self.show_status(message or f"Project {location}.")
            then()

        def refused(place: ProjectLocation) -> None:
            self.show_busy("")
            if place.kind is LocationKind.OTHER:
                show_error(place.message)
            else:
                self._create.show_message(place.message)

        self._create.show_message("")
        self.show_busy("Opening the project")
        self._opener.open(location, create=create, opened=opened, refused=refused)

    def close_project(self) -> None:
        """Stop running work, close the project, and show nothing of it."""
        if self.controller is None:
            return
        self.destroyed.disconnect(self.controller.close)
        self.controller.close()
        self.controller = None
        self._planes = {}
        self.show_no_image()
        if self._following.layer is None:
            self._canvas.blank()
        self._list_images((), None)
        self.show_searching(running=False)
        self.show_matches((), "")
        self.show_unsaved("")
        self.show_other_image("", None)
        self.show_history(())
        self.show_busy("")

    def _show_plane(self, plane: Plane | None) -> None:
        """Show a plane of a layer, or None for the images of the project."""
        controller = self.controller
        if plane is not None:
            self._canvas.show_plane(plane.layer, plane.index, plane.size_hw)
        if controller is None:
            return
        if plane is None:
            if self._titles:
                self._canvas.blank()
            else:
                self._canvas.reset()
            controller.images.show_first()
        else:
            controller.images.show_plane(plane.read, lambda image_id: self._planes.__setitem__(image_id, plane))

    def _run_by_key(self, name: str) -> None:
        """A key counts only while the dock is visible: nobody decides unseen."""
        if self.isVisibleTo(self.window()):
            self.run_action(name)

    def keyPressEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """The keys work in the dock, too: its fields take letters for themselves, its lists and buttons do not."""
        parts = [("Control", Qt.ControlModifier), ("Shift", Qt.ShiftModifier)]
        modifiers = [name for name, modifier in parts if event.modifiers() & modifier]
        letter = chr(event.key()) if Qt.Key_A <= event.key() <= Qt.Key_Z else ""
        action = KEYS.get("-".join([*modifiers, letter]))
        if Qt.Key_1 <= event.key() <= Qt.Key_9:
            self.run_action(f"class {event.key() - Qt.Key_0}")
        elif action is not None:
            self.run_action(action[0])
        else:
            super().keyPressEvent(event)

    def run_action(self, name: str) -> None:
        """Run the action of a button, a key or a command."""
        without_project: dict[str, Callable[[], Any]] = {
            "hide": self._canvas.toggle_proposals, "tool": self._tool.press_next, "sign": self._subtract.toggle,
            "open": lambda: self.open_project(self._project.location.text()),
            "create": lambda: self.open_project(self._project.location.text(), create=True),
            "choose project": self._choose_project,
            "target": self._following.follow_listed,
            "channels": self._following.channels_changed,
            "contrast": lambda: self._following.set_display_contrast(on=self._project.contrast.isChecked()),
        }  # fmt: skip
        if self._closed:
            return
        self._following.follow_now()
        if name in without_project:
            without_project[name]()
        elif self.controller is None:
            self._open_default(lambda: self.run_action(name))
        elif name.startswith("class "):
            self.use_class(int(name.removeprefix("class ")))
        elif name in FINETUNE_ACTIONS:
            self.controller.managing.finetune(name, **(self._finetuning.options() if name == "start" else {}))
        else:
            self._run_on_project(self.controller, name)

    def _open_default(self, then: Callable[[], None]) -> None:
        """Open the project that is named in the dock, which is created if it is the default one, then go on."""
        location = self._project.location.text().strip() or default_project()
        self._project.location.setText(location)
        self.open_project(location, create=location == default_project(), then=then)

    def _run_on_project(self, controller: Controller, name: str) -> None:
        actions: dict[str, Callable[[], Any]] = {
            "run": lambda: self._propose(controller),
            "find": lambda: controller.find(self._search.phrase.text()),
            "label_next": controller.find_next,
            "stop": controller.stop_search,
            "everything": controller.prompts.everything,
            "stop prompt": controller.prompts.stop,
            "match": lambda: controller.images.open(self._search.matches.currentItem().data(Qt.UserRole)),
            "image": lambda: controller.images.open(self._project.images.currentData()),
            "next": lambda: controller.images.step(1), "previous": lambda: controller.images.step(-1),
            "stack objects": lambda: add_stack_objects(self._viewer, self._following, controller.images),
            "open other image": lambda: self._open_other_image(controller),
            "other": controller.next_candidate,
            "clear": controller.clear_clicks,
            "suggest": lambda: controller.suggest(self._show_names),
            "use layer": self.use_layer,
            "save table": self.save_table,
            "accept above": lambda: controller.decide(self._proposals.ids_above, self._name.text(), accept=True),
            "accept": lambda: controller.decide(self._selected_proposals(), self._name.text(), accept=True),
            "reject": lambda: controller.decide(self._selected_proposals(), self._name.text(), accept=False),
            "retry": controller.retry,
            "undo": controller.undo, "redo": controller.redo,
            "duplicates": lambda: controller.show_duplicates(visible=self._proposals.duplicates.isChecked()),
            "export": lambda: self._choose_export(controller),
            "finetune needs": lambda: controller.managing.needs(
                self._finetuning.options(), self._finetuning.show_learners
            ),
        }  # fmt: skip
        actions[name]()

    def _propose(self, controller: Controller) -> None:
        try:
            prompt = self._text.prompt(self._classes.text())
        except MaskwrightError as error:
            show_error(str(error))
        else:
            controller.prompts.text(prompt)

    def _open_other_image(self, controller: Controller) -> None:
        if self._other_image_id is not None:
            controller.images.open(self._other_image_id)

    def with_controller(self, then: Callable[[Controller], None]) -> None:
        """Call a function with the controller; without a project, one is opened first."""
        self._following.follow_now()
        if self.controller is not None:
            then(self.controller)
        else:
            self._open_default(lambda: super(AnnotatorWidget, self).with_controller(then))

    def _show_names(self, names: list[tuple[str, float]]) -> None:
        self._name.setText(names[0][0])
        self.show_status(
            "Suggested names: " + ", ".join(f"{name} ({probability:.2f})" for name, probability in names[:5])
        )

    def _choose_project(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Project folder", self._project.location.text())
        if folder:
            self._project.location.setText(folder)
            self.open_project(folder)

    def _choose_export(self, controller: Controller) -> None:
        file, _ = QFileDialog.getSaveFileName(self, "COCO file", "coco.json", "COCO (*.json)")
        if file:
            controller.export(Path(file))
