"""Import of official presets: authors' files are converted, checked key by key and written as a preset folder."""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib.resources import files as resources
from json import loads
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from maskwright import __version__
from maskwright.errors import BadWeights, MaskwrightError, UsageError
from maskwright.files.atomic import write_text
from maskwright.files.hashing import sha256_of
from maskwright.models.anyup import AnyUp
from maskwright.models.anyup import convert_official as convert_anyup
from maskwright.models.clip_text import ClipText
from maskwright.models.clip_text import convert_hub as convert_clip_hub
from maskwright.models.clip_text import convert_official as convert_clip
from maskwright.models.dinotxt import SPECS, DinoTxt, DinoTxtConfig, convert_dinov2_part
from maskwright.models.dinov2 import DinoV2, DinoV2Config
from maskwright.models.dinov2 import convert_hub as convert_dinov2_hub
from maskwright.models.dinov2 import convert_official as convert_dinov2
from maskwright.models.dinov3 import SPECS as BACKBONES
from maskwright.models.dinov3 import DinoV3, DinoV3Config, convert_hub, convert_official
from maskwright.models.dinov3seg import SPECS as SEG_SPECS
from maskwright.models.dinov3seg import Dinov3SegConfig
from maskwright.models.insid3 import Insid3Config, components_for
from maskwright.models.ovs_dino import SPECS as OVS_SPECS
from maskwright.models.ovs_dino import EncodersConfig
from maskwright.models.sam import SPECS as SAM_SPECS
from maskwright.models.sam import Sam, SamConfig
from maskwright.models.sam import convert_hub as convert_sam_hub
from maskwright.models.sam import convert_official as convert_sam
from maskwright.models.state_dict import load_exactly, without_initialization
from maskwright.models.talk2dino import SPECS as TALK2DINO_SPECS
from maskwright.models.talk2dino import THRESHOLD, THRESHOLD_L, Projection, Talk2Dino, Talk2DinoConfig
from maskwright.models.talk2dino import convert_official as convert_projection
from maskwright.models.tokenizer import clip_tokenizer
from maskwright.presets.checkpoint_files import read_checkpoint, weight_files
from maskwright.presets.config import OVS_ENCODERS, TALK2DINO, Insid3Settings, PointMatching, SlideProtocol
from maskwright.presets.config_io import to_plain
from maskwright.presets.official import OFFICIAL
from maskwright.presets.weights import save_part, write_part

__all__ = [
    "import_dinotxt",
    "import_dinov3seg",
    "import_insid3",
    "import_ovs_dino",
    "import_preset",
    "import_sam",
    "import_talk2dino",
]

log = logging.getLogger(__name__)

_BACKBONE = "visual_model.backbone."


def import_preset(paths: Sequence[Path], name: str, into: Path) -> Path:
    """Make an official preset from its files.

    Args:
        paths: the files, in any order.
        name: of the preset.
        into: folder that the preset's folder is made in.

    Returns:
        The preset's folder.

    Raises:
        MaskwrightError: an unknown preset, a missing file, or weights that do not fit; the message names the keys.
    """
    if name not in OFFICIAL:
        raise UsageError(f"There is no official preset {name}. Known: {', '.join(OFFICIAL)}.")
    folder = into / name
    paths = weight_files(paths)
    _import_kind(paths, name, folder)
    with _writing(folder):
        write_text(folder / "README.md", _model_card(name, paths))
    return folder


def _import_kind(paths: Sequence[Path], name: str, folder: Path) -> None:
    kind, _, size = name.partition("-")
    if kind == "insid3":
        import_insid3(paths, folder, BACKBONES[f"vit{size}16"])
    elif kind == "sam":
        import_sam(paths, folder, SAM_SPECS[size if size == "mobile" else f"vit{size}"])
    elif kind == "talk2dino":
        threshold = THRESHOLD_L if name.endswith("-l") else THRESHOLD
        published = any(file.part == "projection" for file in OFFICIAL[name].files)
        import_talk2dino(paths, folder, TALK2DINO_SPECS[size], threshold=threshold, may_wait=not published)
    elif kind == "ovs":
        size = size.removeprefix("dino-")
        import_ovs_dino(paths, folder, OVS_SPECS[size], SAM_SPECS[f"vit{size}"])
    elif kind == "dinov3seg":
        import_dinov3seg(paths, folder, SEG_SPECS["vitl16"])
    else:
        import_dinotxt(paths, folder, SPECS["vitl14" if kind == "dinov2txt" else "vitl16"])


