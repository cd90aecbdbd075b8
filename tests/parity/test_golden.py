"""Every golden case in --golden-dir against our modules (contracts.md section 5)."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from maskwright.imaging.geometry import slide
from maskwright.models import (
    anyup,
    cost_aggregation,
    dinotxt,
    dinov2,
    dinov3,
    dinov3seg,
    insid3,
    pamr,
    sam,
    talk2dino,
)
from maskwright.models.sliding_window import average_windows
from maskwright.models.state_dict import load_exactly
from maskwright.models.tokenizer import clip_tokenizer
from tests.conftest import SHARED
from tests.parity.dinov2_plain import write_case

NOT_BUILT: dict[str, str] = {}
"""Kinds of case whose method is not built yet."""

Case = dict[str, Any]
Tensors = dict[str, Tensor]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case_file" in metafunc.fixturenames:
        folder = Path(metafunc.config.getoption("--golden-dir"))
        # JSON files that are not cases (a listing, say) have no "case"
        cases = [f for f in sorted(folder.glob("*.json")) if "case" in json.loads(f.read_text(encoding="utf-8"))]
        metafunc.parametrize("case_file", cases, ids=[f.stem for f in cases])


def test_there_are_cases(request: pytest.FixtureRequest) -> None:
    folder = Path(request.config.getoption("--golden-dir"))
    if not folder.is_dir() and os.environ.get("CI") != "true":
        pytest.skip(f"no golden cases in {folder}")
    assert list(folder.glob("*.safetensors")), f"no golden cases in {folder}"


def test_case(case_file: Path, record_property: Callable[[str, object], None]) -> None:
    case = json.loads(case_file.read_text(encoding="utf-8"))
    kind = case["case"]
    if kind in NOT_BUILT:
        pytest.skip(f"{kind}: comes with {NOT_BUILT[kind]}")
    tensors = load_file(case_file.with_suffix(".safetensors"))
    with torch.inference_mode():
        ours = KINDS[kind](case, tensors, case_file.parent)
    expected = {name[4:]: value for name, value in tensors.items() if name.startswith("out.")}
    assert expected, "the case has no outputs"
    assert sorted(ours) == sorted(expected), "every output is compared, and nothing else"
    worst = 0.0
    tolerance = case["tolerance"]
    for name, value in expected.items():
        assert ours[name].shape == value.shape, name
        if kind == "insid3" and "mask_final" in name:
            # its own words: IoU of at least 0.999
            both, either = (ours[name].bool() & value.bool()).sum(), (ours[name].bool() | value.bool()).sum()
            assert int(either) == 0 or float(both / either) >= 0.999, name
            continue
        if kind == "talk2dino_maps" and name.startswith("labels"):
            # its own words: at most 0.5 percent of pixels may differ
            assert float((ours[name] != value).float().mean()) <= 0.005, name
            continue
        if tolerance == "exact":
            assert torch.equal(ours[name], value), name
            continue
        allowed = tolerance if value.is_floating_point() else {"rtol": 0, "atol": 0}
        torch.testing.assert_close(
            ours[name], value, rtol=allowed["rtol"], atol=allowed["atol"], msg=partial("{}: {}".format, name)
        )
        worst = max(worst, float((ours[name].double() - value.double()).abs().max()))
    record_property(f"parity {case_file.stem}", f"{worst:.2g} over {len(expected)} outputs")


def test_a_dinov2_case_without_registers(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    test_case(write_case(tmp_path), record_property)


def _size_hw(tensor: Tensor) -> tuple[int, int]:
    height, width = tensor.shape[-2:]
    return height, width


def _part(tensors: Tensors, prefix: str) -> Tensors:
    return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}


def _built(module: nn.Module, state: Tensors) -> nn.Module:
    load_exactly(module, state, what="golden case")
    return module.eval()


def _dinov3(case: Case, tensors: Tensors, folder: Path) -> Tensors:
    config = case["config"]
    model = dinov3.DinoV3(
        dinov3.DinoV3Config(
            width=config["embed_dim"],
            depth=config["depth"],
            heads=config["num_heads"],
            patch=config["patch_size"],
            storage_tokens=config["n_storage_tokens"],
            ffn_ratio=config["ffn_ratio"],
        )
    )
    _built(model, dinov3.convert_official(_part(tensors, "state.")))
    image = tensors["in.image"]
    last = config["depth"] - 1
    final = model(image)
    raw = model.intermediate(image, [0, last], norm=False)
    before = model.intermediate(image, [last - 1])[0]
    with model.record_attention() as seen:
        model(image)
    (attention,) = seen
    rotated = model.rotate(image, attention)
    cos, sin = model.vit.rope_embeddings(model.grid(image), image.dtype)
    first = 1 + config["n_storage_tokens"]
    width = config["embed_dim"] // config["num_heads"]

    def cls_logits(query: Tensor, key: Tensor, scale: float) -> Tensor:
        return (query[:, :, :1] @ key[:, :, first:].transpose(2, 3))[:, :, 0] * scale

    return {
        "x_norm_clstoken": final.cls,
        "x_storage_tokens": final.storage,
        "x_norm_patchtokens": final.patches,
        "x_prenorm": torch.cat([raw[-1].cls[:, None], raw[-1].storage, raw[-1].patches], dim=1),
        "inter_last_patch_nchw": final.patch_map(),
        "inter_prev_patch_nchw": before.patch_map(),
        "inter_prev_cls": before.cls,
        "inter_prev_storage": before.storage,
        "block0_raw_patch": raw[0].patches,
        "block0_raw_cls": raw[0].cls,
        "rope_sin": sin,
        "rope_cos": cos,
        "last_qkv": torch.cat([part.transpose(1, 2).flatten(2) for part in attention], dim=-1),
        "last_q_rope": rotated.query,
        "last_k_rope": rotated.key,
        "last_v": rotated.value,
        "cls_patch_logits_rope": cls_logits(rotated.query, rotated.key, width**-0.5),
        "cls_patch_logits_norope": cls_logits(attention.query, attention.key, width**-0.5),
        "cls_patch_logits_norope_scale0125": cls_logits(attention.query, attention.key, 0.125),
    }


def _dinotxt(case: Case, tensors: Tensors, folder: Path) -> Tensors:
    vision, text = case["config"]["vision"], case["config"]["text"]
    storage = tensors["state.visual_model.backbone.storage_tokens"].shape[1]
    model = dinotxt.DinoTxt(
        dinotxt.DinoTxtConfig(
            dinov3.DinoV3Config(
                vision["embed_dim"], vision["depth"], vision["num_heads"],
                storage_tokens=storage, ffn_ratio=vision["ffn_ratio"],
            ),
            dinotxt.HeadConfig(case["config"]["vision_head"]["num_blocks"], vision["num_heads"], vision["ffn_ratio"]),
            dinotxt.TextConfig(
                text["vocab_size"], text["context_length"], text["dim"], text["num_layers"], text["num_heads"],
                text["ffn_ratio"],
            ),
        )
    )  # fmt: skip
    prefix = "visual_model.backbone."
    state = _part(tensors, "state.")
    backbone = dinov3.convert_official(_part(state, prefix))
    rest = {name: value for name, value in state.items() if not name.startswith(prefix)}
    _built(model, rest | {prefix + name: value for name, value in backbone.items()})
    tokens, image = tensors["in.tokens"], tensors["in.image"]
    features, words = model.encode_image(image), model.encode_text(tokens)
    descriptor = torch.cat([features.cls, features.patches.mean(dim=1)], dim=-1)
    whole_image, whole_text = F.normalize(descriptor, dim=-1), F.normalize(words, dim=-1)
    return {
        "text_features": words,
        "text_features_normalized": whole_text,
        "text_backbone_tokens": model.text_model.backbone(tokens),
        "text_global_half": words.chunk(2, dim=-1)[0],
        "text_local_half": words.chunk(2, dim=-1)[1],
        "image_descriptor": descriptor,
        "image_descriptor_normalized": whole_image,
        "image_cls_after_head": features.cls,
        "patch_tokens": features.patches,
        "backbone_patch_tokens": model.visual_model.backbone(image).patches,
        "logits_per_image": model.logit_scale.exp() * whole_image @ whole_text.T,
        "patch_local_cosine": dinotxt.dense_similarity(features, dinotxt.local_half(words)).flatten(2),
        "patch_global_cosine": dinotxt.dense_similarity(features, dinotxt.global_half(words)).flatten(2),
    }


def _clip_tokenizer(case: Case, tensors: Tensors, folder: Path) -> Tensors:
    name = Path("clip_bpe") / "bpe_simple_vocab_16e6.txt.gz"
    here = folder / name if (folder / name).exists() else SHARED / "golden" / name
    tokenizer = clip_tokenizer(here, context=case["config"]["context_length"])
    assert (tokenizer.start, tokenizer.end) == (case["config"]["start_token"], case["config"]["end_token"])
    return {"tokens": tokenizer(case["texts"])}


def _insid3(case: Case, tensors: Tensors, folder: Path) -> Tensors:
    config = case["config"]
    size, grid = config["image_size"], tuple(config["grid_hw"])
    basis = insid3.positional_basis(tensors["in.noise_features"][0], config["svd_components"])
    complement = insid3.complement_of(basis)
    references = [insid3.encode(one, complement) for one in tensors["in.ref_features"]]
    target = insid3.encode(tensors["in.target_features"][0], complement)
    masks = sorted(name for name in tensors if name.startswith("in.ref_mask_"))
    inside = [insid3.grid_mask(tensors[name].bool(), size, grid) for name in masks]
    examples = [insid3.encode_reference(one, mask) for one, mask in zip(references, inside, strict=True)]

    as_map = partial(_as_map, grid=grid)
    clusters = insid3.cluster(target, config["tau"])
    theirs = tensors["out.cluster_labels"].flatten().long()
    # labels are unique only up to their numbering: the first cell of each of theirs names ours
    numbering = torch.stack([clusters.labels[(theirs == k).nonzero()[0, 0]] for k in range(int(theirs.max()) + 1)])
    ours = {
        # unique only up to a rotation inside the subspace: theirs must lie in ours
        "positional_basis": basis @ (basis.T @ tensors["out.positional_basis"]),
        "positional_projector": basis @ basis.T,
        "debiased_features_refs": torch.stack([as_map(insid3.debias(one.original, basis)) for one in references]),
        "debiased_features_target": as_map(insid3.debias(target.original, basis)),
        "cluster_labels": as_map(torch.argsort(numbering)[clusters.labels].to(torch.int32)),
    }
    for shots in {int(name.split(".")[1].removeprefix("shot")) for name in tensors if name.startswith("out.shot")}:
        nearest = tensors[f"out.shot{shots}.nearest_reference_index"]
        values = _insid3_shot(case, examples[:shots], target, clusters, numbering, complement, nearest)
        ours |= {f"shot{shots}.{name}": value for name, value in values.items()}
    sizes = _size_hw(tensors["in.ref_mask_0"]), (int(case["target_size_hw"][0]), int(case["target_size_hw"][1]))
    for name, source, at in (
        ("debiased", references[0].debiased, target.debiased), ("plain", references[0].original, target.original),
    ):  # fmt: skip
        ours[f"keypoints.{name}"] = insid3.match_points(source, at, grid, tensors["in.keypoints_xy"], sizes)
    return ours


def _insid3_shot(
    case: Case, used: list[insid3.EncodedReference], target: insid3.PatchFeatures, clusters: insid3.Clusters,
    numbering: Tensor, complement: Tensor, nearest: Tensor,
) -> Tensors:  # fmt: skip
    """Outputs for the first references; `numbering` names our cluster of each of theirs, `nearest` is theirs."""
    config = case["config"]
    size, grid = config["image_size"], tuple(config["grid_hw"])
    as_map = partial(_as_map, grid=grid)
    prototype = insid3.prototype(used)
    forward = insid3.forward_similarity(target, prototype)
    candidates = insid3.candidates(target, used, forward)
    seed = insid3.select_seed(clusters, candidates, prototype)
    scores = insid3.aggregate(clusters, seed, candidates, forward)
    method = insid3.Insid3Config(size, config["svd_components"], config["tau"], config["merge_threshold"])
    found = insid3.segment(target, used, method)
    final = insid3.resized_mask(insid3.square_mask(found.mask, grid, size), tuple(case["target_size_hw"]))
    matches = [_nearest(target.debiased, one.debiased, theirs) for one, theirs in zip(used, nearest, strict=True)]
    return {
        # prototypes are in coordinates of the complement; the authors' are in all of them
        "reference_prototype": (complement @ prototype)[:, None],
        "forward_similarity": as_map(forward),
        "reference_masks_grid": torch.stack([as_map(one.foreground) for one in used]).to(torch.uint8),
        "nearest_reference_index": torch.stack([as_map(match) for match in matches]).to(torch.int32),
        "candidate_mask": as_map(candidates).to(torch.uint8),
        "cluster_prototypes_debiased": (clusters.debiased @ complement.T)[numbering],
        "seed_scores_all_clusters": (clusters.debiased @ prototype)[numbering],
        "seed_cluster": (numbering == seed).nonzero()[0],
        "cross_similarity": scores.cross[numbering],
        "intra_similarity": scores.intra[numbering],
        "area_weight": scores.share[numbering],
        "combined_score": scores.combined[numbering],
        "mask_grid": as_map(found.mask).to(torch.uint8),
        "mask_final": final.to(torch.uint8),
    }


def _as_map(values: Tensor, grid: tuple[int, int]) -> Tensor:
    """(h, w) of a value per cell, or (C, h, w) of a row per cell."""
    return values.T.reshape(*values.shape[1:], *grid) if values.ndim == 2 else values.reshape(grid)


def _nearest(target: Tensor, reference: Tensor, theirs: Tensor) -> Tensor:
    """Our nearest cells, or theirs where the two are equally near to the last bits."""
    ours = insid3.backward_matches(target, reference)
    near = [(target * reference[index]).sum(dim=1) for index in (ours, theirs.flatten().long())]
    tied = (near[0] - near[1]).abs() < 1e-6
    return torch.where(tied, theirs.flatten().long(), ours)


def _dinov2(case: Case, tensors: Tensors, folder: Path) -> Tensors:
    config = case["config"]
    model = dinov2.DinoV2(
        dinov2.DinoV2Config(
            width=config["embed_dim"], depth=config["depth"], heads=config["num_heads"], patch=config["patch_size"],
            grid=config["pretrain_grid"][0], registers=config["num_register_tokens"], ffn_ratio=config["mlp_ratio"],
        )
    )  # fmt: skip
    _built(model, dinov2.convert_official(_part(tensors, "state.")))
    image = tensors["in.image"]
    with model.record_attention() as seen:
        first, last = model.intermediate(image, [0, config["depth"] - 1])
    (attention,) = seen
    logits = talk2dino.cls_attention(attention, model.global_tokens)
    return {
        "position_embedding_interpolated": model.vit.embeddings.positions(first.grid),
        "x_norm_clstoken": last.cls,
        # a model without registers has no such output
        **({"x_norm_regtokens": last.storage} if config["num_register_tokens"] else {}),
        "x_norm_patchtokens": last.patches,
        "block0_norm_patch_nchw": first.patch_map(),
        "block0_norm_cls": first.cls,
        "last_qkv": torch.cat([part.transpose(1, 2).flatten(2) for part in attention], dim=-1),
        "cls_patch_logits": logits / 0.125 * (config["embed_dim"] // config["num_heads"]) ** -0.5,
        "cls_patch_logits_scale0125": logits,
    }


def _talk2dino_projection(case: Case, tensors: Tensors, folder: Path) -> Tensors:
    ours = {}
    for name in sorted({key.split(".")[1] for key in tensors if key.startswith("out.")}):
        file = Path("talk2dino_weights") / f"{name}.safetensors"
        state = load_file(folder / file if (folder / file).exists() else SHARED / "golden" / file)
        model = talk2dino.Projection(
            talk2dino.ProjectionConfig(case["config"]["clip_embed_dim"], case["config"]["dino_embed_dim"])
        )
        _built(model, talk2dino.convert_official(state))
        projected = model(tensors["in.text"])
        ours |= {
            f"{name}.projected": projected,
            f"{name}.normalized": F.normalize(projected, dim=-1, eps=1e-6),
            # (classes, prompts, text) in the case
            f"{name}.class_embedding_from_templates": talk2dino.class_vector(
                model, tensors["in.text_templates"].transpose(0, 1)
            ),
        }
    return ours


def _talk2dino_maps(case: Case, tensors: Tensors, folder: Path) -> Tensors:
    config = case["config"]
    features, text = tensors["in.image_feat"], tensors["in.text_emb"]
    parts = tensors["in.qkv"].unflatten(2, (3, config["heads"], config["head_dim"])).permute(2, 0, 3, 1, 4)
    attention = talk2dino.cls_attention(dinov3.LastAttention(*parts), config["global_tokens"])
    text = F.normalize(text, dim=-1)
    plain = talk2dino.scores(features, text)
    looked_at = talk2dino.class_attention(features[0], attention[0], text)
    cleaned = talk2dino.clean(plain[0], looked_at, weight=config["lambda_bg"])[None]
    large = F.interpolate(cleaned, tuple(config["upsample_hw"]), mode="bilinear", align_corners=True)

    def labels(threshold: float) -> Tensor:
        best, candidate_mask = large.max(dim=1)
        return torch.where(best > threshold, candidate_mask + 1, 0).to(torch.uint8)

    heads = talk2dino.head_embeddings(features.flatten(2), attention)
    return {
        "self_attn_maps_logits": attention,
        "self_attn_mean_softmax": attention.mean(dim=1).softmax(dim=-1),
        "simmap": talk2dino.similarity(features, text),
        "mask_sigmoid": plain,
        "mask_bg_cleaned": cleaned,
        f"labels_bg_threshold_{config['bg_threshold']}": labels(config["bg_threshold"]),
        "labels_bg_threshold_alt": labels(config["bg_threshold_alt"]),
        "train_head_embeddings": heads,
        "train_head_text_scores": talk2dino.head_similarity(heads, text),
        "train_best_head": talk2dino.best_head(heads, text),
    }


def _talk2dino_infonce(case: Case, tensors: Tensors, folder: Path) -> Tensors:
    cosines = tensors["in.scores"]
    loss = talk2dino.InfoNce()(cosines)[None]
    return {"loss": loss / len(cosines) ** 2, "loss_times_batch_squared": loss}


def _talk2dino_pamr(case: Case, tensors: Tensors, folder: Path) -> Tensors:
    settings = {"dilations": tuple(case["config"]["dilations"])}
    image, mask = tensors["in.image_rgb_0_255"], tensors["in.mask"]
    rounds = {int(name.removeprefix("out.mask_iter")) for name in tensors if name.startswith("out.mask_iter")}
    return {f"mask_iter{n}": pamr.pamr(image, mask, iterations=n, **settings) for n in rounds}


def _anyup(case: Case, tensors: Tensors, folder: Path) -> Tensors:
    config = case["config"]
    model = anyup.AnyUp(
        anyup.AnyUpConfig(config["qk_dim"], config["num_heads"], config["window_ratio"], config["kernel_size_lfu"])
    )
    _built(model, anyup.convert_official(_part(tensors, "state.")))
    image, features = tensors["in.image"], tensors["in.features"]
    (height, width), grid = _size_hw(image), _size_hw(features)
    seen = anyup.allowed(grid, grid, config["window_ratio"], image.device)
    return {
        "image_encoder": model.image_encoder(image)[:, :8],
        "features_full_resolution": model(image, features),
        "features_half_resolution": model(image, features, (height // 2, width // 2)),
        "features_same_resolution": model(image, features, grid),
        "attention_blocked_same_resolution": (~seen).to(torch.uint8),
    }


def _catseg_aggregator(case: Case, tensors: Tensors, folder: Path) -> Tensors:
    config = case["config"]
    model = cost_aggregation.CostAggregator(
        cost_aggregation.AggregatorConfig(
            views=config["prompt_channel"], text=config["text_guidance_dim"],
            appearance=config["appearance_guidance_dim"], taps=tuple(config["decoder_guidance_dims"]),
            hidden=config["hidden_dim"], layers=config["num_layers"], heads=config["nheads"],
            window=config["window_size"], pooling=tuple(config["pooling_size"]),
            text_guidance=config["text_guidance_proj_dim"], appearance_guidance=config["appearance_guidance_proj_dim"],
            decoder=tuple(config["decoder_dims"]), decoder_guidance=tuple(config["decoder_guidance_proj_dims"]),
            padding=config["pad_len"],
        )
    )  # fmt: skip
    # the authors store the masks of shifted windows, which we make for the grid at hand
    state = {name: value for name, value in _part(tensors, "state.").items() if not name.endswith("attn_mask")}
    _built(model, state)
    text = tensors["in.text_feats"]
    cosines = cost_aggregation.correlation(tensors["in.img_feats"], text)
    guidance = model.guidance(tensors["in.guidance_0"], (tensors["in.guidance_1"], tensors["in.guidance_2"]))
    words, maps = model.text_guidance(text), model.embed(cosines)
    ours = {"correlation": cosines, "corr_embed": maps}
    for index, layer in enumerate(model.layers):
        maps = ours[f"layer{index}.spatial"] = layer.swin_block(maps, guidance.appearance)
        (maps,) = layer.attention([maps], [words])
        ours[f"layer{index}.class"] = maps
    ours["logits"] = model(cosines, text, guidance)
    torch.testing.assert_close(model(cosines, text, guidance, chunk=2), ours["logits"], rtol=1e-4, atol=1e-5)
    return ours


def _lga_merge(case: Case, tensors: Tensors, folder: Path) -> Tensors:
    config = case["config"]
    patch, side, window, stride = (config[key] for key in ("patch", "resize", "window", "stride"))
    places = slide((side, side), window, stride)
    assert len(places) == config["windows"]
    toy = tensors["in.toy_image"]
    small = side // toy.shape[-1]
    crops = [toy[0, :, y : y + window // small, x : x + window // small] for y, x in
             slide(_size_hw(toy), window // small, stride // small)]  # fmt: skip
    whole = tensors["in.global_features"]
    cells = [(y // patch, x // patch) for y, x in places]
    local = average_windows(tensors["in.window_features"], cells, (whole.shape[-2], whole.shape[-1]))[None]
    return {"toy_crops": torch.stack(crops), "local": local, "fused": dinov3seg.fuse(local, whole)}


def sam_config(config: dict[str, Any]) -> sam.SamConfig:
    """Sizes as a case gives them in the authors' words."""
    encoder, decoder = config["encoder"], config["decoder"]
    return sam.SamConfig(
        size=encoder["img_size"], longest=encoder["img_size"], stride=encoder["patch_size"],
        width=encoder["embed_dim"], depth=encoder["depth"], heads=encoder["num_heads"], window=encoder["window_size"],
        global_blocks=tuple(encoder["global_attn_indexes"]), out=encoder["out_chans"],
        mask_channels=config["prompt"]["mask_in_chans"], decoder_heads=decoder["num_heads"],
        decoder_mlp=decoder["mlp_dim"], iou_hidden=decoder["iou_head_hidden_dim"], iou_depth=decoder["iou_head_depth"],
    )  # fmt: skip


