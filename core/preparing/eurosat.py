"""EuroSAT: 27,000 Sentinel-2 patches of 64 x 64 pixels in 10 land-use classes, with 13 bands or as RGB.

    SOURCE/**/AnnualCrop/AnnualCrop_1.tif     EuroSAT_MS: 13 bands, 16 bits, in the order B01 ... B12, B8A
    SOURCE/**/AnnualCrop/AnnualCrop_1.jpg     EuroSAT_RGB, beside it or alone

Source: Helber et al., EuroSAT, IEEE JSTARS 2019, arXiv:1709.00029, and the README of the repository phelber/EuroSAT. RGB is
the released JPEG where it is there, else bands 4, 3 and 2 with the README's scaling (0..2750 to 1..255). The second sensor
is one band as 16-bit PNG (`second=B12`, SWIR at 2.2 micrometres, the band of EdgeVL: Cai et al., ECCV 2024,
arXiv:2403.04908), or the whole 13-band file (`second=bands`). `split=class` is EdgeVL's released split: five classes to
train on, the five others to test on, all ten names to choose from; `split=sample` draws from all classes. The band is
stored as it is; EdgeVL's clip(DN / 4095) belongs to the modality of a recipe.
"""

from __future__ import annotations

import io
import os
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from edgefw.data.splits import Fractions, drawn_split
from edgefw.errors import DataError, MissingDependency
from edgefw.preparing.download import Broken, Download, Image, Item, Layout, Unreadable, drawn_val, unusual_count
from edgefw.preparing.images import CopiedImage, MadeImage, colour, file_bytes
from edgefw.registry.config import TechniqueConfig
from edgefw.registry.requirements import install_command, is_importable

CLASSES = {
    "AnnualCrop": "annual crop", "Forest": "forest", "HerbaceousVegetation": "herbaceous vegetation",
    "Highway": "highway", "Industrial": "industrial", "Pasture": "pasture", "PermanentCrop": "permanent crop",
    "Residential": "residential", "River": "river", "SeaLake": "sea lake",
}  # fmt: skip
TRAIN_CLASSES = ("Forest", "HerbaceousVegetation", "Industrial", "River", "SeaLake")
BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B09", "B10", "B11", "B12", "B8A")
BRIGHTEST = 2750.0
_IMAGES = 27_000


class EuroSatOptions(TechniqueConfig):
    """What is written beside RGB, and the splits."""

    second: Literal["B12", "bands", "none"] = Field(default="B12", description="one band, the 13-band file, or nothing")
    split: Literal["class", "sample"] = Field(default="class", description="other classes in test, or other samples")
    val_from_train: float = Field(default=0.1, ge=0, lt=1, description="share of train drawn as val; with split=class")
    fractions: Fractions = Field(default=Fractions(), description="shares; with split=sample")
    seed: int = Field(default=0, ge=0, description="changes what is drawn")


def read(source: Path, options: EuroSatOptions) -> Download:
    """All patches below `source`.

    Raises:
        DataError: if there is no class folder with images.
    """
    found = _walk(source)
    if not found[".tif"] and not found[".jpg"]:
        raise DataError(
            f"{source}: there is no folder {next(iter(CLASSES))} ... {list(CLASSES)[-1]} with .tif or .jpg files."
        )
    if not found[".tif"] and options.second != "none":
        raise DataError(f"{source}: holds .jpg files only, no 13-band .tif. Get EuroSAT_MS, or give second=none.")
    if found[".tif"] and not is_importable("tifffile"):
        raise MissingDependency(
            f"13-band .tif files need the package 'tifffile'. Install it: {install_command('prepare')}"
        )
    broken: list[Broken] = []
    items = []
    for stem in sorted(found[".tif"].keys() | found[".jpg"].keys()):
        images = _images(found[".tif"].get(stem), found[".jpg"].get(stem), bool(found[".jpg"]), options, broken)
        if images:
            folder = stem.partition("/")[0]
            items.append(Item(name=stem, split=_split(stem, options), label=CLASSES[folder], images=images))
    return Download(
        items=items,
        classes=tuple(CLASSES.values()),
        modalities={"rgb": "{name: rgb}"} | _second(options.second),
        broken=broken,
        notes=unusual_count(len(items), _IMAGES, "images"),
        licence="MIT; Copernicus Sentinel data",
        template="a satellite image of {a} {}",
    )


