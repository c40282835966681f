"""Split the `train` models of furniture-rgbd into two halves: one teaches the teacher, the other one the students.

    python benchmarks/edgevl/halves.py --data ../shared/data/furniture-rgbd --out runs/edgevl/data

Every class is split on its own: its models, sorted by id, are shuffled with the seed below, and the first half (rounded
up for the teacher) is the teacher's. All views of a model fall into one half. The students' half is written as a shard
that `webdataset` reads; the teacher's half is never written, so a recipe cannot reach it by accident. `halves.json`
beside this file names the models of both.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import random
import tarfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

SEED = 20240903
HERE = Path(__file__).resolve().parent
SHARD = "distil-000000.tar"


def halves(data: Path) -> tuple[list[str], list[str]]:
    """Model ids of the teacher's half and of the students' half, both sorted."""
    models: dict[str, set[str]] = defaultdict(set)
    with (data / "labels.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["split"] == "train":
                models[row["class"]].add(row["model_id"])
    draw = random.Random(SEED)
    teacher: list[str] = []
    students: list[str] = []
    for name in sorted(models):
        found = sorted(models[name])
        draw.shuffle(found)
        middle = (len(found) + 1) // 2
        teacher += found[:middle]
        students += found[middle:]
    return sorted(teacher), sorted(students)


def samples(data: Path, split: str) -> Iterator[dict[str, bytes]]:
    """Members of each sample of a split by ending (jpg, depth.png, json), and its key under ""."""
    for shard in sorted(data.glob(f"{split}-*.tar")):
        yield from shard_samples(shard)


def shard_samples(shard: Path) -> Iterator[dict[str, bytes]]:
    """Members of each sample of one shard, as `samples` gives them."""
    with tarfile.open(shard) as tar:
        members: dict[str, bytes] = {}
        for member in tar:
            key, _, ending = member.name.partition(".")
            if members and members[""] != key.encode():
                yield members
                members = {}
            file = tar.extractfile(member)
            members |= {"": key.encode(), ending: file.read() if file else b""}
        if members:
            yield members


def model_of(sample: dict[str, bytes]) -> str:
    """Id of the 3D model that a sample shows."""
    return str(json.loads(sample["json"])["model_id"])


def write_students_half(data: Path, out: Path) -> Path:
    """The shard of the students' half; written once, the same bytes every time."""
    shard = out / SHARD
    if shard.is_file():
        return shard
    mine = set(halves(data)[1])
    out.mkdir(parents=True, exist_ok=True)
    unfinished = shard.with_suffix(".partial")
    with tarfile.open(unfinished, "w", format=tarfile.USTAR_FORMAT) as tar:
        for sample in samples(data, "train"):
            if model_of(sample) in mine:
                add_sample(tar, sample)
    unfinished.replace(shard)
    return shard


def add_sample(tar: tarfile.TarFile, sample: dict[str, bytes]) -> None:
    for ending in ("jpg", "depth.png", "json"):
        member = tarfile.TarInfo(f"{sample[''].decode()}.{ending}")
        member.size = len(sample[ending])
        tar.addfile(member, io.BytesIO(sample[ending]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of furniture-rgbd")
    parser.add_argument("--out", type=Path, default=Path("runs/edgevl/data"))
    arguments = parser.parse_args()
    teacher, students = halves(arguments.data)
    stated = {"seed": SEED, "teacher": teacher, "students": students}
    (HERE / "halves.json").write_text(json.dumps(stated, indent=1) + "\n", encoding="utf-8")
    shard = write_students_half(arguments.data, arguments.out)
    print(f"{len(teacher)} models for the teacher, {len(students)} for the students in {shard}")


if __name__ == "__main__":
    main()
