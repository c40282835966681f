"""Five networks in every backend that runs here: agreement with torch, latency, throughput, size, memory, start.

    pip install "edgefw[train,openvino,ncnn,executorch]"
    python benchmarks/backends/speed.py --data ../shared/data [--work runs/backend-speed] [--prepare]

Each network is a run of `speed.yaml` (one training step); its artefacts, and the same network used by hand (by_hand.py), are opened in a process
each, which are told in turn to encode a few images: a busy machine is busy for all of them alike, and a waiting process takes no time. Images are 256
RGB views of the test split of furniture-rgbd, prepared as the run's bundle says. `--prepare` makes runs and files and stops; what is made is not made again.

`speed.json` has the rows: per network and backend p50 and p95 of one image, images a second in batches of eight, megabytes of the file, the most
memory of a process that encodes one image at a time, seconds to the first embedding, agreement with torch, and `of_best_by_hand`: p50 over that of the fastest way by hand. Exit code 1 if
a backend is more than 5 % behind it.
"""

from __future__ import annotations

import argparse
import io
import json
import platform
import random
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from by_hand import WAYS, build
from PIL import Image
from trained_run import TrainedRun

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
sys.path.insert(0, str(HERE.parent / "clip4retrofit"))
from furniture import samples
from running import edgefw, machine, quiet_environment

from edgefw.runtime.bundle import open_bundle
from edgefw.runtime.opening import Opener

MODELS = (
    "efficientnet_b3",
    "tf_efficientnet_lite0",
    "mobilenetv4_conv_small",
    "vit_small_patch16_224",
    "swin_tiny_patch4_window7_224",
)
PACKAGES = {
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
    "aoti": "torch",
    "executorch": "executorch",
    "ncnn": "ncnn",
}
IMAGES, SEED, THREADS, BATCH, BEHIND = 256, 20261127, 2, 8, 1.05


def main() -> None:
    arguments = _arguments()
    backends = [name for name in arguments.backends if find_spec(PACKAGES[name])]
    runs = {model: prepared(model, backends, arguments) for model in arguments.models}
    if arguments.prepare:
        return
    rows: list[dict[str, Any]] = []
    for model, run in runs.items():
        rows += measured(model, run, arguments)
        print(_table(rows[-len(backends) :]), flush=True)
    versions = {name: version(PACKAGES[name]) for name in backends}
    found = {"rows": rows, "machine": machine() | {"threads": THREADS, "python": platform.python_version()} | versions}
    found["met"] = all(row["of_best_by_hand"] <= BEHIND for row in rows if row["of_best_by_hand"] is not None)
    arguments.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    sys.exit(0 if found["met"] else 1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="holds furniture-rgbd")
    parser.add_argument("--work", type=Path, default=Path("runs/backend-speed"), help="runs and files")
    parser.add_argument("--models", nargs="+", default=list(MODELS), help="timm names")
    parser.add_argument(
        "--backends", nargs="+", default=list(PACKAGES), choices=list(PACKAGES), help="if they are here"
    )
    parser.add_argument("--size", type=int, default=224, help="pixels of a side")
    parser.add_argument("--rounds", type=int, default=30, help="turns of five images that each model has")
    parser.add_argument("--prepare", action="store_true", help="make runs and files, and stop")
    parser.add_argument("--out", type=Path, default=HERE / "speed.json")
    return parser.parse_args()


def prepared(model: str, backends: Sequence[str], arguments: argparse.Namespace) -> Path:
    """The finished run of a network, with the images, torch's answers and the files by hand in it."""
    run = arguments.work.absolute() / model
    pieces = json.dumps([{"name": name} for name in backends])
    changes = [f"student.model={model}", f"student.size={arguments.size}", f"export.backends={pieces}"]
    ended = edgefw(quiet_environment({}), "run", str(HERE / "speed.yaml"), *changes, "--out", str(run), "--resume")
    if ended.returncode not in (0, 1):
        raise SystemExit(f"{model}: edgefw run ended with exit code {ended.returncode}")
    if not (run / "torch.npy").is_file():
        np.save(run / "images.npy", _images(run, arguments.data))
        np.save(run / "torch.npy", _torch_answers(run))
    trained = TrainedRun(run)
    for backend in backends:
        build(backend, run, trained.shape, lambda: trained.network)
    return run


def _images(run: Path, data: Path) -> np.ndarray:
    """(N, C, H, W) float32, prepared as the bundle says."""
    every = list(samples(data / "furniture-rgbd", "test", "rgb"))
    drawn = sorted(random.Random(SEED).sample(range(len(every)), IMAGES))
    with open_bundle(run) as bundle:
        prepare = Opener(bundle).preprocessing("rgb")
        pictures = [Image.open(io.BytesIO(every[row].data)).convert("RGB") for row in drawn]
        return np.stack([prepare(np.asarray(picture)) for picture in pictures])


