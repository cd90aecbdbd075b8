"""Talk2DINO's projection learns from captioned pictures, and what its encoders saw is kept on the disk."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image as Pillow
from safetensors.torch import load_file
from torch import Tensor

from maskwright.domain import rle
from maskwright.engine import Engine
from maskwright.errors import BadCoco, BadWeights, Cancelled, MaskwrightError
from maskwright.formats.captions import CaptionedImage, read_captions
from maskwright.formats.labelled_folder import held_out
from maskwright.models.talk2dino import Pooling, Talk2Dino
from maskwright.presets.config_io import sections
from maskwright.presets.convert import import_talk2dino
from maskwright.presets.folders import tasks
from maskwright.presets.loading import load
from maskwright.presets.saving import save_projection
from maskwright.presets.weights import write_part
from maskwright.progress import Progress
from maskwright.training import projection as module
from maskwright.training.projection import (
    TINY_PROJECTION,
    Encoders,
    ProjectionResult,
    ProjectionSettings,
    _middle,
    default_settings,
    encoders,
    train,
)
from maskwright.training.prompts import PROMPTS
from maskwright.training.recipes import train_projection
from tests.core.presets.test_convert_talk2dino import (
    V2,
    _made,
    needs_vocabulary,
    official_clip,
    official_dinov2,
    projection,
    written,
)
from tests.progress import Recorded

CPU = torch.device("cpu")
RUN = ProjectionSettings(epochs=3, batch=4, lr=1e-2, size=64, hidden=16, released=False)
COLOURS = {"red": (200, 20, 20), "green": (20, 200, 20), "blue": (20, 20, 200), "white": (230, 230, 230)}
TAUGHT = [name for n in range(60) if not held_out(name := f"p{n}.png")]
KEPT_OUT = [name for n in range(60) if held_out(name := f"p{n}.png")]


def picture(file: Path, colour: str, seed: int) -> None:
    """One colour with some noise, 40 x 50 pixels."""
    noise = np.random.default_rng(seed).integers(0, 25, (40, 50, 3), dtype=np.uint8)
    file.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(noise + np.array(COLOURS[colour], np.uint8)).save(file)


def captioned(folder: Path, names: Sequence[str] = TAUGHT[:8], *, file: str = "captions.json") -> Path:
    """Pictures of four colours by turns, each with two sentences."""
    images, rows = [], []
    for number, name in enumerate(names, start=1):
        colour = list(COLOURS)[number % 4]
        picture(folder / "images" / name, colour, number)
        images.append({"id": number, "file_name": name, "width": 50, "height": 40})
        rows += [
            {"id": 2 * number, "image_id": number, "caption": f"all of it is {colour}"},
            {"id": 2 * number + 1, "image_id": number, "caption": f"{colour} wall number {number}"},
        ]
    (folder / file).write_text(json.dumps({"images": images, "annotations": rows}), encoding="utf-8")
    return folder


def named(folder: Path, names: Sequence[str] = TAUGHT[:8]) -> Path:
    """The same pictures with class names in a labelled folder."""
    captioned(folder, names)
    data = json.loads((folder / "captions.json").read_text())
    (folder / "captions.json").unlink()
    shape = rle.encode(np.ones((40, 50), bool))
    data["categories"] = [{"id": n, "name": name} for n, name in enumerate(COLOURS)]
    data["annotations"] = [
        {"id": row["id"], "image_id": row["id"], "category_id": row["id"] % 4, "segmentation": shape, "iscrowd": 0}
        for row in data["images"]
    ]
    (folder / "annotations.json").write_text(json.dumps(data), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def frozen(small_preset: Path) -> Encoders:
    return encoders(load(small_preset))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return captioned(tmp_path / "data")


class Stages(Progress):
    """Keeps every report, and cancels after the first one of a stage."""

    def __init__(self, rows: list[tuple[str, int, int]], cancel_in: str | None = None) -> None:
        self.rows, self.cancel_in = rows, cancel_in

    def report(self, done: int, total: int, stage: str = "") -> None:
        self.rows.append((stage, done, total))

    def cancelled(self) -> bool:
        return any(stage == self.cancel_in for stage, _, _ in self.rows)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by the number of pictures in each pass through the image encoder."""
    seen: list[int] = []
    encode = Talk2Dino.encode_image

    def counted(model: Talk2Dino, pixels: Tensor) -> Any:
        seen.append(len(pixels))
        return encode(model, pixels)

    monkeypatch.setattr(Talk2Dino, "encode_image", counted)
    return seen


