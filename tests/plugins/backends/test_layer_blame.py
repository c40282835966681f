"""The layer that is wrong is the one that is named, in exported transformers whose tensors do not begin with the batch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
import timm
import torch
from onnx import numpy_helper
from small_networks import pixels, request
from torch import Tensor, nn

from edgefw.contracts.quantizer import Calibration
from edgefw.plugins.backends.onnx_layers import layer_outputs
from edgefw.plugins.backends.onnxruntime import OnnxRuntimeBackend, OnnxRuntimeConfig
from edgefw.plugins.quantizers.int8_static import Int8Static, StaticConfig
from edgefw.runtime.departure import FLOAT_LIMIT, ROUNDED_LIMIT, departures, first

WIDTH = 48


class TokensFirst(nn.Module):
    """A transformer block on (N, B, C) tokens, as PyTorch's own attention has them; heads are (B * heads, N, d)."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, WIDTH, 4, 4)
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.q, self.k, self.v, self.proj = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))
        self.head = nn.Linear(WIDTH, 8)

    def forward(self, image: Tensor) -> Tensor:
        tokens = self.patch(image).flatten(2).permute(2, 0, 1)
        q, k, v = (self._heads(own(self.norm1(tokens))) for own in (self.q, self.k, self.v))
        mixed = (q @ k.transpose(1, 2) / 5).softmax(-1) @ v
        tokens = tokens + self.proj(mixed.transpose(0, 1).reshape(tokens.shape))
        return self.head((tokens + self.mlp(self.norm2(tokens))).mean(0))

    def _heads(self, tokens: Tensor) -> Tensor:
        count, batch, _ = tokens.shape
        return tokens.reshape(count, batch * 2, -1).transpose(0, 1)


def vit() -> nn.Module:
    return timm.create_model(
        "vit_tiny_patch16_224", img_size=16, patch_size=4, embed_dim=WIDTH, depth=1, num_heads=2, num_classes=8
    )


def swin() -> nn.Module:
    return timm.create_model(
        "swin_tiny_patch4_window7_224", img_size=32, patch_size=4, window_size=4, embed_dim=16, depths=(2,),
        num_heads=(2,), num_classes=8,
    )  # fmt: skip


NETWORKS = {"tokens first": (TokensFirst, 16), "vit": (vit, 16), "swin": (swin, 32)}
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


@dataclass
class Files:
    """One network's float and int8 file, and images."""

    float: Path
    int8: Path
    feeds: dict[str, np.ndarray]

    def rows(self, other: Path):
        return departures(layer_outputs(self.float, self.feeds), layer_outputs(other, self.feeds))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Exported and quantised when first asked for, by name."""
    made: dict[str, Files] = {}

    def of(name: str) -> Files:
        if name not in made:
            made[name] = exported(*NETWORKS[name], tmp_path_factory.mktemp("files"))
        return made[name]

    return of


def exported(make, size: int, folder: Path) -> Files:
    torch.manual_seed(0)
    network = make().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(2 if parameter.ndim > 1 else 1)  # so that attention attends
    backend = OnnxRuntimeBackend(OnnxRuntimeConfig(exporter="legacy", threads=1))
    file, rows = backend.compile(request(network, folder, size)).file, pixels(8, 3, size)
    calibration = Calibration(batches=lambda: iter([{"image": rows}]), samples=len(rows))
    Int8Static(StaticConfig(), "q").quantize(file, folder / "int8.onnx", calibration)
    return Files(float=file, int8=folder / "int8.onnx", feeds={"image": pixels(4, 2, size)})


def doubled(file: Path, layer: str, target: Path) -> Path:
    """One layer's weights times 2; where they are int8 or the layer reads back an activation, their scale."""
    model = onnx.load(file)
    node = next(own for own in model.graph.node if own.name == layer)
    writers = {name: own for own in model.graph.node for name in own.output}
    reader = node if node.op_type == "DequantizeLinear" else writers.get(node.input[1], node)
    stored = next(own for own in model.graph.initializer if own.name == reader.input[1])
    model.graph.initializer.append(numpy_helper.from_array(numpy_helper.to_array(stored) * 2, "doubled"))
    reader.input[1] = "doubled"
    onnx.save(model, target)
    return target


@pytest.mark.parametrize("name", NETWORKS)
def test_right_files_have_no_layer_to_blame(files, name):
    own = files(name)
    right = own.rows(own.float)
    assert max(row.error for row in right) == 0.0
    assert first(own.rows(own.int8), ROUNDED_LIMIT) is None


@pytest.mark.parametrize("name", NETWORKS)
def test_every_product_of_attention_is_shown(files, name):
    own = files(name)
    shown = {row.layer for row in own.rows(own.float)}
    assert {node.name for node in onnx.load(own.float).graph.node if node.op_type in ("MatMul", "Softmax")} <= shown


@pytest.mark.parametrize(("name", "layer"), WRONG)
def test_a_doubled_layer_is_named_and_no_other_one(files, tmp_path, name, layer):
    own = files(name)
    rows = own.rows(doubled(own.float, layer, tmp_path / "wrong.onnx"))
    assert [row.layer for row in rows if row.own > FLOAT_LIMIT] == [layer]
    assert first(rows, FLOAT_LIMIT).own == pytest.approx(1.0, abs=0.1)


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
    rows = own.rows(doubled(own.int8, layer, tmp_path / "wrong.onnx"))
    assert [row.layer for row in rows if row.own > ROUNDED_LIMIT] == [layer]


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
