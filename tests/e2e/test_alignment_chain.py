"""Alignment projectors from a recipe to a bundle, with the tokens and q/k/v of open_clip and transformers teachers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from safetensors.numpy import load_file

from edgefw import engine
from edgefw.errors import CapabilityError
from edgefw.recipe.compose import compose
from edgefw.recipe.read import read_recipe
from edgefw.registry.loading import Registry
from edgefw.run_folder import RunFolder

RECIPE = """
seed: 3
data: {{name: sample, train: 8, val: 2, test: 4, size: 32}}
modalities: {{rgb: {{name: rgb}}}}
teacher: {teacher}
student: {{name: timm, model: test_resnet, size: 32, head: {{name: mlp}}}}
train:
  - name: distil
    losses:
      - {{name: feature, distance: cosine}}
      - {{name: pca-attention, scale: relative, projector: {{name: {pca}}}}}
      - {{name: gl-tokens, scale: relative, projector: {{name: gl, side: 2}}}}
    steps: 2
    batch: 4
    select: {{by: last}}
evaluate: {{labels: null}}
compute: {{device: cpu, log_every: 1}}
verify: {{max_drop: null, min_cosine: null, max_slowdown: null}}
"""


def openclip(folder: Path) -> dict[str, Any]:
    vision = {"image_size": 32, "layers": 2, "width": 24, "head_width": 8, "patch_size": 8}
    text = {"context_length": 8, "vocab_size": 49408, "width": 8, "heads": 1, "layers": 1}
    config = {"model_cfg": {"embed_dim": 12, "vision_cfg": vision, "text_cfg": text}, "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    return {"name": "openclip", "model": f"local-dir:{folder}", "weights": "none"}


def clip(folder: Path) -> dict[str, Any]:
    import transformers

    tower = {"intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 3, "hidden_size": 24}
    text = {**tower, "vocab_size": 8, "max_position_embeddings": 8, "eos_token_id": 3, "bos_token_id": 2}
    config = transformers.CLIPConfig(
        text_config={**text, "pad_token_id": 0},
        vision_config={**tower, "patch_size": 8, "image_size": 32},
        projection_dim=12,
    )
    transformers.CLIPModel(config).save_pretrained(folder)
    size = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    transformers.CLIPImageProcessor(**size).save_pretrained(folder)
    return {"name": "transformers", "model": str(folder)}


TEACHERS = {"openclip": openclip, "transformers": clip}


def recipe(folder: Path, teacher: Mapping[str, Any], pca: str = "pca") -> str:
    file = folder / "recipe.yaml"
    file.write_text(RECIPE.format(teacher=json.dumps(teacher), pca=pca))
    return str(file)


@pytest.mark.slow
@pytest.mark.parametrize("name", TEACHERS)
def test_tokens_and_attention_of_this_teacher_reach_the_losses_and_no_projector_is_exported(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / "teacher").mkdir()
    path = recipe(tmp_path, TEACHERS[name](tmp_path / "teacher"))
    engine.run(read_recipe(path, ()), Registry(), tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run/train/distil/metrics.jsonl").read_text().splitlines()]
    terms = next(line["losses"] for line in lines if "losses" in line)
    assert terms.keys() == {"feature", "pca-attention", "gl-tokens"}
    assert all(np.isfinite(value) and value > 0 for value in terms.values())
    trained = load_file(tmp_path / "run/train/distil/student.safetensors")
    assert {key.split(".")[0] for key in trained} == {"trunk", "head"}
    artefact = RunFolder(tmp_path / "run").read_json("result.json")["artefacts"][0]
    graph = onnx.load(next((tmp_path / "run").rglob(Path(artefact["path"]).name))).graph
    stored = sum(int(np.prod(tensor.dims)) for tensor in graph.initializer)
    student = sum(value.size for key, value in trained.items() if not key.endswith("num_batches_tracked"))
    assert stored <= 1.05 * student
    assert [output.name for output in graph.output] == ["embedding"]


def test_a_projector_under_the_wrong_loss_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "teacher").mkdir()
    path = recipe(tmp_path, openclip(tmp_path / "teacher"), pca="gl")
    with pytest.raises(CapabilityError, match="'pca-attention' needs projector.qkv; projector 'gl' provides alignment"):
        compose(read_recipe(path, ()), Registry())


def test_a_convolutional_teacher_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    path = recipe(tmp_path, {"name": "openclip", "model": "RN50", "weights": "none"})
    with pytest.raises(CapabilityError, match="'gl-tokens' needs teacher.tokens; teacher 'openclip' provides") as told:
        compose(read_recipe(path, ()), Registry())
    assert "'pca-attention' needs teacher.qkv" in str(told.value)
