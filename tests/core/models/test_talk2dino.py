"""Talk2DINO's formulas on numbers small enough to work out by hand, and the published sizes."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskwright.models.clip_text import ClipTextConfig
from maskwright.models.dinov2 import DinoV2Config
from maskwright.models.dinov3 import DinoV3Config, LastAttention
from maskwright.models.talk2dino import (
    SPECS,
    Formula,
    InfoNce,
    Pooling,
    Projection,
    ProjectionConfig,
    Talk2Dino,
    Talk2DinoConfig,
    best_head,
    class_attention,
    class_vector,
    clean,
    cls_attention,
    convert_official,
    head_embeddings,
    head_similarity,
    image_similarity,
    pool_regions,
    scores,
    similarity,
)

SMALL = ProjectionConfig(text=3, width=2, hidden=4)


@pytest.fixture
def chance() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def projection() -> Projection:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Projection(SMALL)


# the projection


def test_the_projection_is_affine_tanh_affine(projection: Projection, chance: torch.Generator) -> None:
    text = torch.randn(5, 3, generator=chance)
    own = {name: value.double().numpy() for name, value in projection.state_dict().items()}
    inner = np.tanh(text.double().numpy() @ own["linear_layer.weight"].T + own["linear_layer.bias"])
    wanted = inner @ own["hidden_layers.0.weight"].T + own["hidden_layers.0.bias"]
    assert projection(text).shape == (5, 2)
    assert np.allclose(projection(text).detach().numpy(), wanted, atol=1e-6)


def test_without_a_width_between_it_is_as_wide_as_the_patches() -> None:
    shapes = {name: tuple(value.shape) for name, value in Projection(ProjectionConfig(5, 7)).state_dict().items()}
    assert shapes == {
        "linear_layer.weight": (7, 5),
        "linear_layer.bias": (7,),
        "hidden_layers.0.weight": (7, 7),
        "hidden_layers.0.bias": (7,),
    }


def test_older_files_load_under_the_newer_names(projection: Projection) -> None:
    new = projection.state_dict()
    old = {name.replace("hidden_layers.0.", "linear_layer2."): value for name, value in new.items()}
    assert set(old) == {f"{layer}.{kind}" for layer in ("linear_layer", "linear_layer2") for kind in ("weight", "bias")}
    for state in (old, new):
        converted = convert_official(state)
        assert converted.keys() == new.keys()
        assert all(torch.equal(converted[name], value) for name, value in new.items())


def test_prompts_are_averaged_before_they_are_normalised(projection: Projection) -> None:
    # one prompt is a hundred times longer than the other, so the order of steps shows
    text = torch.tensor([[100.0, 0, 0], [0, 1.0, 0]])
    vector = class_vector(projection, text)
    assert torch.allclose(vector.norm(), torch.tensor(1.0))
    assert torch.allclose(vector, F.normalize(projection(torch.tensor([50.0, 0.5, 0])), dim=0))
    first = F.normalize(projection(F.normalize(text, dim=1).mean(dim=0)), dim=0)
    after = F.normalize(projection(text).mean(dim=0), dim=0)
    assert (vector @ first).item() < 0.999
    assert (vector @ after).item() < 0.999


def test_many_classes_are_made_at_once(projection: Projection, chance: torch.Generator) -> None:
    text = torch.randn(4, 6, 3, generator=chance)
    together = class_vector(projection, text)
    assert together.shape == (6, 2)
    assert torch.allclose(together, torch.stack([class_vector(projection, text[:, n]) for n in range(6)]))


# heads as regions


def test_cls_attention_leaves_the_global_tokens_out(chance: torch.Generator) -> None:
    query, key, value = (torch.randn(2, 3, 1 + 2 + 4, 5, generator=chance) for _ in range(3))
    found = cls_attention(LastAttention(query, key, value), 3)
    assert found.shape == (2, 3, 4)
    for batch, head, patch in [(0, 0, 0), (1, 2, 3)]:
        wanted = 0.125 * sum(query[batch, head, 0] * key[batch, head, 3 + patch])
        assert found[batch, head, patch] == pytest.approx(float(wanted), abs=1e-6)


def test_a_head_that_looks_at_one_patch_is_that_patch(chance: torch.Generator) -> None:
    features = torch.randn(1, 5, 4, generator=chance)
    attention = torch.full((1, 2, 4), -100.0)
    attention[0, 0, 3] = attention[0, 1, 1] = 100.0
    heads = F.normalize(head_embeddings(features, attention), dim=-1)
    assert torch.allclose(heads[0], F.normalize(features[0].T[[3, 1]], dim=-1), atol=1e-6)


def test_a_head_that_looks_everywhere_is_the_mean(chance: torch.Generator) -> None:
    features = torch.randn(1, 5, 4, generator=chance)
    heads = head_embeddings(features, torch.zeros(1, 2, 4))
    mean = F.normalize(features.mean(dim=2), dim=-1)
    assert torch.allclose(F.normalize(heads, dim=-1), mean[:, None].expand(1, 2, 5), atol=1e-6)


# the loss


HEADS = torch.tensor([[[1.0, 0, 0], [0, 5.0, 0], [0, 0, 1.0]], [[0, 2.0, 0], [1.0, 0, 0], [0, 0, 9.0]]])
"""Of two pictures: each of their three heads looks at one thing."""


def test_the_best_head_is_that_of_the_pictures_own_caption() -> None:
    text = torch.tensor([[0.1, 1.0, 0], [0, 0.1, 1.0]])
    assert best_head(HEADS, text).tolist() == [[1, 2], [0, 2]]
    assert torch.equal(pool_regions(HEADS, text, "max_head"), torch.tensor([[0, 5.0, 0], [0, 0, 9.0]]))
    assert torch.equal(pool_regions(HEADS, text.flip(0), "max_head"), torch.tensor([[0, 0, 1.0], [0, 2.0, 0]]))


@pytest.mark.parametrize("pooling", [pytest.param("average", id="average"), pytest.param("cls", id="class token")])
def test_other_poolings_take_the_one_region_there_is(pooling: Pooling) -> None:
    assert torch.equal(pool_regions(HEADS[:, :1], torch.zeros(2, 3), pooling), HEADS[:, 0])


def test_no_gradient_goes_through_the_choice_of_a_head() -> None:
    regions, text = HEADS.clone().requires_grad_(), torch.tensor([[0.1, 1.0, 0], [0, 0.1, 1.0]], requires_grad=True)
    assert not best_head(regions, text).requires_grad
    pool_regions(regions, text, "max_head").sum().backward()
    assert text.grad is None, "the caption decides, and learns nothing from having decided"
    assert regions.grad is not None
    assert torch.equal(regions.grad[0], torch.tensor([0.0, 1, 0])[:, None].expand(3, 3))
    assert torch.equal(regions.grad[1], torch.tensor([0.0, 0, 1])[:, None].expand(3, 3))


def test_the_loss_is_cross_entropy_both_ways(chance: torch.Generator) -> None:
    loss, cosines = InfoNce(), torch.rand(6, 6, generator=chance) * 2 - 1
    assert loss.logit_scale.item() == pytest.approx(math.log(1 / 0.07))
    logits, right = cosines / 0.07, torch.arange(6)
    wanted = (F.cross_entropy(logits, right) + F.cross_entropy(logits.T, right)) / 2
    assert loss(cosines).item() == pytest.approx(wanted.item(), rel=1e-5)
    nothing = torch.zeros(6, 6, dtype=torch.bool)
    assert loss(cosines, nothing).item() == loss(cosines).item()
    assert loss(cosines, torch.eye(6, dtype=torch.bool)).item() == loss(cosines).item(), "its own caption counts"


@pytest.mark.parametrize(
    "pairs",
    [
        pytest.param([(0, 2), (2, 0)], id="two pictures of a cow"),
        pytest.param([(0, 2)], id="the caption of one is right for the other only"),
        pytest.param([(0, 1), (0, 2), (0, 3), (1, 1)], id="a picture that all captions fit"),
        pytest.param([(row, column) for row in range(4) for column in range(4)], id="all alike"),
    ],
)
def test_pairs_that_are_right_as_well_count_neither_way(pairs: list[tuple[int, int]], chance: torch.Generator) -> None:
    cosines = torch.rand(4, 4, generator=chance, dtype=torch.float64) * 2 - 1
    same = torch.zeros(4, 4, dtype=torch.bool)
    for pair in pairs:
        same[pair] = True
    terms = []
    for own in range(4):
        for against in (
            [cosines[own, text] for text in range(4) if text == own or (own, text) not in pairs],
            [cosines[image, own] for image in range(4) if image == own or (image, own) not in pairs],
        ):
            total = sum(math.exp(float(value) / 0.07) for value in against)
            terms.append(math.log(total) - float(cosines[own, own]) / 0.07)
    assert InfoNce()(cosines, same).item() == pytest.approx(sum(terms) / 8, rel=1e-5, abs=1e-9)


def test_ignored_pairs_get_no_gradient(chance: torch.Generator) -> None:
    cosines = (torch.rand(4, 4, generator=chance) * 0.2).requires_grad_()
    same = torch.zeros(4, 4, dtype=torch.bool)
    same[0, 2] = same[3, 1] = True
    loss = InfoNce()
    loss(cosines, same).backward()
    assert cosines.grad is not None
    assert torch.isfinite(cosines.grad).all()
    assert torch.equal(cosines.grad == 0, same)
    assert loss.logit_scale.grad is not None
    assert loss.logit_scale.grad != 0, "the scale learns"


# maps


def test_a_score_is_the_sigmoid_of_the_cosine(chance: torch.Generator) -> None:
    features = torch.randn(1, 4, 2, 3, generator=chance)
    text = F.normalize(torch.randn(5, 4, generator=chance), dim=1)
    cosine = similarity(features, text)
    assert cosine.shape == (1, 5, 2, 3)
    by_hand = float(features[0, :, 1, 2] @ text[3] / features[0, :, 1, 2].norm())
    assert float(cosine[0, 3, 1, 2]) == pytest.approx(by_hand, abs=1e-6)
    assert float(scores(features, text)[0, 3, 1, 2]) == pytest.approx(1 / (1 + math.exp(-by_hand)), abs=1e-6)
    assert torch.allclose(similarity(features * 7, text), cosine, atol=1e-6), "lengths do not matter"


def _scene(chance: torch.Generator, classes: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    """(C, h, w) patches, (heads, h * w) attention and (T, C) class vectors."""
    features, attention = torch.randn(6, 3, 5, generator=chance), torch.randn(2, 15, generator=chance)
    return features, attention, F.normalize(torch.randn(classes, 6, generator=chance), dim=1)


def test_each_classs_attention_sums_to_one(chance: torch.Generator) -> None:
    features, attention, text = _scene(chance)
    looked_at = class_attention(features, attention, text)
    assert looked_at.shape == (4, 3, 5)
    assert torch.allclose(looked_at.sum(dim=(1, 2)), torch.ones(4))
    assert (looked_at > 0).all()


def test_a_classs_attention_is_that_of_the_head_that_speaks_of_it() -> None:
    """Two patches of two kinds, two heads that look at one of them each."""
    features = torch.tensor([[[1.0, 0]], [[0, 1.0]]])
    attention = torch.tensor([[3.0, 0], [0, 3.0]])
    text = torch.eye(2)
    looked_at = class_attention(features, attention, text)
    # Eq. 8: cosines 1 and 0, so the related head has e / (e + 1); Eq. 9: its logits, three apart in proportion
    share = math.e / (math.e + 1)
    wanted = 1 / (1 + math.exp(-3 * (share - (1 - share))))
    assert looked_at[:, 0].tolist() == [
        [pytest.approx(wanted), pytest.approx(1 - wanted)], [pytest.approx(1 - wanted), pytest.approx(wanted)],
    ]  # fmt: skip


def test_every_head_counts_by_how_much_it_speaks_of_a_class() -> None:
    """Three heads, two classes: the softmax goes over the heads of one class (Eq. 8)."""
    features = torch.tensor([[[1.0, 0, 0.6]], [[0, 1.0, 0.8]]])
    attention = torch.tensor([[4.0, 0, 0], [0, 4.0, 0], [0, 0, 4.0]])
    # each head looks at one patch, so its cosines are that patch's numbers
    related = torch.tensor([[1.0, 0, 0.6], [0, 1.0, 0.8]]).exp()
    related /= related.sum(dim=1, keepdim=True)
    wanted = (4 * related).exp()
    wanted /= wanted.sum(dim=1, keepdim=True)
    assert torch.allclose(class_attention(features, attention, torch.eye(2))[:, 0], wanted, atol=1e-5)


def test_by_the_papers_formula_attention_is_softmaxed_first(chance: torch.Generator) -> None:
    features, attention, text = _scene(chance)
    found = class_attention(features, attention, text, formula="paper")
    assert torch.equal(found, class_attention(features, attention.softmax(dim=-1), text))
    assert torch.allclose(found.sum(dim=(1, 2)), torch.ones(4))
    assert not torch.allclose(found, class_attention(features, attention, text))


def test_by_the_papers_formula_every_class_has_a_range_of_its_own() -> None:
    maps = torch.tensor([[[0.4, 0.6]], [[0.5, 0.9]], [[0.2, 0.3]]])
    looked_at = torch.tensor([[[0.2, 0.8]], [[0.7, 0.3]], [[0.5, 0.5]]])
    # the first is seen where it is likely, the second where it is not, the third nowhere in particular
    shaped = torch.tensor([[[0.4, 0.6]], [[0.9, 0.5]], [[0.2, 0.2]]])
    assert torch.allclose(clean(maps, looked_at, weight=0.2, formula="paper"), (maps + 0.2 * shaped) / 1.2)


def test_cleaning_by_hand() -> None:
    maps = torch.tensor([[[0.4, 0.6]], [[0.5, 0.5]]])
    looked_at = torch.tensor([[[0.2, 0.8]], [[0.5, 0.5]]])
    # the range 0.4 to 0.6, reached as far as (value - 0.2) / 0.8
    shaped = torch.tensor([[[0.4, 0.4 + 0.2 * 0.6 / 0.8]], [[0.4 + 0.2 * 0.3 / 0.8] * 2]])
    assert torch.allclose(clean(maps, looked_at, weight=0.2), (maps + 0.2 * shaped) / 1.2)
    assert torch.allclose(clean(maps, looked_at), clean(maps, looked_at, weight=0.2)), "the published weight"


def _attention(kind: str, chance: torch.Generator) -> Tensor:
    if kind == "equal":
        return torch.full((4, 3, 5), 1 / 15)
    if kind == "one place":
        looked_at = torch.zeros(4, 3, 5)
        looked_at[:, 1, 2] = 1
        return looked_at
    return torch.rand(4, 3, 5, generator=chance).flatten(1).softmax(dim=1).reshape(4, 3, 5)


KINDS = ["any", "equal", "one place"]


FORMULAS: tuple[Formula, ...] = ("released", "paper")


@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize("kind", KINDS)
def test_weight_zero_changes_nothing(kind: str, formula: Formula, chance: torch.Generator) -> None:
    maps = torch.randn(4, 3, 5, generator=chance)
    assert torch.equal(clean(maps, _attention(kind, chance), weight=0, formula=formula), maps)


@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weight", [0.2, 1.0, 100.0])
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda noise: noise * 0.1 + 0.5, id="scores"),
        pytest.param(lambda noise: noise * 3 - 7, id="negative"),
        pytest.param(lambda noise: torch.full_like(noise, 0.5), id="constant"),
    ],
)
def test_what_was_cleaned_stays_in_the_range_of_the_maps(
    kind: str, weight: float, make: Callable[[Tensor], Tensor], formula: Formula, chance: torch.Generator
) -> None:
    maps = make(torch.randn(4, 3, 5, generator=chance))
    cleaned = clean(maps, _attention(kind, chance), weight=weight, formula=formula)
    assert cleaned.shape == maps.shape
    assert cleaned.min() >= maps.min() - 1e-6 * maps.abs().max()
    assert cleaned.max() <= maps.max() + 1e-6 * maps.abs().max()


def test_equal_attention_lowers_all_classes_alike(chance: torch.Generator) -> None:
    maps = torch.randn(4, 3, 5, generator=chance)
    cleaned = clean(maps, _attention("equal", chance))
    assert torch.allclose(cleaned, (maps + 0.2 * maps.min()) / 1.2)
    assert torch.equal(cleaned.argmax(dim=0), maps.argmax(dim=0))


def test_a_single_class_is_cleaned(chance: torch.Generator) -> None:
    features, attention, text = _scene(chance, classes=1)
    maps = scores(features[None], text)[0]
    cleaned = clean(maps, class_attention(features, attention, text))
    assert cleaned.shape == (1, 3, 5)
    assert torch.isfinite(cleaned).all()
    assert not torch.allclose(cleaned, maps)


def test_a_picture_of_one_patch_is_cleaned(chance: torch.Generator) -> None:
    text = F.normalize(torch.randn(3, 6, generator=chance), dim=1)
    features = torch.randn(6, 1, 1, generator=chance)
    maps = scores(features[None], text)[0]
    cleaned = clean(maps, class_attention(features, torch.randn(2, 1, generator=chance), text))
    assert torch.isfinite(cleaned).all()
    assert torch.equal(cleaned.argmax(dim=0), maps.argmax(dim=0))


def test_the_order_of_classes_does_not_matter(chance: torch.Generator) -> None:
    features, attention, text = _scene(chance)
    order = torch.tensor([2, 0, 3, 1])

    def cleaned(classes: Tensor) -> Tensor:
        return clean(scores(features[None], classes)[0], class_attention(features, attention, classes))

    assert torch.allclose(cleaned(text[order]), cleaned(text)[order], atol=1e-6)


# matching


def test_a_picture_fits_a_phrase_as_well_as_its_best_head(chance: torch.Generator) -> None:
    regions, text = torch.randn(3, 4, 5, generator=chance), torch.randn(2, 5, generator=chance)
    found = image_similarity(regions, text)
    assert found.shape == (3, 2)
    for image in range(3):
        for phrase in range(2):
            every = [F.cosine_similarity(head, text[phrase], dim=0).item() for head in regions[image]]
            assert found[image, phrase].item() == pytest.approx(max(every), abs=1e-6)
    assert torch.allclose(found, head_similarity(regions, text).max(dim=2).values)


# the whole


SMALL_DINOV2 = Talk2DinoConfig(
    dinov2=DinoV2Config(width=16, depth=2, heads=2, grid=4),
    text=ClipTextConfig(20, 8, 8, 1, 2, 12),
    projection=ProjectionConfig(12, 16),
)
BACKBONES = [
    pytest.param(SMALL_DINOV2, id="DINOv2"),
    pytest.param(
        Talk2DinoConfig(
            dinov2=DinoV2Config(width=16, depth=2, heads=2, grid=4, registers=0),
            text=ClipTextConfig(20, 8, 8, 1, 2, 12), projection=ProjectionConfig(12, 16),
        ),
        id="DINOv2 without registers",
    ),
    pytest.param(
        Talk2DinoConfig(
            dinov3=DinoV3Config(width=16, depth=2, heads=2), text=ClipTextConfig(20, 8, 8, 1, 2, 12),
            projection=ProjectionConfig(12, 16),
        ),
        id="DINOv3",
    ),
]  # fmt: skip


@pytest.mark.parametrize("config", BACKBONES)
def test_one_pass_gives_tokens_and_attention(config: Talk2DinoConfig, chance: torch.Generator) -> None:
    model = Talk2Dino.build(config).eval()
    side = model.visual.config.patch
    pixels = torch.randn(2, 3, 2 * side, 3 * side, generator=chance)
    with torch.no_grad():
        features, attention = model.encode_image(pixels)
        plain = model.visual(pixels)
    assert torch.equal(features.patches, plain.patches)
    assert features.patch_map().shape == (2, 16, 2, 3)
    assert attention.shape == (2, 2, 6)
    assert torch.isfinite(attention).all()
    assert attention.std() > 0


@pytest.mark.parametrize("config", BACKBONES)
def test_regions_are_the_heads_their_average_and_the_class_token(
    config: Talk2DinoConfig, chance: torch.Generator
) -> None:
    model = Talk2Dino.build(config).eval()
    pixels, side = torch.randn(2, 3, 40, 70, generator=chance), model.visual.config.patch
    sizes: list[tuple[int, ...]] = []
    hook = model.visual.register_forward_pre_hook(lambda module, given: sizes.append(tuple(given[0].shape)))
    with torch.no_grad():
        found = model.regions(pixels, 2 * side + 1)
        hook.remove()
        square = F.interpolate(pixels, (3 * side, 3 * side), mode="bilinear", antialias=True)
        features, attention = model.encode_image(square)
    assert sizes == [(2, 3, 3 * side, 3 * side)], "one pass, rounded up to whole patches"
    assert found.shape == (2, 4, 16)
    weights = attention.softmax(dim=-1)
    heads = torch.einsum("bhn,bnc->bhc", weights, features.patches) / 9
    assert torch.allclose(found[:, :2], heads, atol=1e-6)
    mean = torch.einsum("bn,bnc->bc", attention.mean(dim=1).softmax(dim=-1), features.patches) / 9
    assert torch.allclose(found[:, 2], mean, atol=1e-6)
    assert torch.equal(found[:, 3], features.cls)


def test_what_stands_behind_the_end_of_a_text_changes_nothing() -> None:
    model = Talk2Dino.build(SMALL_DINOV2).eval()
    ids = torch.tensor([[18, 3, 19, 0, 0, 0, 0, 0], [18, 3, 4, 5, 19, 0, 0, 0]])
    with torch.no_grad():
        alone, together = model.text(ids[:1]), model.text(ids)
        assert torch.allclose(alone[0], together[0], atol=1e-6)
        assert not torch.allclose(together[0], together[1])
        vector = model.encode_class(ids)
        assert torch.allclose(vector, F.normalize(model.projection(together.mean(dim=0)), dim=0), atol=1e-6)


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(Talk2DinoConfig(), id="neither"),
        pytest.param(Talk2DinoConfig(dinov2=SPECS["b"].dinov2, dinov3=SPECS["dinov3-b"].dinov3), id="both"),
    ],
)
def test_exactly_one_backbone_is_needed(config: Talk2DinoConfig) -> None:
    with pytest.raises(ValueError, match="backbone"):
        Talk2Dino.build(config)


@pytest.mark.parametrize(
    ("name", "visual", "whole"),
    [
        pytest.param("b", 86_583_552, 150_996_224, id="talk2dino-b"),
        pytest.param("dinov3-b", 85_669_632, 150_082_304, id="talk2dino-dinov3-b"),
    ],
)
def test_published_sizes(name: str, visual: int, whole: int) -> None:
    def count(module: nn.Module) -> int:
        return sum(value.numel() for value in module.parameters())

    with torch.device("meta"):
        model = Talk2Dino.build(SPECS[name])
    assert count(model.visual) == visual
    assert count(model.projection) == 984_576
    assert count(model) == whole
