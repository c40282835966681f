"""transformers teachers against transformers itself, on photographs: CLIP, SigLIP, SigLIP2 with free aspect ratio.

Each model is small, random, saved to disk and loaded from there.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from PIL import Image

import edgefw
from edgefw.errors import RecipeError
from edgefw.plugins.teachers.transformers import TransformersConfig, TransformersTeacher, build

LENGTH = 12
TEXT = {
    "vocab_size": 32,
    "hidden_size": 24,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": LENGTH,
    "eos_token_id": 13,
    "bos_token_id": 12,
    "pad_token_id": 0,
}
VISION = {
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "patch_size": 8,
    "initializer_range": 0.3,
}
KINDS = ["clip", "siglip", "siglip2"]


def small(kind: str) -> tuple[transformers.PreTrainedModel, transformers.BaseImageProcessor]:
    torch.manual_seed(len(kind))
    if kind == "clip":
        config = transformers.CLIPConfig(
            text_config=TEXT, vision_config={**VISION, "image_size": 32}, projection_dim=20
        )
        size = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
        return transformers.CLIPModel(config), transformers.CLIPImageProcessor(**size)
    text = {**TEXT, "hidden_size": 48, "projection_size": 48}
    if kind == "siglip":
        config = transformers.SiglipConfig(text_config=text, vision_config={**VISION, "image_size": 40})
        processor = transformers.SiglipImageProcessor(size={"height": 40, "width": 40})
        return transformers.SiglipModel(config), processor
    config = transformers.Siglip2Config(text_config=text, vision_config={**VISION, "num_patches": 36})
    return transformers.Siglip2Model(config), transformers.Siglip2ImageProcessor(patch_size=8, max_num_patches=36)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, save_tokenizer: Callable[[Path, int], None]) -> dict[str, Path]:
    made = {}
    for kind in KINDS:
        made[kind] = tmp_path_factory.mktemp(kind)
        model, processor = small(kind)
        model.save_pretrained(made[kind])
        processor.save_pretrained(made[kind])
        save_tokenizer(made[kind], LENGTH)
    return made


def teacher(folder: Path) -> TransformersTeacher:
    return build(TransformersConfig(model=folder.name), edgefw.BuildContext(base=folder.parent))


def features(output: object) -> torch.Tensor:
    pooled = getattr(output, "pooler_output", output)
    return pooled / pooled.norm(dim=-1, keepdim=True)


@pytest.mark.parametrize("kind", KINDS)
def test_embeddings_are_transformers_own(
    kind: str, folders: dict[str, Path], photographs: list[Image.Image], sentences: list[str]
) -> None:
    ours = teacher(folders[kind])
    model = transformers.AutoModel.from_pretrained(folders[kind]).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(folders[kind])
    tokenizer = transformers.AutoTokenizer.from_pretrained(folders[kind])
    padding = True if kind == "clip" else "max_length"
    with torch.no_grad():
        image = features(model.get_image_features(**processor(images=photographs, return_tensors="pt")))
        texts = tokenizer(sentences, padding=padding, max_length=LENGTH, return_tensors="pt")
        text = features(model.get_text_features(**texts))
    pixels = torch.stack([ours.preprocess(photograph) for photograph in photographs])
    assert (ours.encode_image(pixels).embedding - image).abs().max() <= 1e-5
    assert (ours.encode_text(sentences) - text).abs().max() <= 1e-5
    assert ours.spec.width == image.shape[1] and tuple(pixels.shape[2:]) == ours.spec.image_size
    assert ours.spec.logit_scale == pytest.approx(model.logit_scale.exp().item())
    assert image.std(dim=0).max() > 1e-4, "the photographs must not all look alike to the random model"


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_pixels_are_the_processors_own(kind: str, folders: dict[str, Path], photographs: list[Image.Image]) -> None:
    processor = transformers.AutoImageProcessor.from_pretrained(folders[kind])
    ours = teacher(folders[kind])
    for photograph in photographs:
        own = processor(images=photograph, return_tensors="pt")["pixel_values"][0]
        assert torch.equal(ours.preprocess(photograph), own)


def test_free_aspect_ratio_survives_the_packing(folders: dict[str, Path], photographs: list[Image.Image]) -> None:
    from edgefw.plugins.teachers.transformers import _unpack

    processor = transformers.AutoImageProcessor.from_pretrained(folders["siglip2"])
    ours = teacher(folders["siglip2"])
    own = processor(images=photographs, return_tensors="pt")
    unpacked = _unpack(torch.stack([ours.preprocess(photograph) for photograph in photographs]))
    assert all(torch.equal(unpacked[key], torch.as_tensor(own[key]).to(unpacked[key].dtype)) for key in unpacked)
    assert len({tuple(grid.tolist()) for grid in unpacked["spatial_shapes"]}) > 1


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_tokens_are_the_last_hidden_state_before_the_final_norm(
    kind: str, folders: dict[str, Path], photographs: list[Image.Image]
) -> None:
    ours = teacher(folders[kind])
    pixels = torch.stack([ours.preprocess(photograph) for photograph in photographs])
    output = ours.encode_image(pixels, frozenset({"tokens"}))
    with torch.no_grad():
        hidden = ours.module.vision_model(pixel_values=pixels, output_hidden_states=True).hidden_states[-1]
    own = hidden[:, 1:] if kind == "clip" else hidden
    assert output.tokens.shape[1] == ours.spec.tokens.grid[0] * ours.spec.tokens.grid[1]
    assert (output.tokens - own).abs().max() <= 1e-5
    assert torch.equal(output.embedding, ours.encode_image(pixels).embedding)


def test_attention_of_the_parts_gives_the_attentions_own_output(
    folders: dict[str, Path], photographs: list[Image.Image]
) -> None:
    """SigLIP has no class token, so queries, keys and values of the patches alone must reproduce the attention."""
    ours = teacher(folders["siglip"])
    attention = ours._last.attention
    seen: list[torch.Tensor] = []
    handle = attention.register_forward_hook(lambda _, __, output: seen.append(output[0]))
    out = ours.encode_image(ours.preprocess(photographs[0])[None], frozenset({"qkv"}))
    handle.remove()
    weights = (out.queries @ out.keys.transpose(2, 3) / out.queries.shape[-1] ** 0.5).softmax(dim=-1)
    mixed = (weights @ out.values).transpose(1, 2).flatten(2)
    with torch.no_grad():
        torch.testing.assert_close(attention.out_proj(mixed), seen[0], atol=1e-5, rtol=1e-5)


def test_queries_of_clip_leave_out_the_class_token(folders: dict[str, Path], photographs: list[Image.Image]) -> None:
    ours = teacher(folders["clip"])
    seen: dict[str, torch.Tensor] = {}
    layers = {name: getattr(ours._last.attention, f"{name}_proj") for name in ("q", "k", "v")}
    handles = [
        layer.register_forward_hook(lambda _, __, output, name=name: seen.setdefault(name, output))
        for name, layer in layers.items()
    ]
    out = ours.encode_image(ours.preprocess(photographs[0])[None], frozenset({"qkv"}))
    for handle in handles:
        handle.remove()
    for name, got in (("q", out.queries), ("k", out.keys), ("v", out.values)):
        own = seen[name][:, 1:].reshape(1, 16, 4, 12).transpose(1, 2)
        torch.testing.assert_close(got, own)


def test_free_aspect_ratio_has_no_tokens_and_says_so(folders: dict[str, Path]) -> None:
    ours = teacher(folders["siglip2"])
    assert ours.spec.tokens is None
    with pytest.raises(RecipeError, match="has no tokens"):
        ours.encode_image(torch.zeros(1, 3, 37, 64), frozenset({"tokens"}))


def test_the_teacher_is_frozen_and_hashed(folders: dict[str, Path], tmp_path: Path) -> None:
    ours = teacher(folders["clip"])
    assert not ours.module.training and not any(p.requires_grad for p in ours.module.parameters())
    assert ours.spec.fingerprint == teacher(folders["clip"]).spec.fingerprint
    other = shutil.copytree(folders["clip"], tmp_path / "other")
    settings = json.loads((other / "preprocessor_config.json").read_text())
    settings["image_mean"] = [0.5, 0.5, 0.5]
    (other / "preprocessor_config.json").write_text(json.dumps(settings))
    assert teacher(other).spec.fingerprint != ours.spec.fingerprint


def test_many_texts_equal_few(folders: dict[str, Path]) -> None:
    ours = teacher(folders["clip"])
    texts = ["a cat on a table" if i % 2 else "a rocket" for i in range(300)]
    torch.testing.assert_close(ours.encode_text(texts)[299], ours.encode_text(texts[1:2])[0], atol=1e-6, rtol=0)
    assert ours.encode_text([]).shape == (0, 20)


def test_a_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    transformers.BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1).save_pretrained(tmp_path)
    with pytest.raises(RecipeError, match="is a 'bert' model; this teacher reads clip, siglip, siglip2"):
        teacher(tmp_path)


def test_an_incomplete_folder_says_what_it_needs(folders: dict[str, Path], tmp_path: Path) -> None:
    copy = shutil.copytree(folders["clip"], tmp_path / "copy")
    (copy / "preprocessor_config.json").unlink()
    with pytest.raises(RecipeError, match="cannot be loaded .* preprocessor_config.json"):
        teacher(copy)
    with pytest.raises(RecipeError, match="there is no folder .*/nowhere"):
        build(TransformersConfig(model="./nowhere"), edgefw.BuildContext(base=tmp_path))


def test_a_hub_model_offline_is_one_message(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(RecipeError, match="'openai/no-such-clip' cannot be loaded .*hf download openai/no-such-clip"):
        build(TransformersConfig(model="openai/no-such-clip"), edgefw.BuildContext(base=tmp_path))


def test_the_licence_is_the_recipes_then_the_model_cards(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders["clip"], tmp_path / "clip"))
    assert teacher(folder).spec.licence == "unknown"
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# CLIP\n")
    card = teacher(folder).spec
    stated = build(TransformersConfig(model="clip", licence="CC0-1.0"), edgefw.BuildContext(base=tmp_path)).spec
    assert (card.licence, stated.licence) == ("mit", "CC0-1.0")
    assert card.fingerprint == stated.fingerprint, "the key of the teacher cache"
