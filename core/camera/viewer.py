"""Draws what is said about a frame, and hands the picture to where it is looked at.

It knows records, packs and maps; where frames come from, and what becomes of a picture, it does not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgefw.camera.drawing import enlarged, side_by_side, with_heat, with_lines
from edgefw.camera.frames import Frame
from edgefw.camera.shown import Shown
from edgefw.camera.store import FULL
from edgefw.errors import BundleError, DataError
from edgefw.runtime.heat import Cells, HeatMaps
from edgefw.runtime.label_pack import LabelPack


@dataclass(frozen=True, kw_only=True)
class HeatLayer:
    """Heat maps of some labels of the pack, side by side; without names that of each frame's best label."""

    maps: HeatMaps
    names: Sequence[str] = ()

    def check(self, pack: LabelPack) -> None:
        """Refuse a pack that lacks a label that is to be drawn.

        Raises:
            BundleError: naming it.
        """
        for name in self.names:
            if name not in pack.names:
                raise BundleError(f"--heat-of '{name}' is no label of the pack: {', '.join(pack.names)}.")

    def draw(
        self, frame: Frame, picture: np.ndarray, record: Mapping[str, Any], pack: LabelPack
    ) -> tuple[list[tuple[np.ndarray, str]], list[dict[str, Any]]]:
        """The picture under each map with a line of text, and what the maps say.

        That is, per label, its `peak` [x, y] in the frame's pixels, and the cosines there and at the lowest place.
        """
        cells = self.maps.look(frame.values)
        cosines = cells.cosines(pack)
        panels: list[tuple[np.ndarray, str]] = []
        told: list[dict[str, Any]] = []
        for name in self.names or (record["labels"][0]["label"],):
            heat = cosines[pack.names.index(name)]
            drawn = with_heat(picture, _over(cells, heat, frame.values, picture))
            panels.append((drawn, f"{name} {heat.min():.2f} .. {heat.max():.2f}"))
            peak = [round(at, 1) for at in cells.peak(heat)]
            told.append({"label": name, "peak": peak, "cosine": float(heat.max()), "lowest": float(heat.min())})
        return panels, told


class Viewer:
    """Shows frame after frame.

    Args:
        places: where pictures go.
        picture: a frame's values as an (H, W, 3) uint8 picture.
        pack: the labels in use.
        labels: so many labels are written on a frame, the best first.
        heat: the maps to draw, or None.
        warn: is told the first time that a place has no room, and frames go on; None: that is an error.

    Attributes:
        lost: pictures that a place did not take.
    """

    def __init__(
        self,
        places: Sequence[Shown],
        picture: Callable[[np.ndarray], np.ndarray],
        pack: LabelPack,
        labels: int = 0,
        heat: HeatLayer | None = None,
        warn: Callable[[str], object] | None = None,
    ) -> None:
        self._places, self._picture, self._labels, self._heat = places, picture, labels, heat
        self._warn, self.lost = warn, 0
        self.use(pack)

    def check(self, pack: LabelPack) -> None:
        """Refuse a pack that cannot be drawn.

        Raises:
            BundleError: saying why.
        """
        if self._heat is not None:
            self._heat.check(pack)

    def use(self, pack: LabelPack) -> None:
        """Go on with another pack.

        Raises:
            BundleError: if it lacks a label that is to be drawn.
        """
        self.check(pack)
        self._pack = pack

    def show(self, frame: Frame, record: Mapping[str, Any]) -> dict[str, Any]:
        """Draw and show; what a record of the frame says more: `heat`, and the file as `shown`.

        Raises:
            DataError: if a picture cannot be written, save where there is no room and somebody is warned of it.
        """
        picture = enlarged(self._picture(frame.values))
        panels: list[tuple[np.ndarray, str]] = [(picture, "")]
        more: dict[str, Any] = {}
        if self._heat is not None:
            panels, more["heat"] = self._heat.draw(frame, picture, record, self._pack)
        texts = [[caption] if caption else [] for _, caption in panels]
        texts[0] += lines(record, self._labels)
        drawn = side_by_side([with_lines(panel, text) for (panel, _), text in zip(panels, texts)])
        files = [file for file in [self._put(place, drawn, frame) for place in self._places] if file is not None]
        return {**more, **({"shown": files[0]} if files else {})}

    def _put(self, place: Shown, drawn: np.ndarray, frame: Frame) -> str | None:
        try:
            return place.add(drawn, frame)
        except DataError as error:
            if self._warn is None or getattr(error.__cause__, "errno", None) not in FULL:
                raise
            if not self.lost:
                self._warn(str(error))
            self.lost += 1
            return None

    def close(self) -> None:
        """Finish what pictures went into."""
        for place in self._places:
            place.close()


def lines(record: Mapping[str, Any], labels: int) -> list[str]:
    """What is written on a frame: its best labels, "unknown" before them where none is said, and what the trigger did."""
    if not labels:
        return []
    said = [] if record["label"] else ["unknown"]
    for entry in record["labels"][:labels]:
        said.append(entry["label"] + ("" if entry["score"] is None else f" {entry['score']:.2f}"))
    return [*said, *([f"trigger: {record['trigger']}"] if "trigger" in record else [])]


def _over(cells: Cells, heat: np.ndarray, values: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """A map over a picture that may be larger than the frame."""
    down, across = picture.shape[0] / values.shape[0], picture.shape[1] / values.shape[1]
    left, top, right, bottom = cells.box
    box = (left * across, top * down, right * across, bottom * down)
    return Cells(embeddings=cells.embeddings, box=box).spread(heat, (picture.shape[0], picture.shape[1]))
