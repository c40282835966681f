"""Int8 of exported programs: the numbers in the graph against NumPy, what stays float, what is refused."""

import numpy as np
import pytest
import torch
from torch import nn

from edgefw.contracts.quantizer import Calibration
from edgefw.errors import ExportError
from edgefw.plugins.quantizers.int8_pt2e import Int8Pt2e, Pt2eConfig

pytest.importorskip("executorch")


class Small(nn.Module):
    """A convolution and a matrix of very different channels."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Conv2d(3, 6, 3), nn.Linear(6, 4)
        with torch.no_grad():
            self.first.weight.mul_(torch.logspace(-2, 1, 6)[:, None, None, None])

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.last(torch.relu(self.first(pixels)).mean((2, 3)))


def rows(count: int = 12) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(count, 3, 8, 8)).astype(np.float32)


def rounded(network: nn.Module, values: np.ndarray, step: int = 5, **options):
    batches = [{"image": values[start : start + step]} for start in range(0, len(values), step)]
    calibration = Calibration(batches=lambda: iter(batches), samples=len(values))
    return Int8Pt2e(Pt2eConfig(**options), "export.quantizers[0]").quantize_program(network, calibration)


def integer_weights(graph: nn.Module) -> list[np.ndarray]:
    return [value.numpy() for value in graph.state_dict().values() if value.dtype == torch.int8]


def test_weights_are_symmetric_int8_per_output_channel():
    network = Small().eval()
    graph, report = rounded(network, rows())
    found = next(array for array in integer_weights(graph) if array.ndim == 4)
    weights = network.first.weight.detach().numpy()
    scale = np.maximum(np.abs(weights).max(axis=(1, 2, 3)) / 127, 2**-12)
    expected = np.clip(np.rint(weights / scale[:, None, None, None]), -127, 127)
    assert np.abs(found.astype(int) - expected).max() <= 1  # halves, and a half-step of torchao's own 127.5
    assert report.details["layers"] == {"int8": 2, "float": 0} and report.details["samples"] == 12


def test_one_scale_per_tensor_wastes_the_small_channels():
    network = Small().eval()
    fine, coarse = (rounded(network, rows(), per_channel=flag)[0] for flag in (True, False))
    used = [len(np.unique(next(a for a in integer_weights(graph) if a.ndim == 4)[0])) for graph in (fine, coarse)]
    assert used[0] > 4 * used[1]


def test_the_network_is_left_alone_and_its_answers_are_kept_at_any_batch():
    network, values = Small().eval(), torch.from_numpy(rows(7))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    graph, _ = rounded(network, rows())
    with torch.no_grad():
        for count in (1, 7):
            close = torch.cosine_similarity(graph(values[:count]), network(values[:count])).min()
            assert 0.99 < close < 1
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_more_samples_in_other_batches_give_the_same_weights_and_nearly_the_same_answers():
    network, values = Small().eval(), torch.from_numpy(rows(4))
    graphs = [rounded(network, rows(), step)[0] for step in (3, 12)]
    with torch.no_grad():
        one, other = (graph(values) for graph in graphs)
    assert torch.cosine_similarity(one, other).min() > 0.999


def test_excluded_modules_stay_float():
    _, report = rounded(Small().eval(), rows(), exclude=["fir*"])
    assert report.details["layers"] == {"int8": 1, "float": 1}


def test_a_pattern_that_fits_nothing_is_refused():
    with pytest.raises(
        ExportError, match=r"^export.quantizers\[0\].exclude: 'head' fits no module. The first are: first, last."
    ):
        rounded(Small().eval(), rows(), exclude=["head"])


def test_a_network_without_a_layer_for_int8_is_refused():
    with pytest.raises(ExportError, match=r"^export.quantizers\[0\]: no layer can be int8 \(2 stay float\)"):
        rounded(Small().eval(), rows(), exclude=["first", "last"])


class Fickle(nn.Module):
    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.mean((2, 3)) if pixels.sum() > 0 else pixels.amax((2, 3))


def test_what_torch_cannot_capture_is_one_message():
    with pytest.raises(ExportError, match=r"^export.quantizers\[0\]: the network cannot be rounded \("):
        rounded(Fickle(), rows())