def _torch_answers(run: Path) -> np.ndarray:
    import torch

    network = TrainedRun(run).network
    with torch.inference_mode():
        parts = torch.from_numpy(np.load(run / "images.npy")).split(32)
        return np.concatenate([network(part).numpy() for part in parts])


class Model:
    """A process of one_model.py."""

    def __init__(self, run: Path, name: str, *, artefact: str | None = None, by_hand: str | None = None) -> None:
        self.name, self._answers = name, run / f"answers-{name.replace(': ', '-').replace(' ', '-')}.npy"
        spec = {"run": str(run), "artefact": artefact, "by_hand": by_hand, "threads": THREADS}
        file = self._answers.with_suffix(".json")
        file.write_text(json.dumps(spec | {"images": str(run / "images.npy")}), encoding="utf-8")
        command = [sys.executable, str(HERE / "one_model.py"), str(file)]
        quiet = quiet_environment({"OMP_NUM_THREADS": THREADS})
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=quiet)
        self.start = self._answer()
        self.alone: list[float] = []
        self.batches: list[float] = []

    def ask(self, question: str) -> Any:
        """The answer to a line."""
        assert self._process.stdin is not None
        self._process.stdin.write(question + "\n")
        self._process.stdin.flush()
        return self._answer()

    def agreement(self, expected: np.ndarray) -> dict[str, float]:
        """Cosines with torch's answers, and the largest relative error."""
        self.ask(f"embed {self._answers}")
        found = np.load(self._answers).astype(np.float64)
        lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
        cosines = (found * expected).sum(1) / lengths
        error = np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected, axis=1)
        return {
            "cosine_mean": float(cosines.mean()),
            "cosine_min": float(cosines.min()),
            "relative_error_max": float(error.max()),
        }

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(("{", "[")):  # runtimes print greetings
                return json.loads(line)
        raise SystemExit(f"{self.name}: its process ended without an answer")


def measured(model: str, run: Path, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """A row per artefact of a run."""
    with open_bundle(run) as bundle:
        entries = list(bundle.manifest.artefacts)
    ways = [f"{entry.backend}: {way}" for entry in entries for way in WAYS[entry.backend]]
    ours = [Model(run, entry.name, artefact=entry.name) for entry in entries]
    theirs = [Model(run, way, by_hand=way) for way in ways]
    expected = np.load(run / "torch.npy").astype(np.float64)
    memory = {each.name: each.ask("memory")["peak_mb"] for each in ours}
    agreed = {each.name: each.agreement(expected) for each in (*ours, *theirs)}
    _time(ours, theirs, arguments.rounds)
    by_hand = {each.name: {"p50_ms": float(np.median(each.alone)), **agreed[each.name]} for each in theirs}
    rows = [_row(model, entry, each, agreed[entry.name], by_hand) for entry, each in zip(entries, ours)]
    for each in (*ours, *theirs):
        each.close()
    return [row | {"peak_mb": round(memory[row["artefact"]], 1)} for row in rows]


def _time(ours: Sequence[Model], theirs: Sequence[Model], rounds: int) -> None:
    """One image at a time, five images a turn, in another order every turn; then batches of ours."""
    every, order = [*ours, *theirs], random.Random(SEED)
    for each in every:
        each.ask("time 5 1")
    for _ in range(rounds):
        order.shuffle(every)
        for each in every:
            each.alone += each.ask("time 6 1")[1:]  # the first wakes the threads
    for each in ours:
        each.ask(f"time 1 {BATCH}")
    for _ in range(max(rounds // 5, 1)):
        for each in ours:
            each.batches += each.ask(f"time 2 {BATCH}")


def _row(
    model: str, entry: Any, each: Model, agreed: dict[str, float], by_hand: dict[str, dict[str, float]]
) -> dict[str, Any]:
    ways = {name.split(": ")[1]: found for name, found in by_hand.items() if name.startswith(f"{entry.backend}: ")}
    best = min((found["p50_ms"] for found in ways.values()), default=None)
    p50, p95 = np.percentile(each.alone, [50, 95])
    return {
        "model": model,
        "artefact": entry.name,
        "backend": entry.backend,
        "p50_ms": round(float(p50), 3),
        "p95_ms": round(float(p95), 3),
        "images_per_second": round(1000 * BATCH / float(np.median(each.batches)), 1),
        "megabytes": round(entry.bytes / 1e6, 2),
        "startup_s": round(each.start["startup_s"], 2),
        **agreed,
        "of_best_by_hand": round(float(p50) / best, 3) if best else None,
        "by_hand": ways,
    }


def _table(rows: Sequence[dict[str, Any]]) -> str:
    lines = [
        f"{row['model']:<30}{row['artefact']:<22}{row['p50_ms']:>9.2f} ms{row['images_per_second']:>8.1f}/s"
        f"{row['of_best_by_hand'] or 0:>7.2f} of the best by hand, cosine {row['cosine_min']:.6f}"
        for row in sorted(rows, key=lambda row: row["p50_ms"])
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
