"""Train the small open_clip dual encoder that ships with the quickstart recipe.

    python scripts/train_quickstart_teacher.py --out recipes/assets/quickstart-teacher

It sees RGB images and captions of drawn scenes only (data set `sample`, seed 70001, which no recipe uses): no depth
image, and no scene of any recipe. Captions are shortened, batch by batch, down to "a photo of a chair", so that a bare class
name is a sentence the text tower knows; equal captions of a batch count as equal targets. The weights are stored in half precision with the config that open_clip reads
(`local-dir:`). About 25 minutes on two CPU cores; the numbers it prints go into `training.json` beside the weights.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import open_clip
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from edgefw.plugins.datasets.drawing.objects import OBJECTS
from edgefw.plugins.datasets.sample import SampleConfig, SampleScenes

SEED = 70001
SIZE = 64
MODEL = {
    "embed_dim": 128,
    "vision_cfg": {"timm_model_name": "regnetx_002", "timm_pool": "avg", "timm_proj": "linear", "image_size": SIZE},
    "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 28, "heads": 2, "layers": 2},
}
PREPROCESS = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "squash"}
SHORTENED = torch.tensor([0.5, 0.2, 0.3])
"""How often the captions of a batch are bare classes, classes with their look, whole."""
CONFIG = {"model_cfg": MODEL, "preprocess_cfg": PREPROCESS, "licence": "Apache-2.0 (trained by edgefw on drawn scenes)"}


def main() -> None:
    arguments = _arguments()
    torch.manual_seed(SEED)
    folder: Path = arguments.out
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
    with tempfile.TemporaryDirectory() as made:
        scratch = arguments.cache or made
        scenes = SampleScenes(
            SampleConfig(train=arguments.scenes, val=600, test=0, size=SIZE, seed=SEED), Path(scratch)
        )
        train, validation = _load(scenes, "train"), _load(scenes, "val")
    model = open_clip.create_model(f"local-dir:{folder.resolve()}", load_weights=False)
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder.resolve()}")
    started = time.perf_counter()
    _fit(model, tokenizer, train, validation, arguments)
    accuracy = _zero_shot(model, tokenizer, *validation[::2])
    save_file(
        {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()},
        folder / "open_clip_model.safetensors",
    )
    about = {
        "seed": SEED,
        "scenes": arguments.scenes,
        "epochs": arguments.epochs,
        "seconds": round(time.perf_counter() - started),
        "validation_rgb_top1": accuracy,
        "torch": torch.__version__,
        "open_clip": open_clip.__version__,
    }
    (folder / "training.json").write_text(json.dumps(about, indent=2) + "\n")
    print(json.dumps(about))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cache", type=Path, help="folder that keeps the drawn scenes")
    parser.add_argument("--scenes", type=int, default=12000)
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, default=2e-3)
    return parser.parse_args()


def _load(scenes: SampleScenes, split: str) -> tuple[Tensor, list[str], Tensor]:
    """Images (N, 3, S, S) in 0..1, captions, and class indices."""
    samples = scenes.listing(split).samples
    images = np.stack([np.asarray(Image.open(io.BytesIO(s.images["rgb"].read()))) for s in samples])
    labels = torch.tensor([scenes.classes.index(s.label or "") for s in samples])
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), [s.caption or "" for s in samples], labels


def _fit(
    model: torch.nn.Module,
    tokenizer: open_clip.SimpleTokenizer,
    train: tuple,
    validation: tuple,
    options: argparse.Namespace,
) -> None:
    images, captions, _ = train
    variants = torch.stack([tokenizer([_shorten(caption, keep) for caption in captions]) for keep in range(3)])
    steps = options.epochs * (len(images) // options.batch)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}], lr=options.lr
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, options.lr, total_steps=steps, pct_start=0.1)
    for epoch in range(options.epochs):
        model.train()
        order = torch.randperm(len(images))
        for rows in order[: len(order) // options.batch * options.batch].split(options.batch):
            tokens = variants[torch.multinomial(SHORTENED, 1).item(), rows]
            image, text, scale = model(_augment(images[rows].float() / 255), tokens)
            loss = _contrast(scale * image @ text.T, tokens)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            with torch.no_grad():
                model.logit_scale.clamp_(0, np.log(100))
        accuracy = _zero_shot(model, tokenizer, *validation[::2])
        print(
            f"epoch {epoch + 1}/{options.epochs} loss {loss.item():.3f} zero-shot {accuracy:.3f} scale {scale.item():.1f}",
            flush=True,
        )


def _shorten(caption: str, keep: int) -> str:
    """0: the class alone; 1: with its look; 2: the whole caption, "a photo of a LOOK NAME in a COLOUR room"."""
    about = caption.split(" in a ")[0]
    return (f"a photo of a {about.split()[-1]}", about, caption)[keep]


def _contrast(logits: Tensor, tokens: Tensor) -> Tensor:
    """Symmetric InfoNCE whose target is shared by the rows with the same caption."""
    same = (tokens[:, None] == tokens[None]).all(-1).float()
    target = same / same.sum(1, keepdim=True)
    return (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2


def _augment(images: Tensor) -> Tensor:
    """Crop 70-100 % with a mirror, then brightness, contrast and noise; normalised as PREPROCESS says."""
    count = len(images)
    zoom = 0.84 + 0.16 * torch.rand(count)
    shift = (1 - zoom)[:, None] * (2 * torch.rand(count, 2) - 1)
    mirror = torch.where(torch.rand(count) < 0.5, -1.0, 1.0)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = zoom * mirror, zoom, shift
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    images = functional.grid_sample(images, grid, align_corners=False, padding_mode="border")
    gain, lift = 0.8 + 0.4 * torch.rand(count, 1, 1, 1), 0.15 * (torch.rand(count, 1, 1, 1) - 0.5)
    return ((images * gain + lift + 0.01 * torch.randn_like(images)).clamp(0, 1) - 0.5) / 0.5


@torch.no_grad()
def _zero_shot(model: torch.nn.Module, tokenizer: open_clip.SimpleTokenizer, images: Tensor, labels: Tensor) -> float:
    model.eval()
    text = functional.normalize(model.encode_text(tokenizer([f"a photo of a {name}" for name in OBJECTS])), dim=-1)
    pixels = (images.float() / 255 - 0.5) / 0.5
    image = torch.cat([functional.normalize(model.encode_image(part), dim=-1) for part in pixels.split(200)])
    return (image @ text.T).argmax(1).eq(labels).float().mean().item()


if __name__ == "__main__":
    main()
