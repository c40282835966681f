"""Where does the processor time of a frame go? Milliseconds of decoding, preparing, encoding and labelling, one after the other.

    python benchmarks/camera/stages.py --bundle runs/camera-speed/run [--artefact NAME] [--frames 200]

The video of `speed.py` is decoded, then its last frames are prepared, encoded on one thread, and labelled. What counts is the CPU time
of the process in each stage, all threads of OpenCV included: what else the machine does changes little. Writes `stages.json`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from speed import SIZE, draw_video

from edgefw.camera.frames import Frame
from edgefw.camera.session import Session
from edgefw.camera.video import VideoSource
from edgefw.runtime.bundle import open_bundle
from edgefw.runtime.opening import Opener, single_input

T = TypeVar("T")
HERE = Path(__file__).resolve().parent
KEPT = 40
"""Frames that stay in memory for the other stages."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", type=Path, default=Path("runs/camera-speed/run"))
    parser.add_argument("--artefact", help="default: the bundle's")
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--work", type=Path, default=Path("runs/camera-speed"), help="where the video is")
    parser.add_argument("--out", type=Path, default=HERE / "stages.json")
    arguments = parser.parse_args()
    found = _measured(arguments)
    arguments.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


def _measured(arguments: argparse.Namespace) -> dict[str, object]:
    video = draw_video(arguments.work / f"stages-{arguments.frames}.mp4", arguments.frames, 25)
    began, frames = time.process_time(), deque[Frame](maxlen=KEPT)
    frames.extend(VideoSource(str(video)).frames())
    spent = {"decode": (time.process_time() - began) / arguments.frames}
    with open_bundle(arguments.bundle) as bundle:
        opener, entry = Opener(bundle), bundle.artefact(arguments.artefact, "rgb")
        prepare, runner, input = opener.preprocessing("rgb"), opener.runner(entry, 1), single_input(entry)
        session = Session(bundle.label_pack(), None, None)
        inputs = [prepare(frame.values) for frame in frames]
        embeddings = [runner.run({input: pixels[None]})[0] for pixels in inputs]
        spent["prepare"] = _each(lambda frame: prepare(frame.values), frames)
        spent["encode"] = _each(lambda pixels: runner.run({input: pixels[None]}), inputs)
        spent["label"] = _each(lambda pair: json.dumps(session.look(*pair)), list(zip(frames, embeddings, strict=True)))
    each = {stage: round(1e3 * seconds, 2) for stage, seconds in spent.items()}
    return {"artefact": entry.name, "frame": SIZE, "processor_ms": each}


def _each(work: Callable[[T], object], items: Sequence[T]) -> float:
    """CPU seconds of the process for one item."""
    began = time.process_time()
    for item in items:
        work(item)
    return (time.process_time() - began) / len(items)


if __name__ == "__main__":
    main()
