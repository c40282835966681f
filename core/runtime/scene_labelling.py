"""Label scenes of several sensors: together where an artefact takes them together, else each image alone.

A scene whose files one artefact takes at once gets one answer; its other files, and those of scenes that lack a partner, are
labelled alone by the artefact of one input. A file that no artefact takes alone is told. It knows contracts and packs; it
prints nothing and pairs no files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefw.contracts.scheme import is_together, together
from edgefw.errors import BundleError, DataError
from edgefw.runtime.in_order import in_order
from edgefw.runtime.labelling import Encoder, Labelled, Unreadable, decide, read_input
from edgefw.runtime.opening import Opener

if TYPE_CHECKING:
    from edgefw.contracts.backend import Runner
    from edgefw.runtime.bundle import Bundle
    from edgefw.runtime.label_pack import LabelPack
    from edgefw.runtime.manifest import ArtefactEntry
    from edgefw.runtime.pairing import Scene


@dataclass(frozen=True, kw_only=True)
class Unpaired:
    """A file without its partners, which no artefact takes alone."""

    path: Path
    modality: str

    def to_json(self) -> dict[str, Any]:
        """One JSON object: path, modality and error."""
        return {
            "path": str(self.path),
            "modality": self.modality,
            "error": "no partner, and no artefact takes it alone",
        }


@dataclass(frozen=True, kw_only=True)
class SceneEncoder:
    """An opened artefact with what stands before each of its inputs.

    Attributes:
        artefact: its entry in the manifest.
        sensors: sensor -> what reads its files, for one input or several.
    """

    artefact: ArtefactEntry
    sensors: Mapping[str, Encoder]

    @property
    def role(self) -> str:
        """What its answers are told under."""
        return together(tuple(self.sensors))

    def embed(self, rows: Sequence[Mapping[str, np.ndarray]]) -> np.ndarray:
        """Embeddings (B, D) float32 of B scenes' prepared images by sensor."""
        feeds = {own.input: np.stack([row[name] for row in rows]) for name, own in self.sensors.items()}
        return next(iter(self.sensors.values())).runner.run(feeds)


def scene_encoders(
    bundle: Bundle, roles: Sequence[str], artefact: str | None = None, threads: int | None = None
) -> dict[str, SceneEncoder]:
    """What labels files of these sensors: by role, those that take several together first.

    Args:
        bundle: opened.
        roles: sensors that there are files of.
        artefact: the one to use; None takes the default's precision for each role.
        threads: CPU threads of each session; None: the artefact's own option.

    Raises:
        BundleError: if the named artefact takes none of them, or a partner is missing.
    """
    opener, runners = Opener(bundle), dict[str, "Runner"]()
    found = {}
    for role, entry in _entries(bundle, roles, artefact).items():
        if entry.name not in runners:
            runners[entry.name] = opener.runner(entry, threads)
        names = entry.modalities if len(entry.inputs) > 1 else [role]
        sensors = {
            name: Encoder(
                runner=runners[entry.name],
                input=input,
                modality=opener.modality(name),
                preprocessing=opener.preprocessing(name),
            )
            for name, input in zip(names, entry.inputs)
        }
        found[role] = SceneEncoder(artefact=entry, sensors=sensors)
    return found


def _entries(bundle: Bundle, roles: Sequence[str], artefact: str | None) -> dict[str, ArtefactEntry]:
    entries = bundle.manifest.artefacts
    if artefact is not None:
        chosen = bundle.artefact(artefact)
        if len(chosen.inputs) == 1:
            return {role: bundle.artefact(artefact, role) for role in roles}
        if missing := [name for name in chosen.modalities if name not in roles]:
            needed = " ".join(f"{name}=DIR" for name in chosen.modalities)
            raise BundleError(
                f"--artefact {artefact}: takes {' and '.join(chosen.modalities)} together, and there is no source of "
                f"{', '.join(missing)}. Give {needed}."
            )
        return {chosen.roles[0]: chosen}
    joint = dict.fromkeys(
        entry.roles[0] for entry in entries if len(entry.inputs) > 1 and set(entry.modalities) <= set(roles)
    )
    alone = [role for role in roles if bundle.serves(role)]
    found = {role: bundle.artefact(None, role) for role in (*joint, *alone)}
    if not found:
        raise BundleError(f"{bundle.source}: no artefact takes {' or '.join(roles)}.")
    return found


