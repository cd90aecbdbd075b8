"""Precision, resizing, order and pooling as in the authors' code, each beside a second formulation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image as Pillow
from torch import Tensor

from maskwright.domain import Image, ModelRef
from maskwright.engine.cache import EmbeddingCache
from maskwright.engine.dinov3seg import Dinov3SegMethod, _preselect
from maskwright.engine.label_map import label, refine
from maskwright.engine.references import ReferenceSegmenter
from maskwright.engine.talk2dino import Talk2DinoMethod
from maskwright.formats.captions import CaptionedImage
from maskwright.imaging.geometry import slide, slide_size
from maskwright.models.cost_aggregation import AggregatorConfig, CostAggregator
from maskwright.models.dense_features import square_input, stretched
from maskwright.models.dinov3 import DinoV3, DinoV3Config
from maskwright.models.dinov3seg import ImageFeatures
from maskwright.models.insid3 import Insid3Config
from maskwright.models.normalization import normalize
from maskwright.models.talk2dino import Projection, ProjectionConfig
from maskwright.models.talk2dino import scores as sigmoid_scores
from maskwright.presets.config import Insid3Settings, PointMatching
from maskwright.presets.loading import Loaded, Preset, load
from maskwright.progress import NO_PROGRESS
from maskwright.training.projection import ProjectionSettings, _Captions, _optimize
from maskwright.training.vocabulary import NO, Vocabulary

CPU = torch.device("cpu")


def _photograph(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Blocks of colour with fine grain, as a photograph has it."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(40, 216, (-(-height // 20), -(-width // 20), 3)).repeat(20, axis=0).repeat(20, axis=1)
    return np.clip(blocks[:height, :width] + rng.integers(-40, 41, (height, width, 3)), 0, 255).astype(np.uint8)


# INSID3: precision, resizing, keypoints


def _insid3(config: DinoV3Config, settings: Insid3Settings) -> Preset:
    torch.manual_seed(0)
    backbone = DinoV3(config).eval()
    for parameter in backbone.parameters():
        # random weights whose every layer matters
        parameter.data += 0.02 * torch.randn(parameter.shape)
    ref = ModelRef("small", "0" * 64)
    return Preset(ref, insid3=Loaded(ref, Path(), settings, backbone))


def test_the_positional_subspace_is_computed_in_single_precision(tmp_path: Path) -> None:
    """What an engine on CUDA casts to bfloat16 leaves the subspace as it is: eigenvectors in double precision."""
    config = DinoV3Config(width=64, depth=2, heads=4, layer_scale=1.0)
    preset = _insid3(config, Insid3Settings(part="dinov3"))
    assert preset.insid3 is not None
    black = square_input(torch.zeros(3, 256, 256), 256)
    with torch.inference_mode():
        features = preset.insid3.model(black).patch_map()[0].flatten(1).T
    rows = F.normalize(features, dim=1).double()
    values, vectors = torch.linalg.eigh((rows - rows.mean(dim=0)).T @ (rows - rows.mean(dim=0)))
    # random weights differ between processors; the subspace is well defined where its smallest eigenvalue stands apart
    gaps = {count: float(values[-count] / values[-count - 1]) for count in range(6, 20)}
    components = max(gaps, key=gaps.__getitem__)
    assert gaps[components] > 1.05
    preset = _insid3(config, Insid3Settings(part="dinov3", method=Insid3Config(size=256, components=components)))
    assert preset.insid3 is not None
    for encoder in preset.encoders:
        encoder.to(torch.bfloat16)
    segmenter = ReferenceSegmenter(preset.insid3, CPU, EmbeddingCache(2**20), tmp_path)
    basis = segmenter._positional_basis(segmenter._procedure).double()
    overlap = (vectors[:, -components:].T @ basis).square().sum() / components
    assert overlap > 0.999


def test_dino_txt_keeps_its_backbone_for_insid3(small_preset: Path) -> None:
    preset = load(small_preset)
    assert preset.dinotxt is not None
    for encoder in preset.encoders:
        encoder.to(torch.bfloat16)
    assert {p.dtype for p in preset.dinotxt.model.visual_model.parameters()} == {torch.float32}
    assert {p.dtype for p in preset.dinotxt.model.text_model.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("size", [(300, 500), (96, 128)], ids=["shrinks", "grows"])
def test_pictures_are_resized_as_pillow_does(size: tuple[int, int]) -> None:
    pixels = _photograph(*size)
    theirs = np.asarray(Pillow.fromarray(pixels).resize((128, 128), Pillow.Resampling.BILINEAR), np.float32)
    unit = torch.from_numpy(pixels).permute(2, 0, 1).float() / 255
    ours = stretched(unit, 128)
    assert np.abs(ours.permute(1, 2, 0).numpy() * 255 - theirs).max() < 1.01, "but for rounding to 8 bits"
    torch.testing.assert_close(square_input(unit, 128)[0], normalize(ours))


def test_points_are_matched_with_their_own_features_and_half_a_cell_aside_as_published(tmp_path: Path) -> None:
    matching = PointMatching(size=64, components=3)
    config = DinoV3Config(width=32, depth=1, heads=2)
    image = Image(_photograph(80, 120))
    points = np.array([[20.0, 15.0], [90.5, 60.0]])

    def found(
        points_settings: PointMatching | None, method: Insid3Config, at: NDArray[np.float64] = points
    ) -> NDArray[np.float64]:
        preset = _insid3(config, Insid3Settings(part="dinov3", method=method, points=points_settings))
        assert preset.insid3 is not None
        segmenter = ReferenceSegmenter(preset.insid3, CPU, EmbeddingCache(2**20), tmp_path)
        return segmenter.match_points(image, at, image)

    masks = Insid3Config(size=128, components=8)
    ours = found(matching, masks)
    np.testing.assert_allclose(ours, found(None, Insid3Config(size=64, components=3)), atol=1e-4)
    assert np.abs(ours - found(None, masks)).max() > 0.01
    # from the corner a patch has another point in its middle, half a cell further up and left
    half = np.array([120 / 4, 80 / 4]) / 2
    corners = found(replace(matching, centred=False), masks, points - half)
    np.testing.assert_allclose(ours, corners + half, atol=1e-3)


# Talk2DINO: PAMR on the scores of each window, before they are averaged


def test_pamr_refines_the_scores_of_each_window(talking_preset: Path) -> None:
    """Beside one written as the release is: unfolded neighbourhoods of each window, counts, then the threshold."""
    preset = load(talking_preset).talk2dino
    assert preset is not None
    method = Talk2DinoMethod(preset, CPU)
    protocol = preset.settings.protocol
    pixels = _photograph(70, 110)
    embedding = method.encode(pixels, NO_PROGRESS)
    classes = torch.stack([method.class_embedding([name]) for name in ("grass", "cow", "sky")])
    refined = refine(method.scores(embedding, classes, cleaning=None), pixels, "pamr", 0.0)

    side = protocol.window
    size = slide_size((70, 110), protocol.short_side, side, protocol.longest)
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
    image = F.interpolate(image, size, mode="bilinear", antialias=True)
    total, count = torch.zeros(3, *size), torch.zeros(size)
    for number, (y, x) in enumerate(slide(size, side, protocol.stride)):
        maps = sigmoid_scores(embedding.features[number][None], classes)
        maps = F.interpolate(maps, (side, side), mode="bilinear", align_corners=True)
        total[:, y : y + side, x : x + side] += _unfolded_pamr(image[:, :, y : y + side, x : x + side], maps)[0]
        count[y : y + side, x : x + side] += 1
    expected = total / count
    torch.testing.assert_close(refined.maps, expected, atol=2e-5, rtol=0)
    found = label(refined, size, 0.5).label_map
    (best, second, _), (winner, _, _) = expected.sort(dim=0, descending=True)
    sure = ((best - preset.settings.threshold).abs() > 1e-4) & (best - second > 1e-4)
    assert np.array_equal(
        found[sure.numpy()], torch.where(best >= preset.settings.threshold, winner + 1, 0)[sure].numpy()
    )


def _unfolded_pamr(image: Tensor, masks: Tensor) -> Tensor:
    """PAMR from its paper: neighbourhoods unfolded, standard deviation with the centre, ten iterations."""

    def around(planes: Tensor, centre: bool) -> Tensor:
        parts = []
        for reach in (1, 2, 4, 8, 12, 24):
            padded = F.pad(planes, (reach,) * 4, mode="replicate")
            cut = F.unfold(padded, 3, dilation=reach).unflatten(1, (planes.shape[1], 9)).unflatten(3, planes.shape[-2:])
            parts.append(cut if centre else cut[:, :, [0, 1, 2, 3, 5, 6, 7, 8]])
        return torch.cat(parts, dim=2)

    spread = around(image, centre=True).std(dim=2, keepdim=True)
    distance = (around(image, centre=False) - image[:, :, None]).abs() / (1e-8 + 0.1 * spread)
    weights = (-distance).mean(dim=1, keepdim=True).softmax(dim=2)
    for _ in range(10):
        masks = (around(masks, centre=False) * weights).sum(dim=2)
    return masks


# dinov3.seg: class pooling, preselection, the square picture, and its classes in training


def test_class_blocks_without_pooling_treat_each_cell_on_its_own() -> None:
    """At inference CAT-Seg does not pool: a class block on one cell alone gives that cell's result."""
    config = AggregatorConfig(views=2, text=8, appearance=4, taps=(4, 4), hidden=16, layers=1, heads=2, window=2,
                              text_guidance=8, appearance_guidance=8, decoder=(16, 16), decoder_guidance=(4, 4),
                              padding=6)  # fmt: skip
    torch.manual_seed(0)
    block = CostAggregator(config).eval().layers[0].attention
    for parameter in block.parameters():
        parameter.data += 0.3 * torch.randn(parameter.shape)
    maps, words = torch.randn(1, 16, 3, 4, 6), torch.randn(1, 3, 8)
    with torch.inference_mode():
        (whole,) = block([maps], [words], (1, 1))
        (pooled,) = block([maps], [words])
        cells = [block([maps[..., y : y + 1, x : x + 1]], [words], (1, 1))[0] for y in range(4) for x in range(6)]
    torch.testing.assert_close(whole.flatten(3), torch.cat(cells, dim=4)[:, :, :, 0], atol=1e-5, rtol=0)
    assert (whole - pooled).abs().max() > 0.01