def _learn(
    frozen: Encoders, folder: Path, cache: Path, run: ProjectionSettings = RUN, **options: Any
) -> ProjectionResult:
    return train(frozen, read_captions(folder), run, cache, device=CPU, **options)


def _weights(taught: ProjectionResult) -> dict[str, Tensor]:
    return dict(taught.projection.state_dict())


def _equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


# captions


def test_coco_captions_are_read(folder: Path) -> None:
    found = read_captions(folder)
    assert [one.file for one in found] == [folder / "images" / name for name in TAUGHT[:8]]
    assert found[0] == CaptionedImage(
        folder / "images" / TAUGHT[0], ("all of it is green", "green wall number 1"), names=False
    )


def test_class_names_stand_in_for_captions(tmp_path: Path) -> None:
    found = read_captions(named(tmp_path / "data"))
    assert [one.captions for one in found] == [(list(COLOURS)[n % 4],) for n in range(1, 9)]
    assert all(one.names for one in found)


def test_captions_go_before_class_names(tmp_path: Path) -> None:
    folder = captioned(named(tmp_path / "data"))
    assert not any(one.names for one in read_captions(folder))


def test_a_caption_is_told_once_and_an_empty_one_never(folder: Path) -> None:
    data = json.loads((folder / "captions.json").read_text())
    said = ["a wall ", "  ", "a wall", "another"]
    data["annotations"] = [{"id": n, "image_id": 1, "caption": text} for n, text in enumerate(said)]
    (folder / "captions.json").write_text(json.dumps(data))
    (found,) = read_captions(folder)
    assert found.captions == ("a wall", "another"), "pictures without a caption are left out"


