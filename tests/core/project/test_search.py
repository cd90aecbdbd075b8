"""Search by a phrase: ranked images, each encoded once, with the problems of unreadable ones."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image as Pillow
from safetensors.torch import load_file, save_file

from maskwright.domain import Image, TextPrompt
from maskwright.engine import Engine
from maskwright.engine.text_method import preprocess
from maskwright.errors import Cancelled, EmptyPhrase, MaskwrightError
from maskwright.models.talk2dino import Projection
from maskwright.presets.config_io import sections
from maskwright.presets.loading import load
from maskwright.presets.saving import save_projection
from maskwright.presets.weights import write_part
from maskwright.progress import NO_PROGRESS
from maskwright.project import Project, embeddings, neighbors
from maskwright.project.neighbors import farthest_first, similar_groups
from maskwright.project.search import find_duplicates, find_images, rank_unlabelled
from maskwright.session import AnnotationSession
from maskwright.settings import Settings
from tests.core.cli.conftest import process
from tests.progress import Recorded


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """Three pictures: noise, stripes, and one colour."""
    rng = np.random.default_rng(0)
    stripes = np.zeros((50, 80, 3), np.uint8)
    stripes[::7] = (250, 200, 10)
    with Project.open(tmp_path / "project", create=True) as opened:
        for number, pixels in enumerate(
            (rng.integers(0, 256, (40, 60, 3), dtype=np.uint8), stripes, np.full((30, 30, 3), 90, np.uint8))
        ):
            file = tmp_path / f"p{number}.png"
            Pillow.fromarray(pixels).save(file)
            opened.images.register(Image.open(file))
        yield opened


@pytest.fixture
def make(talking_preset: Path, tmp_path: Path) -> Callable[..., Engine]:
    """An engine of a preset, as another process would have it: nothing in memory, the same cache on the disk."""
    settings = Settings(cache=tmp_path / "computed")
    return lambda preset=talking_preset: Engine.load(preset, "cpu", settings=settings)


@pytest.fixture
def opened(project: Project, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Ids of the images whose files were read."""
    ids: list[int] = []
    read = project.images.open

    def counted(image_id: int) -> Image:
        ids.append(image_id)
        return read(image_id)

    monkeypatch.setattr(project.images, "open", counted)
    return ids


def _direct(preset: Path, image: Image, phrase: str) -> float:
    """The best head's cosine, from the model itself."""
    talk2dino = load(preset).talk2dino
    assert talk2dino is not None
    with torch.no_grad():
        features, logits = talk2dino.model.encode_image(
            F.interpolate(
                preprocess(image.pixels, torch.device("cpu"), stretch=False), (64, 64), mode="bilinear", antialias=True
            )
        )
        heads = torch.einsum("hn,nc->hc", logits[0].softmax(dim=-1), features.patches[0])
        raw = talk2dino.model.text(talk2dino.tokenizer([phrase]))[0]
        return F.cosine_similarity(heads, talk2dino.model.projection(raw)[None]).max().item()


# ranking


def test_images_are_ranked_by_their_best_heads_cosine(
    project: Project, make: Callable[..., Engine], talking_preset: Path
) -> None:
    engine = make()
    for phrase in ("a cow in the grass", "sky"):
        result = find_images(project, engine, phrase)
        assert result.problems == ()
        assert {one.record.id for one in result.hits} == {record.id for record in project.images.all()}
        scores = [one.score for one in result.hits]
        assert scores == sorted(scores, reverse=True)
        assert len(set(scores)) == 3
        for one in result.hits:
            wanted = _direct(talking_preset, project.images.open(one.record.id), phrase)
            # regions are kept in half precision
            assert one.score == pytest.approx(wanted, abs=2e-3)


