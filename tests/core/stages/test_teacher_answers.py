"""The teacher's answers about held-out samples: its own, by position, and asked for once per picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from edgefw.contracts.dataset import FileReference, Sample
from edgefw.contracts.student import InputSpec
from edgefw.contracts.teacher import TeacherOutput
from edgefw.plugins.modalities.depth import Depth, DepthConfig
from edgefw.plugins.modalities.rgb import Rgb, RgbConfig
from edgefw.processes import Processes
from edgefw.reporting.progress import SilentProgress
from edgefw.stages.teacher_answers import TeacherAnswers
from edgefw.testing.fakes import teacher_spec

COUNT = 40  # more than one pass of the teacher


class Teacher:
    """Mean colour of the picture's corners, repeated to 16 numbers; counts the pictures that it is shown."""

    def __init__(self) -> None:
        self.spec, self.module, self.asked = teacher_spec(), nn.Identity(), 0

    def preprocess(self, image: Image.Image) -> Tensor:
        return torch.from_numpy(np.asarray(image.resize((2, 2)), np.float32) / 255 + 0.01).permute(2, 0, 1)

    def encode_image(self, pixels: Tensor, want: frozenset[str] = frozenset()) -> TeacherOutput:
        self.asked += len(pixels)
        flat = pixels.flatten(1)
        return TeacherOutput(embedding=nn.functional.normalize(flat.repeat(1, 2)[:, :16], dim=1))


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    """Scenes of random pixels; every third has no depth."""
    draw, found = np.random.default_rng(0), []
    for number in range(COUNT):
        rgb, depth = tmp_path / f"{number}.png", tmp_path / f"{number}d.png"
        Image.fromarray(draw.integers(0, 255, (2, 2, 3), np.uint8)).save(rgb)
        Image.fromarray(draw.integers(500, 4000, (2, 2)).astype(np.uint16)).save(depth)
        images = {"rgb": FileReference(rgb)} | ({} if number % 3 == 0 else {"depth": FileReference(depth)})
        found.append(Sample(id=str(number), images=images))
    return found


def context(teacher: Teacher, cache: Path) -> Any:
    sensors = {"rgb": Rgb(RgbConfig()), "depth": Depth(DepthConfig(encoding="min-max"))}
    inputs = dict.fromkeys(sensors, InputSpec(size=8))
    pieces = SimpleNamespace(modalities=sensors, inputs=inputs, teacher=teacher, cache=cache)
    recipe = SimpleNamespace(config=SimpleNamespace(compute=SimpleNamespace(workers=0)))
    return SimpleNamespace(pieces=pieces, processes=Processes(device="cpu"), recipe=recipe, progress=SilentProgress())


def test_answers_are_the_teachers_own_about_the_picture_of_the_modality(samples: list[Sample], tmp_path: Path) -> None:
    teacher = Teacher()
    around = context(teacher, tmp_path / "cache")
    answers = TeacherAnswers(around, samples, "depth")
    rows = np.array([38, 1, 2])
    seen = answers(rows)
    depth = around.pieces.modalities["depth"]
    for row, embedding in zip(rows, seen):
        values = depth.decode(samples[row].images["depth"].read(), "")
        pixels = teacher.preprocess(Image.fromarray(depth.picture(values)))[None]
        np.testing.assert_allclose(embedding, teacher.encode_image(pixels).embedding[0].numpy(), atol=1e-6)


def test_a_second_run_with_the_same_cache_asks_nothing(samples: list[Sample], tmp_path: Path) -> None:
    first, second = Teacher(), Teacher()
    rows = np.arange(COUNT)
    before = TeacherAnswers(context(first, tmp_path / "cache"), samples, "rgb")(rows)
    after = TeacherAnswers(context(second, tmp_path / "cache"), samples, "rgb")(rows)
    assert (first.asked, second.asked) == (COUNT, 0)
    np.testing.assert_array_equal(before, after)


def test_a_changed_picture_is_asked_about_again(samples: list[Sample], tmp_path: Path) -> None:
    TeacherAnswers(context(Teacher(), tmp_path / "cache"), samples, "rgb")
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "1.png")
    teacher = Teacher()
    seen = TeacherAnswers(context(teacher, tmp_path / "cache"), samples, "rgb")(np.array([1]))
    assert teacher.asked == COUNT
    np.testing.assert_allclose(seen, 0.25, atol=1e-6)  # black, all numbers equal


def test_samples_without_the_modality_are_none(samples: Sequence[Sample], tmp_path: Path) -> None:
    bare = [Sample(id=sample.id, images={"rgb": sample.images["rgb"]}) for sample in samples]
    teacher = Teacher()
    TeacherAnswers(context(teacher, tmp_path / "cache"), bare, "depth")
    assert teacher.asked == 0
