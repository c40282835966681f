"""What was tried before the table's second stage and its best row were fixed: variants on `val`, no test image.

    python benchmarks/edgevl/tune.py --data ../shared/data/furniture-rgbd [--only NAME ...] [--seeds 1] [--work runs/edgevl]

A variant is a list of phases, each named in rows.yaml, with changes. Phases that two variants share are trained once: each variant
starts from the longest finished run that begins as it does. `tuning.json` holds every variant that was run, the losing ones too, with the means over
its seeds: all with seed 1, those that came close with three.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import yaml
from cells import EACH, HERE, RECIPE
from collect import measured
from run import carry, environment_of, prepare_work

Change = dict[str, Any]
TEXTS = [{"name": "similarity-kl", "over": "texts"}, {"name": "infonce", "weight": 0.3, "temperature": 0.05}]
FEATURE = {"name": "feature", "distance": "l1"}
VARIANTS: dict[str, list[tuple[str, Change]]] = {
    "stage 1": [("distil", {})],
    "qat": [("distil", {}), ("qat", {})],
    "stage 2 at 5e-5": [("distil", {}), ("align", {"optimiser": {"lr": 5e-5}})],
    "stage 2 at 2e-4": [("distil", {}), ("align", {"optimiser": {"lr": 2e-4}})],
    "stage 2 at 2e-4, cross-modal": [
        ("distil", {}),
        ("align", {"optimiser": {"lr": 2e-4}, "losses": [{"name": "triplet", "margin": 0.3, "cross_modal": True}]}),
    ],
    "stage 2 at 2e-4, with the teacher": [
        ("distil", {}),
        (
            "align",
            {"optimiser": {"lr": 2e-4}, "losses": [{"name": "triplet", "margin": 0.3}, {**FEATURE, "weight": 50.0}]},
        ),
    ],
    "texts, then qat": [("distil", {"losses": TEXTS}), ("qat", {"losses": TEXTS})],
    "texts at 3e-3, averaged, then qat": [
        ("distil", {"losses": TEXTS, "ema": 0.95, "optimiser": {"lr": 3e-3}}),
        ("qat", {"losses": TEXTS}),
    ],
    "texts at 3e-3, averaged, then stage 2": [
        ("distil", {"losses": TEXTS, "ema": 0.95, "optimiser": {"lr": 3e-3}}),
        ("align", {}),
    ],
    "texts at 3e-3, averaged, then stage 2 with texts": [
        ("distil", {"losses": TEXTS, "ema": 0.95, "optimiser": {"lr": 3e-3}}),
        ("align", {"losses": [{"name": "triplet", "margin": 0.3}, *TEXTS]}),
    ],
    "averaged at 3e-3, then qat": [("distil", {"ema": 0.95, "optimiser": {"lr": 3e-3}}), ("qat", {})],
    "feature and texts at 3e-3, averaged, then qat": [
        ("distil", {"losses": [{**FEATURE, "weight": 20.0}, *TEXTS], "ema": 0.95, "optimiser": {"lr": 3e-3}}),
        ("qat", {"losses": [{**FEATURE, "weight": 20.0}, *TEXTS]}),
    ],
    "feature and texts, then qat": [
        ("distil", {"losses": [{**FEATURE, "weight": 20.0}, *TEXTS]}),
        ("qat", {"losses": [{**FEATURE, "weight": 20.0}, *TEXTS]}),
    ],
}
OF_EACH_LABEL = ", kept of each label"
"""Ends the name of a variant that curates as rows `of-each-label` do."""
VARIANTS |= {
    name + OF_EACH_LABEL: VARIANTS[name]
    for name in (
        "stage 1",
        "qat",
        "stage 2 at 5e-5",
        "stage 2 at 2e-4",
        "stage 2 at 2e-4, with the teacher",
        "averaged at 3e-3, then qat",
        "texts at 3e-3, averaged, then qat",
        "feature and texts at 3e-3, averaged, then qat",
        "texts at 3e-3, averaged, then stage 2",
        "texts at 3e-3, averaged, then stage 2 with texts",
    )
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data/furniture-rgbd"), help="furniture-rgbd")
    parser.add_argument("--work", type=Path, default=Path("runs/edgevl"), help="teacher, cache and runs of run.py")
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=[], help="these variants; default all")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1], help="these seeds")
    arguments = parser.parse_args()
    data, work = arguments.data.absolute(), arguments.work.absolute()
    prepare_work(data, work)
    for name, seed in product(arguments.only or VARIANTS, arguments.seeds):
        phases = [_phase(*stated) for stated in VARIANTS[name]]
        given = {"seed": seed, "phases": phases, "overrides": [EACH] if name.endswith(OF_EACH_LABEL) else []}
        _train(given, _folder(work / "tuning", name, seed), environment_of(data, work))
    _write(work / "tuning")


def _folder(runs: Path, name: str, seed: int) -> Path:
    return runs / f"{name.replace(' ', '-').replace(',', '')}-{seed}"


def _phase(name: str, change: Change) -> dict[str, Any]:
    table = yaml.safe_load((HERE / "rows.yaml").read_text(encoding="utf-8"))
    phase = {"name": name} | table["every-phase"] | table["phases"][name]
    merged = phase | change | {"optimiser": {**phase["optimiser"], **change.get("optimiser", {})}}
    return merged | {"steps": table["budget"].get(phase["steps"], phase["steps"])}


def _train(given: dict[str, Any], out: Path, environment: dict[str, str]) -> None:
    if not (out / "result.json").is_file():
        _run(given, out, environment)
    (out / "variant.json").write_text(json.dumps(given), encoding="utf-8")


def _run(given: dict[str, Any], out: Path, environment: dict[str, str]) -> None:
    started = _begins_alike(given, out.parent)
    if started is not None and not out.exists():
        carry(started, out)
    changes = [f"seed={given['seed']}", f"train={json.dumps(given['phases'])}", "verify.split=val", *given["overrides"]]
    command = [sys.executable, "-m", "edgefw", "run", str(RECIPE), *changes, "--out", str(out), "--resume"]
    if subprocess.run(command, env=environment, check=False).returncode not in (0, 1):
        raise SystemExit(f"{out}: the run failed")


def _begins_alike(given: dict[str, Any], runs: Path) -> Path | None:
    """The finished run with the most phases that stand at the beginning of these."""
    found: list[tuple[int, Path]] = []
    for mark in runs.glob("*/variant.json"):
        other = json.loads(mark.read_text(encoding="utf-8"))
        same = other["phases"] == given["phases"][: len(other["phases"])]
        if same and all(other[key] == given[key] for key in ("seed", "overrides")):
            found.append((len(other["phases"]), mark.parent))
    return max(found)[1] if found else None


def _write(runs: Path) -> None:
    table = {}
    for name, stated in VARIANTS.items():
        marks = sorted(runs.glob(f"{_folder(runs, name, 0).name[:-1]}[0-9]/variant.json"))
        if marks:
            each = [measured(mark.parent, 32 if len(stated) == 1 else 8) for mark in marks]
            keys = [key for key in each[0] if key != "teacher"]
            table[name] = {"seeds": len(each)} | {
                key: round(statistics.mean(one[key] for one in each), 4) for key in keys
            }
    (HERE / "tuning.json").write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    for name, numbers in table.items():
        both = f"average {numbers['average']:.4f} balanced {numbers['average_balanced']:.4f}"
        print(
            f"{name}: {both} of both {(numbers['average'] + numbers['average_balanced']) / 2:.4f}, {numbers['seeds']} seeds"
        )


if __name__ == "__main__":
    main()
