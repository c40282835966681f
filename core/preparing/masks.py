"""Images whose labels are the classes that their masks show: a share of the pixels makes a class present.

It knows masks of class numbers; it knows no layout.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from edgefw.preparing.download import Broken, Item, Unreadable
from edgefw.preparing.images import CopiedImage, colour, decoded

_MODES = ("L", "P")


@dataclass(frozen=True, kw_only=True)
class Masked:
    """An image of a download, with the place of its mask."""

    name: str
    split: str
    image: Path
    mask: Path


def masked_items(found: Iterable[Masked], names: Mapping[int, str], share: float) -> tuple[list[Item], list[Broken]]:
    """A sample for every image with a mask, and the images without one. Arguments as in `classes_shown`."""
    items: list[Item] = []
    broken: list[Broken] = []
    for one in found:
        if not one.mask.is_file():
            broken.append(Broken(where=str(one.image), reason=f"has no mask {one.mask}"))
            continue
        shown = partial(classes_shown, one.mask, names, share)
        images = {"rgb": CopiedImage(one.image, colour)}
        items.append(Item(name=one.name, split=one.split, label=None, images=images, label_set=shown))
    return items, broken


def classes_shown(mask: Path, names: Mapping[int, str], share: float) -> list[str]:
    """The classes that cover at least `share` of a mask's pixels, in the order of `names`.

    Args:
        mask: an 8-bit image whose values are class numbers (grey, or a palette).
        names: class number -> name; several numbers may share one, other numbers are no class.
        share: 0..1, of all pixels; a class of no pixel is never shown.

    Raises:
        Unreadable: if the file cannot be decoded or holds no class numbers.
    """
    image = decoded(mask)
    if image.mode not in _MODES:
        raise Unreadable(f"{mask}: is no mask of class numbers (mode {image.mode})")
    counts = image.histogram()[:256]
    total = dict.fromkeys(names.values(), 0)
    for number, name in names.items():
        total[name] += counts[number]
    least = max(1.0, share * sum(counts))
    return [name for name, count in total.items() if count >= least]
