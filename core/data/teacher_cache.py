"""Teacher answers on disk, so that the teacher runs once per image and view.

One folder per cache, named by a digest of everything an answer depends on: the teacher's fingerprint and
preprocessing, the modality it looks at, the view recipe, the seed, the number of views, the samples and the files
behind them, the storage type, and what was asked for. A change of any of these is another folder, so a stale answer
cannot be read. Inside are safetensors shards of consecutive samples, each written whole or not at all, each with a
checksum: a damaged one is made again, and filling goes on where a killed process stopped.

Shards are read through memory maps, so a cache may be larger than memory. This file knows no loss and no loop.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch.nn import functional

from edgefw.contracts.teacher import TeacherOutput
from edgefw.data.atomic_files import remove_unfinished, write_file
from edgefw.data.workers import Loader

if TYPE_CHECKING:
    from torch import Tensor

    from edgefw.contracts.teacher import Teacher
    from edgefw.data.batches import StepData, StepSource

FORMAT = 1
SHARD_BYTES = 64 * 10**6
"""How large a shard becomes at most, about; a shard is also what is lost when filling is killed."""
BATCH = 32
"""Pictures per pass of the teacher. The last bits of an answer depend on it, so that it is the same for everyone."""
PARTS = ("embedding", "tokens", "queries", "keys", "values")

StorageType = Literal["float32", "float16"]


class OnlineTargets:
    """Asks the teacher in every step."""

    def __init__(self, teacher: Teacher, device: torch.device, want: frozenset[str] = frozenset()) -> None:
        self._teacher = teacher
        self._device = device
        self._want = want
        teacher.module.to(device).eval()

    def __call__(self, step: StepData) -> TeacherOutput:
        """The targets of a batch, on the device, in float32, without gradient."""
        assert step.pictures is not None
        with torch.no_grad():
            return self._teacher.encode_image(step.pictures.to(self._device, non_blocking=True), self._want)


class CachedTargets:
    """Reads the targets of a batch from verified shards."""

    def __init__(self, shards: Sequence[Mapping[str, Tensor]], rows: int, device: torch.device) -> None:
        self._shards = shards
        self._rows = rows
        self._device = device

    def __call__(self, step: StepData) -> TeacherOutput:
        """The targets of a batch, on the device, in float32, without gradient."""
        parts = self._read(step.sample, step.turn)
        return TeacherOutput(**{name: value.to(self._device, non_blocking=True) for name, value in parts.items()})

    def _read(self, sample: Tensor, turn: int) -> dict[str, Tensor]:
        if len(self._shards) == 1:
            return {
                name: _ready(name, stored[sample, turn % stored.shape[1]]) for name, stored in self._shards[0].items()
            }
        places = [(index // self._rows, index % self._rows) for index in sample.tolist()]
        return {
            name: _ready(
                name, torch.stack([self._shards[shard][name][row, turn % kept.shape[1]] for shard, row in places])
            )
            for name, kept in self._shards[0].items()
        }


@dataclass(frozen=True, kw_only=True)
class TeacherCache:
    """The answers of one teacher about one split.

    Attributes:
        folder: where caches of all kinds live; this one gets a folder inside.
        teacher: frozen, on `device` while the cache is filled.
        source: the samples; `source.turns` must be a number.
        want: "tokens", "qkv", beyond the embedding.
        dtype: storage type. float16 halves the space; embeddings are made unit length again when read.
        device: where the teacher runs and where targets go.
    """

    folder: Path
    teacher: Teacher
    source: StepSource
    want: frozenset[str] = frozenset()
    dtype: StorageType = "float32"
    device: torch.device

    @property
    def key(self) -> dict[str, Any]:
        """Everything an answer depends on, as JSON values."""
        spec = self.teacher.spec
        return {
            "format": FORMAT,
            "teacher": spec.fingerprint,
            "preprocessing": spec.preprocessing,
            "want": sorted(self.want),
            "dtype": self.dtype,
            **self.source.identity(),
        }

    @property
    def digest(self) -> str:
        """The key in 64 hexadecimal digits."""
        return hashlib.sha256(json.dumps(self.key, sort_keys=True).encode()).hexdigest()

    @property
    def home(self) -> Path:
        """The folder of this cache."""
        return self.folder / "teacher" / self.digest[:20]

    @property
    def turns(self) -> int:
        """Answers per sample: one per view, or one where the teacher sees the same picture in all of them."""
        if getattr(self.source, "clean_teacher", False):
            return 1
        if self.source.turns is None:
            raise ValueError("a teacher cache needs data with a fixed number of views")
        return self.source.turns

    @property
    def rows(self) -> int:
        """Samples per shard."""
        spec, numbers = self.teacher.spec, self.teacher.spec.width
        if spec.tokens is not None and self.want:
            per_kind = spec.tokens.grid[0] * spec.tokens.grid[1] * spec.tokens.width
            numbers += per_kind * (("tokens" in self.want) + 3 * ("qkv" in self.want))
        return max(1, min(4096, SHARD_BYTES // (numbers * self.turns * (2 if self.dtype == "float16" else 4))))

    def shard_paths(self) -> list[Path]:
        """Files of the shards, in the order of the samples."""
        count = -(-len(self.source.ids) // self.rows)
        return [self.home / f"{number:05d}.safetensors" for number in range(count)]

    def fill(
        self,
        *,
        rank: int = 0,
        world: int = 1,
        workers: int = 0,
        batch: int = BATCH,
        progress: Callable[[int, int], None] | None = None,
    ) -> int:
        """Make what is missing or damaged; `world` processes share the shards. How many shards this one made.

        Args:
            workers: loader processes.
            batch: pictures per pass of the teacher; the last bits of an answer depend on it.
            progress: told (samples that are there, samples in all).
        """
        if world == 1:
            self.tidy()
        self.home.mkdir(parents=True, exist_ok=True)
        if rank == 0:
            write_file(self.home / "key.json", lambda path: path.write_text(json.dumps(self.key, indent=1)))
        mine = list(enumerate(self.shard_paths()))[rank::world]
        missing = [number for number, path in mine if read_shard(path, self.digest, self.span(number)) is None]
        done = len(self.source.ids) - sum(stop - start for start, stop in map(self.span, missing))
        loader: Loader[tuple[list[int], int], Tensor] = Loader(self._pictures, workers)
        if missing:
            self.teacher.module.to(self.device).eval()
        try:
            for number in missing:
                start, stop = self.span(number)
                for part in self._make(number, loader, batch):
                    if progress:
                        progress(done + part, len(self.source.ids))
                done += stop - start
        finally:
            loader.close()
        return len(missing)

    def open(self) -> CachedTargets | None:
        """The targets, once every shard is there and whole; otherwise None: call `fill` first."""
        shards = [read_shard(path, self.digest, self.span(number)) for number, path in enumerate(self.shard_paths())]
        whole = [shard for shard in shards if shard is not None]
        return CachedTargets(whole, self.rows, self.device) if len(whole) == len(shards) else None

    def tidy(self) -> None:
        """Remove what killed processes left half-written; while nobody writes."""
        remove_unfinished(self.home)

    def remove(self) -> None:
        """Remove this cache from the disk."""
        shutil.rmtree(self.home, ignore_errors=True)

    def span(self, number: int) -> tuple[int, int]:
        """First sample of a shard, and the one after its last."""
        return number * self.rows, min((number + 1) * self.rows, len(self.source.ids))

    def _pictures(self, item: tuple[list[int], int]) -> Tensor:
        return self.source.pictures(*item)

    def _make(self, number: int, loader: Loader[tuple[list[int], int], Tensor], batch: int) -> Iterator[int]:
        """Make a shard; yields how many of its samples are done, batch by batch, and all of them once it is stored."""
        start, stop = self.span(number)
        chunks = [list(range(first, min(first + batch, stop))) for first in range(start, stop, batch)]
        turns: list[dict[str, Tensor]] = []
        for turn in range(self.turns):
            collected: dict[str, list[Tensor]] = {}
            for place, pixels in enumerate(loader.stream([(chunk, turn) for chunk in chunks])):
                self._answer(pixels, collected)
                looked_at = turn * (stop - start) + min((place + 1) * batch, stop - start)
                yield min(looked_at // self.turns, stop - start - 1)
            turns.append({name: torch.cat(values) for name, values in collected.items()})
        tensors = {name: torch.stack([answers[name] for answers in turns], dim=1) for name in turns[0]}  # (n, turns, .)
        metadata = {"digest": self.digest, "span": f"{start}:{stop}", "sha256": _checksum(tensors)}
        write_file(self.shard_paths()[number], lambda path: save_file(tensors, path, metadata=metadata))
        yield stop - start

    def _answer(self, pixels: Tensor, collected: dict[str, list[Tensor]]) -> None:
        with torch.no_grad():
            output = self.teacher.encode_image(pixels.to(self.device), self.want)
        for name in PARTS:
            value = getattr(output, name)
            if value is not None:
                collected.setdefault(name, []).append(value.cpu().to(getattr(torch, self.dtype)))


def read_shard(path: Path, digest: str, span: tuple[int, int]) -> dict[str, Tensor] | None:
    """The memory-mapped tensors of a shard, each (samples, views, ...); None if it is missing, damaged or another's."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            names = list(file.keys())  # not a mapping
            tensors = {name: file.get_tensor(name) for name in names}
    except (OSError, SafetensorError):
        return None
    expected = {"digest": digest, "span": f"{span[0]}:{span[1]}", "sha256": _checksum(tensors)}
    return tensors if metadata == expected else None


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    hashed = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].contiguous()
        hashed.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        hashed.update(value.flatten().view(torch.uint8).numpy().data)
    return hashed.hexdigest()


def _ready(name: str, stored: Tensor) -> Tensor:
    if stored.dtype == torch.float32:
        return stored
    value = stored.float()
    return functional.normalize(value, dim=-1) if name == "embedding" else value