def _model_card(name: str, paths: Sequence[Path]) -> str:
    official = OFFICIAL[name]
    lines = [
        f"# {name}: {official.title}", "", f"{official.description}.", "", official.improves, "",
        f"Made by Maskwright {__version__} from its authors' files; keys were renamed, values were not changed except "
        "that batch norms are folded into convolutions. The weights stay under their authors' terms:", "",
        *(f"- {file.what}: {file.licence}; <{file.page}>" for file in official.files), "",
        "| file | SHA-256 |", "| --- | --- |", *(f"| {path.name} | `{sha256_of(path)}` |" for path in paths), "",
    ]  # fmt: skip
    return "\n".join(lines)


def import_insid3(paths: Sequence[Path], folder: Path, config: DinoV3Config) -> Path:
    """Make an INSID3 preset from the one file of a backbone with these sizes; raises BadWeights."""
    path = _only(paths, folder, "the DINOv3 backbone")
    state = _converted(path)
    unknown = [key for key in state if not key.startswith(_BACKBONE)]
    if unknown:
        raise BadWeights(f"{path.name} is not a DINOv3 backbone: it has unknown {', '.join(unknown[:3])}.")
    with without_initialization():
        model = DinoV3(config)
    _load(model, {key.removeprefix(_BACKBONE): value for key, value in state.items()}, folder)
    method = Insid3Config(components=components_for(config.width))
    with _writing(folder):
        save_part(folder, "dinov3", model.state_dict(), {"model": to_plain(config)}, dtype=torch.float32)
        write_part(folder, "insid3", to_plain(Insid3Settings(part="dinov3", method=method, points=PointMatching())))
    return folder


def import_sam(paths: Sequence[Path], folder: Path, config: SamConfig) -> Path:
    """Make a SAM preset from the one file of a SAM with these sizes; raises BadWeights."""
    path = _only(paths, folder, "the SAM checkpoint")
    with without_initialization():
        model = Sam(config)

    def convert(state: dict[str, Tensor]) -> dict[str, Tensor]:
        return convert_sam_hub(state) if _VISION in state else convert_sam(state, model, what=path.name)

    state = _converted(path, convert)
    load_exactly(model, state, what=folder.name)
    with _writing(folder):
        save_part(folder, "sam", model.state_dict(), {"model": to_plain(config)}, dtype=torch.float32)
    return folder


def import_dinov3seg(paths: Sequence[Path], folder: Path, config: Dinov3SegConfig) -> Path:
    """Make a dinov3.seg preset with these sizes from the files of dino.txt, SAM and AnyUp; raises BadWeights.

    Its authors publish no weights. Until it is trained, text prompts use dino.txt.
    """
    assert config.anyup is not None
    kinds: dict[str, list[Path]] = {"sam": [], "anyup": [], "dino.txt": []}
    for path in paths:
        _require(path)
        kinds[_kind(path)].append(path)
    for what, name in (("sam", "SAM"), ("anyup", "AnyUp")):
        if len(kinds[what]) != 1:
            raise UsageError(f"{folder.name} needs one file of {name}; {len(kinds[what])} were given.")
    early = AnyUp(config.anyup)
    load_exactly(early, _converted(kinds["anyup"][0], convert_anyup), what=kinds["anyup"][0].name)
    with _writing(folder.parent), TemporaryDirectory(dir=folder.parent) as place:
        made = Path(place) / folder.name
        import_dinotxt(kinds["dino.txt"], made, config.vlm)
        import_sam(kinds["sam"], made, config.spe)
        state = {f"anyup.{name}": value for name, value in early.state_dict().items()}
        settings = {"model": to_plain(config), "trained": False, "class_pooling": [1, 1]}
        save_part(made, "dinov3seg", state, settings, dtype=torch.float32)
        if folder.exists():
            shutil.rmtree(folder)
        made.replace(folder)
    return folder


