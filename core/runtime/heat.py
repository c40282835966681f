"""Where in an image a label lies: the cosine of every cell of the student's map to the label's text.

    h_kij = max_l cos(e_ij, v_kl)      for cell ij and label k with its vectors v_kl

The cells' embeddings e_ij come from a map file of the bundle (`export.heat: true`; what they are stands in
`edgefw.stages.maps`). Cells are laid over the part of the image that the student saw: preprocessing may cut some off.
It knows contracts and packs; it draws nothing and never imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefw.errors import BundleError
from edgefw.runtime.opening import Opener, single_input
from edgefw.runtime.preprocessing import Preprocessing, shortest_side
from edgefw.runtime.resampling import resample

if TYPE_CHECKING:
    from edgefw.contracts.backend import Runner
    from edgefw.runtime.bundle import Bundle
    from edgefw.runtime.label_pack import LabelPack

Box = tuple[float, float, float, float]
"""left, top, right, bottom in pixels."""


@dataclass(frozen=True, kw_only=True)
class Cells:
    """What is said of the cells of one image: `embeddings` (rows, columns, D), over the pixels of `box`."""

    embeddings: np.ndarray
    box: Box

    def cosines(self, pack: LabelPack) -> np.ndarray:
        """Cosine of every cell to each label, (K, rows, columns) float32."""
        rows, columns, width = self.embeddings.shape
        return pack.cosines(self.embeddings.reshape(-1, width)).T.reshape(-1, rows, columns)

    def spread(self, heat: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """A map (rows, columns) over an image of (height, width): float32, bilinear between the centres of cells.

        Pixels that the student did not see are NaN.
        """
        left, top, right, bottom = (round(edge) for edge in self.box)
        over = np.full(size, np.nan, np.float32)
        over[top:bottom, left:right] = resample(heat.astype(np.float32), (bottom - top, right - left), "bilinear")
        return over

    def peak(self, heat: np.ndarray) -> tuple[float, float]:
        """(x, y) in pixels: the centre of the hottest cell, the first one of several."""
        row, column = np.unravel_index(int(heat.argmax()), heat.shape)
        left, top, right, bottom = self.box
        x = left + (int(column) + 0.5) * (right - left) / heat.shape[1]
        return x, top + (int(row) + 0.5) * (bottom - top) / heat.shape[0]


@dataclass(frozen=True, kw_only=True)
class HeatMaps:
    """An opened map file with what stands before it."""

    runner: Runner
    input: str
    grid: tuple[int, int]
    preprocessing: Preprocessing

    def look(self, values: np.ndarray) -> Cells:
        """The cells of one decoded image.

        Raises:
            BundleError: if the file gives something else than the manifest says, or numbers that are not finite.
        """
        said = self.runner.run({self.input: self.preprocessing(values)[None]})
        count = 1 + self.grid[0] * self.grid[1]
        if said.shape[0] != 1 or said.ndim != 2 or said.shape[1] % count or not np.isfinite(said).all():
            raise BundleError(
                f"the map file gave {said.shape} for one image of {count - 1} cells, or no finite numbers."
            )
        embeddings = said.reshape(count, -1)[1:].reshape(*self.grid, -1)
        return Cells(embeddings=embeddings, box=seen_box(self.preprocessing, values.shape[0], values.shape[1]))


def heat_maps(bundle: Bundle, role: str, threads: int | None = None) -> HeatMaps:
    """The map file of a sensor, opened.

    Raises:
        BundleError: if the bundle has none, or its runtime refuses it.
    """
    entry, opener = bundle.map(role), Opener(bundle)
    rows, columns = entry.grid
    return HeatMaps(
        runner=opener.runner(entry.artefact, threads),
        input=single_input(entry.artefact),
        grid=(rows, columns),
        preprocessing=opener.preprocessing(role),
    )


def seen_box(preprocessing: Preprocessing, height: int, width: int) -> Box:
    """The pixels of an image of that size which reach the student: all, or what centre crops leave."""
    box, inner = (0.0, 0.0, float(width), float(height)), (height, width)
    for step in preprocessing.steps:
        if step.name == "resize":
            inner = _resized(step.options, inner)
        elif step.name == "centre-crop":
            size = int(step.options["size"])
            box, inner = _cropped(box, inner, size), (size, size)
    return box


def _resized(options: Mapping[str, Any], size: tuple[int, int]) -> tuple[int, int]:
    side = int(options["size"])
    return shortest_side(*size, side) if options.get("fit") == "shortest" else (side, side)


def _cropped(box: Box, inner: tuple[int, int], size: int) -> Box:
    """What is left of a box when the middle of the `inner` pixels that it was resized to is cut out."""
    left, top, right, bottom = box
    down, across = (bottom - top) / inner[0], (right - left) / inner[1]
    first_row, first_column = round((inner[0] - size) / 2), round((inner[1] - size) / 2)
    return (
        left + first_column * across,
        top + first_row * down,
        left + (first_column + size) * across,
        top + (first_row + size) * down,
    )
