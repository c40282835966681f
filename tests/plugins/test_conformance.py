"""The kit on every technique that edgefw brings: what strangers must keep, we keep, through the same door.

Options are given here for techniques that cannot do without: a model small enough to be drawn at random, files written
on the spot. A second entry for one technique is a second set of options.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgefw.cli.doctor import compiler
from edgefw.contracts.dataset import SPLITS
from edgefw.own_environment import own_environment
from edgefw.registry.discovery import installed
from edgefw.registry.kinds import Kind
from edgefw.testing.parametrize import make_checks

SLOW = {"import_has_no_side_effects", "imports_no_torch", "checkpointing_changes_no_gradient", "exports_to_onnx"}
"""Checks of seconds: those that start an interpreter, and those that make torch load its compilers."""
SLOW_TECHNIQUES = {"backend/aoti", "backend/litert"}
"""Techniques that start a C++ compiler, or a converter in another environment."""
RNG = np.random.default_rng(1)
Options = Mapping[str, Any] | Callable[[Path], Mapping[str, Any]]


def photograph(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(path)


def depth_map(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(500, 5000, (20, 20)).astype(np.uint16)).save(path)


def folder(root: Path) -> dict[str, Any]:
    for split in SPLITS:
        for number in range(4):
            photograph(root / "photos" / split / "ab"[number % 2] / f"{number}.png")
    return {"root": "photos"}


def table(root: Path) -> dict[str, Any]:
    rows = ["id,split,label,caption,rgb,depth"]
    for number in range(12):
        photograph(root / f"{number}.png")
        depth_map(root / f"{number}.depth.png")
        rows.append(f"{number},{SPLITS[number % 3]},{'ab'[number % 2]},a scene,{number}.png,{number}.depth.png")
    (root / "scenes.csv").write_text("\n".join(rows))
    return {"file": "scenes.csv"}


def pairs(root: Path) -> dict[str, Any]:
    for number in range(24):
        photograph(root / "color" / "ab"[number % 2] / f"{number}.png")
        if number % 3:
            depth_map(root / "depth" / "ab"[number % 2] / f"{number}.png")
    return {"root": ".", "files": {"rgb": "color"}}


def tables(root: Path) -> dict[str, Any]:
    """A data set that the datasets library wrote."""
    import datasets

    for name, draw in (("image", photograph), ("depth", depth_map)):
        draw(root / f"{name}.png")
    rows = 6
    columns: dict[str, Any] = {name: [str(root / f"{name}.png")] * rows for name in ("image", "depth")}
    columns |= {"label": [number % 2 for number in range(rows)], "text": ["a scene"] * rows}
    kinds = {"image": datasets.Image(), "depth": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])}
    features = datasets.Features(kinds | {"text": datasets.Value("string")})
    datasets.Dataset.from_dict(columns, features=features).save_to_disk(root / "saved")
    return {"path": "saved", "images": {"rgb": "image"}, "label": "label", "caption": "text"}


def shards(root: Path) -> dict[str, Any]:
    for split in SPLITS:
        with tarfile.open(root / f"{split}.tar", "w") as tar:
            for number in range(4):
                for ending, draw in (("png", photograph), ("depth.png", depth_map)):
                    draw(root / "files" / f"{number}.{ending}")
                    tar.add(root / "files" / f"{number}.{ending}", f"{number}.{ending}")
    return {
        "shards": {split: f"{split}.tar" for split in SPLITS},
        "members": {"rgb": "png", "depth": "depth.png"},
    }


def openclip(root: Path) -> dict[str, Any]:
    """A vision transformer of open_clip with random weights."""
    vision = {"image_size": 32, "layers": 2, "width": 64, "head_width": 16, "patch_size": 8}
    text = {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    config = {"model_cfg": {"embed_dim": 24, "vision_cfg": vision, "text_cfg": text}, "preprocess_cfg": {}}
    (root / "open_clip_config.json").write_text(json.dumps(config))
    return {"model": f"local-dir:{root}", "weights": "none"}


def clip(root: Path) -> dict[str, Any]:
    """A CLIP of transformers with random weights, and a tokenizer of three words."""
    import transformers

    tower = {"intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 24}
    text = {**tower, "vocab_size": 8, "max_position_embeddings": 12, "eos_token_id": 3, "bos_token_id": 2}
    vision = {**tower, "patch_size": 8, "image_size": 32, "initializer_range": 0.3}
    config = transformers.CLIPConfig(text_config={**text, "pad_token_id": 0}, vision_config=vision, projection_dim=20)
    transformers.CLIPModel(config).save_pretrained(root)
    size = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    transformers.CLIPImageProcessor(**size).save_pretrained(root)
    tokenizer(root, 12)
    return {"model": str(root)}


def conse(root: Path) -> dict[str, Any]:
    """A random classifier of timm with ImageNet's class names, and a random sentence encoder."""
    import transformers

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.BertConfig(vocab_size=8, max_position_embeddings=24, **sizes)
    transformers.BertModel(config).save_pretrained(root / "encoder")
    tokenizer(root / "encoder", 24)
    return {"model": "test_resnet", "weights": "none", "size": 48, "text": "encoder"}


