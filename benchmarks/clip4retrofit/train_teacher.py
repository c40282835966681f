"""Train the teacher of the ablation: one small open_clip vision transformer for both sets, on images with captions.

    python benchmarks/clip4retrofit/train_teacher.py --data ../shared/data --out runs/clip4retrofit/teacher

It sees the teacher's part of both sets (sets.py) and nothing of the students' part, of `val` or of `test`. One teacher, because
furniture-rgbd alone has too few images for a transformer from random weights, and because both sets then share one text space. A batch
holds images of one set only: to tell a truck from a sofa teaches nothing. At 64 pixels (cifar10 enlarged, furniture-rgbd halved)
patches of 8 pixels make a grid of 8 x 8. The image embedding is the mean of the tokens ("avg"), so that the last block's tokens carry what
is asked for; with a class token nothing would teach them.
The text side, the contrast and the folder that is written are those of ../dual_encoder.py.

Half of the patches of an image are left out at random in training (Li et al. 2023, arXiv:2212.00794), which halves the time of a step; in the last tenth
of the steps the teacher sees them all. bf16 (`--precision auto`: where the processor has AMX) runs attention by plain matrix products: the fused kernel is slow backwards in bf16.
Training goes on from the last of its ten rounds when it was interrupted. `teacher.json` states seed, time, hash and accuracy on `val`.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from open_clip.transformer import PatchDropout
from PIL import Image
from sets import HERE, MOST, SEED, SETS, ImageSet
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

sys.path.insert(0, str(HERE.parent))
from dual_encoder import accuracy, augment, caption_table, contrast, create, encode, save

SIZE = 64
VISION: dict[str, Any] = {
    "image_size": SIZE,
    "patch_size": 8,
    "width": 192,
    "layers": 6,
    "head_width": 64,
    "pool_type": "avg",
}
LICENCE = "research use: trained on CIFAR-10 (no licence stated) and on renderings under CC-BY 3.0 and CC0"
SHARES = {"cifar10": 0.7, "furniture-rgbd": 0.3}
"""How often a batch is drawn from each set."""
TEMPLATES = torch.tensor([0.5, 0.15, 0.25, 0.1])
"""How often all captions of a batch are made from each template of its set."""
ROUNDS = 10
LEFT_OUT = 0.5
"""Share of an image's patches that a step leaves out, but for the last round."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """Images (N, 3, S, S) uint8 of one set, class of each, its captions per template (rows of `texts`), the class names' embeddings."""

    images: Tensor
    labels: Tensor
    texts: Tensor
    of_image: Tensor
    names: Tensor


def main() -> None:
    arguments = _arguments()
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    model, tokenizer = create(arguments.out, VISION, LICENCE)
    parts = {
        name: _part(model, tokenizer, SETS[name], arguments.data, "teacher", None, arguments.images) for name in SHARES
    }
    validation = {
        name: _part(model, tokenizer, SETS[name], arguments.data, "val", SIZE, arguments.images or MOST)
        for name in SHARES
    }
    bf16 = uses_bf16(arguments.precision)
    about = _fit(model, parts, validation, bf16, arguments)
    about |= {
        "seed": SEED,
        "images": {name: len(part.images) for name, part in parts.items()},
        "steps": arguments.steps,
        "batch": arguments.batch,
        "lr": arguments.lr,
        "precision": "bf16" if bf16 else "fp32",
        "vision": VISION,
        "patches_left_out": LEFT_OUT,
        "val": {name: accuracy(model, part.images, part.labels, part.names) for name, part in validation.items()},
        "weights_sha256": save(model, arguments.out),
        "torch": torch.__version__,
        "open_clip": open_clip.__version__,
    }
    for record in filter(None, (arguments.record, arguments.out / "training.json")):
        record.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    (arguments.out / "state.pt").unlink(missing_ok=True)
    print(json.dumps(about))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="holds cifar10 and furniture-rgbd")
    parser.add_argument("--out", type=Path, default=Path("runs/clip4retrofit/teacher"))
    parser.add_argument("--record", type=Path, help="also write what is stated to this file")
    parser.add_argument("--steps", type=int, default=1600)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--precision", choices=("auto", "bf16", "fp32"), default="auto")
    parser.add_argument("--images", type=int, help="at most so many of each part: a trial")
    return parser.parse_args()


def uses_bf16(asked: str) -> bool:
    """Whether matrix products are done in bf16: where asked for, or where the processor multiplies tiles of it."""
    if asked != "auto":
        return asked == "bf16"
    flags = Path("/proc/cpuinfo")
    return flags.is_file() and "amx_bf16" in flags.read_text(encoding="utf-8")


def _part(model: Any, tokenizer: Any, of: ImageSet, data: Path, part: str, size: int | None, most: int | None) -> Part:
    """A part of a set; images as they are, or resized as the model's own preprocessing does."""
    names = of.names(data)
    samples = of.samples(data, part, most)
    images = [Image.open(io.BytesIO(sample["jpg"])).convert("RGB") for sample in samples]
    if size is not None:
        images = [image.resize((size, size), Image.Resampling.BICUBIC) for image in images]
    texts, of_image = caption_table(model, tokenizer, [of.captions_of(sample, names) for sample in samples])
    return Part(
        images=torch.from_numpy(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2).contiguous(),
        labels=torch.tensor([of.class_of(sample, names) for sample in samples]),
        texts=texts,
        of_image=of_image,
        names=encode(model, tokenizer, [f"a photo of a {name}" for name in names]),
    )


