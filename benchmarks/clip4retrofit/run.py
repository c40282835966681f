"""Run Clip4Retrofit's ablation on cifar10 and furniture-rgbd, and write `results.json`, `cells.json` and `results.md`.

    python benchmarks/clip4retrofit/run.py --data ../shared/data [--work runs/clip4retrofit]
    python benchmarks/clip4retrofit/run.py --controls            # the rows that explain the table: `controls.json`, `controls.md`
    python benchmarks/clip4retrofit/run.py --list
    python benchmarks/clip4retrofit/run.py --only embedding pca --sets cifar10 --seeds 1
    python benchmarks/clip4retrofit/run.py --split val --only embedding lr-3e-3 --seeds 1

A cell is one (row, set, seed) of rows.yaml: `edgefw run ablation.yaml` with the cell's data and phase, then robustness.py on the exported
file, all on one thread. What is finished is not run again; what was interrupted goes on. Cells share one cache of teacher answers. The
students' shard of furniture-rgbd and the teacher are made first, if they are missing.

`--smoke STEPS` trains teacher and students for so many steps, and looks at 32 images: does everything run? Its figures mean nothing, and it
has a work folder of its own. `--split val` evaluates on `val` instead of `test`: that is what choices are made on; choices are refused on `test`.
Results of a part of the table go to the work folder, those of the whole table beside this file.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ablation import RECIPE, Cell, cells
from corruptions import CORRUPTIONS, FAMILIES_IN_TRAINING, SEVERITIES
from figures import results, run_numbers, table
from robustness import HeldOut, held_out, of_bundle, stored
from sets import HERE, MOST, SETS, write_students_part
from teacher_numbers import of_teacher

sys.path.insert(0, str(HERE.parent))
from running import edgefw, finish, installed_techniques, is_finished, quiet_environment

TEMPLATE = "a photo of a {}"
SMOKE_IMAGES = 32


def main() -> None:
    arguments = _arguments()
    rows = "controls" if arguments.controls else "in-table"
    chosen = list(cells(arguments.only, arguments.sets, arguments.seeds, arguments.smoke, rows))
    if arguments.list:
        print("\n".join(f"{cell.name}: {cell.images} images" for cell in chosen))
        return
    _refuse_choices_on_test(chosen, arguments)
    data, work = arguments.data.absolute(), arguments.work.absolute() / ("smoke" if arguments.smoke else "")
    stated = prepare_work(data, work, arguments.smoke)
    environment = quiet_environment({"CLIP4RETROFIT_WORK": work, "EDGEFW_CACHE": work / "cache"})
    runs = work / f"cells-{arguments.split}"
    there = _installed(chosen, environment)
    trained = [cell for cell in there if _train(cell, runs, data, work, environment, stated, arguments)]
    if trained:
        _write(trained, runs, data, work, stated, arguments)
    if len(trained) < len(chosen):
        raise SystemExit(f"{len(chosen) - len(trained)} of {len(chosen)} cells are not finished; run the command again")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="holds cifar10 and furniture-rgbd")
    parser.add_argument("--work", type=Path, default=Path("runs/clip4retrofit"), help="teacher, cache and runs")
    parser.add_argument("--only", nargs="+", default=[], metavar="ROW", help="these rows; default those of the table")
    parser.add_argument("--controls", action="store_true", help="the rows that explain the table, instead of it")
    parser.add_argument("--sets", nargs="+", default=[], metavar="SET", help="these sets; default both")
    parser.add_argument("--seeds", nargs="+", type=int, default=[], help="these seeds; default those of rows.yaml")
    parser.add_argument("--split", choices=("val", "test"), default="test", help="what is evaluated")
    parser.add_argument("--smoke", type=int, metavar="STEPS", help="a trial of everything with so many steps")
    parser.add_argument("--list", action="store_true", help="print the cells and stop")
    return parser.parse_args()


def _refuse_choices_on_test(chosen: Sequence[Cell], arguments: argparse.Namespace) -> None:
    named = sorted({cell.row["row"] for cell in chosen if cell.row.get("choice")})
    if named and arguments.split == "test" and not arguments.smoke:
        raise SystemExit(f"{', '.join(named)}: choices are made on val. Add --split val.")


def prepare_work(data: Path, work: Path, smoke: int | None) -> dict[str, Any]:
    """Students' shard and teacher, made where they are missing; what the teacher's training states."""
    write_students_part(data, work)
    if not (work / "teacher" / "training.json").is_file():
        command = [sys.executable, str(HERE / "train_teacher.py"), "--data", str(data), "--out", str(work / "teacher")]
        trial = ["--steps", str(max(smoke, 2)), "--batch", "8", "--images", str(SMOKE_IMAGES)] if smoke else []
        record = [] if smoke else ["--record", str(HERE / "teacher.json")]
        subprocess.run([*command, *trial, *record], env=quiet_environment({}), check=True)
    stated: dict[str, Any] = json.loads((work / "teacher" / "training.json").read_text(encoding="utf-8"))
    return stated


def _installed(chosen: Sequence[Cell], environment: dict[str, str]) -> list[Cell]:
    """The cells whose techniques are there; one line for each row that is left out."""
    there = installed_techniques(environment)
    missing = {cell.row["row"]: cell.techniques() - there for cell in chosen}
    for row, absent in missing.items():
        if absent:
            print(f"{row} is left out: not installed are {', '.join(sorted(f'{k}/{n}' for k, n in absent))}")
    return [cell for cell in chosen if not missing[cell.row["row"]]]


def _train(
    cell: Cell,
    runs: Path,
    data: Path,
    work: Path,
    environment: dict[str, str],
    teacher: dict[str, Any],
    arguments: argparse.Namespace,
) -> bool:
    """Whether the cell's run is there in the end; a failed one is named and the others go on."""
    run, digest = runs / cell.name, cell.digest(teacher["weights_sha256"])
    if is_finished(run, digest):
        return True
    print(f"{cell.name} ...", flush=True)
    changes = cell.overrides(data, work, arguments.split)
    ended = edgefw(environment, "run", str(RECIPE), *changes, "--out", str(run), "--resume")
    if ended.returncode not in (0, 1):  # 1 is a gate's verdict; the file is there
        print(f"{cell.name} failed with exit code {ended.returncode}")
        return False
    finish(run, digest)
    return True