def _sam(case: Case, tensors: Tensors, folder: Path) -> Tensors:
    config = sam_config(case["config"])
    model = sam.Sam(config)
    _built(model, sam.convert_official(_part(tensors, "state."), model))
    image = tensors["in.image_rgb_0_255"]
    pixels = sam.preprocess(image, config)
    embedding, blocks = model.image_encoder(pixels, tuple(range(config.depth)))
    ours = {
        "preprocessed": pixels, "embedding": embedding, "dense_pe": model.positions(embedding.shape[-2:]),
        **{f"block_{index}": block for index, block in enumerate(blocks)},
    }  # fmt: skip
    points, labels, box = tensors["in.points"], tensors["in.point_labels"], tensors["in.box"]
    prompts = {
        "points": sam.Prompts(points, labels),
        "box": sam.Prompts(boxes=box),
        "points_box_mask": sam.Prompts(points, labels, box, tensors["in.mask_prompt"]),
    }
    size = image.shape[-2], image.shape[-1]
    for name, prompt in prompts.items():
        ours[f"{name}.sparse"], dense = model.prompt_encoder(prompt)
        masks, iou = model.decode(embedding, prompt)
        for several, chosen in (("multimask_0", slice(0, 1)), ("multimask_1", slice(1, None))):
            ours |= {
                f"{name}.{several}.low_res": masks[:, chosen],
                f"{name}.{several}.iou": iou[:, chosen],
            }
        if prompt.masks is not None:
            ours[f"{name}.dense"] = dense
        ours[f"{name}.full_res_logits"] = sam.postprocess(masks[:, :1], size, size, config)
    # the case holds the last step for one prompt only
    return {name: value for name, value in ours.items() if "full_res" not in name or f"out.{name}" in tensors}


KINDS: dict[str, Callable[[Case, Tensors, Path], Tensors]] = {
    "clip_tokenizer": _clip_tokenizer,
    "anyup": _anyup,
    "catseg_aggregator": _catseg_aggregator,
    "dinotxt": _dinotxt,
    "lga_merge": _lga_merge,
    "dinov2_vit": _dinov2,
    "dinov3_vit": _dinov3,
    "insid3": _insid3,
    "sam": _sam,
    "talk2dino_infonce": _talk2dino_infonce,
    "talk2dino_maps": _talk2dino_maps,
    "talk2dino_pamr": _talk2dino_pamr,
    "talk2dino_projection": _talk2dino_projection,
}
