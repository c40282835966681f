"""The int8-qat quantizer on small networks with everything that has tripped quantisers: norms, depth, dropout, padding."""

from __future__ import annotations

import copy
import platform
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from int8_files import compiled
from torch import Tensor, nn

from edgefw.contracts.student import StudentFeatures, StudentOutput
from edgefw.errors import ExportError, RecipeError
from edgefw.plugins.backends import onnx_export
from edgefw.plugins.backends.onnx_export import compare
from edgefw.plugins.backends.onnx_work import work
from edgefw.plugins.quantizers.int8_qat import Int8Qat, TrainingQuantizerConfig
from edgefw.runtime.integer_products import exact_session
from edgefw.testing.fakes import pictures, student_spec
from edgefw.training.ema import WeightAverage
from edgefw.training.network import StudentNetwork
from edgefw.training.optimisers import parameter_groups


class Depth(nn.Module):
    """Stochastic depth, as timm draws it."""

    def forward(self, values: Tensor) -> Tensor:
        if not self.training:
            return values
        return values * values.new_empty((len(values), 1, 1, 1)).bernoulli_(0.5) / 0.5


class Trunk(nn.Module):
    """Convolutions with and without batch norm, a residual with stochastic depth, dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.depthwise = nn.Conv2d(16, 16, 3, 1, 1, groups=16)
        self.second = nn.BatchNorm2d(16)
        self.point = nn.Conv2d(16, 64, 1)
        self.depth, self.dropout = Depth(), nn.Dropout(0.3)
        self.spec = student_spec()

    def forward(self, pixels: Tensor) -> StudentFeatures:
        values = torch.relu(self.norm(self.stem(pixels)))
        values = values + self.depth(self.second(self.depthwise(values)))
        features = torch.relu(self.point(values))
        return StudentFeatures(self.dropout(features.mean(dim=(2, 3))), features)

    def set_gradient_checkpointing(self, enabled: bool) -> None:
        return None


def network(seed: int = 0) -> StudentNetwork:
    torch.manual_seed(seed)
    made = StudentNetwork(Trunk(), nn.Linear(64, 16))
    for norm in (made.trunk.norm, made.trunk.second):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.uniform_(norm.bias, -0.5, 0.5)
    return made.train()


def quantizer(**options: object) -> Int8Qat:
    return Int8Qat(TrainingQuantizerConfig(**options).plan("train[0].quantizer"))


def images(count: int, seed: int = 4) -> Tensor:
    return torch.from_numpy(pictures(count, seed=seed))


def trained(made: nn.Module, steps: int = 8) -> nn.Module:
    made.train()
    optimiser = torch.optim.AdamW(made.parameters(), 1e-3)
    target = torch.randn(16, 16, generator=torch.Generator().manual_seed(1))
    for _ in range(steps):
        (made(images(16)).embedding - target).square().mean().backward()
        optimiser.step()
        optimiser.zero_grad()
    return made.eval()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"activation": "affine", "outputs": "all"},
        {"freeze_norms": True},
        {"static": "recent"},
        {"per_channel": False},
    ],
)
def test_the_converted_network_says_what_the_trained_one_says(options: dict[str, object]) -> None:
    piece = quantizer(**options)
    made = trained(piece.prepare(network(), images(2)))
    state = {name: value.clone() for name, value in made.state_dict().items()}
    converted = piece.convert(made)
    with torch.no_grad():
        for count in (1, 3, 7):
            for found, expected in zip(converted(images(count))[:3], made(images(count))[:3]):
                torch.testing.assert_close(found, expected, atol=0.02, rtol=0.02)
    assert all(torch.equal(value, state[name]) for name, value in made.state_dict().items())
    assert not [name for name, _ in converted.named_modules() if name.endswith(("stem.layer", "stem.norm"))]


def test_outputs_keep_their_names_and_any_batch_runs_in_both_modes() -> None:
    made = quantizer().prepare(network(), images(2))
    for training in (True, False):
        made.train(training)
        for count in (2, 1, 5):
            found = made(images(count))
            assert isinstance(found, StudentOutput) and found.map.shape == (count, 64, 16, 16)
    assert made.spec == student_spec()


def test_evaluation_draws_nothing_at_random_and_training_does() -> None:
    made = trained(quantizer().prepare(network(), images(2)), steps=1)
    assert torch.equal(made(images(4)).embedding, made(images(4)).embedding)
    made.train()
    assert not torch.equal(made(images(4)).embedding, made(images(4)).embedding)


def test_the_batch_norm_is_folded_before_weights_are_rounded() -> None:
    made = trained(quantizer(outputs="none").prepare(network(), images(2)))
    stem, pixels = made.trunk.stem, images(3)
    norm, layer = stem.norm, stem.layer
    factor = (norm.weight / (norm.running_var + norm.eps).sqrt()).detach().double().numpy()
    weight = layer.weight.detach().double().numpy() * factor.reshape(-1, 1, 1, 1)
    scale = np.abs(weight).reshape(16, -1).max(axis=1).reshape(-1, 1, 1, 1) / 127
    rounded = torch.from_numpy(np.round(weight / scale) * scale)
    bias = norm.bias.detach().double() - norm.running_mean.double() * torch.from_numpy(factor)
    step = float(torch.maximum(-stem.input.low, stem.input.high)) / 127
    seen = (pixels.double() / step).round().clamp(-128, 127) * step
    expected = nn.functional.conv2d(seen, rounded, bias, 2, 1)
    torch.testing.assert_close(stem(pixels).double(), expected, atol=1e-4, rtol=1e-4)


def test_training_statistics_of_the_batch_norm_are_those_of_the_float_network() -> None:
    plain, made = network(), quantizer().prepare(network(), images(2))
    plain(images(16))
    made(images(16))
    for name in ("running_mean", "running_var"):
        torch.testing.assert_close(
            getattr(made.trunk.stem.norm, name), getattr(plain.trunk.norm, name), atol=2e-2, rtol=2e-2
        )


def test_trained_weights_are_those_of_the_float_student_too() -> None:
    student = network()
    made = trained(quantizer().prepare(student, images(2)))
    assert made.trunk.stem.layer.weight is student.trunk.stem.weight
    assert student.trunk.norm.running_mean is made.trunk.stem.norm.running_mean
    again = quantizer().prepare(student, images(2))
    assert torch.equal(again.head.layer.weight, made.head.layer.weight)
    copied = copy.deepcopy(made)
    assert torch.equal(copied(images(2)).embedding, made(images(2)).embedding)


def test_state_and_average_go_into_a_network_prepared_anew() -> None:
    made = quantizer().prepare(network(), images(2))
    average = WeightAverage(made, 0.5)
    made.train()(images(4)).embedding.square().sum().backward()
    torch.optim.SGD(made.parameters(), 0.1).step()
    average.update()
    other = quantizer().prepare(network(5), images(2))
    other.load_state_dict(made.state_dict())
    assert torch.equal(other.eval()(images(3)).embedding, made.eval()(images(3)).embedding)
    with average.applied():
        assert torch.isfinite(made(images(2)).embedding).all()
        assert not torch.equal(other(images(3)).embedding, made(images(3)).embedding)


def test_weight_decay_pulls_on_kernels_only() -> None:
    made = quantizer().prepare(network(), images(2))
    decayed, spared = parameter_groups(made, 0.1)
    assert {value.ndim for value in decayed["params"]} == {2, 4}
    assert {value.ndim for value in spared["params"]} == {1}


def test_the_file_holds_int8_weights_and_agrees_at_every_batch(tmp_path: Path) -> None:
    piece = quantizer()
    made = trained(piece.prepare(network(), images(2)))
    pixels = pictures(6)
    backend, artefact = compiled(piece.convert(made), tmp_path, pixels)
    graph = onnx.load(artefact.file).graph
    assert {node.op_type for node in graph.node} >= {"QuantizeLinear", "DequantizeLinear", "Conv"}
    large = [entry for entry in graph.initializer if np.prod(entry.dims) >= 128]
    assert large and {entry.data_type for entry in large} == {onnx.TensorProto.INT8}
    runner = backend.open(artefact.file)
    for count in (1, 5, 6):
        found, expected = runner.run({"image": pixels[:count]}), made(torch.from_numpy(pixels[:count])).embedding
        assert compare(expected.detach().numpy(), found).within(0.05, cosine=0.998)


class SiluTrunk(Trunk):
    """Every convolution's result is read twice, as SiLU reads it."""

    def forward(self, pixels: Tensor) -> StudentFeatures:
        values = nn.functional.silu(self.norm(self.stem(pixels)))
        values = nn.functional.silu(self.second(self.depthwise(values)))
        features = nn.functional.silu(self.point(values))
        return StudentFeatures(features.mean(dim=(2, 3)), features)


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="other processors have other kernels")
def test_onnxruntime_runs_every_convolution_of_a_silu_network_in_int8(tmp_path: Path) -> None:
    piece = quantizer()
    made = trained(piece.prepare(StudentNetwork(SiluTrunk(), nn.Linear(64, 16)).train(), images(2)))
    _, artefact = compiled(piece.convert(made), tmp_path, pictures(3))
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath, options.log_severity_level = str(tmp_path / "optimised.onnx"), 3
    exact_session(str(artefact.file), options)
    operators = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
    assert operators.count("QLinearConv") == 3
    assert "Conv" not in operators


