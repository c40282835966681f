"""Checkpoints of a phase: everything a later process needs to go on to the same weights, whole or not at all.

    checkpoint/step-00000120/state.pt       tensors and plain numbers, in PyTorch's weights-only format
    checkpoint/step-00000120/checkpoint.json  step, what it belongs to, checksum of state.pt

A checkpoint is written under a temporary name, flushed and renamed; the one before it is removed only then. So a
process may be killed at any moment and there is still one good checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from edgefw.data.atomic_files import remove_unfinished, write_folder
from edgefw.errors import TrainingError


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints in one folder, of one phase with one configuration.

    Attributes:
        folder: `train/<phase>/checkpoint`.
        belongs_to: JSON values that must be equal for a checkpoint to be used (phase, seed, data, processes).
    """

    folder: Path
    belongs_to: Mapping[str, Any]

    def save(self, step: int, state: Mapping[str, Any]) -> None:
        """Write the checkpoint of a step, then remove older ones. A step that is there already stays as it is."""
        target = self.folder / f"step-{step:08d}"
        if not target.is_dir():
            write_folder(target, lambda folder: self._write(folder, step, state))
        for older in self._steps():
            if older != target:
                shutil.rmtree(older)

    def load(self) -> dict[str, Any] | None:
        """The newest checkpoint's state on the CPU, or None if there is none.

        Raises:
            TrainingError: if it is damaged, or was made with another configuration.
        """
        if not (steps := self._steps()):
            return None
        head = self._head(steps[-1])
        self._check_owner(steps[-1], head["belongs_to"])
        return self._read(steps[-1], head["sha256"])

    def clear(self) -> None:
        """Remove all checkpoints."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def tidy(self) -> None:
        """Remove what a killed process left half-written."""
        remove_unfinished(self.folder)

    def _steps(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("step-*") if path.is_dir())

    def _write(self, folder: Path, step: int, state: Mapping[str, Any]) -> None:
        torch.save(dict(state), folder / "state.pt")
        head = {"step": step, "belongs_to": dict(self.belongs_to), "sha256": _sha256(folder / "state.pt")}
        (folder / "checkpoint.json").write_text(json.dumps(head, indent=1, sort_keys=True), encoding="utf-8")

    def _head(self, folder: Path) -> dict[str, Any]:
        try:
            head: dict[str, Any] = json.loads((folder / "checkpoint.json").read_text(encoding="utf-8"))
            return {"belongs_to": head["belongs_to"], "sha256": head["sha256"]}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _damaged(folder, error) from error

    def _read(self, folder: Path, sha256: str) -> dict[str, Any]:
        try:
            if _sha256(folder / "state.pt") != sha256:
                raise ValueError("its checksum is another one")
            state: dict[str, Any] = torch.load(folder / "state.pt", map_location="cpu", weights_only=True)
            return state
        except (OSError, ValueError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise _damaged(folder, error) from error

    def _check_owner(self, folder: Path, owner: Mapping[str, Any]) -> None:
        differing = sorted(
            f"{key} was {owner.get(key)!r}, is {self.belongs_to.get(key)!r}"
            for key in owner.keys() | self.belongs_to.keys()
            if owner.get(key) != self.belongs_to.get(key)
        )
        if differing:
            raise TrainingError(
                f"{folder}: the checkpoint belongs to another training ({'; '.join(differing[:3])}). "
                "Go on with the settings it was made with, or start anew without --resume."
            )


def _damaged(folder: Path, error: Exception) -> TrainingError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return TrainingError(f"{folder}: the checkpoint is damaged ({reason}). Remove {folder.parent} to start anew.")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
