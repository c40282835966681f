"""The two sets of the ablation: who sees which part, under which names, with which captions.

| set | teacher | students, without labels | choices | figures |
|---|---|---|---|---|
| cifar10 | shards 0 to 3 of `train` (20,000) | shards 4 and 5 (10,000) | 2,000 of shard 9 | 2,000 of `test` |
| furniture-rgbd | 74 models of `train` | the other 71 models | `val` (621) | `test` (1,121) |

The halves of furniture-rgbd are those of ../edgevl/halves.py, so that no 3D model is in two columns. What is drawn out of a larger split is
drawn by the seed below. This file reads images as bytes and decodes none.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from edgevl.halves import SHARD, halves, shard_samples, write_students_half

SEED = 20251127
MOST = 2000
"""Images of a held-out split that are looked at; of a larger one so many are drawn."""
MOST_CORRUPTED = 600
"""How many of them are also looked at under each corruption, drawn likewise."""
FURNITURE_CAPTIONS = (
    "a photo of a {class}",
    "{class}",
    "a photo of a {name}",
    "a {class}, {name}, in a room with {wall} walls and a {floor} floor",
)
CIFAR_CAPTIONS = ("a photo of a {class}", "{class}", "a small photo of a {class}", "a blurred photo of one {class}")
Members = dict[str, bytes]


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """One data set.

    Attributes:
        name: of its folder below the data folder.
        shards: part ("teacher", "students", "val", "test") -> pattern of its shards; "students" may lie in the work folder.
        label: where `webdataset` finds the label.
        classes: how many lines of classes.txt are names.
        captions: templates of the teacher's captions.
        licence: of the images.
    """

    name: str
    shards: dict[str, str]
    label: str
    classes: int
    captions: tuple[str, ...]
    licence: str

    def names(self, data: Path) -> list[str]:
        """Class names, in the order of their numbers."""
        return (data / self.name / "classes.txt").read_text(encoding="utf-8").split("\n")[: self.classes]

    def samples(self, data: Path, part: str, most: int | None = None) -> list[Members]:
        """The samples of a part by member ("" is the key), shard by shard; at most so many, drawn by `SEED`.

        Args:
            part: "teacher", "val" or "test"; the students' part is read by their own recipe.
        """
        found = list(self._teachers(data) if part == "teacher" else self._all(data, part))
        if most is None or len(found) <= most:
            return found
        drawn = sorted(random.Random(SEED).sample(range(len(found)), most))
        return [found[index] for index in drawn]

    def class_of(self, sample: Members, names: list[str]) -> int:
        """The number of a sample's class."""
        if self.label == "cls":
            return int(sample["cls"])
        return names.index(json.loads(sample["json"])["class"])

    def captions_of(self, sample: Members, names: list[str]) -> tuple[str, ...]:
        """One caption per template."""
        words = {"class": names[self.class_of(sample, names)]}
        if "json" in sample:
            about = json.loads(sample["json"])
            view = about["view"]
            words |= {"name": about["model_name"].lower(), "wall": view["wall_texture"], "floor": view["floor_texture"]}
        return tuple(template.format(**words) for template in self.captions)

    def recipe(self, data: Path, work: Path, part: str) -> dict[str, Any]:
        """The recipe's `data` section for the students.

        Args:
            data, work: folders.
            part: "val" or "test", what the run verifies on; it sees no other held-out image, and selects nothing by it.
        """
        shards = {"train": self.shards["students"], "test": self.shards[part]}
        return {
            "name": "webdataset",
            "root": str(data / self.name),
            "shards": {split: pattern.format(work=work) for split, pattern in shards.items()},
            "members": {"rgb": "jpg"},
            "label": self.label,
            "classes": "classes.txt",
            "licence": self.licence,
        }

    def _all(self, data: Path, part: str) -> Iterator[Members]:
        pattern = self.shards[part]
        shards = sorted((data / self.name).glob(pattern))
        if not shards:
            raise SystemExit(f"{data / self.name}: no shard {pattern} here.")
        for shard in shards:
            yield from shard_samples(shard)

    def _teachers(self, data: Path) -> Iterator[Members]:
        """The teacher's shards, or of furniture-rgbd its half of the models."""
        if self.label == "cls":
            return self._all(data, "teacher")
        models = set(halves(data / self.name)[0])
        return (sample for sample in self._all(data, "teacher") if json.loads(sample["json"])["model_id"] in models)


SETS = {
    "cifar10": ImageSet(
        name="cifar10",
        shards={
            "teacher": "train-00000[0-3].tar",
            "students": "train-00000[45].tar",
            "val": "train-000009.tar",
            "test": "test-*.tar",
        },
        label="cls",
        classes=10,
        captions=CIFAR_CAPTIONS,
        licence="none stated; research use, do not redistribute",
    ),
    "furniture-rgbd": ImageSet(
        name="furniture-rgbd",
        shards={
            "teacher": "train-*.tar",
            "students": "{work}/data/" + SHARD,
            "val": "val-*.tar",
            "test": "test-*.tar",
        },
        label="json:class",
        classes=12,
        captions=FURNITURE_CAPTIONS,
        licence="CC-BY 3.0 and CC0, see the data set's ATTRIBUTION.csv",
    ),
}


def write_students_part(data: Path, work: Path) -> None:
    """The students' half of furniture-rgbd as a shard; cifar10's part is whole shards already."""
    write_students_half(data / "furniture-rgbd", work / "data")
