"""Graphs of several images: their inputs, the samples they are calibrated on, and schemes that cannot do it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from edgefw.contracts.dataset import FileReference, Sample
from edgefw.contracts.scheme import Signature, is_together, together
from edgefw.contracts.student import InputSpec
from edgefw.errors import DataError, ExportError
from edgefw.plugins.modalities.depth import Depth, DepthConfig
from edgefw.plugins.modalities.rgb import Rgb, RgbConfig
from edgefw.plugins.schemes.dual_modality import DualModality
from edgefw.stages.calibration import CalibrationImages
from edgefw.stages.graphs import graph_of, input_names
from edgefw.stages.opened import OpenArtefact
from edgefw.stages.verify import check_pairs
from edgefw.testing.fakes import student_network

PAIR = Signature(name="rgb+depth", inputs=("rgb", "depth"), serves=("rgb", "depth"))
ALONE = Signature(name="encoder", inputs=("rgb",), serves=("rgb", "depth"))


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    """Three scenes of distinct brightness; the second has no depth."""
    found = []
    for number in range(3):
        rgb, depth = tmp_path / f"{number}.png", tmp_path / f"{number}d.png"
        Image.fromarray(np.full((8, 8, 3), 60 * number, np.uint8)).save(rgb)
        Image.fromarray(np.full((8, 8), 1000 * (number + 1), np.uint16)).save(depth)
        images = {"rgb": FileReference(rgb)} | ({} if number == 1 else {"depth": FileReference(depth)})
        found.append(Sample(id=str(number), images=images))
    return found


def context() -> Any:
    sensors = {"rgb": Rgb(RgbConfig()), "depth": Depth(DepthConfig(encoding="metric-range", near=0.0, far=4.0))}
    pieces = SimpleNamespace(
        modalities=sensors, preprocessing=lambda name: sensors[name].preprocessing(InputSpec(size=8))
    )
    return SimpleNamespace(pieces=pieces)


def test_a_pair_has_one_row_per_sample_with_both_images(samples: list[Sample]) -> None:
    images = CalibrationImages(context(), samples, PAIR, input_names(PAIR))
    (batch,) = images.calibration().batches()
    assert images.calibration().samples == 2
    assert list(batch) == ["rgb", "depth"] and {rows.shape for rows in batch.values()} == {(2, 3, 8, 8)}
    bright = {name: rows.mean(axis=(1, 2, 3)) for name, rows in batch.items()}
    assert bright["rgb"][0] < bright["rgb"][1] and bright["depth"][0] < bright["depth"][1]
    assert {rows.shape[0] for rows in images.examples(16).values()} == {3}


def test_a_graph_of_one_image_has_every_image_it_serves(samples: list[Sample]) -> None:
    calibration = CalibrationImages(context(), samples, ALONE, input_names(ALONE)).calibration()
    (batch,) = calibration.batches()
    assert len(calibration.modalities) == 5 and set(calibration.modalities) == {"rgb", "depth"}
    assert {name: rows.shape for name, rows in batch.items()} == {"image": (5, 3, 8, 8)}


def test_without_a_pair_there_is_nothing_to_calibrate_on(samples: list[Sample]) -> None:
    with pytest.raises(ExportError, match="no training sample has an image of rgb and depth to calibrate with."):
        CalibrationImages(context(), samples[1:2], PAIR, input_names(PAIR))


def test_a_scheme_that_cannot_embed_together_is_refused() -> None:
    with pytest.raises(
        ExportError, match=r"graph 'rgb\+depth' takes 2 images at once \(rgb, depth\), and the scheme has no"
    ):
        graph_of(student_network(), DualModality(("rgb", "depth")), PAIR)


def test_images_reach_the_scheme_under_their_names() -> None:
    class Difference(DualModality):
        def embed_together(self, network: Any, images: Any) -> torch.Tensor:
            return images["rgb"].mean(dim=(2, 3)) - 2 * images["depth"].mean(dim=(2, 3))

    graph = graph_of(student_network(), Difference(("rgb", "depth")), PAIR)
    rgb, depth = torch.ones(2, 3, 8, 8), 3 * torch.ones(2, 3, 8, 8)
    assert graph(rgb, depth).tolist() == [[-5.0] * 3] * 2


def test_roles_say_what_answers_are_about() -> None:
    assert PAIR.roles == (together(("rgb", "depth")),) == ("rgb+depth",) and ALONE.roles == ("rgb", "depth")
    assert is_together("rgb+depth") and not is_together("near-infrared")


def test_held_out_samples_without_a_pair_are_told(samples: list[Sample]) -> None:
    record = {
        "name": "onnxruntime-fp32-rgb+depth",
        "signature": {"name": PAIR.name, "inputs": [*PAIR.inputs], "serves": [*PAIR.serves]},
        "inputs": {"rgb": [3, 8, 8], "depth": [3, 8, 8]},
    }
    artefact, held = (
        OpenArtefact(record=record, runner=SimpleNamespace(), backend=SimpleNamespace()),
        SimpleNamespace(samples=samples),
    )
    check_pairs([artefact], held)
    held.samples = samples[1:2]
    with pytest.raises(DataError, match=r"no held-out sample has rgb and depth, which 'onnxruntime-fp32-rgb\+depth'"):
        check_pairs([artefact], held)
