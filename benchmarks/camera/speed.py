"""Is EfficientNet-B3 fast enough for a camera without a GPU? Latency by backend, frames a second, lost frames, memory.

    pip install "edgefw[video,openvino]"
    python benchmarks/camera/speed.py [--work runs/camera-speed] [--frames 10100] [--backends onnxruntime openvino aoti]

`speed.yaml` is run (one training step, all files), `edgefw bench` times its files in turn on two threads, and `edgefw label` looks at a video of 1280 x 720 with
the one that is best on this machine: at its own speed, reading the labeller's memory at frames 1,000 and 10,000; then as a
camera of 25 and of 200 frames a second, which must be labelled or counted as dropped to the last frame. Exit code 1 if a limit is
missed: 25 frames a second, 20 MB of growth, every frame accounted for. `speed.json` holds the figures.

`--backends` names others whose runtime is installed: `aoti` (needs a C++ compiler, and takes minutes), `executorch`, `ncnn`, `litert`. Each
gets the int8 file that it can have (`int8-static`, of ExecuTorch `int8-pt2e`).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edgefw.plugins.datasets.drawing.objects import OBJECTS
from edgefw.plugins.datasets.drawing.scene import draw_scene

HERE = Path(__file__).resolve().parent
SIZE, SCENES, SEED = (1280, 720), 12, 778_000_001
EARLY, LATE = 1_000, 10_000
FASTEST, GROWTH_MB = 25.0, 20.0
RUNTIMES = {
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
    "aoti": "torch",
    "executorch": "executorch",
    "ncnn": "ncnn",
    "litert": "ai_edge_litert",
}
"""Backend -> the package that opens its files."""
INT8 = {"onnxruntime": "int8-static", "openvino": "int8-static", "executorch": "int8-pt2e"}
CAMERAS = {25: 500, 200: 2_000}
"""Frames a second of a camera -> frames."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("runs/camera-speed"), help="run and videos")
    parser.add_argument("--frames", type=int, default=LATE + 100, help="frames of the long video")
    parser.add_argument("--backends", nargs="+", choices=RUNTIMES, default=["onnxruntime", "openvino"])
    parser.add_argument("--out", type=Path, default=HERE / "speed.json")
    arguments = parser.parse_args()
    run = arguments.work / "run"
    _edgefw("run", str(HERE / "speed.yaml"), *overrides(arguments.backends), "--out", str(run), "--resume")
    artefacts = json.loads(_edgefw("bench", str(run), "--threads", "2", "--json").stdout)["artefacts"]
    manifest = json.loads((run / "bundle" / "manifest.json").read_text(encoding="utf-8"))
    found: dict[str, Any] = {"artefacts": artefacts, "labelled_with": manifest["default"]}
    found["file"] = _labelled(run, arguments)
    found["cameras"] = [_as_camera(run, arguments.work, rate, frames) for rate, frames in CAMERAS.items()]
    found["machine"] = {"machine": platform.machine(), "python": platform.python_version(), "threads": 2}
    found["met"] = _met(found)
    arguments.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))
    sys.exit(0 if found["met"] else 1)


def overrides(backends: list[str]) -> list[str]:
    """What the backends change in `speed.yaml`: themselves, and the quantizers that fit one of them.

    Raises:
        SystemExit: if the runtime of one is not installed.
    """
    absent = [name for name in backends if importlib.util.find_spec(RUNTIMES[name]) is None]
    if absent:
        raise SystemExit(f"--backends: not installed: {', '.join(absent)}. `edgefw doctor` says how to get them.")
    quantizers = dict.fromkeys(INT8[name] for name in backends if name in INT8)
    return [
        f"export.backends=[{', '.join(f'{{name: {name}}}' for name in backends)}]",
        f"export.quantizers=[{', '.join(f'{{name: {name}}}' for name in quantizers)}]",
    ]


def _edgefw(*arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, "-m", "edgefw", *arguments], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(f"edgefw {arguments[0]} ended with exit code {done.returncode}")
    return done


def draw_video(path: Path, frames: int, rate: int) -> Path:
    """A pan over one drawn scene after the other, with the noise of a sensor; taken as it is where it is there already."""
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"unfinished-{path.name}")
    writer = cv2.VideoWriter(str(unfinished), cv2.VideoWriter_fourcc(*"mp4v"), rate, SIZE)
    draw = np.random.default_rng(0)
    noise = draw.integers(-12, 12, (8, SIZE[1], SIZE[0], 1), dtype=np.int16)
    scenes = [_scene(number) for number in range(SCENES)]
    for number in range(frames):
        scene, shift = scenes[number // 25 % SCENES], number % 25 * 4
        view = scene[: SIZE[1], shift : shift + SIZE[0]].astype(np.int16) + noise[number % 8]
        writer.write(np.clip(view, 0, 255).astype(np.uint8))
    writer.release()
    unfinished.rename(path)
    return path


def _scene(number: int) -> np.ndarray:
    """(720, 1400, 3) uint8, blue first: the middle of a drawn scene."""
    picture = draw_scene(np.random.default_rng(SEED + number), list(OBJECTS)[number % len(OBJECTS)], 320).rgb
    enlarged = cv2.resize(picture, (SIZE[0] + 120, SIZE[0] + 120))
    return cv2.cvtColor(enlarged[340 : 340 + SIZE[1]], cv2.COLOR_RGB2BGR)


def _labelled(run: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """The long video at the labeller's own speed, and how its memory grows."""
    video = draw_video(arguments.work / f"long-{arguments.frames}.mp4", arguments.frames, 25)
    command = [sys.executable, "-m", "edgefw", "label", str(run), str(video), "--threads", "2", "--jsonl"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stderr is not None
    memory = {}
    for number, _ in enumerate(process.stdout, 1):
        if number in (EARLY, LATE):
            memory[number] = _resident_mb(process.pid)
    growth = round(memory[LATE] - memory[EARLY], 1) if LATE in memory else None
    return {"frames": number, **_said(process.stderr.read()), "resident_mb": memory, "growth_mb": growth}


def _resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found
    return int(found[1]) * 1024 / 1e6


def _as_camera(run: Path, work: Path, rate: int, frames: int) -> dict[str, Any]:
    """A video at its own pace: frames that the labeller is too slow for are dropped, and all are counted."""
    video = draw_video(work / f"camera-{rate}.mp4", frames, rate)
    command = [sys.executable, "-m", "edgefw", "label", str(run), str(video), "--threads", "2", "--realtime", "--jsonl"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    told = len(done.stdout.splitlines())
    return {"frames_a_second": rate, "frames": frames, "labelled": told, **_said(done.stderr)}


def _said(text: str) -> dict[str, float]:
    """The numbers of the labeller's last line."""
    found = re.search(r"(\d+) frames in ([\d.]+) s, ([\d.]+) a second; dropped (\d+)", text)
    if not found:
        raise SystemExit(f"the labeller ended without its totals: {text[-500:]}")
    return {"seconds": float(found[2]), "a_second": float(found[3]), "dropped": int(found[4])}


def _met(found: dict[str, Any]) -> bool:
    counted = all(camera["labelled"] + camera["dropped"] == camera["frames"] for camera in found["cameras"])
    growth = found["file"]["growth_mb"]
    return found["file"]["a_second"] >= FASTEST and growth is not None and growth < GROWTH_MB and counted


if __name__ == "__main__":
    main()
