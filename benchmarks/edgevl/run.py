"""Run the ablation table of EdgeVL on furniture-rgbd at its small size, and write `results.json`, `cells.json`, `results.md`.

    python benchmarks/edgevl/run.py --data ../shared/data/furniture-rgbd [--work runs/edgevl]
    python benchmarks/edgevl/run.py --list
    python benchmarks/edgevl/run.py --data ... --only stage-1 ptq --students cnn --seeds 1

A cell is one (method, student, seed) of rows.yaml: a run of `edgefw run small.yaml` with the cell's phases, on one thread.
What is finished is not run again, be it here or, with the same teacher, in the `cells.json` that is committed; what was
interrupted goes on. Cells after stage 1 start from a copy of its run, whose
phase edgefw finds finished. All cells share one cache of teacher answers. A row whose techniques are not installed is
left out with a message. The shard of the students' half, the teacher, and what the transformers start from (`start.py`, of `--cifar`) are made first,
if they are missing.

`--own-runs` counts nothing of `cells.json`: every cell is a run in the work folder, and the table goes beside the runs. Scripts that read run
folders (`generalise.py`, `separation.py`, ...) need such runs.
`--smoke STEPS` gives every phase so many steps and looks at 64 images: does everything run? Its figures mean nothing.
`--split val` evaluates on `val` instead of `test`, in a work folder of its own: that is what choices were made on.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from cells import HERE, RECIPE, Cell, cells
from collect import earlier, record, results, table
from halves import write_students_half
from kept import write_kept
from start import starting, write_start

sys.path.insert(0, str(HERE.parent))
from running import edgefw, finish, installed_techniques, is_finished, quiet_environment

CARRIED = ("run.json", "curate", "train")
"""What a run takes over from the one it starts from."""


def main() -> None:
    arguments = read_arguments()
    chosen = list(cells(arguments.only, arguments.students, arguments.seeds, arguments.smoke))
    if arguments.list:
        print("\n".join(f"{cell.name}: {', '.join(phase['name'] for phase in cell.phases)}" for cell in chosen))
        return
    work: Path = arguments.work.absolute()
    prepare_work(arguments.data.absolute(), work)
    environment = environment_of(arguments.data.absolute(), work)
    runs = work / f"cells-{'smoke' if arguments.smoke else arguments.split}"
    verify = [f"verify.split={arguments.split}", *(["verify.samples=64"] if arguments.smoke else [])]
    there = _installed(chosen, environment)
    known = committed(chosen, work, arguments)
    if make_starts(unknown(there, known), arguments.cifar.absolute(), work):
        known = committed(chosen, work, arguments)  # cells of other first weights do not count
    target = target_of(arguments, runs, bool(known))
    each = dict(known)
    for cell in unknown(there, known):
        if _run(cell, runs, environment, verify):
            each[cell.name] = record(cell, runs, work)
            _write(each, chosen, work / "teacher", target)
    if each:
        print(f"{_write(each, chosen, work / 'teacher', target)}\nwritten to {target}")
    if left := [cell.name for cell in there if cell.name not in each]:
        raise SystemExit(f"{len(left)} of {len(there)} cells are not finished; run the command again")


def target_of(arguments: argparse.Namespace, runs: Path, goes_on: bool) -> Path:
    """This folder where the whole table was asked for, or a part of the one that is there; else beside the runs."""
    partly = arguments.only or arguments.students or arguments.seeds
    is_table = not (arguments.smoke or arguments.own_runs) and arguments.split == "test" and (goes_on or not partly)
    return HERE if is_table else runs


def committed(chosen: Sequence[Cell], work: Path, arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Cells of the committed table that this work folder's teacher and first weights made, on whatever machine; none for another split, a trial or own runs."""
    if arguments.smoke or arguments.own_runs or arguments.split != "test":
        return {}
    return earlier(HERE / "cells.json", [*cells(), *chosen], work)


