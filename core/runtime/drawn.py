"""Show a model drawn images, as its sensor's preprocessing prepares them: what does it say, and is all of it finite?

Flat images (a black frame, a white one) are only asked for finite numbers; the answers to patterns are handed on. A run
and the device that checks its bundle draw the same. It knows arrays; no file, no runtime.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgefw.runtime.preprocessing import Preprocessing
from edgefw.runtime.probes import ProbeSpec, flat_images, pattern_images

Ask = Callable[[Mapping[str, np.ndarray]], np.ndarray]
"""Embeddings (B, D) of images (B, C, H, W) by sensor."""


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """Prepared images of one sensor, (B, C, H, W) float32."""

    patterns: np.ndarray
    flats: np.ndarray


def draw(spec: ProbeSpec, contract: Preprocessing) -> Drawn:
    """What a sensor of that kind could have given, as the student sees it."""
    return Drawn(patterns=prepared(pattern_images(spec), contract), flats=prepared(flat_images(spec), contract))


def prepared(images: Sequence[np.ndarray], contract: Preprocessing) -> np.ndarray:
    """(B, C, H, W) of decoded images."""
    return np.stack([contract(image) for image in images])


def answers(
    drawn: Mapping[str, Drawn], roles: Mapping[str, Sequence[str]], ask: Ask
) -> tuple[dict[str, np.ndarray], int]:
    """(P, D) of the patterns by role, and how many rows of all answers are not finite.

    Args:
        drawn: by sensor.
        roles: the sensors that each role takes.
        ask: the model.
    """
    said = {role: ask({name: drawn[name].patterns for name in names}) for role, names in roles.items()}
    flat = [ask({name: drawn[name].flats for name in names}) for names in roles.values()]
    return said, sum(bad_rows(rows) for rows in (*said.values(), *flat))


def bad_rows(rows: np.ndarray) -> int:
    """Rows of (B, D) that hold a number that is not finite."""
    return int((~np.isfinite(rows).all(axis=1)).sum())