def ensemble(root: Path) -> dict[str, Any]:
    """A CLIP of open_clip and a ConSE teacher, of two sizes."""
    for name in ("clip", "conse"):
        (root / name).mkdir(exist_ok=True)
    clip_options, conse_options = openclip(root / "clip"), conse(root / "conse")
    members = [
        {"name": "openclip", "weight": 2.0, **clip_options},
        {"name": "timm-conse", **conse_options, "text": "conse/encoder"},
    ]
    return {"members": members}


def tokenizer(folder: Path, length: int) -> None:
    """Write a tokenizer of three words with an end token, as a transformers folder."""
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = {word: index for index, word in enumerate(["<pad>", "<unk>", "<bos>", "<eos>", "photo", "dog", "car"])}
    made = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 3)])
    special = {"pad_token": "<pad>", "unk_token": "<unk>", "eos_token": "<eos>", "model_max_length": length}
    transformers.PreTrainedTokenizerFast(tokenizer_object=made, **special).save_pretrained(folder)


OPTIONS: list[tuple[str, Options]] = [
    ("teacher/ensemble", ensemble),
    ("teacher/openclip", openclip),
    ("teacher/transformers", clip),
    ("teacher/timm-conse", conse),
    ("quantizer/int8-latency-aware", {"seconds": 0.5}),
    ("student/timm", {"model": "test_vit", "size": 64}),
    ("student/timm", {"model": "test_resnet", "size": 64}),
    ("student/timm", {"model": "test_resnet", "size": 64, "channels": 5}),
    ("student/dat", {"variant": "dat-micro", "size": 64}),
    ("student/dat", {"variant": "dat-pp-micro", "size": 64}),
    ("loss/feature", {"distance": "cosine"}),
    ("loss/similarity-kl", {"over": "batch"}),
    ("loss/similarity-kl", {"over": "teacher", "directions": "both", "temperature": 0.1}),
    ("loss/infonce", {"symmetric": False}),
    ("loss/supcon", {"form": "standard"}),
    ("loss/relational", {"normalise": False}),
    ("loss/gl-tokens", {"scale": "relative"}),
    ("loss/pca-attention", {"compare": "scores", "heads": "joined", "scale": "relative"}),
    ("projector/gl", {"side": 3, "dropout": 0.0}),
    ("projector/pca", {"kernel": 1, "cross": 0.0}),
    ("loss/view-adversarial", {"against": "clean", "of": "pooled", "every": 5}),
    ("loss/view-adversarial", {"saturating": True}),
    ("loss/view-consistency", {"distance": "mse", "both": True, "of": "pooled"}),
    ("sampler/view-groups", {"views": 3}),
    (
        "view/multi-view",
        {name: [1.0, 1.0] for name in ("rain", "snow", "fog", "light", "blur", "noise", "colour", "jpeg")},
    ),
    ("loss/pseudo-label", {"target": "soft", "smoothing": 0.1}),
    ("loss/triplet", {"hinge": False, "cross_modal": True}),
    ("sampler/semi-hard-triplet", {"normalise": False, "positive": "hard", "empty": "closest"}),
    ("loss/feature", {"against": "peer", "distance": "mse"}),
    ("loss/feature", {"against": "peer", "of": "map", "distance": "mse"}),
    ("scheme/single-modality", {"modality": "rgb"}),
    ("scheme/hybrid-mixup", {"alpha": 1.0}),
    ("scheme/mutual", {"modality": "depth"}),
    ("scheme/mutual", {"modality": "rgb", "anew": "all"}),
    ("scheme/split-stem", {"match": "mid"}),
    ("scheme/transfer", {"frozen": 0.5}),
    ("modality/depth", {"encoding": "jet", "near": 0.3, "far": 6.0}),
    ("modality/depth", {"encoding": "grey"}),
    ("modality/multispectral", {"bands": ["B12"], "names": "eurosat"}),
    ("modality/multispectral", {"bands": "all", "names": "eurosat", "take": "bands", "encoding": "min-max"}),
    ("modality/thermal", {"encoding": "fixed-range", "low": -200, "high": 50, "stored": "centi-kelvin"}),
    ("backend/onnxruntime", {"exporter": "legacy", "format": "ort"}),
    ("backend/openvino", {"exporter": "legacy"}),
    ("backend/tensorrt", {"exporter": "legacy"}),
    ("dataset/folder", folder),
    ("dataset/csv", table),
    ("dataset/huggingface", tables),
    ("dataset/paired-folder", pairs),
    ("dataset/webdataset", shards),
    ("dataset/sample", {"train": 6, "val": 2, "test": 2, "size": 32}),
    ("dataset/sample", {"train": 4, "val": 2, "test": 2, "size": 24, "sensors": ["rgb", "depth", "thermal"]}),
]
NEEDS_OPTIONS = {
    "teacher/ensemble", "teacher/openclip", "teacher/transformers", "teacher/timm-conse", "student/timm", "student/dat", "scheme/mutual",
    "scheme/single-modality", "modality/multispectral", "dataset/folder", "dataset/csv", "dataset/huggingface",
    "dataset/paired-folder", "dataset/webdataset", "dataset/sample", "backend/openvino", "backend/tensorrt",
}  # fmt: skip
"""Techniques that are not tried with their defaults: a field without one, or a default too large for a test."""

