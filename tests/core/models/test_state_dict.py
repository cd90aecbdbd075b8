"""Modules built without initial weights, and state dicts loaded into them."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from maskwright.errors import BadWeights
from maskwright.models.dinov3 import DinoV3, DinoV3Config
from maskwright.models.state_dict import load_exactly, without_initialization
from maskwright.presets import folders, loading

CONFIG = DinoV3Config(width=32, depth=1, heads=2, layer_scale=1.0, stem=((8, 0), (16, 0), (32, 0), (32, 0)))


def test_a_module_built_without_initial_weights_equals_one_built_with_them() -> None:
    usual = DinoV3(CONFIG).eval()
    with without_initialization():
        model = DinoV3(CONFIG)
    load_exactly(model, usual.state_dict(), what="test")
    model.eval()
    assert [name for name, value in model.named_parameters() if not value.requires_grad] == []
    for (name, value), (_, wanted) in zip(model.named_buffers(), usual.named_buffers(), strict=True):
        assert torch.equal(value, wanted), name
    pixels = torch.rand(1, 3, 32, 48)
    assert torch.equal(model(pixels).patches, usual(pixels).patches)


def test_a_loaded_module_has_tensors_of_its_own() -> None:
    state = nn.Linear(2, 2).state_dict()
    with without_initialization():
        model = nn.Linear(2, 2)
    load_exactly(model, state, what="test")
    state["weight"].zero_()
    assert model.weight.all()


def test_other_threads_and_later_modules_are_initialized() -> None:
    with without_initialization(), ThreadPoolExecutor(1) as pool:
        assert not pool.submit(nn.Linear, 2, 2).result().weight.is_meta
        assert nn.Linear(2, 2).weight.is_meta
    assert not nn.Linear(2, 2).weight.is_meta


def test_a_thread_may_begin_while_another_builds() -> None:
    """A preset is fetched or loaded while another one is: torch walks over hooks for each parameter meanwhile."""

    def begin_and_end() -> None:
        with without_initialization():
            pass

    def meanwhile(*_: object) -> None:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(begin_and_end).result()

    # torch notices the change on its way from one hook to the next
    handles = [register_module_parameter_registration_hook(hook) for hook in (meanwhile, lambda *_: None)]
    try:
        assert not nn.Linear(1, 1).weight.is_meta
    finally:
        for handle in handles:
            handle.remove()


def test_weights_that_do_not_fit_are_refused() -> None:
    with without_initialization():
        model = nn.Linear(2, 2)
    with pytest.raises(BadWeights, match=r"bias \(3,\) instead of \(2,\)"):
        load_exactly(model, {"weight": torch.zeros(2, 2), "bias": torch.zeros(3)}, what="test")


def test_a_preset_loads_into_modules_without_initial_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[bool] = []

    def watched(module: nn.Module, state: Mapping[str, Tensor], *, what: str) -> None:
        built.append(all(parameter.is_meta for parameter in module.parameters()))
        load_exactly(module, state, what=what)

    monkeypatch.setattr(loading, "load_exactly", watched)
    preset = loading.load(folders.bundled() / "tiny")
    # dino.txt, SAM, dinov3.seg, Talk2DINO; OVS-DINO's weights go over a copy of dino.txt's
    assert built == [True] * 4 + [False]
    for model in preset.models:
        assert not any(value.is_meta for value in (*model.parameters(), *model.buffers()))
