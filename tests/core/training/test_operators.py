"""Operators are counted by what is called, whatever the modules are named; the count agrees with the exported graph's."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgefw.contracts.student import InputSpec
from edgefw.testing.onnx_files import export
from edgefw.training.operators import operators

INPUT = InputSpec(size=16)


class Calls(nn.Module):
    """A convolution, and then one function."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.stem, self.function = nn.Conv2d(3, 8, 3, stride=2, padding=1), function

    def forward(self, pixels: Tensor) -> Tensor:
        return self.function(self.stem(pixels)).mean((2, 3))


class Gated(nn.Module):
    """Squeeze-and-excitation around any gate, with channels first or last."""

    def __init__(self, gate: nn.Module, last: bool = False) -> None:
        super().__init__()
        self.squeeze, self.excite, self.gate, self.last = nn.Linear(8, 2), nn.Linear(2, 8), gate, last

    def forward(self, values: Tensor) -> Tensor:
        pooled = self.gate(self.excite(functional.silu(self.squeeze(values.mean((2, 3))))))
        if self.last:
            return (values.permute(0, 2, 3, 1) * pooled[:, None, None, :]).permute(0, 3, 1, 2)
        return values * pooled[:, :, None, None]


class Scaled(nn.Module):
    """One factor per channel that is learnt, not computed from the image."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.full((1, 8, 1, 1), 0.5))

    def forward(self, values: Tensor) -> Tensor:
        return values * self.factor


def response_norm(values: Tensor) -> Tensor:
    """ConvNeXt V2's: a factor per image and channel around 1."""
    size = values.norm(dim=(2, 3), keepdim=True)
    return values * (size / size.mean(1, keepdim=True))


@pytest.mark.parametrize(
    ("function", "found"),
    [
        (nn.SiLU(), {"SiLU": 1}),
        (nn.SiLU(inplace=True), {"SiLU": 1}),
        (functional.silu, {"SiLU": 1}),
        (lambda values: values * values.sigmoid(), {"SiLU": 1}),
        (lambda values: values.sigmoid().mul(values), {"SiLU": 1}),
        (nn.Hardswish(), {"Hardswish": 1}),
        (lambda values: values * functional.hardsigmoid(values), {"Hardswish": 1}),
        (nn.GELU(), {"GELU": 1}),
        (Gated(nn.Sigmoid()), {"squeeze-excite": 1}),
        (Gated(nn.Hardsigmoid(), last=True), {"squeeze-excite": 1}),
        (nn.Sequential(nn.SiLU(), Gated(nn.Sigmoid()), nn.SiLU()), {"SiLU": 2, "squeeze-excite": 1}),
        (nn.ReLU6(), {}),
        (nn.Sigmoid(), {}),
        (Scaled(), {}),
        (response_norm, {}),
    ],
)
def test_what_is_called_on_a_map_counts(function, found) -> None:
    assert operators(Calls(function), INPUT) == found


def test_activations_of_pooled_features_do_not_count() -> None:
    assert operators(nn.Sequential(Calls(nn.ReLU()), nn.GELU(), nn.SiLU()), INPUT) == {}


def test_tokens_count_and_numbers_of_a_head_do_not() -> None:
    tokens = nn.Sequential(nn.Conv2d(3, 8, 8, stride=8), nn.Flatten(2), nn.GELU(), nn.Flatten(), nn.GELU())
    assert operators(tokens, INPUT) == {"GELU": 1}


def test_mode_and_random_state_are_left_as_they_were() -> None:
    network = Calls(nn.Sequential(nn.SiLU(), nn.Dropout(0.5))).train()
    before = torch.random.get_rng_state()
    operators(network, INPUT)
    assert network.training and torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("model", ["efficientnet_b0", "mobilenetv3_small_050", "tf_efficientnet_lite0"])
def test_the_exported_graph_says_the_same(model, tmp_path) -> None:
    """SiLU is Sigmoid and Mul of one tensor, Hardswish has a node, and every gate reads a ReduceMean."""
    import onnx
    import timm

    network = timm.create_model(model, num_classes=0, global_pool="avg").eval()
    graph = onnx.load(export(network, torch.zeros(2, 3, 64, 64), tmp_path / "model.onnx")).graph
    gates = {node.output[0]: node.input[0] for node in graph.node if node.op_type in ("Sigmoid", "HardSigmoid")}
    read = [[gates.get(name) for name in node.input] for node in graph.node if node.op_type == "Mul"]
    own = [any(a in node.input for a in of) for of, node in zip(read, _of(graph, "Mul")) if any(of)]
    means = sum(node.op_type == "ReduceMean" for node in graph.node)
    found = operators(network, InputSpec(size=64))
    assert found.get("squeeze-excite", 0) == means == own.count(False)
    swishes = own.count(True) - (means if found.get("SiLU") else 0)  # the one in each gate is on pooled numbers
    assert found.get("SiLU", 0) == swishes
    hard = len(_of(graph, "HardSwish")) - (1 if model.startswith("mobilenetv3") else 0)  # its head has one
    assert found.get("Hardswish", 0) == hard


def _of(graph, operator: str) -> list:
    return [node for node in graph.node if node.op_type == operator]