def _second(second: str) -> dict[str, str]:
    if second == "none":
        return {}
    chosen = "bands: [B12], names: eurosat" if second == "bands" else "bands: [1]"
    return {"swir": f"{{name: multispectral, {chosen}}}"}


def _walk(source: Path) -> dict[str, dict[str, Path]]:
    """Ending -> "Class/Class_1" -> file."""
    found: dict[str, dict[str, Path]] = {".tif": {}, ".jpg": {}}
    for place, below, files in os.walk(source):
        below[:] = sorted(name for name in below if not name.startswith("."))
        folder = Path(place).name
        for name in files if folder in CLASSES else ():
            stem, dot, ending = name.rpartition(".")
            if (dot + ending).lower() in found and stem:
                found[(dot + ending).lower()][f"{folder}/{stem}"] = Path(place) / name
    return found


def _split(stem: str, options: EuroSatOptions) -> str:
    if options.split == "sample":
        return drawn_split(stem, options.fractions, options.seed)
    in_train = stem.partition("/")[0] in TRAIN_CLASSES
    return drawn_val(stem, options.val_from_train, options.seed) if in_train else "test"


def _images(
    tif: Path | None, jpg: Path | None, has_jpg: bool, options: EuroSatOptions, broken: list[Broken]
) -> dict[str, Image]:
    if tif is None and options.second != "none":
        broken.append(Broken(where=str(jpg), reason="has no 13-band partner"))
        return {}
    if jpg is None and has_jpg:
        broken.append(Broken(where=str(tif), reason="has no .jpg partner, and others have"))
        return {}
    images: dict[str, Image] = {}
    if jpg is not None:
        images["rgb"] = CopiedImage(jpg, colour)
    elif tif is not None:
        images["rgb"] = MadeImage(where=str(tif), ending=".png", make=partial(rgb_of_bands, tif))
    if tif is not None and options.second == "bands":
        images["swir"] = CopiedImage(tif, bands)
    elif tif is not None and options.second == "B12":
        images["swir"] = MadeImage(where=str(tif), ending=".png", make=partial(one_band, tif, "B12"))
    return images


def bands(path: Path) -> np.ndarray:
    """(H, W, 13) uint16 of a released GeoTIFF.

    Raises:
        Unreadable: if it cannot be decoded, or holds something else.
    """
    import tifffile

    data = io.BytesIO(file_bytes(path))
    try:
        values: Any = tifffile.imread(data)
    except Exception as error:  # tifffile raises TiffFileError, ValueError, struct.error and others
        raise Unreadable("cannot be decoded") from error
    if values.ndim == 3 and values.shape[0] == len(BANDS) != values.shape[2]:
        values = values.transpose(1, 2, 0)
    if values.ndim != 3 or values.shape[2] != len(BANDS):
        raise Unreadable(f"holds an array of shape {values.shape}, not {len(BANDS)} bands")
    return np.asarray(values, np.uint16)


def one_band(path: Path, name: str) -> np.ndarray:
    """(H, W) uint16 of one band, as stored."""
    return np.ascontiguousarray(bands(path)[:, :, BANDS.index(name)])


def rgb_of_bands(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 of bands 4, 3 and 2: 0..2750 to 1..255, brighter values are 255."""
    values = bands(path)[:, :, [BANDS.index(name) for name in ("B04", "B03", "B02")]].astype(np.float64)
    return np.clip(np.rint(1 + values * (254 / BRIGHTEST)), 1, 255).astype(np.uint8)


LAYOUT = Layout(options=EuroSatOptions, read=read)