def test_phrases_find_different_things(project: Project, make: Callable[..., Engine]) -> None:
    engine = make()
    scores = {phrase: [one.score for one in find_images(project, engine, phrase).hits] for phrase in ("cow", "sky")}
    assert scores["cow"] != scores["sky"]
    assert scores["cow"] == [one.score for one in find_images(project, engine, "  Cow ").hits], "as it is cleaned"


def test_the_best_are_limited(project: Project, make: Callable[..., Engine]) -> None:
    engine, progress = make(), Recorded()
    every = find_images(project, engine, "sky").hits
    result = find_images(project, engine, "sky", limit=2, progress=progress)
    assert result.hits == every[:2]
    assert progress.reports == [(3, 3)]


def test_a_project_without_images_has_none_to_find(tmp_path: Path, make: Callable[..., Engine]) -> None:
    with Project.open(tmp_path / "empty", create=True) as empty:
        assert find_images(empty, make(), "sky").hits == ()


# each image is looked at once


def test_a_second_search_opens_no_image(project: Project, make: Callable[..., Engine], opened: list[int]) -> None:
    engine = make()
    first = find_images(project, engine, "a cow")
    assert opened == [record.id for record in project.images.all()]
    assert engine.encoder_calls == 3
    assert find_images(project, engine, "a cow") == first
    find_images(project, engine, "something else")
    assert len(opened) == engine.encoder_calls == 3


def test_what_another_engine_saw_is_used(project: Project, make: Callable[..., Engine], opened: list[int]) -> None:
    first = find_images(project, make(), "a cow")
    opened.clear()
    other = make()
    assert find_images(project, other, "a cow") == first, "to the last bit"
    assert (opened, other.encoder_calls) == ([], 0)


@pytest.mark.slow
def test_what_another_process_saw_is_used(
    project: Project, make: Callable[..., Engine], opened: list[int], talking_preset: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("MASKWRIGHT_CACHE", str(tmp_path / "computed"))
    done = process("find", project.folder, "a cow", "--preset", talking_preset, "--device", "cpu", "--json")
    assert done.status == 0, done
    found = find_images(project, make(), "a cow").hits
    assert [(row["image"], row["score"]) for row in done.json["images"]] == [
        (one.record.id, round(one.score, 4)) for one in found
    ]
    assert opened == []


def _kept(project: Project) -> list[Path]:
    return sorted((project.folder / "embeddings").rglob("*.safetensors"))


def test_what_is_kept_depends_on_what_the_head_uses(project: Project, make: Callable[..., Engine]) -> None:
    """Neither the average of the heads nor the class token, which training knows as well."""
    find_images(project, make(), "a cow")
    (segment,) = (load_file(file) for file in _kept(project))
    assert segment["regions"].shape == (3, 2, 32)
    assert segment["regions"].dtype == torch.float16
    assert segment["regions"].float().norm(dim=-1).numpy() == pytest.approx(1, abs=1e-3)
    assert [key.numpy().tobytes().hex() for key in segment["sha256"]] == [r.sha256 for r in project.images.all()]


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda file: file.unlink(), id="gone"),
        pytest.param(lambda file: file.write_bytes(b""), id="empty"),
        pytest.param(lambda file: file.write_bytes(file.read_bytes()[:-5]), id="cut"),
        pytest.param(lambda file: save_file({"other": torch.zeros(3)}, file), id="of something else"),
    ],
)
def test_a_damaged_segment_is_computed_again(
    project: Project, make: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], object]
) -> None:
    monkeypatch.setattr(embeddings, "_ADD_EVERY", 1)
    first = find_images(project, make(), "a cow")
    file = _kept(project)[1]
    damage(file)
    engine = make()
    assert find_images(project, engine, "a cow") == first
    assert engine.encoder_calls == 1
    assert len(_kept(project)) == 3