def unknown(chosen: Sequence[Cell], known: Collection[str]) -> list[Cell]:
    """The cells that have to be run, with those that they start from."""
    wanted = {cell.name for cell in chosen if cell.name not in known}
    for cell in reversed(chosen):  # a cell stands behind the one that it starts from
        wanted |= {cell.start} if cell.name in wanted and cell.start else set()
    return [cell for cell in chosen if cell.name in wanted]


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data/furniture-rgbd"), help="furniture-rgbd")
    parser.add_argument("--cifar", type=Path, default=Path("../shared/data/cifar10"), help="cifar10, for first weights")
    parser.add_argument("--work", type=Path, default=Path("runs/edgevl"), help="teacher, cache and runs")
    parser.add_argument("--only", nargs="+", default=[], metavar="METHOD", help="these methods; default all")
    parser.add_argument("--students", nargs="+", default=[], help="these students; default all")
    parser.add_argument("--seeds", nargs="+", type=int, default=[], help="these seeds; default those of rows.yaml")
    parser.add_argument(
        "--own-runs", action="store_true", help="count no cell of cells.json, only runs of the work folder"
    )
    parser.add_argument("--split", choices=("val", "test"), default="test", help="what is evaluated")
    parser.add_argument("--smoke", type=int, metavar="STEPS", help="a trial of the runner with so many steps a phase")
    parser.add_argument("--list", action="store_true", help="print the cells and stop")
    return parser.parse_args()


def prepare_work(data: Path, work: Path) -> None:
    write_students_half(data, work / "data")
    if not (work / "teacher" / "open_clip_model.safetensors").is_file():
        script = str(HERE / "train_teacher.py")
        subprocess.run([sys.executable, script, "--data", str(data), "--out", str(work / "teacher")], check=True)


def make_starts(wanted: Sequence[Cell], cifar: Path, work: Path) -> list[Path]:
    """Files of first weights that cells need, made where they are missing."""
    students = sorted({cell.student for cell in wanted} & set(starting()))
    return [write_start(student, cifar, work) for student in students]


def environment_of(data: Path, work: Path) -> dict[str, str]:
    return quiet_environment({"EDGEVL_DATA": data, "EDGEVL_WORK": work, "EDGEFW_CACHE": work / "cache"})


def _installed(chosen: Sequence[Cell], environment: dict[str, str]) -> list[Cell]:
    """The cells whose techniques are there; one line for each row that is left out."""
    there = installed_techniques(environment)
    missing = {cell.row["method"]: cell.techniques() - there for cell in chosen}
    for method, absent in missing.items():
        if absent:
            print(f"{method} is left out: not installed are {', '.join(sorted(f'{k}/{n}' for k, n in absent))}")
    return [cell for cell in chosen if not missing[cell.row["method"]]]


def _run(cell: Cell, runs: Path, environment: dict[str, str], verify: Sequence[str]) -> bool:
    """Whether the cell is finished in the end; a failed one is named and the others go on."""
    folder = runs / cell.name
    if is_finished(folder, cell.digest()):
        return True
    if cell.row.get("kept") and not write_kept(runs / f"stage-1-{cell.student}-1", folder.parents[1] / "data"):
        print(f"{cell.name} is left out: it trains on what stage-1-{cell.student}-1 kept, which is not finished")
        return False
    if cell.start and not folder.exists():
        if not (runs / cell.start / "cell.json").is_file():
            print(f"{cell.name} is left out: it starts from {cell.start}, which is not finished")
            return False
        carry(runs / cell.start, folder)
    print(f"{cell.name} ...", flush=True)
    ended = edgefw(environment, "run", str(RECIPE), *cell.overrides(), *verify, "--out", str(folder), "--resume")
    if ended.returncode not in (0, 1):  # 1 is a gate's verdict; the numbers are there
        print(f"{cell.name} failed with exit code {ended.returncode}")
        return False
    finish(folder, cell.digest())
    return True


def carry(start: Path, folder: Path) -> None:
    """Copy the trained phases of a run; whole or not at all."""
    unfinished = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    for name in CARRIED:
        if (start / name).is_dir():
            shutil.copytree(start / name, unfinished / name)
        else:
            shutil.copyfile(start / name, unfinished / name)
    unfinished.rename(folder)


def _write(each: Mapping[str, dict[str, Any]], chosen: Sequence[Cell], teacher: Path, target: Path) -> str:
    """Write what is finished so far; the table."""
    whole = {cell.name: cell for cell in (*cells(), *chosen)}
    found = results(list(whole.values()), each, teacher)
    ordered = {name: each[name] for name in whole if name in each}
    target.mkdir(parents=True, exist_ok=True)
    (target / "results.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (target / "cells.json").write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")
    (target / "results.md").write_text(table(found["rows"]), encoding="utf-8")
    return table(found["rows"])


if __name__ == "__main__":
    main()
