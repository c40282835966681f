"""A process of one_model.py, and what its embeddings have in common with torch's."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn, Self

import numpy as np
from one_model import ANSWER

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from running import quiet_environment

THREADS = 2
"""Of every runtime that is timed."""


def stop(message: str) -> NoReturn:
    """End with exit code 2: 1 is a verdict."""
    print(message, file=sys.stderr)
    raise SystemExit(2)


class Model:
    """A model in a process of its own, opened and warm; a context that ends it.

    Args:
        run: a prepared run.
        name: of the artefact or the way, for files and messages.
        threads: of its runtime.
        artefact: opened as edgefw does.
        by_hand: opened as that way of by_hand.py.
    """

    def __init__(
        self, run: Path, name: str, *, threads: int, artefact: str | None = None, by_hand: str | None = None
    ) -> None:
        folder = run / "answers"
        folder.mkdir(exist_ok=True)
        self.name, self._answers = name, folder / f"{name.replace(': ', '-').replace(' ', '-')}.npy"
        spec = {"run": str(run), "artefact": artefact, "by_hand": by_hand, "threads": threads}
        file = self._answers.with_suffix(".json")
        file.write_text(json.dumps(spec | {"images": str(run / "images.npy")}), encoding="utf-8")
        command = [sys.executable, str(HERE / "one_model.py"), str(file)]
        quiet = quiet_environment({"OMP_NUM_THREADS": threads})
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=quiet)
        self.startup_s: float = self._answer()["startup_s"]
        self.alone: list[float] = []
        self.batches: list[float] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, question: str) -> Any:
        """The answer to a line."""
        assert self._process.stdin is not None
        self._process.stdin.write(question + "\n")
        self._process.stdin.flush()
        return self._answer()

    def embeddings(self, count: int) -> np.ndarray:
        """(count, D) of the first images."""
        self.ask(f"embed {count} {self._answers}")
        found: np.ndarray = np.load(self._answers)
        return found

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(ANSWER):  # runtimes print greetings
                return json.loads(line.removeprefix(ANSWER))
        stop(f"{self.name}: its process ended without an answer")


def agreement(found: np.ndarray, expected: np.ndarray) -> dict[str, float]:
    """Cosines of rows (N, D) with torch's, and the largest relative error."""
    found = found.astype(np.float64)
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    cosines = (found * expected).sum(1) / lengths
    error = np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected, axis=1)
    return {
        "cosine_mean": float(cosines.mean()),
        "cosine_min": float(cosines.min()),
        "relative_error_max": float(error.max()),
    }
