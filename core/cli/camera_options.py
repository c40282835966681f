"""The options of `edgefw label` that concern frames, and which of them go together."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click


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
    drop: str | None = None
    frames: int | None = None
    in_flight: int | None = None
    top: int | None = None
    show: Sequence[str] = ()
    out: Path | None = None
    heat_of: Sequence[str] = ()

    def wanted(self, sources: Sequence[str]) -> bool:
        """Whether the sources are to be looked at frame by frame."""
        from edgefw.camera.video import is_video

        return (
            self.watch
            or bool(self.keep or self.show)
            or self.store is not None
            or any(is_video(source) for source in sources)
        )

    def refuse_unused(self) -> None:
        """Where images are labelled file by file, nothing of this does anything.

        Raises:
            click.UsageError: naming the first option that was given.
        """
        given = [
            name
            for name in ("threshold", "score", "cool_down", "budget_mb", "frames", "in_flight", "drop", "out")
            if getattr(self, name) is not None
        ]
        given += ["heat_of"] if self.heat_of else []
        if self.realtime:
            given.append("realtime")
        if given:
            raise click.UsageError(
                f"--{given[0].replace('_', '-')} is for frames: a video, a camera, --watch, --keep, --store or --show."
            )

    def check(self, sources: Sequence[str]) -> None:
        """Refuse options that do not go together.

        Raises:
            click.UsageError: with the way out.
        """
        from edgefw.camera.video import is_video
        from edgefw.cli.label_show import check_show

        check_show(self.show, self.heat_of, self.out, sources)
        if len(sources) > 1 and (self.watch or any(is_video(source) for source in sources)):
            raise click.UsageError("a camera, a video or a watched folder is looked at alone: give one SOURCE.")
        if self.watch and is_video(sources[0]):
            raise click.UsageError("--watch is for a folder; a video or a camera needs no option.")
        if self.realtime and not is_video(sources[0]):
            raise click.UsageError("--realtime is for video files.")
        if self.budget_mb is not None and self.store is None:
            raise click.UsageError("--budget-mb is the budget of --store: name its folder.")
        for name, place in (("store", self.store), ("out", self.out)):
            if place is not None and any(_reaches(source, place) for source in sources):
                again = "kept" if name == "store" else "drawn"
                raise click.UsageError(
                    f"--{name} lies in what is looked at: its pictures would be {again} again. Choose another."
                )
        loose = [name for name in ("threshold", "score", "cool_down", "budget_mb") if getattr(self, name) is not None]
        if loose and not self.keep:
            raise click.UsageError(f"--{loose[0].replace('_', '-')} needs --keep; a pack's trigger states its own.")
        if (self.threshold or 0.0) < 0 and self.score != "cosine":
            raise click.UsageError(
                f"--threshold {self.threshold:g} is no probability, and would keep every frame: add --score cosine."
            )


def _reaches(source: str, store: Path) -> bool:
    folder = Path(os.path.expanduser(source))
    return folder.is_dir() and store.absolute().is_relative_to(folder.absolute())
