"""Ensembles of small open_clip and ConSE teachers against their members, and the formula in NumPy."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import timm
import torch
import transformers
from PIL import Image
from safetensors.torch import save_file

import edgefw
from edgefw.errors import EdgefwError, RecipeError
from edgefw.plugins.teachers.ensemble import EnsembleConfig
from edgefw.recipe.chosen import Chosen
from edgefw.recipe.compose import build
from edgefw.recipe.inner import inner_techniques
from edgefw.registry.kinds import Kind
from edgefw.registry.loading import Registry
from edgefw.stages.bundle_files import portable_options

TEXT = {"context_length": 24, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
VISION = {"layers": 1, "width": 32, "head_width": 16, "patch_size": 8}
NORMS = {"small": {}, "large": {"mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash"}}
SIZES, LICENCES, WIDTHS = (
    {"small": 32, "large": 48},
    {"small": "MIT", "large": "Apache-2.0"},
    {"small": 24, "large": 16},
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, save_tokenizer: Callable[[Path, int], None]) -> Path:
    """Two open_clip models of different sizes, normalisations and widths, and a sentence encoder."""
    root = tmp_path_factory.mktemp("ensemble")
    for number, name in enumerate(SIZES):
        (root / name).mkdir()
        model = {"embed_dim": WIDTHS[name], "vision_cfg": {**VISION, "image_size": SIZES[name]}, "text_cfg": TEXT}
        config = {"model_cfg": model, "preprocess_cfg": NORMS[name], "licence": LICENCES[name]}
        (root / name / "open_clip_config.json").write_text(json.dumps(config))
        torch.manual_seed(number)
        made = open_clip.create_model(f"local-dir:{root / name}", load_weights=False, pretrained_text=False)
        with torch.no_grad():
            made.logit_scale.fill_(2.0 + number)
        save_file(made.state_dict(), root / name / "open_clip_model.safetensors")
    sizes = {"hidden_size": 20, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    transformers.BertModel(transformers.BertConfig(vocab_size=20, max_position_embeddings=32, **sizes)).save_pretrained(
        root / "encoder"
    )
    save_tokenizer(root / "encoder", 32)
    classifier = timm.create_model("test_resnet", pretrained=False)
    save_file(classifier.state_dict(), root / "classifier.safetensors")
    return root


def clip(name: str, weight: float = 1.0) -> dict[str, Any]:
    return {"name": "openclip", "model": f"local-dir:{name}", "weight": weight}


def conse(weight: float = 1.0) -> dict[str, Any]:
    options = {"model": "test_resnet", "weights": "classifier.safetensors", "size": 40, "text": "encoder"}
    return {"name": "timm-conse", "weight": weight, **options}


def made(folder: Path, *members: dict[str, Any], **options: Any) -> Any:
    return alone(folder, {"name": "ensemble", "members": list(members), **options})


def alone(folder: Path, options: dict[str, Any]) -> Any:
    """A teacher by name, built as the engine builds it."""
    registry = Registry()
    plain = {key: value for key, value in options.items() if key not in ("name", "weight")}
    technique = registry.load(Kind.TEACHER, options["name"])
    config = technique.config.model_validate(plain)
    inner = inner_techniques(technique, config, "teacher", registry)
    return build(Chosen(Kind.TEACHER, technique, config, "teacher", inner=inner), edgefw.BuildContext(base=folder))


def looked(teacher: Any, photographs: list[Image.Image]) -> np.ndarray:
    return teacher.encode_image(torch.stack([teacher.preprocess(each) for each in photographs])).embedding.numpy()


def test_the_cosine_is_the_weighted_mean_of_the_members_cosines(
    folder: Path, photographs: list[Image.Image], sentences: list[str]
) -> None:
    members = clip("small", 3.0), clip("large", 1.0), conse(2.0)
    ours, each = made(folder, *members), [alone(folder, member) for member in members]
    expected = np.zeros((len(photographs), len(sentences)))
    for weight, teacher in zip((3 / 6, 1 / 6, 2 / 6), each):
        images = looked(teacher, photographs).astype(np.float64)
        texts = teacher.encode_text(sentences).numpy().astype(np.float64)
        norms = np.linalg.norm(images, axis=1)[:, None] * np.linalg.norm(texts, axis=1)
        expected += weight * (images @ texts.T) / norms
    image, text = looked(ours, photographs), ours.encode_text(sentences).numpy()
    np.testing.assert_allclose(image @ text.T, expected, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(image, axis=1), 1.0, atol=1e-6)
    assert image.dtype == text.dtype == np.float32 and ours.spec.width == image.shape[1] == 24 + 16 + 20


def test_every_member_sees_its_own_preprocessing(folder: Path, photographs: list[Image.Image]) -> None:
    members = clip("small"), clip("large"), conse()
    ours, each = made(folder, *members), [alone(folder, member) for member in members]
    assert ours.spec.image_size == (48, 32 + 48 + 40)
    pixels, left = ours.preprocess(photographs[0]), 0
    for teacher in each:
        height, width = teacher.spec.image_size
        assert torch.equal(pixels[:, :height, left : left + width], teacher.preprocess(photographs[0]))
        assert not pixels[:, height:, left : left + width].any()
        left += width


def test_a_teacher_with_itself_is_that_teacher(
    folder: Path, photographs: list[Image.Image], sentences: list[str]
) -> None:
    one, two = alone(folder, clip("large")), made(folder, clip("large", 0.3), clip("large", 0.7))
    assert two.spec.image_size == one.spec.image_size, "equal preprocessing is done once"
    assert two.spec.logit_scale == pytest.approx(one.spec.logit_scale) and two.spec.licence == one.spec.licence
    scores = [looked(each, photographs) @ each.encode_text(sentences).numpy().T for each in (one, two)]
    np.testing.assert_allclose(scores[1], scores[0], atol=1e-6)
    assert (scores[1].argmax(axis=1) == scores[0].argmax(axis=1)).all()


def test_an_ensemble_may_be_a_member(folder: Path, photographs: list[Image.Image], sentences: list[str]) -> None:
    inner = {"name": "ensemble", "members": [clip("small"), clip("large")], "weight": 2.0}
    nested, flat = made(folder, inner, conse()), made(folder, clip("small"), clip("large"), conse())
    scores = [looked(each, photographs) @ each.encode_text(sentences).numpy().T for each in (nested, flat)]
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-6)


def test_the_fingerprint_follows_members_and_weights_and_not_their_scale(folder: Path) -> None:
    def mark(*members: dict[str, Any]) -> str:
        return str(made(folder, *members).spec.fingerprint)

    base = mark(clip("small"), clip("large"))
    assert base == mark(clip("small", 2.0), clip("large", 2.0)), "only the shares count"
    others = [
        mark(clip("small", 2.0), clip("large")),
        mark(clip("large"), clip("small")),
        mark(clip("small"), clip("small")),
        mark(clip("small"), clip("large"), conse()),
    ]
    assert len({base, *others}) == 5


def test_logit_scale_is_the_weighted_mean_unless_it_is_given(folder: Path) -> None:
    members = clip("small", 3.0), clip("large", 1.0)
    assert made(folder, *members).spec.logit_scale == pytest.approx(0.75 * np.exp(2.0) + 0.25 * np.exp(3.0))
    assert made(folder, *members, logit_scale=30.0).spec.logit_scale == 30.0


def test_it_is_frozen_has_no_tokens_and_names_every_licence_and_source(folder: Path) -> None:
    ours = made(folder, clip("small", 3.0), clip("large"))
    assert not any(part.training for part in ours.module.modules())
    assert not any(parameter.requires_grad for parameter in ours.module.parameters())
    assert ours.spec.licence == "openclip: MIT; openclip: Apache-2.0" and ours.spec.tokens is None
    assert ours.spec.source == "0.75 x open_clip local-dir:small + 0.25 x open_clip local-dir:large"
    with pytest.raises(RecipeError, match="teacher 'ensemble' has no qkv, tokens"):
        ours.encode_image(torch.zeros(1, 3, *ours.spec.image_size), frozenset({"tokens", "qkv"}))
    assert ours.encode_text([]).shape == (0, 40)


@pytest.mark.parametrize(
    ("member", "message"),
    [
        ({"name": "openclipp", "model": "ViT-B-32"}, "no teacher called 'openclipp' .* Did you mean openclip"),
        ({"name": "timm-conse", "model": "test_resnet", "text": "x", "topp": 3}, r"members\[1\].*topp: unknown key"),
        (clip("nowhere"), r"teacher\.members\[1\]: .*nowhere has no open_clip_config.json"),
    ],
)
def test_a_wrong_member_is_named(folder: Path, member: dict[str, Any], message: str) -> None:
    with pytest.raises(EdgefwError, match=message):
        made(folder, clip("small"), member)


@pytest.mark.parametrize("members", [[clip("small")], [clip("small", 0.0), clip("large")]])
def test_one_member_or_a_weight_of_nothing_is_refused(members: list[dict[str, Any]]) -> None:
    with pytest.raises(ValueError, match=r"at least 2 items|greater than 0"):
        EnsembleConfig.model_validate({"members": members})


def test_a_folder_that_is_called_like_a_member_is_no_file_of_the_bundle(tmp_path: Path) -> None:
    (tmp_path / "openclip").mkdir()
    options = {"members": [{"name": "openclip", "model": "ViT-B-32"}, {"name": "openclip", "model": "openclip"}]}
    technique = Registry().load(Kind.TEACHER, "ensemble")
    chosen = Chosen(Kind.TEACHER, technique, EnsembleConfig.model_validate(options), "teacher")
    written = portable_options(chosen, tmp_path)
    assert [one["name"] for one in written["members"]] == ["openclip", "openclip"]
    assert written["members"][1]["model"] == str(tmp_path / "openclip")


def test_members_state_their_own_licences_and_unknown_ones_are_named(folder: Path) -> None:
    stated = made(folder, {**clip("small"), "licence": "CC0-1.0"}, {**conse(), "text_licence": "MIT"})
    assert stated.spec.licence == "openclip: CC0-1.0; timm-conse: classifier: unknown; text: MIT"
    assert stated.spec.unlicensed == ("members[1].licence",)
    bare = made(folder, clip("small"), conse())
    assert bare.spec.unlicensed == ("members[1].licence", "members[1].text_licence")
    assert bare.spec.fingerprint == stated.spec.fingerprint, "the key of the teacher cache"
