"""`edgefw label` as a camera: frames one after the other, a trigger, a store; until the source ends or Ctrl-C."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from edgefw.camera.frames import FrameSource
    from edgefw.camera.pack_file import PackFile
    from edgefw.camera.pipeline import Pipeline
    from edgefw.camera.session import Session
    from edgefw.runtime.bundle import Bundle
    from edgefw.runtime.label_pack import LabelPack
    from edgefw.runtime.labelling import Encoder

_NO_TRIGGER = "nothing says which frames to keep: give --keep LABEL, or a label pack with a trigger (edgefw labels build --trigger)."


@dataclass(frozen=True, kw_only=True)
class CameraOptions:
    """The options of `edgefw label` that concern frames."""

    keep: Sequence[str] = ()
    threshold: float | None = None
    score: str | None = None
    cool_down: float | None = None
    store: Path | None = None
    budget_mb: float | None = None
    watch: bool = False
    realtime: bool = False
    drop: str = "oldest"
    frames: int | None = None

    def wanted(self, sources: Sequence[str]) -> bool:
        """Whether the sources are to be looked at frame by frame."""
        from edgefw.camera.video import is_video

        return self.watch or bool(self.keep) or self.store is not None or any(is_video(source) for source in sources)

    def refuse_unused(self) -> None:
        """Where images are labelled file by file, nothing of this does anything.

        Raises:
            click.UsageError: naming the first option that was given.
        """
        given = [
            name
            for name in ("threshold", "score", "cool_down", "budget_mb", "frames")
            if getattr(self, name) is not None
        ]
        if self.realtime:
            given.append("realtime")
        if given:
            raise click.UsageError(
                f"--{given[0].replace('_', '-')} is for frames: a video, a camera, --watch, --keep or --store."
            )

    def check(self, sources: Sequence[str]) -> None:
        """Refuse options that do not go together.

        Raises:
            click.UsageError: with the way out.
        """
        from edgefw.camera.video import is_video

        if len(sources) > 1 and (self.watch or any(is_video(source) for source in sources)):
            raise click.UsageError("a camera, a video or a watched folder is looked at alone: give one SOURCE.")
        if self.watch and is_video(sources[0]):
            raise click.UsageError("--watch is for a folder; a video or a camera needs no option.")
        if self.realtime and not is_video(sources[0]):
            raise click.UsageError("--realtime is for video files.")
        if self.budget_mb is not None and self.store is None:
            raise click.UsageError("--budget-mb is the budget of --store: name its folder.")
        if self.store is not None and any(_reaches(source, self.store) for source in sources):
            raise click.UsageError(
                "--store lies in what is looked at: its pictures would be kept again. Choose another."
            )
        loose = [name for name in ("threshold", "score", "cool_down", "budget_mb") if getattr(self, name) is not None]
        if loose and not self.keep:
            raise click.UsageError(f"--{loose[0].replace('_', '-')} needs --keep; a pack's trigger states its own.")


def _reaches(source: str, store: Path) -> bool:
    folder = Path(source).expanduser()
    return folder.is_dir() and store.absolute().is_relative_to(folder.absolute())


def label_frames(
    opened: Bundle,
    encoder: Encoder,
    pack: tuple[LabelPack, Path | None],
    sources: Sequence[str],
    options: CameraOptions,
    about: Mapping[str, Any],
    as_lines: bool,
) -> None:
    """Label every frame and say what changes; each frame as a JSON line with `as_lines`.

    Args:
        pack: the labels, and the file they came from if that is to be watched.
        about: what a stored line says of bundle and artefact.
    """
    from edgefw.camera.pack_file import PackFile
    from edgefw.camera.pipeline import Pipeline

    session = _session(pack[0], options, about)
    source = _source(sources, encoder, options)
    watched = None if pack[1] is None else PackFile(pack[1], lambda new: opened.fitting(new, str(pack[1])))
    pipeline = Pipeline(
        source,
        lambda frame: encoder.preprocessing(frame.values),
        lambda images: encoder.runner.run({encoder.input: images}),
        options.drop,  # type: ignore[arg-type]
    )
    began = time.monotonic()
    done = _print(_records(pipeline, session, watched, options.frames), as_lines)
    _tell(done, time.monotonic() - began, pipeline, session, source)


def _session(pack: LabelPack, options: CameraOptions, about: Mapping[str, Any]) -> Session:
    from edgefw.camera.session import Session, own_rule, store_for

    rule = own_rule(
        list(options.keep),
        0.5 if options.threshold is None else options.threshold,
        options.score or "probability",
        options.cool_down or 0.0,
        options.budget_mb,
    )
    if options.store is not None and rule is None and pack.trigger is None:
        raise click.UsageError(f"--store: {_NO_TRIGGER}")
    return Session(pack, rule, store_for(options.store, rule, pack), about)


def _source(sources: Sequence[str], encoder: Encoder, options: CameraOptions) -> FrameSource:
    from edgefw.camera.image_files import ImageFiles
    from edgefw.camera.video import VideoSource, is_video
    from edgefw.camera.watched_folder import WatchedFolder
    from edgefw.errors import DataError

    if options.watch:
        return WatchedFolder(Path(sources[0]), encoder.modality)
    if not is_video(sources[0]):
        return ImageFiles(sources, encoder.modality)
    if not encoder.modality.colour:
        raise DataError(f"{sources[0]}: a video shows colours, and modality '{encoder.modality.name}' reads none.")
    return VideoSource(sources[0], options.realtime)


def _records(
    pipeline: Pipeline, session: Session, watched: PackFile | None, most: int | None
) -> Iterator[dict[str, Any]]:
    """What is said of each frame; a new pack takes effect between two of them."""
    frames = pipeline.run()
    began = time.monotonic()
    try:
        for number, (frame, embedding) in enumerate(frames, 1):
            if watched is not None:
                _change_pack(session, watched, time.monotonic() - began)
            yield session.look(frame, embedding)
            if number == most:
                return
    except KeyboardInterrupt:
        return
    finally:
        frames.close()  # type: ignore[attr-defined]


def _change_pack(session: Session, watched: PackFile, now: float) -> None:
    from edgefw.errors import BundleError

    try:
        pack = watched.look(now)
        if pack is not None:
            session.use(pack)
            click.echo(f"new label pack: {len(pack.labels)} labels", err=True)
    except BundleError as error:
        click.echo(f"warning: {error}", err=True)


def _print(records: Iterator[dict[str, Any]], as_lines: bool) -> int:
    """Every record as a line of JSON, or what is seen whenever that changes; how many there were."""
    count, before = 0, ("", "")
    for record in records:
        count += 1
        now = (record["label"] or "unknown", record.get("trigger", ""))
        if as_lines:
            click.echo(json.dumps(record))  # ASCII: a file name may be no text
        elif now != before:
            score = "" if record["score"] is None else f"\t{record['score']:.3f}"
            source = record["source"].encode("utf-8", "backslashreplace").decode()
            click.echo(f"{record['seconds']:.2f} s\t{source}\t{now[0]}{score}\t{now[1]}".rstrip())
        before = now
    return count


def _tell(done: int, seconds: float, pipeline: Pipeline, session: Session, source: FrameSource) -> None:
    """The summary, on stderr.

    Raises:
        DataError: if there was not a single frame.
    """
    from edgefw.camera.watched_folder import WatchedFolder
    from edgefw.errors import DataError

    notes = {"dropped": pipeline.dropped, **source.notes()}
    counted = ", ".join(f"{name} {count}" for name, count in notes.items() if count or name == "dropped")
    if not done and not isinstance(source, WatchedFolder):
        raise DataError(f"no frame could be labelled ({counted}).")
    click.echo(f"{done} frames in {seconds:.1f} s, {done / seconds:.1f} a second; {counted}", err=True)
    if not done:
        return  # a folder into which nobody wrote
    click.echo(", ".join(f"{name} {count}" for name, count in session.labels.most_common(8)), err=True)
    if session.outcomes:
        said = ", ".join(f"{name} {count}" for name, count in session.outcomes.most_common())
        click.echo(f"trigger: {said}", err=True)