def _write(
    trained: Sequence[Cell], runs: Path, data: Path, work: Path, teacher: dict[str, Any], arguments: argparse.Namespace
) -> None:
    """Measure what is not measured yet, and write the tables."""
    most = SMOKE_IMAGES if arguments.smoke else MOST
    names = dict.fromkeys(cell.set for cell in trained)
    pictures = {name: held_out(SETS[name], data, arguments.split, most, work) for name in names}
    teachers = {name: _teacher(name, pictures[name], data, work, teacher) for name in names}
    done = [(cell, _numbers(cell, runs, pictures[cell.set], teacher)) for cell in trained]
    about = {
        "split": arguments.split,
        "teacher": teacher,
        "corruptions": {"names": list(CORRUPTIONS), "severities": SEVERITIES, "in_training": FAMILIES_IN_TRAINING},
    }
    found = results(done, teachers, about)
    partly = arguments.only or arguments.sets or arguments.seeds or arguments.smoke or arguments.split == "val"
    target = runs if partly else HERE
    each = {cell.name: numbers for cell, numbers in done}
    name, other = ("controls", "controls_cells") if arguments.controls else ("results", "cells")
    (target / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (target / f"{other}.json").write_text(json.dumps(each, indent=1) + "\n", encoding="utf-8")
    (target / f"{name}.md").write_text(table(found), encoding="utf-8")
    print(table(found) + f"\nwritten to {target}")


def _numbers(cell: Cell, runs: Path, pictures: HeldOut, teacher: dict[str, Any]) -> dict[str, Any]:
    run, key = runs / cell.name, f"{cell.digest(teacher['weights_sha256'])} {pictures.folder.name}"
    print(f"{cell.name}: corrupted pictures ...", flush=True)
    found = stored(run / "robustness.json", key, lambda: of_bundle(run / "bundle", pictures))
    return found | run_numbers(run)


def _teacher(name: str, pictures: HeldOut, data: Path, work: Path, teacher: dict[str, Any]) -> dict[str, Any]:
    key, folder = f"{teacher['weights_sha256']} {pictures.folder.name}", work / "teacher"
    classes = SETS[name].names(data)
    return stored(folder / f"{name}.json", key, lambda: of_teacher(folder, classes, TEMPLATE, pictures))


if __name__ == "__main__":
    main()