@pytest.mark.parametrize("options", [{}, {"activation": "affine"}, {"outputs": "all"}])
def test_a_linear_layer_on_rows_runs_in_int8_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, object]
) -> None:
    """Of (B, D), ONNX Runtime makes product and bias one Gemm, which a float bias would keep in float."""
    piece, pixels = quantizer(**options), pictures(6)
    made = trained(piece.prepare(network(), images(2)))
    made.head.layer.bias.data.uniform_(-3.0, 3.0, generator=torch.Generator().manual_seed(2))
    answers, gemms = [], []
    for name in ("rounded", "float"):
        (tmp_path / name).mkdir()
        backend, artefact = compiled(piece.convert(made), tmp_path / name, pixels)
        answers.append(backend.open(artefact.file).run({"image": pixels}))
        gemms += [node.is_int8 for node in work(onnx.load(artefact.file)) or () if node.operator == "Gemm"]
        settings = onnxruntime.SessionOptions()
        settings.optimized_model_filepath, settings.log_severity_level = str(tmp_path / "optimised.onnx"), 3
        exact_session(str(artefact.file), settings)
        operators = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
        assert ("QGemm" in operators, "Gemm" in operators) == ((True, False) if gemms[-1] else (False, True))
        monkeypatch.setattr(onnx_export, "round_biases", lambda file: 0)
    assert gemms == [True, options == {"outputs": "all"}]
    np.testing.assert_allclose(answers[0], answers[1], rtol=1e-5, atol=1e-5)