def _fit(
    model: Any, parts: dict[str, Part], validation: dict[str, Part], bf16: bool, options: argparse.Namespace
) -> dict[str, Any]:
    """Train; seconds spent, also those before an interruption."""
    optimiser = torch.optim.AdamW(_groups(model), lr=options.lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, options.lr, total_steps=options.steps, pct_start=0.1)
    weights = {name: part.labels.bincount().float().rsqrt()[part.labels] for name, part in parts.items()}
    done, spent = _resume(model, optimiser, schedule, options)
    started, cpu = time.perf_counter(), time.process_time()
    every = max(1, options.steps // ROUNDS)
    for step in range(done, options.steps):
        model.train()
        model.visual.patch_dropout = PatchDropout(LEFT_OUT if step < options.steps - every else 0.0)
        name = list(SHARES)[int(torch.multinomial(torch.tensor(list(SHARES.values())), 1))]
        rows = torch.multinomial(weights[name], options.batch, replacement=len(parts[name].images) < options.batch)
        loss = _step(model, parts[name], rows, bf16)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
        if (step + 1) % every == 0 and step + 1 < options.steps:
            now = {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - cpu}
            _keep(model, optimiser, schedule, step + 1, {key: spent[key] + now[key] for key in now}, options)
            found = {name: accuracy(model, own.images, own.labels, own.names) for name, own in validation.items()}
            print(f"step {step + 1}/{options.steps} {name} loss {loss.item():.3f} val {found}", flush=True)
    return {
        "seconds": round(spent["seconds"] + time.perf_counter() - started),
        "cpu_seconds": round(spent["cpu_seconds"] + time.process_time() - cpu),
    }


def _step(model: Any, part: Part, rows: Tensor, bf16: bool) -> Tensor:
    chosen = part.of_image[rows, int(torch.multinomial(TEMPLATES, 1))]
    native = part.images.shape[-1]
    pixels = augment(part.images[rows].float() / 255, max(native, SIZE))
    if native > SIZE:
        pixels = functional.interpolate(pixels, SIZE, mode="bilinear", antialias=True)
    with ExitStack() as stack:
        if bf16:
            stack.enter_context(torch.autocast("cpu", torch.bfloat16))
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        embedded = model.visual(pixels)
    image = functional.normalize(embedded.float(), dim=-1)
    return contrast(model.logit_scale.exp() * image @ part.texts[chosen].T, chosen)


def _groups(model: Any) -> list[dict[str, Any]]:
    """No decay on vectors, positions and the class token."""
    named = [(name, value) for name, value in model.named_parameters() if value.requires_grad]
    free = {name for name, value in named if value.ndim < 2 or name.endswith("embedding")}
    return [
        {"params": [value for name, value in named if name not in free], "weight_decay": 0.05},
        {"params": [value for name, value in named if name in free], "weight_decay": 0.0},
    ]


def _keep(model: Any, optimiser: Any, schedule: Any, step: int, spent: dict[str, float], options: Any) -> None:
    parts = {"image": model.visual, "optimiser": optimiser, "schedule": schedule}
    state = {name: part.state_dict() for name, part in parts.items()}
    state |= {"scale": model.logit_scale.detach(), "step": step, "spent": spent, "random": torch.get_rng_state()}
    unfinished = options.out / "state.partial"
    torch.save(state | {"asked": _asked(options)}, unfinished)
    unfinished.replace(options.out / "state.pt")


def _resume(model: Any, optimiser: Any, schedule: Any, options: Any) -> tuple[int, dict[str, float]]:
    file = options.out / "state.pt"
    state = torch.load(file) if file.is_file() else None
    if state is None or state["asked"] != _asked(options):
        return 0, {"seconds": 0.0, "cpu_seconds": 0.0}
    for name, part in {"image": model.visual, "optimiser": optimiser, "schedule": schedule}.items():
        part.load_state_dict(state[name])
    with torch.no_grad():
        model.logit_scale.copy_(state["scale"])
    torch.set_rng_state(state["random"])
    return state["step"], state["spent"]


def _asked(options: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(options, name) for name in ("steps", "batch", "lr", "images")}


if __name__ == "__main__":
    main()