def import_talk2dino(
    paths: Sequence[Path],
    folder: Path,
    config: Talk2DinoConfig,
    *,
    threshold: float = THRESHOLD,
    may_wait: bool = False,
) -> Path:
    """Make a Talk2DINO preset with these sizes from backbone, CLIP, projection and vocabulary; raises BadWeights.

    With `may_wait` the projection may be missing: the preset then waits for its training.
    """
    state: dict[str, Tensor] = {}
    vocabulary: Path | None = None
    for path in paths:
        _require(path)
        if path.suffix in _VOCABULARIES:
            vocabulary = path
        else:
            state |= _converted(path, _talk2dino_names)
    if vocabulary is None:
        raise BadWeights(_NO_VOCABULARY)
    clip_tokenizer(vocabulary, context=config.text.context)
    with without_initialization():
        model = Talk2Dino.build(config)
    settings = {
        "model": to_plain(config),
        "tokenizer": vocabulary.name,
        "prompts": _templates("imagenet_subset_7"),
        "threshold": threshold,
    }
    if may_wait and not any(name.startswith("projection.") for name in state):
        state |= {f"projection.{name}": value for name, value in Projection(config.projection).state_dict().items()}
        settings["trained"] = False
    _load(model, state, folder)
    with _writing(folder):
        with suppress(shutil.SameFileError):
            shutil.copyfile(vocabulary, folder / vocabulary.name)
        save_part(folder, TALK2DINO, model.state_dict(), settings, dtype=torch.float32)
    return folder


def import_ovs_dino(paths: Sequence[Path], folder: Path, config: EncodersConfig, sam: SamConfig) -> Path:
    """Make a preset to train OVS-DINO on, from DINOv2, CLIP, SAM and vocabulary; raises BadWeights.

    Its authors publish no weights. Until it is trained, it answers clicks with its SAM.
    """
    for path in paths:
        _require(path)
    teachers = [path for path in paths if _kind(path) == "sam"]
    if len(teachers) != 1:
        raise UsageError(f"{folder.name} needs one file of SAM; {len(teachers)} were given.")
    state: dict[str, Tensor] = {}
    vocabulary: Path | None = None
    for path in paths:
        if path.suffix in _VOCABULARIES:
            vocabulary = path
        elif path not in teachers:
            state |= _converted(path, _talk2dino_names)
    if vocabulary is None:
        raise BadWeights(_NO_VOCABULARY)
    clip_tokenizer(vocabulary, context=config.text.context)
    with without_initialization():
        encoders = nn.ModuleDict({"visual": DinoV2(config.dinov2), "text": ClipText(config.text)})
    _load(encoders, state, folder)
    with _writing(folder):
        with suppress(shutil.SameFileError):
            shutil.copyfile(vocabulary, folder / vocabulary.name)
        entry = {"model": to_plain(config), "tokenizer": vocabulary.name}
        save_part(folder, OVS_ENCODERS, encoders.state_dict(), entry, dtype=torch.float32)
    return import_sam(teachers, folder, sam)