def test_held_out_pictures_and_those_of_the_gallery_are_left_out(tmp_path: Path) -> None:
    folder = captioned(tmp_path / "data", [*TAUGHT[:3], *KEPT_OUT[:2]])
    assert [one.file.name for one in read_captions(folder)] == TAUGHT[:3]
    stem = Path(TAUGHT[1]).stem
    assert [one.file.name for one in read_captions(folder, frozenset({stem}))] == [TAUGHT[0], TAUGHT[2]]


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        pytest.param(None, MaskwrightError, "has no captions: it needs images/ and captions.json or", id="no file"),
        pytest.param("{", BadCoco, "is not a JSON file", id="no JSON"),
        pytest.param("[]", BadCoco, "images is missing", id="a list"),
        pytest.param('{"images": []}', BadCoco, "annotations is missing", id="no annotations"),
        pytest.param('{"images": [], "annotations": []}', MaskwrightError, "has no image with a caption", id="empty"),
        pytest.param('{"images": [3], "annotations": []}', BadCoco, "is not complete", id="a number as picture"),
        pytest.param('{"images": [], "annotations": [3]}', BadCoco, "is not complete", id="a number as caption"),
        pytest.param(
            '{"images": [{"id": 1}], "annotations": [{"image_id": 1, "caption": "a"}]}', BadCoco, "'file_name' is",
            id="no file name",
        ),
        pytest.param(
            '{"images": [], "annotations": [{"caption": "a"}]}', BadCoco, "'image_id' is missing", id="no picture"
        ),
        pytest.param(
            '{"images": [], "annotations": [{"image_id": 1, "category_id": 7}]}', BadCoco, "7 is missing",
            id="unlisted category",
        ),
        pytest.param(
            '{"images": [{"id": 1, "file_name": "KEPT"}], "annotations": [{"image_id": 1, "caption": "a"}]}',
            MaskwrightError, "has no image with a caption", id="all held out",
        ),
    ],
)  # fmt: skip
def test_folders_without_captions_are_one_sentence(
    tmp_path: Path, text: str | None, kind: type[Exception], words: str
) -> None:
    if text is not None:
        (tmp_path / "captions.json").write_text(text.replace("KEPT", KEPT_OUT[0]))
    with pytest.raises(kind, match=words) as caught:
        read_captions(tmp_path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith((".", ". Export it again."))


# learning


def test_learning_lowers_the_loss(frozen: Encoders, folder: Path, tmp_path: Path) -> None:
    taught = _learn(frozen, folder, tmp_path / "kept", replace(RUN, epochs=40, batch=8))
    assert len(taught.losses) == 40
    assert np.isfinite(taught.losses).all()
    assert np.mean(taught.losses[-5:]) < 0.7 * np.mean(taught.losses[:3])
    assert (taught.images, taught.captions) == (8, 12), "what is said of several pictures is one caption"
    assert not taught.projection.training
    assert (taught.config.text, taught.config.width, taught.config.hidden) == (64, 32, 16)


def test_words_learn_to_point_at_their_pictures(frozen: Encoders, tmp_path: Path) -> None:
    folder = named(tmp_path / "data", TAUGHT[:16])
    taught = _learn(frozen, folder, tmp_path / "kept", replace(RUN, epochs=60, batch=16))
    (shard,) = (tmp_path / "kept").iterdir()
    regions = F.normalize(load_file(shard)["regions"].float()[:, :-2], dim=-1)
    with torch.no_grad():
        words = taught.projection(frozen.model.text(frozen.tokenizer(list(COLOURS))))
    best = torch.einsum("ihc,tc->iht", regions, F.normalize(words, dim=-1)).amax(dim=1)
    right = torch.tensor([n % 4 for n in range(1, 17)])
    assert (best.argmax(dim=1) == right).float().mean() > 0.7


def test_the_same_seed_gives_the_same_weights(frozen: Encoders, folder: Path, tmp_path: Path) -> None:
    first = _learn(frozen, folder, tmp_path / "kept")
    torch.rand(7)
    again = _learn(frozen, folder, tmp_path / "kept")
    assert _equal(_weights(first), _weights(again))
    assert first.losses == again.losses
    other = _learn(frozen, folder, tmp_path / "kept", replace(RUN, seed=1))
    assert not _equal(_weights(first), _weights(other))


def test_the_encoders_stand_still(frozen: Encoders, folder: Path, tmp_path: Path) -> None:
    before = {name: value.clone() for name, value in frozen.model.state_dict().items()}
    _learn(frozen, folder, tmp_path / "kept")
    assert _equal(before, frozen.model.state_dict())
    assert all(value.grad is None for value in frozen.model.parameters())


def test_every_pooling_learns_something_else(frozen: Encoders, folder: Path, tmp_path: Path) -> None:
    poolings: tuple[Pooling, ...] = ("max_head", "average", "cls")
    made = [_weights(_learn(frozen, folder, tmp_path / "kept", replace(RUN, pooling=one))) for one in poolings]
    assert not _equal(made[0], made[1])
    assert not _equal(made[0], made[2])
    assert not _equal(made[1], made[2])


def test_all_poolings_share_what_was_kept(frozen: Encoders, folder: Path, tmp_path: Path, passes: list[int]) -> None:
    for pooling in ("max_head", "average", "cls"):
        _learn(frozen, folder, tmp_path / "kept", replace(RUN, pooling=pooling))
    assert sum(passes) == 8


def test_what_is_told_of_the_progress(frozen: Encoders, folder: Path, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    _learn(frozen, folder, tmp_path / "kept", progress=Stages(told))
    assert list(dict.fromkeys(phase for phase, _, _ in told)) == ["Encoding images", "Encoding texts", "Training"]
    assert [row for row in told if row[0] == "Encoding images"] == [("Encoding images", n, 8) for n in range(8)]
    assert [row for row in told if row[0] == "Training"] == [("Training", n, 3) for n in (0, 0, 1, 1, 2, 2, 3)]


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_pictures_are_one_sentence(frozen: Encoders, folder: Path, tmp_path: Path, count: int) -> None:
    with pytest.raises(MaskwrightError, match=r"^Training needs at least two captioned images\. .*\.$"):
        train(frozen, read_captions(folder)[:count], RUN, tmp_path / "kept", device=CPU)


def test_fewer_pictures_than_a_batch_are_one_batch(frozen: Encoders, folder: Path, tmp_path: Path) -> None:
    taught = _learn(frozen, folder, tmp_path / "kept", replace(RUN, batch=128, epochs=2))
    assert len(taught.losses) == 2
    assert np.isfinite(taught.losses).all()


def test_pictures_of_one_kind_alone_do_not_break_it(frozen: Encoders, tmp_path: Path) -> None:
    """All captions fit all pictures: there is nothing to tell apart, and the loss is nought."""
    folder = named(tmp_path / "data")
    data = json.loads((folder / "annotations.json").read_text())
    data["annotations"] = [{**row, "category_id": 0} for row in data["annotations"]]
    (folder / "annotations.json").write_text(json.dumps(data))
    taught = _learn(frozen, folder, tmp_path / "kept")
    assert taught.losses == (0.0, 0.0, 0.0)
    assert all(torch.isfinite(value).all() for value in _weights(taught).values())


def test_a_rare_caption_is_drawn_more_often_than_a_common_one() -> None:
    files = [CaptionedImage(Path(f"{n}.png"), ("sky", f"thing {n}"), names=True) for n in range(9)]
    said = module._Captions(files)
    rng = np.random.default_rng(0)
    drawn = [said.draw(3, rng) for _ in range(800)]
    # one in nine against one: a third as often
    assert np.mean([said.texts[n] == "sky" for n in drawn]) == pytest.approx(0.25, abs=0.05)
    assert {said.texts[n] for n in drawn} == {"sky", "thing 3"}


def test_which_captions_are_true_of_which_pictures() -> None:
    files = [
        CaptionedImage(Path("a.png"), ("sky", "cow"), names=True),
        CaptionedImage(Path("b.png"), ("cow",), names=True),
        CaptionedImage(Path("c.png"), ("a dog in the rain",), names=False),
    ]
    said = module._Captions(files)
    assert said.texts == ("sky", "cow", "a dog in the rain")
    true = said.matches(np.array([0, 1, 2]), np.array([0, 1, 2]))
    assert true.tolist() == [[True, True, False], [False, True, False], [False, False, True]]
    prompts = said.prompts()
    assert prompts[1] == [prompt.format("cow") for prompt in PROMPTS]
    assert prompts[2] == ["a dog in the rain"] * len(PROMPTS), "a sentence stands as it is"


# what is kept


def test_a_picture_is_encoded_once(frozen: Encoders, folder: Path, tmp_path: Path, passes: list[int]) -> None:
    first = _learn(frozen, folder, tmp_path / "kept")
    assert passes == [1] * 8
    again = _learn(frozen, folder, tmp_path / "kept")
    assert len(passes) == 8
    assert _equal(_weights(first), _weights(again))
    _learn(frozen, folder, tmp_path / "kept", replace(RUN, size=96))
    assert len(passes) == 16, "at another size it is another thing"
    _learn(frozen._replace(sha256="0" * 64), folder, tmp_path / "kept")
    assert len(passes) == 24, "and to other weights"


def test_a_picture_that_changed_is_encoded_again(
    frozen: Encoders, folder: Path, tmp_path: Path, passes: list[int]
) -> None:
    first = _learn(frozen, folder, tmp_path / "kept")
    picture(folder / "images" / TAUGHT[0], "white", 99)
    changed = _learn(frozen, folder, tmp_path / "kept")
    assert len(passes) == 16
    assert not _equal(_weights(first), _weights(changed))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"Dear Sir or Madam", id="text"),
        pytest.param(None, id="cut"),
    ],
)
def test_a_damaged_file_is_made_anew(
    frozen: Encoders, folder: Path, tmp_path: Path, passes: list[int], data: bytes | None
) -> None:
    first = _learn(frozen, folder, tmp_path / "kept")
    (shard,) = (tmp_path / "kept").iterdir()
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-10] if data is None else data)
    again = _learn(frozen, folder, tmp_path / "kept")
    assert len(passes) == 16
    assert _equal(_weights(first), _weights(again))
    assert [file.name for file in (tmp_path / "kept").iterdir()] == [shard.name]
    assert shard.read_bytes() == whole


