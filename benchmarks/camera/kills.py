"""Kill a labeller again and again, all in one store, and look at the store after every kill, before anything repairs it.

Every other kill comes at a random moment from the start of the process, so that loading, the repair of what the kill before left, and
the first frames are hit too; the others come up to three seconds after the first record. After a kill, each line's picture must be there with its hash,
and a picture that has no line yet must decode to its end. A temporary file has no name of its own and may be anything.
"""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

from PIL import Image

from edgefw.camera.store import LINES, FrameStore, read_lines

LABELLING, STARTING = 3.0, 1.2
"""Latest moment of a kill: seconds after the first record, and times what the last start took."""


def kill_often(command: list[str], store: Path, said: Path, kills: int) -> dict[str, Any]:
    """What was found after each kill, added up, and what the store holds once it is repaired.

    Args:
        command: stores frames in `store` and prints a JSON line for each.
        said: file for what it prints.
    """
    draw, found, starting = random.Random(0), Counter[str](), 0.0
    kept: set[str] = set()
    for number in range(kills):
        if number % 2:
            told, _ = _killed(command, said, draw.uniform(0.0, STARTING * starting), None)
        else:
            told, starting = _killed(command, said, None, draw.uniform(0.0, LABELLING))
        kept |= {record["time"] for record in told if record["trigger"] == "kept"}
        found["before the first record"] += not told
        found += _state(store, kept)
    FrameStore(store).close()
    return {
        "kills": kills,
        "before the first record": found["before the first record"],
        "kept as told": len(kept),
        "after kills": {name: found[name] for name in _state(store, set())},
        "stored": len(read_lines(store)),
        "after repair": dict(_state(store, kept)),
    }


def _killed(
    command: list[str], said: Path, since_start: float | None, since_record: float | None
) -> tuple[list[dict[str, Any]], float]:
    """What was said of each frame, and the seconds to the first record (to the kill, if it came before)."""
    with said.open("wb") as out:
        began = time.monotonic()
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL)
        while since_record is not None and not said.stat().st_size and process.poll() is None:
            time.sleep(0.01)
        started = time.monotonic() - began
        time.sleep(since_start if since_record is None else since_record)
        process.kill()
        process.wait()
    if process.returncode != -9:
        raise SystemExit(f"the labeller ended by itself, with exit code {process.returncode}")
    lines = said.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")], started


def _state(store: Path, told: set[str]) -> Counter[str]:
    """What is wrong, or in flight, in a store that was just left alone; `told`: times of frames that were said to be kept."""
    stored = read_lines(store)
    lines = {line["file"]: line["sha256"] for line in stored}
    names = {path.name for path in store.iterdir()} - {LINES} if store.is_dir() else set()
    named = {name for name in names if not name.endswith(".part")}
    return Counter(
        {
            "broken": sum(name not in named or _sha256(store / name) != lines[name] for name in lines)
            + sum(not _decodes(store / name) for name in named - set(lines)),
            "without a line": len(named - set(lines)),
            "more than the frame in flight": max(0, len(named - set(lines)) - 1),
            "temporary files": len(names - named),
            "lost": len(told - {line["time"] for line in stored}),
        }
    )


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _decodes(path: Path) -> bool:
    try:
        with Image.open(path) as picture:
            picture.load()
    except OSError:
        return False
    return True
