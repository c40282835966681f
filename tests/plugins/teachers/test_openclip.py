"""open_clip teachers against open_clip itself, on photographs: preprocessing, embeddings, tokens, q/k/v, messages.

Each kind of model is small, random, saved to disk and loaded from there.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from safetensors.torch import save_file

import edgefw
from edgefw.contracts.licence import unlicensed
from edgefw.contracts.teacher import TeacherSpec
from edgefw.errors import RecipeError
from edgefw.plugins.teachers.openclip import OpenClipConfig, OpenClipTeacher, build, licence_of, provides_for

BYTES = {"context_length": 24, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
WORDS = {**BYTES, "vocab_size": 32, "hf_tokenizer_name": "words", "tokenizer_kwargs": {"clean": "canonicalize"}}
SIGLIP_TEXT = {**WORDS, "no_causal_mask": True, "proj_bias": True, "pool_type": "last", "norm_kwargs": {"eps": 1e-6}}
VIT = {"image_size": 32, "layers": 3, "width": 64, "head_width": 16, "patch_size": 8}
MODELS: dict[str, dict[str, Any]] = {
    "vit": {"embed_dim": 24, "vision_cfg": VIT, "text_cfg": BYTES},
    "vit-quickgelu": {"embed_dim": 24, "quick_gelu": True, "vision_cfg": VIT, "text_cfg": BYTES},
    "resnet": {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "patch_size": None},
        "text_cfg": BYTES,
    },
    "convnext": {
        "embed_dim": 24,
        "vision_cfg": {"timm_model_name": "convnext_atto", "timm_pool": "", "timm_proj": "linear", "image_size": 64},
        "text_cfg": BYTES,
    },
    "siglip": {
        "embed_dim": 96,
        "init_logit_bias": -10,
        "custom_text": True,
        "vision_cfg": {
            "image_size": 160,
            "timm_model_name": "test_vit3",
            "timm_pool": "map",
            "timm_proj": "none",
        },
        "text_cfg": SIGLIP_TEXT,
    },
    "custom-text": {
        "embed_dim": 24,
        "custom_text": True,
        "vision_cfg": {**VIT, "block_type": "custom", "qk_norm": True, "pool_type": "avg"},
        "text_cfg": WORDS,
    },
}
PREPROCESSING = {
    "siglip": {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "squash"},
    "resnet": {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.25], "interpolation": "bilinear", "resize_mode": "longest"},
}


@pytest.fixture(scope="module")
def folders(
    tmp_path_factory: pytest.TempPathFactory, save_tokenizer: Callable[[Path, int], None]
) -> Iterator[dict[str, Path]]:
    """A folder per kind of model, as open_clip's own `save to hub` lays it out."""
    made = {}
    for name, settings in MODELS.items():
        folder = tmp_path_factory.mktemp(name)
        config = {"model_cfg": settings, "preprocess_cfg": PREPROCESSING.get(name, {}), "licence": "MIT"}
        (folder / "open_clip_config.json").write_text(json.dumps(config))
        save_tokenizer(folder, 24)
        torch.manual_seed(len(made))
        model = open_clip.create_model(f"local-dir:{folder}", load_weights=False, pretrained_text=False)
        save_file(model.state_dict(), folder / "open_clip_model.safetensors")
        made[name] = folder
    yield made


def teacher(folder: Path) -> OpenClipTeacher:
    return build(OpenClipConfig(model=f"local-dir:{folder}"), edgefw.BuildContext())


@pytest.mark.parametrize("name", MODELS)
def test_pixels_and_embeddings_are_open_clips_own(
    name: str, folders: dict[str, Path], photographs: list[Image.Image], sentences: list[str]
) -> None:
    ours = teacher(folders[name])
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folders[name]}")
    model.eval()
    own_pixels = torch.stack([transform(photograph) for photograph in photographs])
    pixels = torch.stack([ours.preprocess(photograph) for photograph in photographs])
    assert torch.equal(pixels, own_pixels) and pixels.shape[2:] == ours.spec.image_size
    with torch.no_grad():
        image = model.encode_image(own_pixels, normalize=True)
        text = model.encode_text(open_clip.get_tokenizer(f"local-dir:{folders[name]}")(sentences), normalize=True)
        scale = model.logit_scale.exp().item()
    assert (ours.encode_image(pixels).embedding - image).abs().max() <= 1e-5
    assert (ours.encode_text(sentences) - text).abs().max() <= 1e-5
    assert ours.spec.width == image.shape[1] and ours.spec.logit_scale == pytest.approx(scale)
    for rows in (image, text):
        assert torch.pdist(rows).min() > 1e-3, "no two may look alike to the random model: 100 x what may differ above"