def test_stopping_keeps_what_was_finished(
    frozen: Encoders, folder: Path, tmp_path: Path, passes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SHARD", 3)
    with pytest.raises(Cancelled):
        _learn(frozen, folder, tmp_path / "kept", progress=Recorded(lambda: len(passes) == 5))
    assert len(passes) == 5
    assert len(list((tmp_path / "kept").iterdir())) == 1, "one of three files, and nothing half written"
    taught = _learn(frozen, folder, tmp_path / "kept")
    assert len(passes) == 5 + 8 - 3
    monkeypatch.setattr(module, "_SHARD", 256)
    assert _equal(_weights(taught), _weights(_learn(frozen, folder, tmp_path / "other"))), "files hold the same"


@pytest.mark.parametrize("phase", ["Encoding images", "Encoding texts", "Training"])
def test_every_phase_can_be_stopped(frozen: Encoders, folder: Path, tmp_path: Path, phase: str) -> None:
    rows: list[tuple[str, int, int]] = []
    with pytest.raises(Cancelled):
        _learn(frozen, folder, tmp_path / "kept", progress=Stages(rows, cancel_in=phase))
    stages = [stage for stage, _, _ in rows]
    assert stages.count(phase) == 1
    assert stages[-1] == phase


def test_a_picture_that_cannot_be_read_is_one_sentence(frozen: Encoders, folder: Path, tmp_path: Path) -> None:
    (folder / "images" / TAUGHT[2]).write_text("Dear Sir or Madam")
    with pytest.raises(MaskwrightError, match=f"Cannot read {TAUGHT[2]}: the file is damaged"):
        _learn(frozen, folder, tmp_path / "kept")
    (folder / "images" / TAUGHT[2]).unlink()
    with pytest.raises(MaskwrightError, match=f"There is no file .*{TAUGHT[2]}"):
        _learn(frozen, folder, tmp_path / "kept")


def test_a_missing_picture_is_one_sentence_when_the_others_are_kept(
    frozen: Encoders, folder: Path, tmp_path: Path
) -> None:
    pictures = read_captions(folder)
    train(frozen, [*pictures[:3], *pictures[4:]], RUN, tmp_path / "kept", device=CPU)
    pictures[3].file.unlink()
    with pytest.raises(MaskwrightError, match="There is no file"):
        train(frozen, pictures, RUN, tmp_path / "kept", device=CPU)


# into a preset


def test_a_projection_alone_is_added_to_a_preset(small_preset: Path, folder: Path, tmp_path: Path) -> None:
    before = {file.name: file.read_bytes() for file in small_preset.iterdir()}
    out = tmp_path / "mine"
    taught = train_projection([folder], small_preset, out, RUN)
    assert {file.name: file.read_bytes() for file in small_preset.iterdir()} == before, "the base stays as it was"
    assert {name for name in before if name != "config.json"} < {file.name for file in out.iterdir()}
    told = sections(out)
    assert {part: told[part] for part in told if part != "talk2dino"} == sections(small_preset)
    preset = load(out)
    assert preset.talk2dino is not None
    assert preset.talk2dino.settings.retrieval_size == 64
    assert preset.talk2dino.settings.built_on == told["dinotxt"]["sha256"]
    assert preset.talk2dino.settings.prompts == ("{}", "a photo of a {}.")
    for name, value in _weights(taught).items():
        torch.testing.assert_close(preset.talk2dino.model.projection.state_dict()[name], value, rtol=1e-3, atol=1e-3)


def test_a_second_run_into_the_same_folder_replaces_it(
    small_preset: Path, folder: Path, tmp_path: Path, passes: list[int]
) -> None:
    out = tmp_path / "mine"
    train_projection([folder], small_preset, out, RUN)
    first = sections(out)["talk2dino"]["sha256"]
    train_projection([folder], small_preset, out, replace(RUN, seed=1))
    assert sections(out)["talk2dino"]["sha256"] != first
    train_projection([folder], out, out, replace(RUN, seed=1, pooling="cls"))
    load(out)
    assert sum(passes) == 8, "the regions are kept beside the preset"


def test_several_folders_are_learned_from_together(small_preset: Path, tmp_path: Path) -> None:
    folders = [captioned(tmp_path / "one", TAUGHT[:3]), named(tmp_path / "two", [*TAUGHT[3:7], *KEPT_OUT[:3]])]
    taught = train_projection(folders, small_preset, tmp_path / "mine", RUN)
    assert taught.images == 7


def test_another_preset_in_the_folder_is_refused(small_preset: Path, folder: Path, tmp_path: Path) -> None:
    out = shutil.copytree(small_preset, tmp_path / "mine")
    write_part(out, "dinotxt", {**sections(out)["dinotxt"], "sha256": "0" * 64})
    before = {file.name: file.read_bytes() for file in out.iterdir()}
    with pytest.raises(MaskwrightError, match=r"mine holds another preset than small\. Name another folder with --out"):
        train_projection([folder], small_preset, out, RUN)
    assert {file.name: file.read_bytes() for file in out.iterdir()} == before


def test_a_preset_whose_words_were_trained_since_is_another_one(
    small_preset: Path, talking_preset: Path, folder: Path, tmp_path: Path
) -> None:
    """Its projection no longer fits; one made for the words of before would not either."""
    out = shutil.copytree(talking_preset, tmp_path / "mine")
    write_part(out, "dinotxt", {**sections(out)["dinotxt"], "sha256": "0" * 64})
    with pytest.raises(MaskwrightError, match="mine holds another preset than small"):
        train_projection([folder], small_preset, out, RUN)


def test_a_preset_without_words_is_refused(small_preset: Path, folder: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(small_preset / "sam.safetensors", bare)
    write_part(bare, "sam", sections(small_preset)["sam"])
    with pytest.raises(MaskwrightError, match=r"The preset bare has no text and image encoders\. .*\.$"):
        train_projection([folder], bare, tmp_path / "mine", RUN)
    assert not (tmp_path / "mine").exists()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Talk2DINO with encoders of its own."""
    model, place = _made(V2), tmp_path_factory.mktemp("whole")
    given = written(place / "downloads", official_dinov2(model), official_clip(model), projection(model))
    return import_talk2dino(given, place / "whole", V2)


WHOLE = replace(RUN, size=56, hidden=20)


@needs_vocabulary
def test_in_a_whole_preset_only_the_projection_is_replaced(whole: Path, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine"
    taught = train_projection([folder], whole, out, WHOLE)
    old, new = (load_file(place / "talk2dino.safetensors") for place in (whole, out))
    assert old.keys() == new.keys()
    changed = {name for name in old if not torch.equal(old[name], new[name])}
    assert changed == {name for name in old if name.startswith("projection.")}
    assert _equal(_weights(taught), {n.removeprefix("projection."): new[n] for n in changed})
    before, after = (sections(place)["talk2dino"] for place in (whole, out))
    assert before["sha256"] != after["sha256"]
    apart = {"sha256": "", "built_on": "", "matched_at": 0}
    assert before | apart == after | apart
    assert Engine.load(out, "cpu").text_methods == ("talk2dino",)


@needs_vocabulary
def test_a_projection_of_another_width_can_be_put_into_a_whole_preset(
    whole: Path, folder: Path, tmp_path: Path
) -> None:
    taught = train_projection([folder], whole, tmp_path / "mine", replace(WHOLE, hidden=None))
    loaded = load(tmp_path / "mine").talk2dino
    assert loaded is not None
    projection = loaded.model.projection.state_dict()
    assert {name: value.shape for name, value in projection.items()} == {
        name: value.shape for name, value in _weights(taught).items()
    }


@needs_vocabulary
def test_a_whole_preset_can_be_taught_again_into_the_same_folder(whole: Path, folder: Path, tmp_path: Path) -> None:
    first, second = (
        _weights(train_projection([folder], whole, tmp_path / "mine", replace(WHOLE, seed=seed))) for seed in (0, 1)
    )
    assert not _equal(first, second)


@needs_vocabulary
def test_a_whole_preset_that_was_taught_does_not_look_again(
    whole: Path, folder: Path, tmp_path: Path, passes: list[int]
) -> None:
    out = shutil.copytree(whole, tmp_path / "mine")
    for seed in (0, 1):
        train_projection([folder], out, out, replace(WHOLE, seed=seed))
    assert sum(passes) == 8


@needs_vocabulary
def test_settings_are_the_papers_where_the_encoders_are(whole: Path, small_preset: Path, talking_preset: Path) -> None:
    assert default_settings(whole) == ProjectionSettings()
    assert (ProjectionSettings().epochs, ProjectionSettings().batch, ProjectionSettings().lr) == (100, 128, 1e-4)
    assert (ProjectionSettings().size, ProjectionSettings().pooling) == (448, "max_head")
    assert default_settings(small_preset) == default_settings(talking_preset) == TINY_PROJECTION
    assert default_settings(whole, epochs=3, seed=7) == replace(ProjectionSettings(), epochs=3, seed=7)


def test_a_saved_projection_keeps_nothing_of_the_one_before(talking_preset: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(talking_preset, tmp_path / "mine")
    preset = load(folder)
    assert preset.talk2dino is not None
    made = preset.talk2dino.model.projection
    assert preset.talk2dino.settings.projection is not None
    save_projection(folder, made, preset.talk2dino.settings.projection, preset.dinotxt, size=128)
    again = load(folder).talk2dino
    assert again is not None
    assert again.settings.retrieval_size == 128
    assert _equal(dict(made.state_dict()), dict(again.model.projection.state_dict()))


def test_the_middle_square_as_released() -> None:
    """Short side resized, bicubic and antialiased, centre cropped: beside torch's formulation."""
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.random((1, 3, 9, 14)))
    pixels = torch.nn.functional.interpolate(coarse, (90, 143), mode="bicubic").clamp(0, 1)
    image = (pixels[0].permute(1, 2, 0) * 255).round().byte().numpy()
    found = _middle(image, 56)
    whole = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    resized = torch.nn.functional.interpolate(whole, (56, 56 * 143 // 90), mode="bicubic", antialias=True)
    left = round((resized.shape[-1] - 56) / 2)
    expected = resized[0, :, :, left : left + 56].permute(1, 2, 0).clamp(0, 255).numpy()
    assert found.shape == (56, 56, 3)
    assert np.abs(found - expected).max() < 1.5
    tall = np.ascontiguousarray(image.transpose(1, 0, 2))
    assert np.abs(_middle(tall, 56).transpose(1, 0, 2).astype(int) - found.astype(int)).max() <= 1


@needs_vocabulary
def test_encoders_without_a_projection_wait_for_their_training(folder: Path, tmp_path: Path) -> None:
    model = _made(V2)
    files = written(tmp_path / "downloads", official_dinov2(model), official_clip(model), projection(model))
    given = [file for file in files if file.name != "c.pth"]
    with pytest.raises(BadWeights, match="projection"):
        import_talk2dino(given, tmp_path / "none", V2)
    waiting = import_talk2dino(given, tmp_path / "waiting", V2, may_wait=True)
    preset = load(waiting)
    assert (preset.talk2dino, tasks(waiting)) == (None, ())
    with pytest.raises(MaskwrightError, match="waits for training"):
        Engine.load(waiting, "cpu").text_method()
    train_projection([folder], waiting, tmp_path / "mine", replace(WHOLE, hidden=None))
    assert tasks(tmp_path / "mine") == ("text",)
    assert Engine.load(tmp_path / "mine", "cpu").text_methods == ("talk2dino",)
