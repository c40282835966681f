"""Where one layer's rounded result is the next one's input, and biases on the grid of the device."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from edgefw.plugins.quantizers.fake_quantise import RoundedBefore, Rounding, rounded_bias, smallest_weight_step
from edgefw.plugins.quantizers.insertion import Plan, integer_copy, rounded_copy
from edgefw.plugins.quantizers.rounded_layers import RoundedConv, RoundedLinear

PLAN = Plan(rounding=Rounding())


class Bottlenecks(nn.Module):
    """Convolutions that follow each other directly, through a batch norm, and through activations of both kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 1, bias=False), nn.BatchNorm2d(8)
        self.after_norm = nn.Conv2d(8, 8, 3, padding=1)
        self.after_layer = nn.Conv2d(8, 8, 1)
        self.in_place = nn.ReLU(inplace=True)
        self.after_relu = nn.Conv2d(8, 8, 1)
        self.after_sum = nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(8, 4)

    def forward(self, pixels: Tensor) -> Tensor:
        values = self.norm(self.first(pixels))
        values = self.in_place(self.after_layer(self.after_norm(values)))
        other = self.after_relu(values)
        return self.head(self.after_sum(other + values).mean((2, 3)))


def trained(network: nn.Module, steps: int = 4) -> nn.Module:
    """A rounded copy whose ranges are known and whose weights moved."""
    made = rounded_copy(network.train(), torch.randn(2, 3, 8, 8), PLAN)
    optimiser = torch.optim.SGD(made.parameters(), lr=0.05)
    for _ in range(steps):
        made.train()(torch.randn(4, 3, 8, 8)).square().mean().backward()
        optimiser.step()
        optimiser.zero_grad()
    return made.eval()


def test_an_input_is_rounded_unless_the_layer_before_did_it() -> None:
    torch.manual_seed(0)
    made = rounded_copy(Bottlenecks(), torch.randn(2, 3, 8, 8), PLAN)
    once = {n for n, m in made.named_modules() if isinstance(m, RoundedConv) and isinstance(m.input, RoundedBefore)}
    assert once == {"after_norm", "after_layer"}  # a ReLU in place hands on the same tensor, and another content
    assert {name for name, module in made.named_modules() if isinstance(module, (RoundedConv, RoundedLinear))} > once
    assert not any(name.startswith("after_norm.input") for name in made.state_dict())


def test_what_is_rounded_once_is_so_in_the_integer_network_too() -> None:
    torch.manual_seed(1)
    made = trained(Bottlenecks())
    pixels = torch.randn(5, 3, 8, 8)
    torch.testing.assert_close(integer_copy(made)(pixels), made(pixels), atol=1e-5, rtol=1e-5)


def test_no_file_rounds_a_rounded_value_again(export: Callable[[nn.Module, Tensor], onnx.ModelProto]) -> None:
    torch.manual_seed(2)
    graph = export(integer_copy(trained(Bottlenecks())), torch.randn(2, 3, 8, 8)).graph
    makers = {name: node for node in graph.node for name in node.output}
    again = [
        n.name for n in graph.node if n.op_type == "QuantizeLinear" and _kind(makers, n.input[0]) == "DequantizeLinear"
    ]
    assert again == []


def _kind(makers: dict[str, onnx.NodeProto], name: str) -> str:
    return makers[name].op_type if name in makers else "input"


@pytest.fixture
def export(tmp_path) -> Callable[[nn.Module, Tensor], onnx.ModelProto]:
    from edgefw.plugins.backends.onnx_export import export_file

    def write(network: nn.Module, pixels: Tensor) -> onnx.ModelProto:
        export_file("dynamo", network, {"image": pixels.numpy()}, tmp_path / "m.onnx", 18)
        return onnx.load(tmp_path / "m.onnx")

    return write


def test_a_bias_is_a_whole_number_of_products_steps() -> None:
    bias = torch.tensor([0.31, -1.7, 0.0], requires_grad=True)
    found = rounded_bias(bias, torch.tensor(0.02), torch.tensor([0.01, 0.5, 0.1]))
    step = 0.02 * np.array([0.01, 0.5, 0.1])
    expected = np.round(np.array([0.31, -1.7, 0.0]) / step) * step
    np.testing.assert_allclose(found.detach().numpy(), expected, atol=1e-6)
    found.sum().backward()
    assert torch.equal(bias.grad, torch.ones(3))


def test_a_dead_channel_gets_steps_in_which_its_bias_still_fits_32_bits() -> None:
    torch.manual_seed(3)
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(4 * 64, 2))
    with torch.no_grad():
        network[0].weight[1] = 0.0
        network[0].bias[1] = 2.5
    made = trained(network, steps=1)
    whole = integer_copy(made)[0]
    step = whole.input.scale * whole.weight.scale
    assert float((whole.bias / step).abs().max()) < 2**31
    assert abs(float(whole.bias[1]) - float(made[0].layer.bias[1])) < 1e-6


def test_the_least_step_leaves_ordinary_channels_alone() -> None:
    assert torch.equal(smallest_weight_step(torch.tensor([0.0, 1e-9]), torch.tensor(0.1)), torch.full((2,), 1e-12))


class Rectified(nn.Module):
    """Two convolutions with timm's batch norm, whose activation is ReLU6, and a head."""

    def __init__(self) -> None:
        super().__init__()
        timm_norms = pytest.importorskip("timm.layers")
        self.first = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.one = timm_norms.BatchNormAct2d(8, act_layer=nn.ReLU6)
        self.second = nn.Conv2d(8, 8, 1, bias=False)
        self.two = timm_norms.BatchNormAct2d(8, act_layer=nn.ReLU6)
        self.head = nn.Linear(8, 4)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.head(self.two(self.second(self.one(self.first(pixels)))).mean((2, 3)))


def test_a_relu_is_taken_along_and_its_result_is_what_is_rounded() -> None:
    torch.manual_seed(4)
    made = trained(Rectified())
    assert isinstance(made.second.input, RoundedBefore)
    assert len(made.one) == len(made.two) == 0
    step = made.first.output.step()
    assert int(step.zero) == 0
    assert float(step.scale) * 255 <= 6.0
    values = made.first(torch.randn(2, 3, 8, 8) * 9)
    whole = values / step.scale
    torch.testing.assert_close(whole, whole.round(), atol=1e-3, rtol=0)
    assert float(values.min()) == 0.0 and float(whole.max()) <= 255.001


def test_on_the_device_the_lower_bound_is_the_relu(export: Callable[[nn.Module, Tensor], onnx.ModelProto]) -> None:
    torch.manual_seed(5)
    made, pixels = trained(Rectified()), torch.randn(6, 3, 8, 8) * 3
    whole = integer_copy(made)
    torch.testing.assert_close(whole(pixels), made(pixels), atol=1e-5, rtol=1e-5)
    operators = [node.op_type for node in export(whole, torch.randn(2, 3, 8, 8)).graph.node]
    assert "Clip" not in operators and "Relu" not in operators
    assert operators.count("QuantizeLinear") == 4  # the pixels, two results, the head's input


def test_results_that_are_not_rounded_keep_their_relu() -> None:
    made = rounded_copy(Rectified(), torch.randn(2, 3, 8, 8), Plan(rounding=Rounding(), outputs="none"))
    assert [type(module) for module in made.one] == [nn.ReLU6]
    assert not isinstance(made.second.input, RoundedBefore)
