"""Copies of a finished run with the default budgets, changed and judged by `edgefw verify`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from bundle_faults import resealed
from click.testing import CliRunner

from edgefw.cli.verify import command
from edgefw.errors import GateFailed


@contextmanager
def changed_run(run: Path, place: Path, change: Callable[[Path], object], speed: bool = False) -> Iterator[Path]:
    """A copy of `run` at `place`, changed; its budgets are the defaults, that of speed among them only if asked for. It is removed afterwards."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(run, place, ignore=shutil.ignore_patterns("cache", "report*", "curate"))
    if (run / "curate").is_dir():
        shutil.copytree(run / "curate", place / "curate")
    (place / "cache").symlink_to((run / "cache").absolute())
    stated = yaml.safe_load((place / "resolved.yaml").read_text(encoding="utf-8"))
    stated["verify"] = {"split": stated["verify"]["split"]} | ({} if speed else {"max_slowdown": None})
    (place / "resolved.yaml").write_text(yaml.safe_dump(stated, sort_keys=False), encoding="utf-8")
    try:
        change(place)
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def replace_file(run: Path, artefact: str, write: Callable[[Path], object]) -> None:
    """Let `write` change the file of an artefact, in `export/` and in the bundle, whose hashes are made to fit."""
    exported = run / "export" / artefact / "model.onnx"
    write(exported)
    stage = json.loads((run / "export" / "stage.json").read_text(encoding="utf-8"))
    stage["files"][f"{artefact}/model.onnx"] = exported.stat().st_size
    (run / "export" / "stage.json").write_text(json.dumps(stage), encoding="utf-8")
    manifest = json.loads((run / "bundle" / "manifest.json").read_text(encoding="utf-8"))
    entry = next(entry for entry in manifest["artefacts"] if entry["name"] == artefact)
    shutil.copyfile(exported, run / "bundle" / entry["file"])
    resealed(run / "bundle")


def verdict(run: Path) -> dict[str, Any]:
    """What `edgefw verify RUN` says: {"passed", "exit", "checks", "numbers", "blamed"}; the checks are those that do not hold.

    Only a verdict counts: anything else than 0 and 1 is a mistake of this script.
    """
    done = CliRunner().invoke(command, [str(run), "--json"], standalone_mode=False)
    if done.exception is not None and not isinstance(done.exception, GateFailed):
        raise done.exception
    code = 0 if done.exception is None else GateFailed.exit_code
    start = done.stdout.find("{")
    result = json.JSONDecoder().raw_decode(done.stdout[start:])[0] if start >= 0 else {"budget": [], "blame": []}
    budget = result["budget"]
    failed = sorted({f"{row['artefact']}: {row['check']}" for row in budget if not row["ok"]})
    blamed = {row["artefact"]: (row.get("first") or {}).get("layer") for row in result["blame"]}
    numbers: dict[str, dict[str, float]] = {}
    for row in budget:
        numbers.setdefault(row["artefact"], {})[row["check"]] = row["value"]
    return {"passed": code == 0, "exit": code, "checks": failed, "numbers": numbers, "blamed": blamed}
