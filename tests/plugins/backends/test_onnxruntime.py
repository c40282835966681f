"""The ONNX Runtime backend on real networks: agreement, dynamic batch, refusal of files that lie, damaged files."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from edgefw.contracts.backend import CompileRequest
from edgefw.errors import BundleError, ExportError
from edgefw.plugins.backends import onnxruntime as module
from edgefw.plugins.backends.onnx_export import compare
from edgefw.plugins.backends.onnxruntime import OnnxRuntimeBackend, OnnxRuntimeConfig
from edgefw.plugins.backends.reparameterise import reparameterised


class ConvNet(nn.Module):
    """Two convolutions with batch norm, a head; 3 x 16 x 16 to 8 numbers."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8), nn.Hardswish(),
            nn.Conv2d(8, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(16, 8)
        self.scale = scale

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(pixels).mean((2, 3))) * self.scale


def pixels(count: int = 5, size: int = 16, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 3, size, size)).astype(np.float32)


def trained(network: nn.Module, size: int = 16) -> nn.Module:
    """Batch-norm statistics of a few batches, then evaluation mode."""
    torch.manual_seed(0)
    with torch.no_grad():
        for seed in range(3):
            network(torch.from_numpy(pixels(8, size, seed)))
    return network.eval()


def compiled(network: nn.Module, folder: Path, size: int = 16, **options):
    backend = OnnxRuntimeBackend(OnnxRuntimeConfig(**options))
    request = CompileRequest(
        network=network, inputs={"image": (3, size, size)}, folder=folder, examples={"image": pixels(4, size)}
    )
    return backend, backend.compile(request)


@pytest.fixture(scope="module")
def dynamo(tmp_path_factory):
    torch.manual_seed(0)
    network = trained(ConvNet())
    return network, *compiled(network, tmp_path_factory.mktemp("dynamo"), exporter="dynamo")


def test_file_agrees_with_the_network_at_every_batch_size(dynamo):
    network, backend, artefact = dynamo
    runner = backend.open(artefact.file)
    for batch in (1, 2, 3, 7):
        images = pixels(batch, seed=9)
        with torch.no_grad():
            expected = network(torch.from_numpy(images)).numpy()
        np.testing.assert_allclose(runner.run({"image": images}), expected, rtol=1e-4, atol=1e-6)


@pytest.fixture
def sessions(monkeypatch):
    """The batch of every session that is opened."""
    batches, really = [], module.open_session

    def spied(file, threads, batch=None):
        batches.append(batch)
        return really(file, threads, batch)

    monkeypatch.setattr(module, "open_session", spied)
    return batches


def test_one_image_has_a_session_of_its_own_and_a_batch_opens_the_other_once(dynamo, sessions):
    _, backend, artefact = dynamo
    first, second = backend.open_many(artefact.file, 2, threads=2)
    images = {"image": pixels(4, seed=3)}
    alone = first.run({"image": images["image"][:1]})
    assert sessions == [1]
    both = [runner.run(images) for runner in (first, second)]
    assert sessions == [1, None]
    np.testing.assert_array_equal(*both)
    np.testing.assert_allclose(both[0][:1], alone, rtol=1e-5, atol=1e-7)
    assert second.run({"image": images["image"][:0]}).shape == (0, 8)


def renamed(source: Path, target: Path, name: str | int) -> Path:
    """A file whose number of images is called otherwise, or is fixed."""
    model = onnx.load(source)
    for entry in (*model.graph.input, *model.graph.output):
        size = entry.type.tensor_type.shape.dim[0]
        size.Clear()
        if isinstance(name, str):
            size.dim_param = name
        else:
            size.dim_value = name
    onnx.save(model, target)
    return target


def test_a_file_that_calls_its_batch_otherwise_has_one_session(dynamo, tmp_path, sessions):
    network, backend, artefact = dynamo
    runner = backend.open(renamed(artefact.file, tmp_path / "other.onnx", "N"))
    for batch in (1, 3):
        images = pixels(batch, seed=4)
        expected = network(torch.from_numpy(images)).detach().numpy()
        np.testing.assert_allclose(runner.run({"image": images}), expected, rtol=1e-4, atol=1e-6)
    assert sessions == [1]


