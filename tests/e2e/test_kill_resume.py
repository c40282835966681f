"""A run killed at any moment goes on to the same bytes, and never shows a half-written artefact.

Each kill is a SIGKILL to a real process, at a random moment of a random step or stage. Children are forked from one
process that has imported everything, so that a kill costs a second and not a start of Python.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from edgefw.recipe.schema import STAGES
from edgefw.run_folder import RunFolder

FIXTURES = Path(__file__).parents[1] / "fixtures"
RECIPE = """
seed: 5
data: {name: folder, root: data}
modalities: {rgb: {name: rgb}}
teacher: {name: tiny-colours}
student: {name: tiny-trunk}
curate: {labels: [red, green, blue, grey], keep: 0.75}
train:
  - name: distil
    scheme: {name: dual-modality}
    losses: [{name: feature}]
    optimiser: {lr: 1e-2, warmup: 2}
    steps: 12
    batch: 8
    ema: 0.9
    cache: {views: 3}
    select: {by: loss, every: 4}
  - name: polish
    scheme: {name: single-modality}
    losses: [{name: feature, weight: 0.5}, {name: similarity-kl}]
    sampler: {name: class-balanced}
    steps: 8
    batch: 6
    accumulate: 1
    select: {by: accuracy, every: 3}
export: {backends: [{name: onnxruntime}], quantizers: [{name: int8-static}], calibration: 16}
compute: {device: cpu, log_every: 1, checkpoint_every: 2}
verify: {max_drop: null, min_cosine: null, max_slowdown: null}
"""


@dataclass
class Warm:
    """The process that forks runs."""

    process: subprocess.Popen[str]
    project: Path
    until: str

    def start(self, out: Path, *options: str) -> int:
        """Start a run; its process id."""
        arguments = ["run", str(self.project / "kill.yaml"), "--out", str(out), "--until", self.until, *options]
        self._stdin.write(json.dumps({"arguments": arguments, "log": f"{out}.log"}) + "\n")
        self._stdin.flush()
        return int(self._answer()["pid"])

    def wait(self) -> int:
        """Exit code of the run that was started last; -9 if it was killed."""
        return int(self._answer()["status"])

    def complete(self, out: Path, *options: str) -> None:
        """Run to the end."""
        self.start(out, *options)
        code = self.wait()
        assert code == 0, Path(f"{out}.log").read_text()

    @property
    def _stdin(self) -> IO[str]:
        assert self.process.stdin is not None
        return self.process.stdin

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer


@contextmanager
def warmed(project: Path, until: str, *modules: str) -> Iterator[tuple[Warm, Path]]:
    """A process that runs the recipe up to a stage, and a run that nobody disturbed."""
    draw(project / "data", {"train": 8, "val": 3, "test": 3})
    (project / "kill.yaml").write_text(RECIPE)
    own = {"PYTHONPATH": str(FIXTURES / "tiny_pieces"), "EDGEFW_PLUGINS": "edgefw-tiny", "OMP_NUM_THREADS": "1"}
    others = {name: value for name, value in os.environ.items() if name != "EDGEFW_CACHE"}
    process = subprocess.Popen(
        [sys.executable, str(FIXTURES / "warm_edgefw.py"), *modules],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**others, **own},
        cwd=project,
    )
    warm = Warm(process, project, until)
    try:
        assert warm._answer() == {"ready": True}
        warm.complete(project / "whole")
        yield warm, project / "whole"
    finally:
        warm._stdin.close()
        process.wait(timeout=60)


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Warm, Path]]:
    """Runs that end with the training."""
    with warmed(tmp_path_factory.mktemp("kill"), "train") as both:
        yield both


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Warm, Path]]:
    """Runs of the whole chain."""
    modules = ("onnx", "onnxruntime.quantization", "onnxscript", "torch.onnx", "jinja2")
    with warmed(tmp_path_factory.mktemp("chain"), "report", *modules) as both:
        yield both


def draw(root: Path, counts: dict[str, int]) -> None:
    """Noise with one strong channel, in folders by colour."""
    rng = np.random.default_rng(0)
    for split, count in counts.items():
        for channel, name in enumerate(("red", "green", "blue")):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 60, (20, 20, 3))
                pixels[..., channel] += 150
                Image.fromarray(pixels.astype(np.uint8)).save(root / split / name / f"{number}.png")


def events(folder: Path) -> list[str]:
    """What the observer has written so far: stages and steps."""
    try:
        return (folder / "diary.txt").read_text().splitlines()
    except FileNotFoundError:
        return []


def kill_at(warm: Warm, folder: Path, event: int, delay_s: float | None) -> bool:
    """Start a run and kill it `delay_s` after an event, or while it writes a checkpoint; whether it was still alive."""
    pid = warm.start(folder)
    limit = time.monotonic() + 300
    while len(events(folder)) < event and time.monotonic() < limit and os.path.exists(f"/proc/{pid}/exe"):
        time.sleep(0.001)
    if delay_s is None:
        limit = time.monotonic() + 5
        while not list(folder.glob("train/*/checkpoint/.*.unfinished")) and time.monotonic() < limit:
            pass
    else:
        time.sleep(delay_s)
    kill(pid)
    code = warm.wait()
    assert code in (0, -signal.SIGKILL), Path(f"{folder}.log").read_text()
    return code != 0


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def assert_nothing_is_half_written(folder: Path) -> None:
    """Whatever has its final name is whole."""
    run = RunFolder(folder)
    for stage in STAGES:
        if (folder / stage).is_dir() and stage != "train":
            assert run.completed(stage) is not None, f"{stage} is there and not complete"
    for file in folder.rglob("*"):
        partial = any(part.startswith(".") or part.endswith(".partial") for part in file.relative_to(folder).parts)
        if partial or not file.is_file():
            continue
        if file.suffix == ".json":
            json.loads(file.read_text())
        elif file.suffix == ".safetensors":
            load_file(file)
        elif file.suffix == ".onnx":
            import onnxruntime

            onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        elif file.suffix == ".html":
            assert file.read_text().rstrip().endswith("</html>")
    if (folder / "bundle").exists():
        from edgefw.runtime.bundle import open_bundle

        open_bundle(folder / "bundle")


def weights(folder: Path) -> dict[str, bytes]:
    files = sorted((folder / "train").glob("*/student.safetensors"))
    return {file.parent.name: file.read_bytes() for file in files}


def compiled(folder: Path) -> dict[str, bytes]:
    return {file.parent.name: file.read_bytes() for file in sorted((folder / "export").glob("*/*.onnx"))}


def metrics(folder: Path) -> list[dict[str, Any]]:
    """Logged numbers without wall times."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def moments(whole: Path, draws: random.Random) -> Iterator[tuple[int, float | None]]:
    """Without end, in turn: in a checkpoint, in export, in a step, in any other stage; as `kill_at` takes them."""
    told = events(whole)
    steps = [number for number, line in enumerate(told, 1) if line.startswith("step")]
    stages = {line.split()[1]: number for number, line in enumerate(told, 1) if line.startswith("start")}
    others = [name for name in stages if name != "export"]
    while True:
        yield draws.choice(steps[:-4]), None
        for name in ("export" if "export" in stages else "", "", draws.choice(others)):
            if name:
                record = RunFolder(whole).completed(name)
                assert record is not None
                yield stages[name], draws.uniform(0.0, record.seconds)
            else:
                yield draws.choice(steps), draws.uniform(0.0, 0.06)


