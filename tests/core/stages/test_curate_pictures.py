"""Pictures of curation: which samples are shown, and what is written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from edgefw.contracts.dataset import FileReference, Sample
from edgefw.plugins.modalities.rgb import Rgb, RgbConfig
from edgefw.stages.curate_pictures import KEPT, LEFT_OUT, MOST_LABELS, shown, write_pictures
from edgefw.stages.kept import Kept


def scored(label: list[int], confidence: list[float], kept: list[bool]) -> Kept:
    return Kept(
        ids=[str(row) for row in range(len(label))],
        label=np.array(label, dtype=np.int64),
        confidence=np.array(confidence, dtype=np.float64),
        kept=np.array(kept, dtype=bool),
    )


def test_the_surest_kept_come_first_and_then_the_surest_left_out() -> None:
    rows = scored(
        [0, 0, 0, 0, 0, 0, 0, 1, -1],
        [0.5, 0.9, 0.7, 0.8, 0.4, 0.3, 0.2, 0.6, np.nan],
        [True, True, True, True, False, False, False, False, True],
    )
    assert shown(rows, 3) == {0: [1, 3, 2, 4, 5], 1: [7]}


@given(st.integers(1, 80), st.integers(0, 300), st.integers(0, 9))
def test_no_label_has_too_many_pictures_and_none_of_another_label(labels: int, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = scored(
        rng.integers(-1, labels, count).tolist(), rng.random(count).tolist(), (rng.random(count) > 0.5).tolist()
    )
    found = shown(rows, labels)
    assert len(found) <= MOST_LABELS
    for label, chosen in found.items():
        assert 1 <= len(chosen) <= KEPT + LEFT_OUT
        assert set(rows.label[chosen]) == {label}
        first = sum(rows.kept[chosen])
        assert rows.kept[chosen[:first]].all() and first <= KEPT
        for part in (chosen[:first], chosen[first:]):
            assert (np.diff(rows.confidence[part]) <= 0).all()


def test_pictures_are_small_files_and_an_unreadable_sample_has_none(tmp_path: Path) -> None:
    Image.fromarray(np.full((300, 400, 3), (200, 30, 30), np.uint8)).save(tmp_path / "wall.png")
    samples = [
        Sample(id="wall", images={"rgb": FileReference(tmp_path / "wall.png")}),
        Sample(id="gone", images={"rgb": FileReference(tmp_path / "gone.png")}),
    ]
    stage = tmp_path / "curate"
    stage.mkdir()
    found = write_pictures(stage, scored([0, 0], [0.9, 0.4], [True, False]), 1, samples, "rgb", Rgb(RgbConfig()))
    assert found == {
        0: [
            {"id": "wall", "kept": True, "confidence": 0.9, "picture": "curate/pictures/0.jpg"},
            {"id": "gone", "kept": False, "confidence": 0.4, "picture": None},
        ]
    }
    with Image.open(stage / "pictures" / "0.jpg") as picture:
        assert picture.size == (96, 72)
        assert np.abs(np.asarray(picture, dtype=int) - (200, 30, 30)).max() < 6