def test_preselection_takes_the_highest_cosine_of_any_view(segmenting_preset: Path) -> None:
    torch.manual_seed(0)
    features, classes = torch.randn(1, 8, 5, 6), torch.randn(40, 2, 8)
    cosines = F.cosine_similarity(features[:, None, None], classes[None, :, :, :, None, None], dim=3)
    expected = sorted(range(40), key=lambda n: -float(cosines[0, n].max()))[:7]
    image = ImageFeatures(features, None)  # type: ignore[arg-type]
    assert _preselect(image, classes, 7).tolist() == sorted(expected)


def test_the_published_square_picture(segmenting_preset: Path) -> None:
    preset = load(segmenting_preset).dinov3seg
    assert preset is not None
    protocol = replace(preset.settings.protocol, square=True)
    method = Dinov3SegMethod(replace(preset, settings=replace(preset.settings, protocol=protocol)), CPU)
    pixels = _photograph(60, 150)
    (snapshot,) = method.encode(pixels, NO_PROGRESS).snapshots
    assert snapshot.resized_hw == (protocol.sides[0],) * 2
    squashed = np.asarray(Pillow.fromarray(pixels).resize(snapshot.resized_hw, Pillow.Resampling.BILINEAR))
    (same,) = method.encode(squashed.copy(), NO_PROGRESS).snapshots
    assert F.cosine_similarity(snapshot.whole.features, same.whole.features).min() > 0.99
    (kept,) = Dinov3SegMethod(preset, CPU).encode(pixels, NO_PROGRESS).snapshots
    assert kept.resized_hw[1] > kept.resized_hw[0]


