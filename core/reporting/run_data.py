"""What a run folder holds, read once. Every part may be absent: a run can be stopped, fail, or be half copied.

Knows file names of a run folder and nothing of how they were made.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgefw.errors import RunFolderError

STAGE_ORDER = ("curate", "train", "export", "verify", "report")
_MARKS = ("run.json", "resolved.yaml", "result.json", *STAGE_ORDER)


@dataclass(frozen=True, kw_only=True)
class RunData:
    """A run as the report sees it.

    Attributes:
        folder: the run folder, absolute.
        name: the recipe's name as the user gave it, or the folder's name.
        recipe: text of the recipe as it was run, empty when absent.
        config: the resolved recipe as plain values.
        environment: versions, plugins, hardware.
        stages: name -> the stage's result, for stages that are complete, in order.
        seconds: name -> seconds the stage took when it was last run.
        metrics: lines of metrics.jsonl, in order.
        finished: what result.json says of the last execution; empty before it ended.
        manifest: the bundle's manifest.
    """

    folder: Path
    name: str
    recipe: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    stages: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    metrics: Sequence[Mapping[str, Any]] = ()
    finished: Mapping[str, Any] = field(default_factory=dict)
    manifest: Mapping[str, Any] = field(default_factory=dict)

    def stage(self, name: str) -> Mapping[str, Any]:
        """A stage's result; empty when the stage is not complete."""
        return self.stages.get(name, {})


def read_run(folder: Path) -> RunData:
    """Everything the report needs from a run folder.

    Raises:
        RunFolderError: if the folder does not exist or is no run.
    """
    folder = Path(folder).absolute()
    if not any((folder / mark).exists() for mark in _MARKS):
        what = "is no run of edgefw" if folder.is_dir() else "does not exist"
        raise RunFolderError(f"{folder}: {what}. Give the folder that `edgefw run` wrote (--out).")
    stages = {name: read_json(folder / name / "result.json") for name in STAGE_ORDER}
    records = {name: read_json(folder / name / "stage.json") for name in STAGE_ORDER}
    return RunData(
        folder=folder,
        name=str(read_json(folder / "run.json").get("recipe") or folder.name),
        recipe=_text(folder / "recipe.yaml"),
        config=_yaml(folder / "resolved.yaml"),
        environment=read_json(folder / "environment.json"),
        stages={name: result for name, result in stages.items() if result},
        seconds={name: record["seconds"] for name, record in records.items() if "seconds" in record},
        metrics=read_lines(folder / "metrics.jsonl"),
        finished=read_json(folder / "result.json"),
        manifest=read_json(folder / "bundle" / "manifest.json"),
    )


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; empty when the file is absent, damaged or holds something else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The JSON objects of a .jsonl file; a line that a killed process left half-written is passed over."""
    rows = []
    for line in _text(path).splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _yaml(path: Path) -> dict[str, Any]:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    try:
        value = OmegaConf.to_container(OmegaConf.create(_text(path)), resolve=False)
    except (YAMLError, OmegaConfBaseException, ValueError):
        return {}
    return {str(key): item for key, item in value.items()} if isinstance(value, dict) else {}