def test_a_frozen_batch_is_found_out_all_the_same(dynamo, tmp_path):
    _, backend, artefact = dynamo
    runner = backend.open(renamed(artefact.file, tmp_path / "frozen.onnx", 1))
    assert runner.run({"image": pixels(1)}).shape == (1, 8)
    with pytest.raises(Exception, match="Got: 2 Expected: 1"):
        runner.run({"image": pixels(2)})


def test_convolution_and_batch_norm_are_one_node(dynamo):
    operators = {node.op_type for node in onnx.load(dynamo[2].file).graph.node}
    assert "Conv" in operators
    assert "BatchNormalization" not in operators


def test_artefact_says_how_it_was_made_and_checked(dynamo):
    artefact = dynamo[2]
    assert artefact.level == "onnx"
    assert artefact.details["exporter"] == "dynamo"
    assert artefact.warnings == ()
    assert set(artefact.details["check"]) == {"batch 1", "batch 4"}
    assert artefact.details["check"]["batch 4"]["relative_error"] < 1e-4


def test_only_the_file_is_left_in_the_folder(dynamo):
    assert [path.name for path in dynamo[2].file.parent.iterdir()] == ["model.onnx"]


def test_opset_is_the_one_asked_for(tmp_path):
    _, artefact = compiled(trained(ConvNet()), tmp_path, exporter="legacy", opset=20)
    versions = {entry.domain: entry.version for entry in onnx.load(artefact.file).opset_import}
    assert versions[""] == 20


class Branching(nn.Module):
    """Control flow on values: torch.export refuses it, tracing follows the examples."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = ConvNet()

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        if pixels.abs().max().item() > 1e6:
            return self.inner(pixels) * 2
        return self.inner(pixels)


def test_legacy_exporter_steps_in_and_the_artefact_says_so(tmp_path):
    _, artefact = compiled(trained(Branching()), tmp_path)
    assert artefact.details["exporter"] == "legacy"
    assert len(artefact.warnings) == 1
    assert artefact.warnings[0].startswith("dynamo exporter:")


class BatchDependent(nn.Module):
    """Right for the two examples an exporter sees, wrong for every other batch size; tiny numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = ConvNet(scale=1e-9)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        factor = 1.0 if pixels.shape[0] == 2 else -1.0
        return self.inner(pixels) * factor


def test_file_that_disagrees_is_refused_however_small_its_numbers(tmp_path):
    with pytest.raises(ExportError) as caught:
        compiled(trained(BatchDependent()), tmp_path, exporter="legacy")
    assert "disagrees with the network at batch 1: cosine -1.0" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_when_both_exporters_fail_both_reasons_are_told(tmp_path):
    with pytest.raises(ExportError) as caught:
        compiled(trained(BatchDependent()), tmp_path)
    assert "dynamo exporter:" in str(caught.value)
    assert "legacy exporter:" in str(caught.value)


class Noisy(nn.Module):
    """Dropout that never stops."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = ConvNet()

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return nn.functional.dropout(self.inner(pixels), 0.5, training=True)


def test_network_that_is_random_is_refused(tmp_path):
    with pytest.raises(ExportError, match="disagrees"):
        compiled(trained(Noisy()), tmp_path, exporter="legacy")


class TwoSensors(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = ConvNet(), ConvNet()

    def forward(self, *images: torch.Tensor) -> torch.Tensor:
        return self.left(images[0]) + self.right(images[1])


@pytest.mark.parametrize("exporter", ["dynamo", "legacy"])
def test_inputs_keep_their_names(tmp_path, exporter):
    torch.manual_seed(0)
    network = TwoSensors().eval()
    backend = OnnxRuntimeBackend(OnnxRuntimeConfig(exporter=exporter))
    examples = {"rgb": pixels(3, seed=1), "depth": pixels(3, seed=2)}
    inputs = {name: (3, 16, 16) for name in examples}
    artefact = backend.compile(CompileRequest(network=network, inputs=inputs, folder=tmp_path, examples=examples))
    runner = backend.open(artefact.file)
    assert tuple(runner.inputs) == ("rgb", "depth")
    with torch.no_grad():
        expected = network(*(torch.from_numpy(values) for values in examples.values())).numpy()
    np.testing.assert_allclose(runner.run(examples), expected, rtol=1e-4, atol=1e-6)


class Branches(nn.Module):
    """RepVGG's idea: 3x3 and 1x1 branches that become one 3x3 convolution."""

    def __init__(self, honest: bool = True) -> None:
        super().__init__()
        self.wide, self.narrow = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 1)
        self.honest = honest
        self.deployed = False

    def switch_to_deploy(self) -> None:
        with torch.no_grad():
            self.wide.weight[:, :, 1:2, 1:2] += self.narrow.weight
            self.wide.bias += self.narrow.bias * (1.0 if self.honest else 2.0)
        self.deployed = True

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.wide(pixels) if self.deployed else self.wide(pixels) + self.narrow(pixels)