def took_seconds(folder: Path) -> dict[str, float]:
    """Stage -> how long it took."""
    done = {stage: RunFolder(folder).completed(stage) for stage in STAGES}
    return {stage: record.seconds for stage, record in done.items() if record is not None}


def left_over(folder: Path) -> str:
    """What the kill interrupted, as far as the folder shows it."""
    found = [*folder.glob("*.partial"), *folder.rglob(".*.unfinished")]
    return ", ".join(str(path.relative_to(folder)) for path in found) or "nothing half-done"


def assert_kills_do_no_harm(warm: Warm, whole: Path, kills: int, seed: int) -> list[str]:
    """Kill and resume so often; what every kill interrupted."""
    told, killed, interrupted = events(whole), 0, list[str]()
    for event, delay_s in moments(whole, random.Random(seed)):
        folder = warm.project / f"run-{seed}-{killed}"
        if not kill_at(warm, folder, event, delay_s):
            shutil.rmtree(folder)
            continue
        killed += 1
        when = "in a checkpoint" if delay_s is None else f"{delay_s:.3f} s"
        moment = f"{when} after '{told[event - 1]}'"
        interrupted.append(left_over(folder))
        print(f"{moment}: {interrupted[-1]}")
        assert_nothing_is_half_written(folder)
        warm.complete(folder, "--resume")
        assert weights(folder) == weights(whole), f"killed {moment}: other weights"
        assert metrics(folder) == metrics(whole), f"killed {moment}: other metrics"
        assert compiled(folder) == compiled(whole), f"killed {moment}: other artefacts"
        assert_nothing_is_half_written(folder)
        assert left_over(folder) == "nothing half-done", f"killed {moment}: something is left over"
        if killed == kills:
            break
    return interrupted


def test_three_kills_in_training_do_no_harm(training: tuple[Warm, Path]) -> None:
    assert_kills_do_no_harm(*training, kills=3, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_ten_kills_of_a_whole_run_do_no_harm(chain: tuple[Warm, Path], seed: int) -> None:
    assert sum(took_seconds(chain[1]).values()) < 20
    interrupted = assert_kills_do_no_harm(*chain, kills=10, seed=seed)
    assert any("checkpoint" in text for text in interrupted), interrupted
    assert any("export" in text for text in interrupted), interrupted


@pytest.mark.slow
def test_a_run_killed_again_and_again_still_arrives(training: tuple[Warm, Path]) -> None:
    warm, whole = training
    folder = warm.project / "again"
    for delay_s in (0.0, 0.05, 0.01, 0.1):
        pid = warm.start(folder, "--resume")
        seen = len(events(folder))
        while len(events(folder)) < seen + 4 and os.path.exists(f"/proc/{pid}/exe"):
            time.sleep(0.001)
        time.sleep(delay_s)
        kill(pid)
        warm.wait()
    warm.complete(folder, "--resume")
    assert weights(folder) == weights(whole)
