"""A researcher's afternoon: one recipe, four runs that swap a piece each on the command line, one table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgefw.cli.main import run as edgefw

pytestmark = pytest.mark.slow

RECIPE = "edgevl"
SMALL = (
    "data={name: sample, train: 48, val: 12, test: 12, size: 32}",
    "teacher={name: openclip, model: 'local-dir:${shipped:quickstart-teacher}'}",
    "student={name: timm, model: test_resnet, size: 32, head: {name: linear-norm}}",
    "curate.keep=0.5",
    "train.distil.epochs=1",
    "train.distil.batch=8",
    "train.align.epochs=1",
    "export.backends=[{name: onnxruntime, threads: 1}]",
    "verify.max_drop=null",
    "verify.min_cosine=null",
    "verify.max_slowdown=null",
    "compute.device=cpu",
    "compute.threads=1",
)
INT8 = "int8-qat"
QUANTIZED = {"quantizer": "int8-static"}
SWAPS = {
    "as-it-is": (),
    "student": ("student.model=test_vit",),
    "loss": ("train.distil.losses.0.name=infonce",),
    "sampler": ("train.distil.sampler.name=class-balanced",),
    "quantizer": ("train.align.quantizer=null", "export.quantizers=[{name: int8-static}]"),
}


@pytest.fixture(scope="module")
def afternoon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the runs, which share the teacher's answers."""
    folder = tmp_path_factory.mktemp("afternoon")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("EDGEFW_CACHE", str(folder / "cache"))
        for name, swap in SWAPS.items():
            assert edgefw(["run", RECIPE, *SMALL, *swap, "--out", f"runs/{name}"]) == 0
        yield folder


def test_compare_prints_one_table_of_all_runs(afternoon: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert edgefw(["compare", *(str(afternoon / "runs" / name) for name in SWAPS)]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    heading = next(row for row in rows if row[:2] == ["run", "model"])
    assert heading[2:5] == ["rgb", "depth", "average"]
    models = {(row[0], row[1]) for row in rows if len(row) > 4}
    for name in SWAPS:
        assert {(name, "student"), (name, f"onnxruntime-{QUANTIZED.get(name, INT8)}")} <= models
    assert ("quantizer", "onnxruntime-fp32") in models  # what is quantised after training is a float file first
    assert any(row[:3] == ["every", "run", "teacher"] for row in rows)


def test_what_was_swapped_is_what_differs_and_every_number_is_there(
    afternoon: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert edgefw(["compare", *(str(afternoon / "runs" / name) for name in SWAPS), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    differing = {row["key"]: row["values"] for row in document["differences"]}
    assert differing["student.model"] == ["test_resnet", "test_vit", *["test_resnet"] * 3]
    assert differing["train[0].losses[0].name"] == ["feature", "feature", "infonce", "feature", "feature"]
    assert differing["train[0].sampler.name"] == [*["shuffle"] * 3, "class-balanced", "shuffle"]
    assert differing["train[1].quantizer.name"] == [*["int8-qat"] * 4, "–"]
    assert differing["export.quantizers[0].name"] == [*["–"] * 4, "int8-static"]
    files = [row for row in document["table"] if row["model"].startswith("onnxruntime")]
    assert len(files) == len(SWAPS) + 1
    for row in files:
        assert 0 <= row["average"] <= 1 and row["bytes"] > 0 and row["latency_ms_p50"] > 0 and row["train_seconds"] > 0