PACKAGES = {
    "backend/executorch": ("executorch",), "backend/litert": ("ai_edge_litert",),
    "backend/ncnn": ("ncnn", "pnnx"), "backend/openvino": ("openvino",),
    "quantizer/int8-nncf": ("nncf",), "quantizer/int8-pt2e": ("executorch",),
}  # fmt: skip
"""Techniques of an extra -> what must be installed to try them."""

FIRST_PARTY = {f"{ref.kind}/{ref.name}": ref for ref in installed() if ref.kind and ref.distribution == "edgefw"}


def parameters() -> list[Any]:
    """Every check of every technique; slow are the slow checks, and second sets of options."""
    defaults: list[tuple[str, Options]] = [(name, {}) for name in FIRST_PARTY if name not in NEEDS_OPTIONS]
    found, seen = [], set()
    for number, (technique, options) in enumerate([*defaults, *OPTIONS]):
        kind, name = technique.split("/")
        for check in make_checks(kind, f"edgefw:{name}", options):
            slow = check.name in SLOW or technique in seen or technique in SLOW_TECHNIQUES
            marks = [pytest.mark.slow] if slow else []
            marks += [
                pytest.mark.skipif(find_spec(package) is None, reason=f"{package} is not installed")
                for package in PACKAGES.get(technique, ())
            ]
            if technique == "backend/aoti":
                marks.append(pytest.mark.skipif(compiler()["path"] is None, reason="there is no C++ compiler"))
            if technique == "backend/litert":
                made = own_environment("litert").ready
                marks.append(pytest.mark.skipif(not made, reason="the environment litert has not been made"))
            found.append(pytest.param(check, id=f"{technique}-{number}-{check.name}", marks=marks))
        seen.add(technique)
    return found


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data", "ignore:Tag data larger than file")
@pytest.mark.parametrize("check", parameters())
def test_the_promise_holds(check: Callable[[], None]) -> None:
    check()


def test_every_technique_is_tried() -> None:
    tried = {name for name, _ in OPTIONS} | (FIRST_PARTY.keys() - NEEDS_OPTIONS)
    untried = FIRST_PARTY.keys() - tried
    assert not untried, f"give options for {', '.join(sorted(untried))}"
    assert {ref.kind for ref in FIRST_PARTY.values()} == set(Kind)
    assert not [name for name, ref in FIRST_PARTY.items() if ref.status != "ok"]
