"""`edgefw label` as a camera: frames one after the other, a trigger, a store; until the source ends or Ctrl-C."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgefw.cli.output import tell

if TYPE_CHECKING:
    import numpy as np

    from edgefw.camera.frames import FrameSource
    from edgefw.camera.pack_file import PackFile
    from edgefw.camera.pipeline import Pipeline
    from edgefw.camera.session import Session
    from edgefw.camera.store import FrameStore
    from edgefw.camera.viewer import Viewer
    from edgefw.cli.camera_options import CameraOptions
    from edgefw.runtime.bundle import Bundle
    from edgefw.runtime.heat import HeatMaps
    from edgefw.runtime.label_pack import LabelPack
    from edgefw.runtime.labelling import Encoder
    from edgefw.runtime.trigger_rule import Rule


def label_frames(
    opened: Bundle,
    encoders: Sequence[Encoder],
    pack: LabelPack | None,
    file: Path | None,
    sources: Sequence[str],
    options: CameraOptions,
    about: Mapping[str, Any],
    as_lines: bool,
    maps: HeatMaps | None = None,
) -> None:
    """Label every frame and say what changes; each frame as a JSON line with `as_lines`.

    Args:
        encoders: for one sensor; they may run at the same time.
        pack: the labels, or None where they come from a file.
        file: the label pack that is read, and watched.
        about: what a stored line says of bundle and artefact.
        maps: what heat maps are drawn from.
    """
    from edgefw.camera.interrupts import asks_to_stop
    from edgefw.camera.pack_file import PackFile
    from edgefw.camera.pipeline import Pipeline
    from edgefw.cli.frame_lines import FrameLines
    from edgefw.cli.label_show import viewer

    watched = None if file is None else PackFile(file, lambda new: opened.fitting(new, str(file)))
    names = pack or (watched.first if watched else opened.label_pack())
    rule = _rule(names, options)
    encoder = encoders[0]
    source = _source(sources, encoder, options)
    pipeline = Pipeline(
        source,
        lambda frame: encoder.preprocessing(frame.values),
        [partial(_encoded, own) for own in encoders],
        options.drop or "oldest",  # type: ignore[arg-type]
    )
    with ExitStack() as open_things:
        shown = viewer(options, source, encoder.modality, names, maps, pipeline.stop)
        if shown is not None:
            open_things.callback(shown.close)
        store = _store(options.store)
        if store is not None:
            open_things.callback(store.close)
        session = _session(names, rule, store, about, options.top)
        began = time.monotonic()
        with asks_to_stop(pipeline.stop):
            lines = FrameLines(as_lines, options.top or 1, stored=store is not None)
            done = lines.print(_records(pipeline, session, watched, options.frames, shown, rule))
            lost = {"not printed": lines.lost, "not drawn": 0 if shown is None else shown.lost}
            _tell(done, time.monotonic() - began, pipeline, session, source, lost)


def _encoded(encoder: Encoder, images: np.ndarray) -> np.ndarray:
    """Embeddings (1, D) of prepared images (1, C, H, W)."""
    return encoder.runner.run({encoder.input: images})


def _rule(pack: LabelPack, options: CameraOptions) -> Rule | None:
    """The rule of the command line, checked against the pack; None where the pack's own applies."""
    from edgefw.camera.session import NO_TRIGGER, own_rule
    from edgefw.runtime.trigger_rule import check_names, keeps_everything

    rule = own_rule(
        list(options.keep),
        options.threshold,
        options.score or "probability",
        options.cool_down or 0.0,
        options.budget_mb,
    )
    if options.store is not None and rule is None and pack.trigger is None:
        raise click.UsageError(f"--store: {NO_TRIGGER}")
    if rule is not None:
        check_names(rule, pack.names, "trigger")
        if why := keeps_everything(rule, pack.names, len(pack.negatives)):
            raise click.UsageError(f"--keep: {why}")
    _warn_of_everything(pack, rule)
    return rule


def _warn_of_everything(pack: LabelPack, rule: Rule | None) -> None:
    """A pack's own trigger, or a new pack, that keeps every frame is told; a camera in the field goes on."""
    from edgefw.runtime.trigger_rule import keeps_everything

    asked = rule or pack.trigger
    if asked is not None and (why := keeps_everything(asked, pack.names, len(pack.negatives))):
        tell(f"warning: {why}")