def test_branches_are_merged_in_a_copy():
    network = nn.Sequential(Branches(), nn.Flatten()).eval()
    before = network[0].wide.weight.clone()
    fused, notes = reparameterised(network, {"image": pixels(2)})
    assert notes.details == {"fused_modules": 1}
    assert fused[0].deployed
    assert not network[0].deployed
    assert torch.equal(network[0].wide.weight, before)
    images = torch.from_numpy(pixels(3, seed=4))
    torch.testing.assert_close(fused(images), network(images), rtol=1e-4, atol=1e-5)


def test_merging_that_changes_the_network_is_left_out_with_a_warning():
    network = nn.Sequential(Branches(honest=False), nn.Flatten()).eval()
    plain, notes = reparameterised(network, {"image": pixels(2)})
    assert not plain[0].deployed
    assert "changed the network" in notes.warnings[0]


def test_comparison_sees_scale_direction_and_shape():
    rows = np.array([[3.0, 4.0], [1.0, 0.0]], np.float32)
    assert compare(rows, rows) == compare(np.zeros_like(rows), np.zeros_like(rows))
    doubled = compare(rows, rows * 2)
    assert doubled.relative == pytest.approx(1.0)
    assert doubled.cosine == pytest.approx(1.0)
    assert not doubled.within(1e-3)
    turned = compare(rows, rows[:, ::-1])
    assert turned.cosine == pytest.approx(0.0)
    assert not compare(rows, np.full_like(rows, np.nan)).within(1e-3)
    with pytest.raises(ExportError, match="shape"):
        compare(rows, rows[:, :1])


def test_damaged_and_missing_files_give_one_message_each(tmp_path, dynamo):
    backend, good = dynamo[1], dynamo[2].file.read_bytes()
    for name, data in {"half": good[: len(good) // 2], "empty": b"", "text": b"not a model" * 100}.items():
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(data)
        with pytest.raises(BundleError, match=f"{name}.onnx") as caught:
            backend.open(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(BundleError, match="no such file"):
        backend.open(tmp_path / "absent.onnx")


def test_opening_imports_neither_torch_nor_onnx(dynamo):
    code = (
        "import sys\n"
        "for name in ('torch', 'onnx', 'timm', 'transformers', 'open_clip'): sys.modules[name] = None\n"
        "from pathlib import Path\n"
        "import numpy as np\n"
        "from edgefw.plugins.backends.onnxruntime import OnnxRuntimeBackend, OnnxRuntimeConfig\n"
        f"runner = OnnxRuntimeBackend(OnnxRuntimeConfig(threads=1)).open(Path({str(dynamo[2].file)!r}))\n"
        "print(runner.run({'image': np.zeros((2, 3, 16, 16), np.float32)}).shape)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stdout.strip() == "(2, 8)", result.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "size", "fused"),
    [("mobilenetv3_small_050", 32, 0), ("vit_tiny_patch16_224", 32, 0), ("fastvit_t8", 64, 20)],
)
@pytest.mark.parametrize("exporter", ["dynamo", "legacy"])
def test_timm_students_agree_to_float_rounding(tmp_path, model, size, fused, exporter):
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    options = {"img_size": size} if model.startswith("vit") else {}
    network = trained(timm.create_model(model, num_classes=32, **options), size)
    backend, artefact = compiled(network, tmp_path, size, exporter=exporter)
    assert artefact.details["fused_modules"] == fused
    images = pixels(6, size, seed=5)
    with torch.no_grad():
        expected = network(torch.from_numpy(images)).numpy()
    found = compare(expected, backend.open(artefact.file).run({"image": images}))
    assert found.cosine > 0.999999
    assert found.relative < 1e-4
