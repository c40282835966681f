"""The quickstart's limits on other scenes, judged on rows made by hand."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "benchmarks" / "quickstart" / "run.py"


def rows(teacher: tuple[float, float], int8: tuple[float, float]) -> list[dict[str, object]]:
    said = {"teacher": teacher, "onnxruntime-int8-static": int8}
    return [
        {"model": model, "modality": modality, "metric": metric, "value": value, "n": 1000}
        for model, values in said.items()
        for modality, value in zip(("rgb", "depth"), values, strict=True)
        for metric in ("top1", "balanced_top1")
    ]


@pytest.mark.parametrize(
    ("teacher", "int8", "missed"),
    [
        ((0.91, 0.27), (0.87, 0.95), []),
        ((0.84, 0.27), (0.83, 0.95), ["teacher reads colour"]),
        ((0.91, 0.62), (0.90, 0.95), ["teacher is poor at depth"]),
        ((0.91, 0.27), (0.85, 0.95), ["int8 student near the teacher on colour"]),
        ((0.91, 0.27), (0.90, 0.55), ["int8 student beyond the teacher on depth"]),
    ],
)
def test_each_limit_is_missed_by_what_lies_beyond_it(teacher, int8, missed) -> None:
    found = runpy.run_path(str(SCRIPT))["judged"](rows(teacher, int8))
    assert [name for name, kept in found["met"].items() if not kept] == missed
    assert found["standard_error"]["teacher rgb"] == pytest.approx(
        (teacher[0] * (1 - teacher[0]) / 1000) ** 0.5, abs=1e-4
    )