@pytest.mark.parametrize("name", ["vit", "vit-quickgelu", "siglip", "custom-text"])
def test_tokens_are_the_last_blocks_output(name: str, folders: dict[str, Path], photographs: list[Image.Image]) -> None:
    ours = teacher(folders[name])
    pixels = torch.stack([ours.preprocess(photograph) for photograph in photographs])
    output = ours.encode_image(pixels, frozenset({"tokens"}))
    with torch.no_grad():
        own = ours.module.visual.forward_intermediates(
            pixels, indices=1, normalize_intermediates=False, intermediates_only=True, output_fmt="NLC"
        )["image_intermediates"][-1]
    rows, columns = ours.spec.tokens.grid
    assert output.tokens.shape == (len(photographs), rows * columns, ours.spec.tokens.width)
    assert (output.tokens - own).abs().max() <= 1e-5
    assert torch.equal(output.embedding, ours.encode_image(pixels).embedding)
    assert output.queries is None


@pytest.mark.parametrize("name", ["vit", "siglip", "custom-text"])
def test_queries_keys_and_values_equal_numpy_on_the_attentions_input(
    name: str, folders: dict[str, Path], photographs: list[Image.Image]
) -> None:
    ours = teacher(folders[name])
    pixels = torch.stack([ours.preprocess(photograph) for photograph in photographs[:2]])
    visual = ours.module.visual
    block = visual.trunk.blocks[-1] if name == "siglip" else visual.transformer.resblocks[-1]
    norm = block.norm1 if name == "siglip" else block.ln_1
    seen: list[np.ndarray] = []
    handle = norm.register_forward_hook(lambda _, __, output: seen.append(output.double().numpy()))
    output = ours.encode_image(pixels, frozenset({"qkv"}))
    handle.remove()
    attention, heads = block.attn, ours.spec.tokens.heads
    layer = attention.qkv if name == "siglip" else attention
    weight = (layer.weight if name == "siglip" else layer.in_proj_weight).detach().double().numpy()
    bias = (layer.bias if name == "siglip" else layer.in_proj_bias).detach().double().numpy()
    width, prefix = weight.shape[1], 1  # a class token, or the register token of timm's small SigLIP-like model
    for part, got in enumerate((output.queries, output.keys, output.values)):
        rows = slice(part * width, (part + 1) * width)
        full = seen[0][:, prefix:] @ weight[rows].T + bias[rows]  # (B, N, C)
        expected = full.reshape(*full.shape[:2], heads, -1).transpose(0, 2, 1, 3)
        if name == "custom-text" and part < 2:  # LayerNorm per head
            centred = expected - expected.mean(axis=-1, keepdims=True)
            expected = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
        np.testing.assert_allclose(got.numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("name", ["resnet", "convnext"])
def test_convolutional_towers_have_no_tokens_and_say_so(name: str, folders: dict[str, Path]) -> None:
    ours = teacher(folders[name])
    assert ours.spec.tokens is None
    assert provides_for(OpenClipConfig(model=f"local-dir:{folders[name]}")) == {"embedding", "text"}
    with pytest.raises(RecipeError, match="has no qkv, tokens"):
        ours.encode_image(torch.zeros(1, 3, 64, 64), frozenset({"tokens", "qkv"}))


@pytest.mark.parametrize("name", ["vit", "siglip"])
def test_transformer_towers_provide_tokens(name: str, folders: dict[str, Path]) -> None:
    assert {"tokens", "qkv"} <= provides_for(OpenClipConfig(model=f"local-dir:{folders[name]}"))
    assert teacher(folders[name])._last.words == {"tokens", "qkv"}


def test_what_real_models_provide_is_known_without_building_them() -> None:
    def words(model: str) -> frozenset[str]:
        return provides_for(OpenClipConfig(model=model, weights="none"))

    assert {"tokens", "qkv"} <= words("ViT-g-14") and {"tokens", "qkv"} <= words("ViT-B-16-SigLIP")
    assert "tokens" in words("EVA02-B-16") and "qkv" not in words("EVA02-B-16")
    assert words("RN50") == words("convnext_base") == words("MobileCLIP-S1") == {"embedding", "text"}


def test_a_weight_file_of_a_named_model_is_loaded(folders: dict[str, Path], tmp_path: Path) -> None:
    config = tmp_path / "edgefw-test-vit.json"
    config.write_text(json.dumps(MODELS["vit"]))
    open_clip.add_model_config(config)
    weights = folders["vit"] / "open_clip_model.safetensors"
    named = OpenClipConfig(model="edgefw-test-vit", weights=weights.name)
    by_file = build(named, edgefw.BuildContext(base=weights.parent))
    assert torch.equal(by_file.encode_text(["a cat"]), teacher(folders["vit"]).encode_text(["a cat"]))
    torch.save({"state_dict": by_file.module.state_dict()}, tmp_path / "w.pt")
    again = build(OpenClipConfig(model="edgefw-test-vit", weights=str(tmp_path / "w.pt")), edgefw.BuildContext())
    assert again.spec.fingerprint == by_file.spec.fingerprint
    with pytest.raises(RecipeError, match=re.escape(str(folders["resnet"] / "open_clip_model.safetensors"))):
        other = folders["resnet"] / "open_clip_model.safetensors"
        build(OpenClipConfig(model="edgefw-test-vit", weights=str(other)), edgefw.BuildContext())


def test_the_teacher_is_frozen_and_its_embeddings_are_unit_float32(folders: dict[str, Path]) -> None:
    ours = teacher(folders["vit"])
    assert not ours.module.training and not any(p.requires_grad for p in ours.module.parameters())
    embedding = ours.encode_image(torch.rand(2, 3, 32, 32)).embedding
    assert embedding.dtype == torch.float32 and not embedding.requires_grad
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(2))