def _store(folder: Path | None) -> FrameStore | None:
    from edgefw.camera.store import FrameStore

    return None if folder is None else FrameStore(folder)


def _session(
    pack: LabelPack, rule: Rule | None, store: FrameStore | None, about: Mapping[str, Any], top: int | None
) -> Session:
    from edgefw.camera.session import MOST_SCORES, Session

    return Session(pack, rule, store, about, top or MOST_SCORES)


def _source(sources: Sequence[str], encoder: Encoder, options: CameraOptions) -> FrameSource:
    from edgefw.camera.image_files import ImageFiles
    from edgefw.camera.video import VideoSource, is_video
    from edgefw.camera.watched_folder import WatchedFolder
    from edgefw.errors import DataError

    if options.watch:
        return _waiting(WatchedFolder(Path(sources[0]), encoder.modality), options)
    if not is_video(sources[0]):
        return _waiting(ImageFiles(sources, encoder.modality), options)
    if not encoder.modality.colour:
        raise DataError(f"{sources[0]}: a video shows colours, and modality '{encoder.modality.name}' reads none.")
    video = VideoSource(sources[0], options.realtime)
    if options.realtime and not video.ends:
        raise click.UsageError("--realtime is for video files; a camera or a stream has no other pace.")
    return _waiting(video, options)


def _waiting(source: FrameSource, options: CameraOptions) -> FrameSource:
    """The source, unless frames are to be dropped from one that waits."""
    if options.drop is not None and not source.live:
        raise click.UsageError(
            "--drop is for a camera, a stream or --realtime: any other source waits, and loses no frame."
        )
    return source


def _records(
    pipeline: Pipeline,
    session: Session,
    watched: PackFile | None,
    most: int | None,
    shown: Viewer | None,
    rule: Rule | None,
) -> Iterator[dict[str, Any]]:
    """What is said of each frame; a new pack takes effect between two of them."""
    frames = pipeline.run()
    began = time.monotonic()
    try:
        for number, (frame, embedding) in enumerate(frames, 1):
            if watched is not None:
                _change_pack(session, watched, time.monotonic() - began, shown, rule)
            record = session.look(frame, embedding)
            yield record if shown is None else record | shown.show(frame, record)
            if number == most:
                return
    finally:
        frames.close()  # type: ignore[attr-defined]


def _change_pack(session: Session, watched: PackFile, now: float, shown: Viewer | None, rule: Rule | None) -> None:
    from edgefw.errors import BundleError

    try:
        pack = watched.look(now)
        if pack is not None:
            if shown is not None:
                shown.check(pack)
            session.use(pack)
            if shown is not None:
                shown.use(pack)
            watched.took(pack)
            tell(f"new label pack: {len(pack.labels)} labels")
            _warn_of_everything(pack, rule)
    except BundleError as error:
        tell(f"warning: the label pack in use stays: {error}")


def _tell(
    done: int, seconds: float, pipeline: Pipeline, session: Session, source: FrameSource, lost: Mapping[str, int]
) -> None:
    """The summary, on stderr.

    Raises:
        DataError: if there was not a single frame, and nobody ended it.
    """
    from edgefw.camera.watched_folder import WatchedFolder
    from edgefw.errors import DataError

    notes = {"dropped": pipeline.dropped, **source.notes(), "read that hangs": int(pipeline.hangs), **lost}
    counted = ", ".join(f"{name} {count}" for name, count in notes.items() if count or name == "dropped")
    if not done and not pipeline.stopped and not isinstance(source, WatchedFolder):
        raise DataError(f"no frame could be labelled ({counted}).")
    tell(f"{done} frames in {seconds:.1f} s, {done / seconds:.1f} a second; {counted}")
    if not done:
        return
    tell(", ".join(f"{name} {count}" for name, count in session.labels.most_common(8)))
    if session.outcomes:
        said = ", ".join(f"{name} {count}" for name, count in session.outcomes.most_common())
        tell(f"trigger: {said}")
