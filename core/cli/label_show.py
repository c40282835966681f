"""`edgefw label --show`: from options to what draws frames and where the pictures go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgefw.cli.output import tell

if TYPE_CHECKING:
    from edgefw.camera.frames import FrameSource
    from edgefw.camera.shown import Shown
    from edgefw.camera.viewer import Viewer
    from edgefw.cli.camera_options import CameraOptions
    from edgefw.contracts.modality import Modality
    from edgefw.runtime.heat import HeatMaps
    from edgefw.runtime.label_pack import LabelPack


LABELS = 3
"""So many labels are written on a frame unless --top says otherwise."""


def check_show(show: Sequence[str], heat_of: Sequence[str], out: Path | None, sources: Sequence[str]) -> None:
    """Refuse options of drawing that do not go together.

    Raises:
        click.UsageError: with the way out.
    """
    drawn = [what for what in show if what != "window"]
    if out is not None and not show:
        raise click.UsageError("--out is where --show draws: add --show labels or --show heat.")
    if heat_of and "heat" not in show:
        raise click.UsageError("--heat-of names labels of --show heat: add that.")
    if drawn and out is None and "window" not in show:
        raise click.UsageError(
            f"--show {drawn[0]} needs a place: --out FOLDER for pictures, --out FILE.mp4 for a video, or --show window."
        )
    if out is not None:
        _check_place(out, sources)


def _check_place(out: Path, sources: Sequence[str]) -> None:
    from edgefw.camera.shown import is_video_name
    from edgefw.camera.video import is_video

    if out.exists() and any(Path(source).exists() and out.samefile(source) for source in sources):
        raise click.UsageError(f"--out {out}: this is what is looked at. Name another place.")
    if is_video_name(out) and not is_video(sources[0]):
        raise click.UsageError(f"--out {out}: a video file is for a video or a camera; pictures go into a folder.")
    if out.is_file() and not is_video_name(out):
        raise click.UsageError(f"--out {out}: this is a file. Name a folder, or a video file such as drive.mp4.")


def viewer(
    options: CameraOptions,
    source: FrameSource,
    sensor: Modality,
    pack: LabelPack,
    maps: HeatMaps | None,
    stop: Callable[[], object],
) -> Viewer | None:
    """What draws frames; None where nothing is to be shown. Where frames are stored, a place that is full ends nothing.

    Raises:
        EdgefwError: if a label has no map, or a place cannot be opened.
    """
    if not options.show:
        return None
    from edgefw.camera.viewer import HeatLayer, Viewer

    heat = None if maps is None else HeatLayer(maps=maps, names=tuple(dict.fromkeys(options.heat_of)))
    if heat is not None:
        heat.check(pack)
    labels = (options.top or LABELS) if "labels" in options.show or heat is None else 0
    warn = None if options.store is None else _warn
    return Viewer(_places(options, source, stop), sensor.picture, pack, labels, heat, warn)


def _warn(why: str) -> None:
    tell(f"warning: {why} Frames are stored as before.")


def _places(options: CameraOptions, source: FrameSource, stop: Callable[[], object]) -> list[Shown]:
    from edgefw.camera.shown import PictureFolder, VideoFile, Window, is_video_name
    from edgefw.camera.video import VideoSource

    places: list[Shown] = [Window(stop)] if "window" in options.show else []
    if options.out is not None and is_video_name(options.out) and isinstance(source, VideoSource):
        places.append(VideoFile(options.out, source.rate))
    elif options.out is not None:
        places.append(PictureFolder(options.out))
    return places