def test_a_folder_that_cannot_be_written_costs_time_only(
    project: Project, make: Callable[..., Engine], caplog: pytest.LogCaptureFixture
) -> None:
    (project.folder / "embeddings").write_text("mine")
    engine = make()
    with caplog.at_level(logging.WARNING):
        result = find_images(project, engine, "a cow")
    assert len(result.hits) == 3
    assert result.problems == ()
    assert "cannot keep what was seen of images" in caplog.text
    find_images(project, engine, "a cow")
    assert engine.encoder_calls == 6


def test_another_projection_sees_the_same_regions(
    project: Project, make: Callable[..., Engine], talking_preset: Path, tmp_path: Path
) -> None:
    first = find_images(project, make(), "a cow")
    folder = shutil.copytree(talking_preset, tmp_path / "other")
    preset = load(folder)
    assert preset.talk2dino is not None
    assert preset.talk2dino.settings.projection is not None
    sizes = preset.talk2dino.settings.projection
    save_projection(folder, Projection(sizes), sizes, preset.dinotxt, size=64)
    engine = make(folder)
    second = find_images(project, engine, "a cow")
    assert engine.encoder_calls == 0
    assert {one.score for one in first.hits}.isdisjoint({one.score for one in second.hits})


@pytest.mark.parametrize("settings", [{"matched_at": 96}, {"stretch": True}], ids=["size", "contrast"])
def test_images_with_another_preprocessing_are_encoded_again(
    project: Project, make: Callable[..., Engine], talking_preset: Path, tmp_path: Path, settings: dict[str, object]
) -> None:
    find_images(project, make(), "a cow")
    folder = shutil.copytree(talking_preset, tmp_path / "other")
    write_part(folder, "talk2dino", {**sections(folder)["talk2dino"], **settings})
    engine = make(folder)
    find_images(project, engine, "a cow")
    assert engine.encoder_calls == 3
    assert len(_kept(project)) == 2


def test_small_segments_are_merged_and_nothing_is_lost(
    project: Project, make: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embeddings, "_ADD_EVERY", 1)
    monkeypatch.setattr(embeddings, "_MOST_SMALL", 2)
    first = find_images(project, make(), "a cow")
    assert len(_kept(project)) == 1
    engine = make()
    assert find_images(project, engine, "a cow") == first
    assert engine.encoder_calls == 0


def test_two_processes_that_encode_the_same_are_one(project: Project, make: Callable[..., Engine]) -> None:
    first = find_images(project, make(), "a cow")
    (file,) = _kept(project)
    shutil.copy(file, file.with_name("0-other.safetensors"))
    assert find_images(project, make(), "a cow") == first


