"""Fine-tuning of dinov3.seg on labelled folders in one or several processes, on one or several machines.

`python -m maskwright.training street --base dinov3seg-l --out tuned --recipe full` trains in this process;
`torchrun --nproc-per-node 8 -m maskwright.training ...` divides each step among eight, with the same result.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from maskwright.domain import Annotation, Mask
from maskwright.errors import MaskwrightError
from maskwright.files.event_file import EventFile
from maskwright.files.hashing import sha256_of
from maskwright.formats.labelled_folder import LabelledFolder, held_out
from maskwright.formats.segmentation import mask_of
from maskwright.models.devices import choose_device
from maskwright.presets.folders import find
from maskwright.settings import Settings
from maskwright.training import distributed
from maskwright.training.finetune.images import TrainingImage
from maskwright.training.finetune.recipes import DEFAULT_RECIPE, recipe_name
from maskwright.training.finetune.run import TuneRequest, tune
from maskwright.training.loop import RunOptions, TrainProgress

__all__ = ["main"]


def main(
    folders: Annotated[list[Path], typer.Argument(help="Folders with images/ and COCO annotations.json.")],
    out: Annotated[Path, typer.Option(help="Folder for the result, which all machines see.")],
    base: Annotated[str, typer.Option(help="Preset or checkpoint to start from.")] = "tiny",
    recipe: Annotated[str, typer.Option(help="decoder, qv, qk, vision or full.")] = DEFAULT_RECIPE,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the images.")] = None,
    complete: Annotated[bool, typer.Option("--complete", help="Unlabelled pixels show none of the classes.")] = False,
    log_dir: Annotated[Path | None, typer.Option(help="Folder for TensorBoard's event files.")] = None,
    seed: int = 0,
    device: str = "auto",
) -> None:
    """Fine-tune dinov3.seg on the images of labelled folders that are not held out, one in five."""
    place = distributed.begin(device) or str(choose_device(device))
    first = distributed.rank() == 0
    events = EventFile(log_dir) if log_dir is not None and first else None

    def show(step: TrainProgress) -> None:
        if first:
            print(f"step {step.step} of {step.steps}: loss {step.loss:.6f}", flush=True)
        if events is not None:
            events.add(step.step, {"loss": step.loss, **step.parts})

    images, names = _read(folders, complete=complete)
    request = TuneRequest(
        task="text", method="dinov3seg", recipe=recipe_name(recipe), images=images, replayed=(), names=names,
        background=len(names) == 1, epochs=epochs, seed=seed, encodings=out / "encodings",
    )  # fmt: skip
    options = RunOptions(device=place, on_step=show, on_note=lambda note: print(note, file=sys.stderr))
    tune(find(base, Settings.load()), request, out, options)
    distributed.end()


def _read(folders: list[Path], *, complete: bool) -> tuple[list[TrainingImage], list[str]]:
    images, names = [], dict[str, None]()
    for folder in folders:
        data = LabelledFolder.read(folder)
        names |= dict.fromkeys(data.categories.values())
        for row in data:
            if held_out(row.file.name):
                continue
            masks = tuple(
                Annotation(
                    number, f"{number}", 0, list(names).index(name), name, Mask.from_array(mask_of(one, row.size_hw)),
                    "accepted", "import", 1, "", "", "", crowd=bool(one.get("iscrowd")),
                )
                for number, one in enumerate(row.annotations)
                if one.get("segmentation") and (name := data.categories.get(one.get("category_id", -1)))
            )  # fmt: skip
            images.append(TrainingImage(row.file, sha256_of(row.file), masks, complete=complete))
    return images, list(names)


if __name__ == "__main__":
    try:
        typer.run(main)
    except MaskwrightError as error:
        print(f"maskwright: {error}", file=sys.stderr)
        raise SystemExit(error.exit_status) from error