def test_many_texts_equal_few_and_none_give_an_empty_table(folders: dict[str, Path]) -> None:
    ours = teacher(folders["custom-text"])
    texts = [f"photo {i}" if i % 3 else "a cat" for i in range(300)]
    table = ours.encode_text(texts)
    assert table.shape == (300, 24)
    torch.testing.assert_close(table[299], ours.encode_text(texts[299:])[0], atol=1e-6, rtol=0)
    assert ours.encode_text([]).shape == (0, 24)


def test_the_fingerprint_follows_weights_and_preprocessing(folders: dict[str, Path], tmp_path: Path) -> None:
    first, second = teacher(folders["vit"]).spec, teacher(folders["vit"]).spec
    assert first.fingerprint == second.fingerprint != teacher(folders["vit-quickgelu"]).spec.fingerprint
    config = json.loads((folders["vit"] / "open_clip_config.json").read_text())
    config["preprocess_cfg"] = {"interpolation": "bilinear"}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    (tmp_path / "open_clip_model.safetensors").write_bytes(
        (folders["vit"] / "open_clip_model.safetensors").read_bytes()
    )
    assert teacher(tmp_path).spec.fingerprint != first.fingerprint
    assert first.licence == "MIT" and "bicubic" in first.preprocessing


def test_an_unknown_model_names_close_ones() -> None:
    with pytest.raises(ValidationError, match="no model 'ViT-B32'. Close: .*ViT-B-32"):
        OpenClipConfig(model="ViT-B32", weights="none")


def test_missing_weights_name_the_tags() -> None:
    with pytest.raises(ValidationError, match="say which: .* laion2b_s34b_b79k"):
        OpenClipConfig(model="ViT-B-32")
    with pytest.raises(RecipeError, match="there is no file .*laion3b.* Tags: .*laion2b_s34b_b79k"):
        build(OpenClipConfig(model="ViT-B-32", weights="laion3b"), edgefw.BuildContext())


def test_a_folder_brings_its_own_weights(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="brings its own weights"):
        OpenClipConfig(model=f"local-dir:{folders['vit']}", weights="openai")
    random = build(OpenClipConfig(model=f"local-dir:{folders['vit']}", weights="none"), edgefw.BuildContext())
    assert random.spec.fingerprint != teacher(folders["vit"]).spec.fingerprint
    with pytest.raises(RecipeError, match="has no open_clip_config.json"):
        teacher(tmp_path)
    (tmp_path / "open_clip_config.json").write_text((folders["vit"] / "open_clip_config.json").read_text())
    with pytest.raises(RecipeError, match="cannot load .* could not be loaded"):
        teacher(tmp_path)


def test_a_tag_offline_is_one_message(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(RecipeError, match="weights 'laion2b_s34b_b79k' of 'ViT-B-32' cannot be loaded .* local-dir"):
        build(OpenClipConfig(model="ViT-B-32", weights="laion2b_s34b_b79k"), edgefw.BuildContext())


def test_the_licence_is_the_recipes_then_the_configs_then_the_cards(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders["vit"], tmp_path / "vit"))

    def spec(**options: str) -> TeacherSpec:
        return build(OpenClipConfig(model=f"local-dir:{folder}", **options), edgefw.BuildContext()).spec

    first = spec(licence="CC-BY-4.0")
    assert first.licence == "CC-BY-4.0" and spec().licence == "MIT"
    config = json.loads((folder / "open_clip_config.json").read_text())
    del config["licence"]
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    assert spec().licence == "unknown" and unlicensed(spec()) == ("licence",)
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    assert spec().licence == "apache-2.0"
    assert spec().fingerprint == first.fingerprint, "the key of the teacher cache"
    assert spec(weights="none").licence == "random weights"


def test_the_licence_of_a_tag_is_that_of_its_repositorys_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    tagged = OpenClipConfig(model="ViT-B-32", weights="laion2b_s34b_b79k")
    assert licence_of(tagged, "ViT-B-32") == "unknown"
    snapshot = tmp_path / "models--laion--CLIP-ViT-B-32-laion2B-s34B-b79K" / "snapshots" / "main"
    snapshot.mkdir(parents=True)
    (snapshot / "README.md").write_text("---\nlicense: mit\n---\n")
    assert licence_of(tagged, "ViT-B-32") == "mit"
    hub = "hf-hub:laion/CLIP-ViT-B-32-laion2B-s34B-b79K"
    assert licence_of(OpenClipConfig(model=hub), hub) == "mit"
    assert licence_of(OpenClipConfig(model="ViT-B-32", weights="mine.pt"), "ViT-B-32") == "unknown"