def test_excluded_layers_stay_float() -> None:
    made = quantizer(exclude=["head", "trunk.p*"]).prepare(network(), images(2))
    assert type(made.head) is nn.Linear and type(made.trunk.point) is nn.Conv2d
    assert type(made.trunk.stem).__name__ == "RoundedConv"


def test_errors_say_what_to_do() -> None:
    with pytest.raises(
        RecipeError, match=r"train\[0\].quantizer.exclude: 'stern' matches no layer. Layers: trunk.stem"
    ):
        quantizer(exclude=["stern"]).prepare(network(), images(2))
    with pytest.raises(RecipeError, match=r"train\[0\].quantizer: nothing to quantise"):
        quantizer(exclude=["*"]).prepare(network(), images(2))
    piece = quantizer()
    with pytest.raises(ExportError, match="layer 'trunk.stem' has no range for its activations: no training batch"):
        piece.convert(piece.prepare(network(), images(2)))


@pytest.mark.parametrize("training", [True, False])
def test_with_one_step_per_layer_every_weight_is_on_the_grid_of_the_widest_channel(training: bool) -> None:
    made = trained(quantizer(per_channel=False, outputs="none").prepare(network(), images(2))).train(training)
    stem, pixels = made.trunk.stem, images(16)
    norm, layer = stem.norm, stem.layer
    factor = (norm.weight / (norm.running_var + norm.eps).sqrt()).detach().double().numpy().reshape(-1, 1, 1, 1)
    weight = layer.weight.detach().double().numpy() * factor
    scale = np.abs(weight).max() / 127
    rounded = torch.from_numpy(np.round(weight / scale) * scale)
    step = float(pixels.abs().max() if training else torch.maximum(-stem.input.low, stem.input.high)) / 127
    seen = (pixels.double() / step).round().clamp(-128, 127) * step
    if training:  # the batch's own statistics normalise
        plain = nn.functional.conv2d(seen, rounded / torch.from_numpy(factor), None, 2, 1)
        expected = nn.functional.batch_norm(plain, None, None, norm.weight.double(), norm.bias.double(), True)
    else:
        bias = norm.bias.detach().double() - norm.running_mean.double() * torch.from_numpy(factor.flatten())
        expected = nn.functional.conv2d(seen, rounded, bias, 2, 1)
    torch.testing.assert_close(stem(pixels).double(), expected, atol=1e-4, rtol=1e-4)


def test_with_one_step_per_layer_a_file_states_it_for_every_channel() -> None:
    piece = quantizer(per_channel=False)
    converted = piece.convert(trained(piece.prepare(network(), images(2))))
    layers = [converted.get_submodule(name) for name in ("trunk.stem", "trunk.depthwise", "trunk.point", "head")]
    assert [len(layer.weight.scale.unique()) for layer in layers] == [1, 1, 1, 1]
    assert all(int(layer.weight.whole.abs().max()) == 127 for layer in layers)


def test_seven_bit_weights_stay_within_63() -> None:
    piece = quantizer(reduce_range=True)
    converted = piece.convert(trained(piece.prepare(network(), images(2)), steps=1))
    assert converted.trunk.point.weight.whole.abs().max().item() == 63