def check_pairs(scenes: Sequence[Scene], encoders: Mapping[str, SceneEncoder]) -> None:
    """Refuse sources of several sensors that have nothing in common, if an artefact takes them together.

    Raises:
        DataError: saying how files are paired.
    """
    joint = [encoder for encoder in encoders.values() if len(encoder.sensors) > 1]
    if joint and not any(encoder.sensors.keys() <= scene.files.keys() for scene in scenes for encoder in joint):
        some = {name: scene.files[name] for name in joint[0].sensors for scene in scenes if name in scene.files}
        raise DataError(
            f"no pairs: no image of {' and '.join(joint[0].sensors)} has the same name "
            f"({', '.join(str(path) for path in some.values())}). Files are paired by their path below the source, "
            "without the ending."
        )


def label_scenes(
    encoders: Mapping[str, SceneEncoder],
    pack: LabelPack,
    scenes: Sequence[Scene],
    batch: int = 16,
    top: int = 1,
    threads: int | None = None,
) -> Iterator[Labelled | Unreadable | Unpaired]:
    """Label scenes; those of one role in their order, unreadable and unpaired files at once.

    Args:
        encoders: from `scene_encoders`.
        pack: labels that fit the bundle.
        scenes: from `edgefw.runtime.pairing.scenes`.
        batch: scenes per call of the runtime, in memory per role, and read ahead.
        top: labels per scene.
        threads: that read ahead at most, one decoded image each; None: see `in_order`.
    """
    held: dict[str, list[_Row]] = {role: [] for role in encoders}
    for items in in_order(lambda scene: list(_rows(scene, encoders)), scenes, batch, threads):
        for item in items:
            if not isinstance(item, _Row):
                yield item
                continue
            held[item.role].append(item)
            if len(held[item.role]) == batch:
                yield from _labelled(encoders[item.role], pack, held[item.role], top)
                held[item.role] = []
    for role, rows in held.items():
        if rows:
            yield from _labelled(encoders[role], pack, rows, top)


@dataclass(frozen=True, kw_only=True)
class _Row:
    """What one artefact is shown of a scene."""

    role: str
    files: Mapping[str, Path]
    images: Mapping[str, np.ndarray]


def _rows(scene: Scene, encoders: Mapping[str, SceneEncoder]) -> Iterator[_Row | Unreadable | Unpaired]:
    """Together where all files are there and can be read; what is left over alone."""
    images: dict[str, np.ndarray] = {}
    for name, path in scene.files.items():
        own = next((encoder.sensors[name] for encoder in encoders.values() if name in encoder.sensors), None)
        if own is None:
            yield Unpaired(path=path, modality=name)
            continue
        item = read_input(own, path)
        if isinstance(item, Unreadable):
            yield item
        else:
            images[name] = item[1]
    left = dict(images)
    for role, encoder in encoders.items():
        if is_together(role) and encoder.sensors.keys() <= images.keys():
            yield _row(role, tuple(encoder.sensors), scene, images)
            left = {name: image for name, image in left.items() if name not in encoder.sensors}
    for name in left:
        yield (
            _row(name, (name,), scene, images) if name in encoders else Unpaired(path=scene.files[name], modality=name)
        )


def _row(role: str, names: Sequence[str], scene: Scene, images: Mapping[str, np.ndarray]) -> _Row:
    files = {name: scene.files[name] for name in names}
    return _Row(role=role, files=files, images={name: images[name] for name in names})


def _labelled(encoder: SceneEncoder, pack: LabelPack, rows: Sequence[_Row], top: int) -> Iterator[Labelled]:
    scores = pack.scores(encoder.embed([row.images for row in rows]))
    for row, own, beaten in zip(rows, scores.probabilities, scores.beaten):
        path = next(iter(row.files.values()))
        if not np.isfinite(own).all():
            raise DataError(
                f"{path}: the artefact gave numbers that are not finite. Run `edgefw verify` on the bundle."
            )
        yield replace(decide(path, own, beaten, pack, top), modality=row.role, files=row.files)
