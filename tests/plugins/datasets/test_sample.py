"""The drawn data set: balanced, reproducible, never the same scene in two splits."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from edgefw import BuildContext
from edgefw.errors import RecipeError
from edgefw.plugins.datasets.sample import SampleConfig, build
from edgefw.plugins.modalities.thermal import Thermal, ThermalConfig


def small(folder: Path, **options: int) -> object:
    config = SampleConfig(**{"train": 24, "val": 12, "test": 12, "size": 24, **options})
    return build(config, BuildContext(path="data", cache=folder, modalities=("rgb", "depth")))


def test_splits_are_balanced_and_have_captions(tmp_path: Path) -> None:
    samples = small(tmp_path).listing("train").samples
    labels = [s.label for s in samples]
    assert len(samples) == 24 and all(labels.count(name) == 2 for name in set(labels))
    assert all(s.label in s.caption for s in samples)
    assert len({s.id for s in samples}) == 24


def test_depth_is_stored_in_millimetres(tmp_path: Path) -> None:
    sample = small(tmp_path).listing("val").samples[0]
    depth = np.asarray(Image.open(io.BytesIO(sample.images["depth"].read())))
    assert depth.dtype == np.uint16 and 500 < np.median(depth) < 9000


def test_two_folders_hold_the_same_bytes(tmp_path: Path) -> None:
    first, second = (small(tmp_path / n).listing("test").samples for n in ("a", "b"))
    assert all(a.images["rgb"].read() == b.images["rgb"].read() for a, b in zip(first, second, strict=True))


def test_no_scene_stands_in_two_splits_or_two_seeds(tmp_path: Path) -> None:
    seen: set[bytes] = set()
    for seed in (0, 1):
        data = small(tmp_path, seed=seed)
        for split in ("train", "val", "test"):
            images = {s.images["rgb"].read() for s in data.listing(split).samples}
            assert not images & seen
            seen |= images


def test_an_unknown_split_is_empty_and_a_third_sensor_refused(tmp_path: Path) -> None:
    assert not small(tmp_path).listing("extra").samples
    with pytest.raises(RecipeError, match="draws rgb and depth, not 'swir'"):
        build(SampleConfig(), BuildContext(path="data", cache=tmp_path, modalities=("rgb", "swir")))


THREE = {"sensors": ("rgb", "depth", "thermal")}


def test_a_third_sensor_is_drawn_on_request_and_changes_no_other(tmp_path: Path) -> None:
    config = SampleConfig(train=6, val=2, test=2, size=24, **THREE)
    three = build(config, BuildContext(path="data", cache=tmp_path, modalities=("rgb", "depth", "thermal")))
    samples = three.listing("val").samples
    two = small(tmp_path, train=6, val=2, test=2).listing("val").samples
    for with_heat, without in zip(samples, two, strict=True):
        assert set(with_heat.images) == {"rgb", "depth", "thermal"} and set(without.images) == {"rgb", "depth"}
        assert all(with_heat.images[name].read() == without.images[name].read() for name in ("rgb", "depth"))
        assert (with_heat.id, with_heat.label, with_heat.caption) == (without.id, without.label, without.caption)
    counts = np.asarray(Image.open(io.BytesIO(samples[0].images["thermal"].read())))
    assert counts.dtype == np.uint16 and 27500 < counts.min() < counts.max() < 31500


def test_the_thermal_modality_reads_degrees_celsius_from_it(tmp_path: Path) -> None:
    data = build(SampleConfig(val=2, size=24, sensors=("thermal",)), BuildContext(cache=tmp_path))
    image = data.listing("val").samples[0].images["thermal"]
    celsius = Thermal(ThermalConfig()).decode(image.read(), image.where)
    assert 5 < np.median(celsius) < 30


def test_a_sensor_that_is_not_drawn_is_named_with_the_way_out(tmp_path: Path) -> None:
    context = BuildContext(path="data", cache=tmp_path, modalities=("rgb", "thermal"))
    with pytest.raises(
        RecipeError, match="^data: data set 'sample' draws rgb and depth, not 'thermal'. Add it to sens"
    ):
        build(SampleConfig(), context)
    with pytest.raises(ValidationError, match="a sensor is named twice: rgb, rgb"):
        SampleConfig(sensors=("rgb", "rgb"))


def test_drawing_many_scenes_is_announced_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    said: list[str] = []
    config = SampleConfig(train=400, val=4, size=16)
    data = build(config, BuildContext(cache=tmp_path, modalities=("rgb",), say=said.append))
    data.listing("val")
    data.listing("train")
    data.listing("train")
    assert said == ["sample: drawing 400 scenes of train, once"]


def test_many_scenes_drawn_in_parallel_equal_the_same_drawn_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = small(tmp_path / "alone").listing("test").samples
    monkeypatch.setattr("edgefw.plugins.datasets.drawing.shard.PARALLEL_FROM", 1)
    together = small(tmp_path / "together").listing("test").samples
    assert [a.images["depth"].read() for a in alone] == [t.images["depth"].read() for t in together]
