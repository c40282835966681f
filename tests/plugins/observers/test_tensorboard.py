"""The TensorBoard observer: off by default, complete when on, harmless without the package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgefw.contracts.run import RunInfo
from edgefw.errors import EdgefwWarning
from edgefw.plugins.observers.tensorboard import log_folder
from edgefw.registry.loading import Registry
from edgefw.registry.observers import Observers


@pytest.fixture
def info(tmp_path: Path) -> RunInfo:
    (tmp_path / "run-1").mkdir()
    return RunInfo(folder=tmp_path / "run-1", recipe="run", config={"seed": 1})


@pytest.fixture
def observers() -> Observers:
    return Registry().observers()


def test_it_is_off_unless_asked_for(info: RunInfo, observers: Observers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEFW_TENSORBOARD", raising=False)
    observers.call("edgefw_run_started", run=info)
    observers.call("edgefw_step_finished", run=info, phase="distil", step=1, metrics={"loss": 1.0})
    observers.call("edgefw_run_finished", run=info, error=None)
    assert list(info.folder.iterdir()) == []


def test_loading_it_imports_neither_torch_nor_tensorboard() -> None:
    script = (
        "import sys; from edgefw.registry.loading import Registry; Registry().observers(strict=True);"
        "print(sorted({'torch', 'tensorboard'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_scalars_of_steps_validation_and_verify_are_written(
    info: RunInfo, observers: Observers, monkeypatch: pytest.MonkeyPatch
) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    monkeypatch.setenv("EDGEFW_TENSORBOARD", "1")
    row = {"model": "student", "modality": "rgb", "metric": "top1", "value": 0.75, "n": 4}
    observers.call("edgefw_run_started", run=info)
    observers.call("edgefw_step_finished", run=info, phase="distil", step=10, metrics={"loss": 0.5, "lr": 0.1})
    observers.call("edgefw_step_finished", run=info, phase="distil", step=10, metrics={"validation/loss": 0.25})
    observers.call("edgefw_stage_finished", run=info, stage="verify", result={"evaluation": [row]}, skipped=False)
    observers.call("edgefw_run_finished", run=info, error=None)
    assert observers.names == ["edgefw.plugins.observers.tensorboard"]
    events = accumulator.EventAccumulator(str(info.folder / "tensorboard"))
    events.Reload()
    found = {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    assert found == {
        "distil/loss": [(10, 0.5)],
        "distil/lr": [(10, pytest.approx(0.1))],
        "distil/validation/loss": [(10, 0.25)],
        "verify/student/rgb/top1": [(0, 0.75)],
    }


def test_a_path_puts_each_run_into_a_folder_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEFW_TENSORBOARD", str(tmp_path / "boards"))
    assert log_folder(Path("/runs/quickstart-3")) == tmp_path / "boards" / "quickstart-3"


@pytest.mark.parametrize("value", ["", "0", "off", "False"])
def test_off_words_switch_it_off(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEFW_TENSORBOARD", value)
    assert log_folder(Path("/runs/x")) is None


def test_without_the_package_one_warning_says_how_to_get_it(
    info: RunInfo, observers: Observers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEFW_TENSORBOARD", "1")
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.warns(EdgefwWarning, match=r'pip install "edgefw\[tensorboard\]"'):
        observers.call("edgefw_run_started", run=info)
    assert observers.names == []
