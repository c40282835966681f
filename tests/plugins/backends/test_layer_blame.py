"""The layer that is wrong is the one that is named, in exported transformers whose tensors do not begin with the batch."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from blamed_files import NETWORKS, Files, doubled, exported, vit
from small_networks import pixels, request

from edgefw.plugins.backends.onnx_layers import layer_outputs
from edgefw.plugins.backends.onnxruntime import OnnxRuntimeBackend, OnnxRuntimeConfig
from edgefw.runtime.departure import FLOAT_LIMIT, ROUNDED_LIMIT, departures, first

WRONG = [
    ("tokens first", "/q/MatMul"),
    ("tokens first", "/k/MatMul"),
    ("tokens first", "/v/MatMul"),
    ("tokens first", "/proj/MatMul"),
    ("tokens first", "/mlp/mlp.0/MatMul"),
    ("tokens first", "/head/Gemm"),
    ("vit", "/blocks/blocks.0/attn/qkv/MatMul"),
    ("vit", "/blocks/blocks.0/attn/proj/MatMul"),
    ("vit", "/blocks/blocks.0/mlp/fc1/MatMul"),
    ("vit", "/blocks/blocks.0/mlp/fc2/MatMul"),
    ("swin", "/layers/layers.0/blocks/blocks.0/attn/qkv/MatMul"),
    ("swin", "/layers/layers.0/blocks/blocks.1/attn/qkv/MatMul"),
    ("swin", "/layers/layers.0/blocks/blocks.1/attn/proj/MatMul"),
    ("swin", "/layers/layers.0/blocks/blocks.1/mlp/fc2/MatMul"),
]


def rows(own: Files, other: Path):
    return departures(layer_outputs(own.float, own.feeds), layer_outputs(other, own.feeds))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Exported and quantised when first asked for, by name."""
    made: dict[str, Files] = {}

    def of(name: str) -> Files:
        if name not in made:
            made[name] = exported(*NETWORKS[name], tmp_path_factory.mktemp("files"))
        return made[name]

    return of


@pytest.mark.parametrize("name", NETWORKS)
def test_right_files_have_no_layer_to_blame(files, name):
    own = files(name)
    right = rows(own, own.float)
    assert max(row.error for row in right) == 0.0
    assert first(rows(own, own.int8), ROUNDED_LIMIT) is None


@pytest.mark.parametrize("name", NETWORKS)
def test_every_product_of_attention_is_shown(files, name):
    own = files(name)
    shown = {row.layer for row in rows(own, own.float)}
    assert {node.name for node in onnx.load(own.float).graph.node if node.op_type in ("MatMul", "Softmax")} <= shown


@pytest.mark.parametrize(("name", "layer"), WRONG)
def test_a_doubled_layer_is_named_and_no_other_one(files, tmp_path, name, layer):
    own = files(name)
    found = rows(own, doubled(own.float, layer, tmp_path / "wrong.onnx"))
    assert [row.layer for row in found if row.own > FLOAT_LIMIT] == [layer]
    assert first(found, FLOAT_LIMIT).own == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(("name", "layer"), [
    ("tokens first", "/v/MatMul"),
    ("tokens first", "/head/Gemm"),
    ("tokens first", "/norm1/LayerNormalization_output_0_DequantizeLinear"),
    ("tokens first", "embedding_DequantizeLinear"),
    ("vit", "/blocks/blocks.0/attn/qkv/MatMul"),
    ("vit", "/blocks/blocks.0/attn/proj/MatMul_output_0_DequantizeLinear"),
    ("swin", "/layers/layers.0/blocks/blocks.1/attn/proj/MatMul"),
    ("swin", "/layers/layers.0/blocks/blocks.1/attn/qkv/MatMul_output_0_DequantizeLinear"),
])  # fmt: skip
def test_an_int8_scale_off_by_2_is_named_and_no_other_layer(files, tmp_path, name, layer):
    own = files(name)
    found = rows(own, doubled(own.int8, layer, tmp_path / "wrong.onnx"))
    assert [row.layer for row in found if row.own > ROUNDED_LIMIT] == [layer]


@pytest.mark.slow
def test_layers_of_the_other_exporters_file_are_named_too(tmp_path):
    own = files_of_dynamo(tmp_path)
    model = onnx.load(own)
    stored = {entry.name for entry in model.graph.initializer}
    weighted = [
        node.name for node in model.graph.node if node.op_type in ("MatMul", "Gemm") and node.input[1] in stored
    ]
    feeds = {"image": pixels(4, 2, 16)}
    assert len(weighted) == 5
    for layer in weighted:
        wrong = layer_outputs(doubled(own, layer, tmp_path / "wrong.onnx"), feeds)
        assert [row.layer for row in departures(layer_outputs(own, feeds), wrong) if row.own > FLOAT_LIMIT] == [layer]


def files_of_dynamo(folder: Path) -> Path:
    torch.manual_seed(0)
    backend = OnnxRuntimeBackend(OnnxRuntimeConfig(exporter="dynamo", threads=1))
    return backend.compile(request(vit().eval(), folder, 16)).file