def _talk2dino_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Recognise a file of Talk2DINO by a key, and convert it."""
    kinds: tuple[tuple[str, str, Callable[[dict[str, Tensor]], dict[str, Tensor]]], ...] = (
        ("linear_layer.weight", "projection", convert_projection),
        ("token_embedding.weight", "text", convert_clip),
        ("text_projection.weight", "text", convert_clip_hub),
        ("pos_embed", "visual", convert_dinov2),
        ("embeddings.position_embeddings", "visual", convert_dinov2_hub),
        ("cls_token", "visual", convert_official),
        ("embeddings.cls_token", "visual", convert_hub),
    )
    for key, part, convert in kinds:
        if key in state:
            return {f"{part}.{name}": value for name, value in convert(state).items()}
    return state


def _kind(path: Path) -> str:
    if path.suffix in _VOCABULARIES or not path.stat().st_size:
        return "dino.txt"
    names = set(read_checkpoint(path))
    if names & {_VISION, "image_encoder.pos_embed"}:
        return "sam"
    return "anyup" if any(name.endswith("key_features_encoder.0.basis") for name in names) else "dino.txt"


_VISION = "vision_encoder.pos_embed"
"""A key that only the Hugging Face file has."""


def _only(paths: Sequence[Path], folder: Path, what: str) -> Path:
    if len(paths) != 1:
        raise UsageError(f"{folder.name} is made of one file, {what}; {len(paths)} were given.")
    _require(paths[0])
    return paths[0]


def import_dinotxt(paths: Sequence[Path], folder: Path, config: DinoTxtConfig) -> Path:
    """Make a dino.txt preset with these sizes from backbone, head and text tower, vocabulary; raises BadWeights."""
    state: dict[str, Tensor] = {}
    vocabulary: Path | None = None
    for path in paths:
        _require(path)
        if path.suffix in _VOCABULARIES:
            vocabulary = path
        else:
            state |= _converted(path)
    if vocabulary is None:
        raise BadWeights(_NO_VOCABULARY)
    clip_tokenizer(vocabulary, context=config.text.context)
    settings = {"model": to_plain(config), "tokenizer": vocabulary.name, "prompts": _templates("imagenet_80")}
    method, points = Insid3Config(components=components_for(config.backbone.width)), PointMatching()
    if isinstance(config.backbone, DinoV2Config):
        # the files have no scale of the cosines, which segmentation does not use
        state.setdefault("logit_scale", torch.tensor([1 / 0.07]).log())
        # the paper's windows; squares of whole patches near those of DINOv3
        settings["protocol"] = to_plain(SlideProtocol(short_sides=(448,), window=448, stride=224))
        patch = config.backbone.patch
        method = replace(method, size=method.size // patch * patch)
        points = replace(points, size=points.size // patch * patch)
    with without_initialization():
        model = DinoTxt(config)
    _load(model, state, folder)
    with _writing(folder):
        with suppress(shutil.SameFileError):
            shutil.copyfile(vocabulary, folder / vocabulary.name)
        save_part(folder, "dinotxt", model.state_dict(), settings, dtype=torch.float32)
        write_part(folder, "insid3", to_plain(Insid3Settings(method=method, points=points)))
    return folder


_VOCABULARIES = (".gz", ".txt")
"""Suffixes of CLIP's own file and of the hub's `merges.txt`."""
_NO_VOCABULARY = (
    "The CLIP vocabulary bpe_simple_vocab_16e6.txt.gz is missing; give it, or the hub's merges.txt, with the other "
    "files."
)


def _templates(name: str) -> list[str]:
    file = resources("maskwright_assets") / "prompt_templates.json"
    return list(loads(file.read_text(encoding="utf-8"))[name])


def _require(path: Path) -> None:
    if not path.is_file():
        raise MaskwrightError(f"There is no file {path}. Check the name.")


_NO_KEY_BIAS = re.compile(r"vit\.model\.layer\.\d+\.attention\.k_proj\.bias$")
"""Key biases of DINOv3; DINOv2's have other names and are used."""


def _load(model: nn.Module, state: dict[str, Tensor], folder: Path) -> None:
    # the Hugging Face file has no key biases, which the authors mask to zero
    missing = {k: torch.zeros(v.shape) for k, v in model.state_dict().items() if _NO_KEY_BIAS.search(k)}
    load_exactly(model, missing | state, what=folder.name)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except (OSError, SafetensorError) as error:
        raise MaskwrightError(
            f"Cannot write to {folder}: {getattr(error, 'strerror', None) or error}. Free some space, or name another "
            "folder with MASKWRIGHT_PRESETS."
        ) from error


def _converted(
    path: Path, convert: Callable[[dict[str, Tensor]], dict[str, Tensor]] | None = None
) -> dict[str, Tensor]:
    """An authors' file with our keys; raises BadWeights where a tensor is too misshapen to be split."""
    if not path.stat().st_size:
        raise BadWeights(f"{path.name} is empty. Download it again.")
    state = read_checkpoint(path)
    if state.note:
        log.warning("%s: %s.", path.name, state.note)
    try:
        return (convert or _dinotxt_names)(state)
    except (RuntimeError, ValueError, IndexError) as error:
        raise BadWeights(f"{path.name} holds a misshapen key: {str(error).partition(chr(10))[0]}.") from error


def _dinotxt_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Recognise a file of dino.txt, a backbone or head with text tower, and convert it."""
    if "pos_embed" in state:
        return {_BACKBONE + name: value for name, value in convert_dinov2(state).items()}
    if "embeddings.position_embeddings" in state:
        return {_BACKBONE + name: value for name, value in convert_dinov2_hub(state).items()}
    if "cls_token" in state:
        return {_BACKBONE + name: value for name, value in convert_official(state).items()}
    if "embeddings.cls_token" in state:
        return {_BACKBONE + name: value for name, value in convert_hub(state).items()}
    if "ln_final.weight" in state or "backbone.ln_final.weight" in state:
        return convert_dinov2_part(state)
    return {name: value for name, value in state.items() if not name.startswith(_BACKBONE)}