def test_published_training_has_the_classes_of_its_data() -> None:
    """The bundled synonyms join some of COCO-Stuff's names, and take the pixels of others out of the loss."""
    names = ["vegetable", "broccoli", "leaves", "bush", "tree", "clouds", "sky", "house", "building", "apple", "fruit"]
    plain, joined = Vocabulary.plain(names), Vocabulary(names)
    assert [plain.index(name) for name in names] == list(range(len(names)))
    assert plain.texts() == [(name,) for name in names]
    assert (plain.containment() == np.eye(len(names))).all()
    assert len(joined) < len(names)
    assert (joined.containment() != NO).sum() > len(joined)


def test_talk2dinos_projection_learns_as_released() -> None:
    """Every caption once an epoch, a constant rate and scale, beside a loop written as the release is."""
    torch.manual_seed(0)
    own = [tuple(f"caption {n} {k}" for k in range(1 + n % 3)) for n in range(7)]
    images = [CaptionedImage(Path(f"{n}.jpg"), texts_of, names=False) for n, texts_of in enumerate(own)]
    pairs = [(n, f"caption {n} {k}") for n in range(7) for k in range(1 + n % 3)]
    captions = _Captions(images)
    regions, texts = torch.randn(7, 3, 6).half(), torch.randn(len(pairs), 1, 5)
    settings = ProjectionSettings(epochs=4, batch=5, lr=0.01, seed=3)
    ours, theirs = (Projection(ProjectionConfig(text=5, width=6, hidden=4)) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    losses = _optimize(ours, regions, texts, captions, settings, CPU, NO_PROGRESS)

    optimizer = torch.optim.Adam(theirs.parameters(), lr=0.01)
    rng = np.random.default_rng(3)
    for epoch in range(4):
        order, values = [pairs[n] for n in rng.permutation(len(pairs))], []
        for start in range(0, len(order), 5):
            batch = order[start : start + 5]
            rng.integers(1, size=len(batch))
            text = theirs(torch.stack([texts[captions.texts.index(name), 0] for _, name in batch]))
            heads = regions[[n for n, _ in batch]].float()
            best = F.cosine_similarity(heads, text[:, None], dim=2).argmax(dim=1)
            image = heads[torch.arange(len(batch)), best]
            logits = F.cosine_similarity(image[:, None], text[None], dim=2) / 0.07
            label = torch.arange(len(batch))
            loss = (F.cross_entropy(logits, label) + F.cross_entropy(logits.T, label)) / 2
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            values.append(loss.item())
        assert losses[epoch] == pytest.approx(np.mean(values), abs=1e-4)
    assert len(values) == 3, "13 captions in batches of five, none left out"
    for name, value in ours.state_dict().items():
        torch.testing.assert_close(value, theirs.state_dict()[name], atol=1e-4, rtol=0)
