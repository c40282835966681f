"""One opened model in a process of its own, which does what it is told line by line on its standard input.

    python benchmarks/backends/one_model.py SPEC.json

`SPEC.json` is `{"run", "artefact", "by_hand", "threads", "images"}`: an artefact of a finished run as edgefw opens it, or with
`by_hand` as that way of by_hand.py does. Images are (N, C, H, W) float32 in a .npy file, of which only the rows in use are in
memory. Answers are lines of JSON behind `ANSWER`, because runtimes print lines of their own:

- at the start `{"startup_s", "first_s"}`: seconds from the start of the script to the first embedding, and of that embedding alone;
- `time COUNT BATCH` -> milliseconds of so many calls, image after image of the file;
- `embed COUNT FILE` -> writes the embeddings (COUNT, D) of the first images, one at a time;
- `memory` -> `{"peak_mb"}`: the most that the process had resident.
"""

from __future__ import annotations

import time

BEGAN = time.perf_counter()

import json
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

ANSWER = "answer "
Embed = Callable[[np.ndarray], np.ndarray]
"""(B, C, H, W) float32 to (B, D)."""


def main() -> None:
    spec = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    with ExitStack() as stack:
        embed = _by_hand(spec) if spec["by_hand"] else _by_edgefw(spec, stack)
        serve(embed, np.load(spec["images"], mmap_mode="r"))


def serve(embed: Embed, images: np.ndarray) -> None:
    """Encode once, say when that was, and then do what the lines ask for."""
    ready = time.perf_counter()
    embed(np.array(images[:1]))
    ended = time.perf_counter()
    _say({"startup_s": ended - BEGAN, "first_s": ended - ready})
    position = 0
    for line in sys.stdin:
        word, *rest = line.split()
        if word == "time":
            position, taken = _timed(embed, images, position, int(rest[0]), int(rest[1]))
            _say(taken)
        elif word == "embed":
            count, file = int(rest[0]), rest[1]
            np.save(file, np.concatenate([embed(np.array(images[row : row + 1])) for row in range(count)]))
            _say({"embedded": count})
        else:
            _say({"peak_mb": _peak_mb()})


def _by_edgefw(spec: dict[str, Any], stack: ExitStack) -> Embed:
    from edgefw.runtime.bundle import open_bundle
    from edgefw.runtime.opening import Opener, single_input

    bundle = stack.enter_context(open_bundle(Path(spec["run"])))
    entry = bundle.artefact(spec["artefact"], None)
    runner, name = Opener(bundle).runner(entry, spec["threads"]), single_input(entry)
    return lambda images: runner.run({name: images})


def _by_hand(spec: dict[str, Any]) -> Embed:
    from by_hand import opened

    return opened(spec["by_hand"], Path(spec["run"]), spec["threads"])


def _timed(embed: Embed, images: np.ndarray, position: int, count: int, batch: int) -> tuple[int, list[float]]:
    """Where the next call goes on, and milliseconds of each."""
    taken = []
    for _ in range(count):
        rows = np.array(images[position : position + batch])
        start = time.perf_counter()
        embed(rows)
        taken.append((time.perf_counter() - start) * 1e3)
        position = (position + batch) % (len(images) - batch + 1)
    return position, taken


def _peak_mb() -> float:
    status = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    line = next(entry for entry in status if entry.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e6


def _say(answer: object) -> None:
    print(ANSWER + json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