def test_threads_share_one_engine(project: Project, make: Callable[..., Engine]) -> None:
    engine, found = make(), list[object]()
    threads = [threading.Thread(target=lambda: found.append(find_images(project, engine, "a cow"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all(one == found[0] for one in found)


# what cannot be


def test_a_missing_image_is_one_problem_and_the_rest_is_ranked(project: Project, make: Callable[..., Engine]) -> None:
    gone, *rest = project.images.all()
    (project.folder / gone.file_name).unlink()
    engine = make()
    result = find_images(project, engine, "a cow")
    assert {one.record.id for one in result.hits} == {record.id for record in rest}
    (problem,) = result.problems
    assert problem.startswith(f"The image file {gone.file_name} is missing")
    assert "\n" not in problem
    # what was seen before is known without its file
    second = rest[0]
    (project.folder / second.file_name).unlink()
    again = find_images(project, engine, "a cow")
    assert again == result


def test_a_damaged_image_is_one_problem(project: Project, make: Callable[..., Engine]) -> None:
    first = project.images.all()[0]
    (project.folder / first.file_name).write_text("Dear Sir or Madam")
    result = find_images(project, make(), "a cow")
    assert len(result.hits) == 2
    assert len(result.problems) == 1


@pytest.mark.parametrize(
    "phrase",
    [
        pytest.param("", id="empty"),
        pytest.param(" \n\t", id="spaces"),
        pytest.param("&nbsp;", id="a written space"),
    ],
)
def test_an_empty_phrase_is_an_error(project: Project, make: Callable[..., Engine], phrase: str) -> None:
    engine = make()
    with pytest.raises(EmptyPhrase):
        find_images(project, engine, phrase)
    assert engine.encoder_calls == 0


def test_a_preset_without_talk2dino_is_an_error(
    project: Project, make: Callable[..., Engine], small_preset: Path, opened: list[int]
) -> None:
    with pytest.raises(MaskwrightError, match=r"^The preset small does not compare words with whole images\. .*\.$"):
        find_images(project, make(small_preset), "a cow")
    assert opened == []


def test_a_search_that_was_stopped_goes_on_where_it_was(project: Project, make: Callable[..., Engine]) -> None:
    engine = make()
    with pytest.raises(Cancelled):
        find_images(project, engine, "a cow", progress=Recorded(lambda: engine.encoder_calls == 2))
    assert engine.encoder_calls == 2
    assert len(find_images(project, engine, "a cow").hits) == 3
    assert engine.encoder_calls == 3


@pytest.mark.parametrize("phrase", ["🐄", "牛", "a " * 500, "{}", "%s", "it's a cow, isn't it?"])
def test_odd_phrases_are_answered(project: Project, make: Callable[..., Engine], phrase: str) -> None:
    result = find_images(project, make(), phrase)
    assert len(result.hits) == 3
    assert all(-1 <= one.score <= 1 for one in result.hits)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1)], ids=str)
def test_images_of_any_shape_are_encoded(
    make: Callable[..., Engine], size: tuple[int, int], rng: np.random.Generator
) -> None:
    image = Image(rng.integers(0, 256, (*size, 3), dtype=np.uint8))
    engine = make()
    assert engine.encode_regions(image).shape == (2, 32)


# near-duplicates, and what to label next


def test_near_duplicates_are_groups(project: Project, make: Callable[..., Engine], tmp_path: Path) -> None:
    noise = project.images.open(1)
    for name in ("same", "again"):
        pixels = noise.pixels.copy()
        # one pixel, so that the file is another one
        pixels[0, len(name)] ^= 1
        Pillow.fromarray(pixels).save(tmp_path / f"{name}.png")
        project.images.register(Image.open(tmp_path / f"{name}.png"))
    groups, problems = find_duplicates(project, make(), least=0.998)
    assert problems == ()
    assert [[hit.record.id for hit in group.hits] for group in groups] == [[1, 4, 5]]
    assert all(0.998 <= hit.score <= 1.001 for hit in groups[0].hits)
    assert find_duplicates(project, make(), least=1.01)[0] == []


def test_what_to_label_next_is_different_from_what_has_masks(project: Project, make: Callable[..., Engine]) -> None:
    engine = make()
    assert sorted(rank_unlabelled(project, engine).ids) == [1, 2, 3]
    project.accept(1, np.ones((40, 60), bool), "noise")
    ranking = rank_unlabelled(project, engine)
    vectors = {}
    for key in (1, 2, 3):
        unit = F.normalize(engine.encode_regions(project.images.open(key)).float(), dim=-1)
        vectors[key] = F.normalize(unit.mean(dim=0), dim=0)
    distance = {key: 1 - float(vectors[key] @ vectors[1]) for key in (2, 3)}
    assert ranking.ids[0] == max(distance, key=lambda key: distance[key])
    assert ranking.scores[0] == pytest.approx(max(distance.values()), abs=2e-3)
    assert sorted(ranking.ids) == [2, 3]
    assert len(rank_unlabelled(project, engine, limit=1).ids) == 1
    project.store.images.review(3, "excluded", "ann")
    assert list(rank_unlabelled(project, engine).ids) == [2]
    project.store.images.review(2, "complete", "ann")
    assert len(rank_unlabelled(project, engine).ids) == 0


def test_choices_are_the_farthest_from_all_before() -> None:
    angles = torch.tensor([0.0, 0.1, 1.5, 3.0, 0.2])
    vectors = torch.stack([angles.cos(), angles.sin()], dim=1)
    rows, distances = farthest_first(vectors, vectors[:1], 3)
    assert list(rows) == [3, 2, 4]
    assert distances == pytest.approx([1 - np.cos(3.0), 1 - np.cos(1.5), 1 - np.cos(0.2)], abs=1e-5)
    rows, _ = farthest_first(vectors, vectors[:0], 9)
    assert rows[0] == 4, "the most typical one"
    assert sorted(rows) == [0, 1, 2, 3, 4], "each once"
    assert len(farthest_first(vectors[:0], vectors, 5)[0]) == 0


def test_the_index_finds_what_comparing_all_finds(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("faiss")
    vectors = rng.standard_normal((3000, 16)).astype(np.float32)
    vectors[1::10] = vectors[::10] + 0.01 * vectors[1::10]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    every = similar_groups(vectors, 0.995, NO_PROGRESS)
    assert len(every) >= 300
    monkeypatch.setattr(neighbors, "_FEW", 0)
    indexed = similar_groups(vectors, 0.995, NO_PROGRESS)
    pairs, found = ({tuple(rows) for rows, _ in groups} for groups in (every, indexed))
    assert len(pairs & found) >= 0.97 * len(pairs)
    assert {tuple(rows): cosines.tolist() for rows, cosines in indexed}[(0, 1)] == pytest.approx(
        {tuple(rows): cosines.tolist() for rows, cosines in every}[(0, 1)], abs=1e-5
    )


# the session


def test_the_session_finds_with_the_engine_in_use(project: Project, make: Callable[..., Engine]) -> None:
    made: list[str] = []

    def engine(name: str) -> Engine:
        made.append(name)
        return make()

    session = AnnotationSession(engine, project, "talking")
    result = session.find("a cow", limit=2)
    assert result == find_images(project, session.engine, "a cow", limit=2)
    assert made == ["talking"]


def test_the_session_finds_while_a_model_without_talk2dino_is_in_use(
    project: Project, make: Callable[..., Engine], small_preset: Path, talking_preset: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    made: list[str] = []

    def engine(name: str) -> Engine:
        made.append(name)
        return make(Path(name))

    monkeypatch.setattr(project.runs, "model", lambda: str(small_preset))
    session = AnnotationSession(engine, project, str(talking_preset))
    (first, *_) = project.images.all()
    assert session.propose_text(first.id, TextPrompt.parse("cow")).prediction.provenance["preset"] == "small"
    assert session.find("a cow") == find_images(project, make(), "a cow")
    session.find("sky")
    assert made == [str(small_preset), str(talking_preset)], "each is loaded once"
    without = AnnotationSession(engine, project, str(small_preset))
    with pytest.raises(MaskwrightError, match="The preset small does not compare words with whole images"):
        without.find("a cow")


@pytest.mark.slow
def test_the_session_finds_with_the_preset_that_a_learned_model_came_from(
    two_class_project: Path, make: Callable[..., Engine], talking_preset: Path
) -> None:
    """A model that the project learned no longer fits the projection; the preset it came from still does."""
    made: list[str] = []

    def engine(name: str) -> Engine:
        made.append(name)
        return make(Path(name))

    with Project.open(two_class_project) as project:
        run = project.finetune(base=talking_preset, epochs=2, device="cpu")
        run.wait()
        project.runs.activate(run.name, user="me")
        session = AnnotationSession(engine, project, str(talking_preset))
        assert session.engine.text_methods == ("dinotxt",)
        result = session.find("a meadow")
        assert len(result.hits) == 6
        assert result == find_images(project, make(), "a meadow")
        session.find("air")
        assert made == [str(run.checkpoint), str(talking_preset)], "each is loaded once"
        with pytest.raises(EmptyPhrase):
            session.find(" ")
