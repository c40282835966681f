"""Export finished cells of the ablation once more, with a heat map, and play the pointing game with them (heat.py).

    python benchmarks/clip4retrofit/heat_of_cells.py --data ../shared/data [--only embedding both] [--seeds 1]

A copy of each cell's run goes on with `export.heat=true`: nothing is trained again. The copies lie in the work folder, below `heat`.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from ablation import RECIPE, Cell, cells
from sets import HERE

sys.path.insert(0, str(HERE.parent))
from running import MARK, edgefw, quiet_environment

SET = "furniture-rgbd"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="holds furniture-rgbd")
    parser.add_argument("--work", type=Path, default=Path("runs/clip4retrofit"), help="where run.py worked")
    parser.add_argument("--only", nargs="+", default=["embedding", "both"], metavar="ROW", help="rows")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    given = parser.parse_args()
    data, work = given.data.absolute(), given.work.absolute()
    bundles = [exported(cell, data, work) for cell in cells(given.only, [SET], given.seeds)]
    command = [sys.executable, str(HERE / "heat.py"), *bundles, "--data", str(data / SET), "--threads", "1"]
    sys.exit(subprocess.run(command, check=False).returncode)


def exported(cell: Cell, data: Path, work: Path) -> str:
    """The bundle of a cell with a heat map in it."""
    finished, run = work / "cells-test" / cell.name, work / "heat" / cell.name
    if not (finished / MARK).is_file():
        raise SystemExit(f"{finished}: no finished cell here; run.py makes it.")
    shutil.copytree(finished, run, dirs_exist_ok=True)
    environment = quiet_environment({"CLIP4RETROFIT_WORK": work, "EDGEFW_CACHE": work / "cache"})
    changes = [*cell.overrides(data, work, "test"), "export.heat=true"]
    ended = edgefw(environment, "run", str(RECIPE), *changes, "--out", str(run), "--resume")
    if ended.returncode not in (0, 1):  # 1 is a gate's verdict; the file is there
        raise SystemExit(f"{cell.name}: edgefw run ended with exit code {ended.returncode}")
    return str(run / "bundle")


if __name__ == "__main__":
    main()
