"""The planned size of weight-only against files that were made, and by hand."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from edgefw.contracts.quantizer import Calibration
from edgefw.errors import ExportError
from edgefw.plugins.quantizers.planned_weights import packs_nothing, planned_bytes
from edgefw.plugins.quantizers.weight_only import WeightOnly, WeightOnlyConfig
from edgefw.testing.onnx_files import export

WIDTH = 192


class Mixed(nn.Module):
    """A patch embedding, tokens with a table, attention, two products of tokens, and a head of rows."""

    def __init__(self) -> None:
        super().__init__()
        self.spec = SimpleNamespace(input=SimpleNamespace(channels=3, size=16))
        self.patches = nn.Conv2d(3, WIDTH, 4, 4)
        self.table = nn.Parameter(torch.randn(1, 16, WIDTH))
        self.attention = nn.MultiheadAttention(WIDTH, 4, batch_first=True)
        self.wide, self.narrow = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 512)

    def forward(self, pixels):
        tokens = self.patches(pixels).flatten(2).transpose(1, 2) + self.table
        tokens = tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0]
        tokens = tokens + self.narrow(self.wide(tokens).relu())
        return self.head(self.norm(tokens).mean(1))


@pytest.mark.parametrize(("bits", "block"), [(4, 16), (4, 32), (4, 128), (8, 32)])
def test_the_plan_is_the_size_of_the_file(tmp_path, bits, block):
    torch.manual_seed(0)
    network = Mixed().eval()
    torch.backends.mha.set_fastpath_enabled(False)  # an operator that ONNX has not
    try:
        source = export(network, torch.zeros(2, 3, 16, 16), tmp_path / "float.onnx")
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
    quantizer = WeightOnly(WeightOnlyConfig(bits=bits, block=block), "q")
    nothing = Calibration(batches=lambda: iter(()), samples=0)
    quantizer.quantize(source, tmp_path / "small.onnx", nothing)
    graph = source.stat().st_size - 4 * sum(parameter.numel() for parameter in network.parameters())
    assert quantizer.planned_bytes([network]) == pytest.approx(
        (tmp_path / "small.onnx").stat().st_size, abs=graph + 8_000
    )


class Two(nn.Module):
    """One layer that is shown tokens and one that is shown rows, 64 x 64 each, and a small one."""

    def __init__(self) -> None:
        super().__init__()
        self.spec = SimpleNamespace(input=SimpleNamespace(channels=1, size=64))
        self.tokens, self.rows = (nn.Linear(64, 64, bias=False) for _ in range(2))
        self.small = nn.Linear(64, 3, bias=False)

    def forward(self, pixels):
        return self.small(self.rows(self.tokens(pixels[:, 0]).mean(1)))


def test_each_kind_of_layer_has_its_bytes():
    packed = 64 * (
        2 * (16 + 4) + 1
    )  # per output two blocks of 32 numbers in 16 bytes, a step each, and a byte of zero points
    whole, small = 64 * 64 + 64 * 5, 4 * 64 * 3
    assert planned_bytes([Two()], 4, 32) == packed + whole + small
    assert planned_bytes([Two(), nn.Linear(64, 64, bias=False)], 4, 32) == 2 * packed + whole + small


def test_a_weight_that_two_layers_share_counts_once_and_the_network_is_left_as_it_was():
    network = Two()
    before = planned_bytes([network], 8, 32)
    network.again = nn.Linear(64, 64, bias=False)
    network.again.weight = network.tokens.weight
    assert planned_bytes([network], 8, 32) == before
    assert network.training and not network.tokens._forward_hooks


class Rows(nn.Module):
    """Convolutions and a head that sees rows, with another layer of choice between them."""

    def __init__(self, between: nn.Module | None = None, bias: bool = True) -> None:
        super().__init__()
        self.spec = SimpleNamespace(input=SimpleNamespace(channels=3, size=16))
        self.first, self.between = nn.Conv2d(3, 32, 3), between or nn.Identity()
        self.head = nn.Linear(32, 64, bias=bias)

    def forward(self, pixels):
        return self.head(self.between(self.first(pixels).flatten(2).transpose(1, 2)).mean(1))


def weight_only(**options):
    return WeightOnly(WeightOnlyConfig(**options), "export.quantizers[0]")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"bits": 4},
            r"^export.quantizers\[0\].bits: 4 bits are for MatMul, and the graph has none with weights. Use 8.$",
        ),
        ({"block": 128}, r"^export.quantizers\[0\].block: blocks of 128 are for MatMul, .* Remove the option.$"),
    ],
)
def test_options_for_matrix_products_are_refused_before_a_student_without_any_is_trained(tmp_path, options, message):
    network = Rows().eval()
    with pytest.raises(ExportError, match=message):
        weight_only(**options).check_network(network)
    source = export(network, torch.randn(3, 3, 16, 16), tmp_path / "float.onnx")
    with pytest.raises(ExportError, match=message):
        weight_only(**options).quantize(source, tmp_path / "q.onnx", Calibration(batches=lambda: iter(()), samples=0))
    weight_only().check_network(network)


@pytest.mark.parametrize("network", [Rows(nn.Linear(32, 32)), Rows(bias=False), Mixed()])
def test_students_that_may_have_matrix_products_are_let_through(network):
    assert packs_nothing(Rows()) and not packs_nothing(network)
    weight_only(bits=4, block=64).check_network(network)
