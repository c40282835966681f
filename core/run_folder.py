"""The folder of a run: who may write into it, which stages are complete, and files that are whole or absent.

A stage works in `<stage>.partial/`, which becomes `<stage>/` by one rename when the stage is done; `train/` is the
exception, because an interrupted training goes on from its checkpoints: it is complete when `train/stage.json` exists.
This file knows names and states, not what a stage computes.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from edgefw.data.atomic_files import MARK, remove_unfinished, write_file
from edgefw.errors import RunFolderError

MARKER = "run.json"
"""Its presence makes a folder a run."""

_FORMAT = 1
_LOCK = ".lock"
_IN_PLACE = ("train",)


@dataclass(frozen=True, kw_only=True)
class StageRecord:
    """What `stage.json` says of a complete stage: inputs as one hash, seconds, and the files with their sizes."""

    fingerprint: str
    seconds: float
    files: Mapping[str, int]


class RunFolder:
    """One run on disk; nothing is created before `claim`."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path).absolute()
        self._working: set[str] = set()
        self._lock: IO[str] | None = None

    # ---- who may write -----------------------------------------------------------------------------------------

    @property
    def is_run(self) -> bool:
        """Whether the folder holds a run of edgefw."""
        return (self.path / MARKER).is_file()

    def claim(self, recipe: str, *, resume: bool) -> None:
        """Make the folder this recipe's run, for this process alone.

        Args:
            recipe: the recipe's name; the same one may use the folder again.
            resume: take a run of any recipe, and go on with an interrupted training.

        Raises:
            RunFolderError: if the folder holds something else, or another process writes into it.
        """
        self._create()
        self._hold_lock()
        self._sweep()
        if not self.is_run:
            self._refuse_strangers()
            self.write_json(MARKER, {"format": _FORMAT, "recipe": recipe})
            return
        self._check_owner(recipe, resume)
        if resume:
            self.write_json(MARKER, {"format": _FORMAT, "recipe": recipe})

    def _create(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunFolderError(f"{self.path}: cannot be made ({error.strerror}). Choose another --out.") from error

    def _hold_lock(self) -> None:
        """Hold an advisory lock until the process ends, however it ends; systems without `flock` go without."""
        try:
            import fcntl
        except ImportError:
            return
        try:
            lock = (self.path / _LOCK).open("w")
        except OSError as error:
            raise RunFolderError(f"{self.path}: cannot be written ({error.strerror}). Choose another --out.") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.close()
            raise RunFolderError(f"{self.path}: another edgefw is writing into it. Wait, or choose --out.") from error
        self._lock = lock

    def _sweep(self) -> None:
        """Remove what a killed process left half-written."""
        for folder in (self.path, *self.path.glob("*/"), *self.path.glob("train/*/")):
            remove_unfinished(folder)

    def _refuse_strangers(self) -> None:
        found = sorted(entry.name for entry in self.path.iterdir() if entry.name != _LOCK)
        if found:
            raise RunFolderError(
                f"{self.path} is not empty and is no run (it holds {', '.join(found[:3])}). "
                "Choose a new or an empty folder with --out."
            )

    def _check_owner(self, recipe: str, resume: bool) -> None:
        owner = self.read_json(MARKER)
        if owner.get("format") != _FORMAT:
            raise RunFolderError(
                f"{self.path}: run format {owner.get('format')}, this edgefw writes {_FORMAT}. Choose another --out."
            )
        if resume:
            return
        if owner.get("recipe") != recipe:
            raise RunFolderError(
                f"{self.path} is a run of recipe '{owner.get('recipe')}', not of '{recipe}'. "
                "Choose another --out, or add --resume to reuse what still fits."
            )
        if self.is_interrupted:
            raise RunFolderError(
                f"{self.path}: its training was interrupted. Add --resume to go on from the last checkpoint, "
                "or choose another --out."
            )

    @property
    def is_interrupted(self) -> bool:
        """Whether an unfinished training left a checkpoint."""
        train = self.path / "train"
        return not (train / "stage.json").exists() and any(train.glob("*/checkpoint"))

    def release(self) -> None:
        """Let other processes write; happens by itself when the process ends."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    # ---- stages ------------------------------------------------------------------------------------------------

    def stage(self, name: str) -> Path:
        """Where a stage's files are: the working folder while it runs, its folder afterwards."""
        return self.path / (f"{name}.partial" if name in self._working else name)

    def begin(self, name: str) -> Path:
        """Start a stage: what an earlier run of it left is removed (a training's checkpoints stay)."""
        final = self.path / name
        if name in _IN_PLACE:
            (final / "stage.json").unlink(missing_ok=True)
            (final / "result.json").unlink(missing_ok=True)
        else:
            _remove(final)
            _remove(self.path / f"{name}.partial")
            self._working.add(name)
        folder = self.stage(name)
        folder.mkdir(exist_ok=True)
        return folder

    def finish(self, name: str, fingerprint: str, result: Mapping[str, Any], seconds: float) -> None:
        """Write `result.json` and `stage.json`, and make the stage complete in one step."""
        folder = self.stage(name)
        write_json(folder / "result.json", result)
        files = _files(folder)
        write_json(folder / "stage.json", {"fingerprint": fingerprint, "seconds": round(seconds, 3), "files": files})
        if name in self._working:
            folder.rename(self.path / name)
            self._working.discard(name)

    def completed(self, name: str) -> StageRecord | None:
        """The record of a complete stage, or None; a stage that lost or changed the size of a file is not complete."""
        try:
            record = StageRecord(**json.loads((self.path / name / "stage.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        return record if all(_has(self.path / name / file, size) for file, size in record.files.items()) else None

    def result(self, name: str) -> dict[str, Any]:
        """What a complete stage wrote to its `result.json`.

        Raises:
            RunFolderError: if the stage has not been run.
        """
        if not (self.stage(name) / "result.json").is_file():
            raise RunFolderError(f"{self.path}: stage '{name}' is not complete. Run the recipe again with --resume.")
        return self.read_json(f"{self.stage(name).name}/result.json")

    # ---- files -------------------------------------------------------------------------------------------------

    def read_json(self, relative: str) -> dict[str, Any]:
        """A JSON file of the run.

        Raises:
            RunFolderError: if it is missing or damaged.
        """
        try:
            value: dict[str, Any] = json.loads((self.path / relative).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunFolderError(f"{self.path / relative}: cannot be read ({error}). Is this a run?") from error
        return value

    def write_json(self, relative: str, value: Mapping[str, Any]) -> None:
        """Write a JSON file of the run, whole or not at all."""
        write_json(self.path / relative, value)

    def write_text(self, relative: str, text: str) -> None:
        """Write a text file of the run, whole or not at all."""
        write_text(self.path / relative, text)

    def collect_metrics(self, phases: Sequence[str]) -> None:
        """Write `metrics.jsonl`: the metrics of the phases, one after the other."""
        files = [self.path / "train" / phase / "metrics.jsonl" for phase in phases]
        self.write_text("metrics.jsonl", "".join(file.read_text("utf-8") for file in files if file.is_file()))


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write indented JSON, whole or not at all; a number that is not finite becomes null."""
    write_text(path, json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file, whole or not at all."""
    write_file(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def plain(value: Any) -> Any:
    """A JSON-able copy: mappings, sequences, paths, NumPy and tensor scalars as plain Python values."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in (sorted(value) if isinstance(value, (set, frozenset)) else value)]
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return str(value) if isinstance(value, str) else value
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if value - value == 0.0 else None
    return value if isinstance(value, int) else str(value)


def _files(folder: Path) -> dict[str, int]:
    """Relative name -> bytes of what a stage leaves; checkpoints and hidden files left out."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    names = {path: path.relative_to(folder) for path in found}
    return {
        name.as_posix(): path.stat().st_size
        for path, name in names.items()
        if "checkpoint" not in name.parts and not name.name.startswith(".") and name.name != "stage.json"
    }


def _has(file: Path, size: int) -> bool:
    try:
        return file.stat().st_size == size
    except OSError:
        return False


def _remove(folder: Path) -> None:
    """Remove a folder; it is renamed first, so that a kill in between leaves nothing that looks complete."""
    if not folder.exists():
        return
    gone = folder.with_name(f".{folder.name}.{os.getpid()}{MARK}")
    folder.rename(gone)
    shutil.rmtree(gone)
