"""Labelled scenes drawn on the spot: colour, depth and heat of twelve classes.

A first run needs no download and no camera: scenes are ray-cast from a seed, colour and metric depth from the same
geometry, with captions. Splits are drawn from different seeds and never share a scene. The images are stored once in
the cache folder as WebDataset shards, so they can be looked at and read by other tools.

Modalities must be called `rgb`, `depth` and `thermal`; the last is drawn if `sensors` asks for it: emission and reflection
in the band of 8 to 14 micrometres, from a temperature and a material per thing (physics in `drawing/heat.py`), as a
radiometric camera stores it. Colour and depth are the same bits with and without it. This is a toy world with twelve
clean classes: what it shows is that the chain works, not how a recipe does on photographs.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, field_validator

import edgefw
from edgefw.contracts.dataset import SPLITS, Listing, Sample, TarReference
from edgefw.errors import RecipeError
from edgefw.registry.technique import silent

if TYPE_CHECKING:
    from edgefw.registry.technique import Register

Sensor = Literal["rgb", "depth", "thermal"]
Count = Annotated[int, Field(ge=0, le=1_000_000)]

WORTH_SAYING = 400
"""So many scenes take seconds; drawing them is announced."""


class SampleConfig(edgefw.TechniqueConfig):
    """How many scenes, how large, from which seed."""

    train: Count = Field(default=1500, description="scenes of the train split")
    val: Count = Field(default=240, description="scenes of the val split")
    test: Count = Field(default=480, description="scenes of the test split")
    size: Annotated[int, Field(ge=16, le=512)] = Field(default=64, description="pixels along each side")
    seed: Annotated[int, Field(ge=0)] = Field(default=0, description="start of every draw; another seed, other scenes")
    sensors: Annotated[tuple[Sensor, ...], Field(min_length=1)] = Field(
        default=("rgb", "depth"), description="images of each scene: rgb, depth, thermal"
    )

    @field_validator("sensors")
    @classmethod
    def _each_once(cls, value: tuple[Sensor, ...]) -> tuple[Sensor, ...]:
        if len(set(value)) < len(value):
            raise ValueError(f"a sensor is named twice: {', '.join(value)}")
        return value


class SampleScenes:
    """The drawn data set; shards appear on first use of their split."""

    licence = "Apache-2.0 (drawn by edgefw)"

    def __init__(
        self, config: SampleConfig, cache: Path, modalities: tuple[str, ...] = (), say: Callable[[str], None] = silent
    ) -> None:
        from edgefw.plugins.datasets.drawing.objects import OBJECTS

        self.classes = tuple(OBJECTS)
        self.config = config
        self.used = frozenset(modalities or config.sensors)
        self._say = say
        self.folder = cache / f"sample-{_fingerprint(config)}"

    def listing(self, split: str) -> Listing:
        """The scenes of a split, drawn now if they are not in the cache."""
        count = self.count(split)
        if not count:
            return Listing(samples=())
        return Listing(samples=_read(self._shard(split, count), self.config.sensors, self.used))

    def count(self, split: str) -> int:
        """How many scenes a split has, without drawing them."""
        return getattr(self.config, split, 0) if split in SPLITS else 0

    def _shard(self, split: str, count: int) -> Path:
        from edgefw.plugins.datasets.drawing.shard import ShardPlan, write_shard

        target = self.folder / f"{split}-{count}.tar"
        if not target.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            plan = ShardPlan(self.config.seed, SPLITS.index(split), count, self.config.size, self.config.sensors)
            if count >= WORTH_SAYING:
                self._say(f"sample: drawing {count} scenes of {split}, once")
            write_shard(plan, target)
        return target


def _read(shard: Path, sensors: tuple[str, ...], used: frozenset[str]) -> list[Sample]:
    """Samples of a shard whose scenes have one member per sensor and a JSON file, with the images that are used."""
    with tarfile.open(shard, "r:") as tar:
        members = tar.getmembers()
        scenes = [members[at : at + len(sensors) + 1] for at in range(0, len(members), len(sensors) + 1)]
        named = [{member.name.split(".")[1]: member for member in scene} for scene in scenes]
        return [_sample(shard, tar, scene, used) for scene in named]


def _sample(shard: Path, tar: tarfile.TarFile, scene: dict[str, tarfile.TarInfo], used: frozenset[str]) -> Sample:
    about = json.loads(tar.extractfile(scene.pop("json")).read())  # type: ignore[union-attr]
    images = {name: TarReference(shard, m.name, m.offset_data, m.size) for name, m in scene.items() if name in used}
    key = next(iter(images.values())).member.split(".")[0]
    return Sample(id=key, images=images, label=about["label"], caption=about["caption"])


def _fingerprint(config: SampleConfig) -> str:
    """Changes with the drawing code and with what a scene depends on, so that a stale shard is never read."""
    digest = hashlib.sha256(f"{config.seed} {config.size} {sorted(config.sensors)}".encode())
    for source in sorted((Path(__file__).parent / "drawing").glob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:12]


def build(config: SampleConfig, context: edgefw.BuildContext) -> SampleScenes:
    """The data set, drawing into the run's cache folder.

    Raises:
        RecipeError: if the recipe names a modality that is not drawn.
    """
    known = " and ".join([", ".join(config.sensors[:-1]), config.sensors[-1]]).removeprefix(" and ")
    for name in context.modalities:
        if name not in config.sensors:
            more = " Add it to sensors." if name == "thermal" else f" Name modalities {', '.join(config.sensors)}."
            raise RecipeError(f"{context.path}: data set 'sample' draws {known}, not '{name}'.{more}")
    return SampleScenes(config, context.cache, tuple(context.modalities), context.say)


@edgefw.hookimpl
def edgefw_register_datasets(register: Register) -> None:
    """Offer the data set."""
    register(edgefw.Technique(name="sample", config=SampleConfig, build=build, licence=SampleScenes.licence))
