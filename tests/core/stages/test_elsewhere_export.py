"""A run whose artefact needs another machine: exported, named as not run here, neither passed nor failed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from edgefw import engine
from edgefw.cli.main import run as command_line
from edgefw.errors import ExportError, GateFailed
from edgefw.plugins.backends.tensorrt_plan import absent
from edgefw.recipe.read import read_recipe
from edgefw.registry.loading import Registry
from edgefw.runtime.bundle import open_bundle

pytestmark = pytest.mark.skipif(absent() is None, reason="TensorRT and a GPU are here")
BACKENDS = "export.backends=[{name: onnxruntime, exporter: legacy, threads: 1}, {name: tensorrt, exporter: legacy, precision: fp16}]"
QUANTIZERS = "export.quantizers=[{name: int8-static, activation: int8}]"
NAMES = ["tensorrt-fp16", "tensorrt-int8-static"]


@pytest.fixture(scope="module")
def told(project: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The finished run, exported for TensorRT as well, and what the gate said."""
    folder = Path(shutil.copytree(project / "run", tmp_path_factory.mktemp("elsewhere") / "run"))
    with pytest.raises(GateFailed) as caught:
        engine.run(read_recipe(str(project / "tiny.yaml"), [BACKENDS, QUANTIZERS]), Registry(), folder, resume=True)
    return folder, str(caught.value)


def test_files_and_the_line_are_written_and_the_record_says_that_they_were_not_opened(
    told: tuple[Path, str], result: Any
) -> None:
    records = {record["name"]: record for record in result(told[0], "export")["artefacts"]}
    assert list(records)[2:] == NAMES
    for name in NAMES:
        record, folder = records[name], told[0] / "export" / name
        assert record["unopened"].startswith("not run here: no ")
        assert record["unopened"] not in record["warnings"]
        assert sorted(path.name for path in folder.iterdir()) == ["artefact.json", "model.onnx", "trtexec.sh"]
    assert "unopened" not in records["onnxruntime-fp32"]


def test_verify_judges_the_others_and_says_why_not_these(told: tuple[Path, str], result: Any) -> None:
    verify = result(told[0], "verify")
    assert [row["name"] for row in verify["artefacts"]] == ["onnxruntime-fp32", "onnxruntime-int8-static"]
    assert [row["name"] for row in verify["unjudged"]] == NAMES
    assert all("not run here: no " in row["why"] for row in verify["unjudged"])
    assert not {row["artefact"] for row in verify["budget"]} & set(NAMES)
    assert verify["best"].startswith("onnxruntime-")
    assert "The budget of verify was not met" not in told[1]
    assert "Not everything was judged" in told[1] and "tensorrt-fp16: model.onnx: not run here: no " in told[1]


def test_bundle_and_report_carry_it(told: tuple[Path, str]) -> None:
    with open_bundle(told[0]) as bundle:
        entry = bundle.artefact("tensorrt-fp16")
        assert entry.file == "artefacts/tensorrt-fp16/model.onnx" and entry.quality == {}
    assert "not run here: no " in (told[0] / "report.html").read_text()
    assert json.loads((told[0] / "result.json").read_text())["status"] == "gate-failed"


def test_labelling_with_it_is_one_message(told: tuple[Path, str], project: Path, capsys: Any) -> None:
    picture = str(project / "data/test-green-1.png")
    assert command_line(["label", str(told[0]), picture, "--artefact", "tensorrt-fp16"]) == 2
    assert "model.onnx: not run here: no " in capsys.readouterr().err


def test_check_warns_of_it(project: Path, capsys: Any) -> None:
    around_0 = "export.quantizers=[{name: int8-static, activation: int8}]"  # what TensorRT can read
    assert command_line(["check", str(project / "tiny.yaml"), BACKENDS, around_0]) == 0
    assert "warning: export: tensorrt-fp16 is not run here: no " in capsys.readouterr().out


def test_maps_of_it_are_refused_before_training(project: Path, tmp_path: Path) -> None:
    recipe = read_recipe(
        str(project / "tiny.yaml"), ["export.backends=[{name: tensorrt}]", "export.quantizers=[]", "export.heat=true"]
    )
    with pytest.raises(
        ExportError, match="^export.heat: maps are made by the first backend, and 'tensorrt' is not run"
    ):
        engine.run(recipe, Registry(), tmp_path / "run")
