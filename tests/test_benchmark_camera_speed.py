"""Which backends the camera's speed table takes, and what it says of one whose runtime is not there."""

from __future__ import annotations

import importlib.util
import runpy
from pathlib import Path

import pytest

from edgefw.recipe.compose import compose
from edgefw.recipe.read import read_recipe
from edgefw.registry.loading import Registry

CAMERA = Path(__file__).resolve().parent.parent / "benchmarks" / "camera"


@pytest.fixture(scope="module")
def speed():
    pytest.importorskip("cv2")
    return runpy.run_path(str(CAMERA / "speed.py"))


def test_each_backend_gets_the_int8_file_that_it_can_have(speed) -> None:
    changes = speed["overrides"](["onnxruntime", "aoti"])
    assert changes == ["export.backends=[{name: onnxruntime}, {name: aoti}]", "export.quantizers=[{name: int8-static}]"]
    assert speed["overrides"](["aoti"])[1] == "export.quantizers=[]"
    chosen = compose(read_recipe(str(CAMERA / "speed.yaml"), changes), Registry())
    assert [backend.technique.name for backend in chosen.backends] == ["onnxruntime", "aoti"]


def test_without_backends_the_recipe_stays_as_it_is_written(speed) -> None:
    pytest.importorskip("openvino")
    written = read_recipe(str(CAMERA / "speed.yaml"), ()).config.export
    asked = read_recipe(str(CAMERA / "speed.yaml"), speed["overrides"](["onnxruntime", "openvino"])).config.export
    assert written == asked


def test_a_backend_whose_runtime_is_missing_is_named(speed) -> None:
    absent = next(
        (name for name, package in speed["RUNTIMES"].items() if importlib.util.find_spec(package) is None), None
    )
    if absent is None:
        pytest.skip("every runtime is installed")
    with pytest.raises(SystemExit, match=f"--backends: not installed: {absent}. `edgefw doctor` says how"):
        speed["overrides"](["onnxruntime", absent])
