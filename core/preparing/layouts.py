"""The table of layouts: name, module, one line. A layout's module is imported when it is named."""

from __future__ import annotations

from importlib import import_module

from pydantic import ValidationError

from edgefw.errors import RecipeError
from edgefw.preparing.download import Layout
from edgefw.recipe.overrides import parse_override
from edgefw.registry.config import TechniqueConfig

LAYOUTS: dict[str, tuple[str, str]] = {
    "cityscapes": ("edgefw.preparing.cityscapes", "Cityscapes: street scenes, all of 19 classes in each."),
    "eurosat": ("edgefw.preparing.eurosat", "EuroSAT: satellite images of 10 classes, RGB and 13 bands."),
    "nyu2": ("edgefw.preparing.nyu2", "NYU Depth V2, labelled part: indoor RGB-D, 27 or 10 scene types."),
    "scannet": ("edgefw.preparing.scannet", "ScanNet: exported RGB-D frames of indoor scans, 21 scene types."),
    "sun-rgbd": ("edgefw.preparing.sun_rgbd", "SUN RGB-D: indoor RGB-D of four sensors, 19 scene types."),
    "vistas": ("edgefw.preparing.vistas", "Mapillary Vistas: street-level photographs, all classes in each."),
}
"""Layout -> its module, and what it is."""


def load_layout(name: str) -> Layout:
    """The layout of a name in `LAYOUTS`."""
    layout: Layout = import_module(LAYOUTS[name][0]).LAYOUT
    return layout


def layout_options(name: str, texts: tuple[str, ...]) -> TechniqueConfig:
    """The options of a layout from `key=value` texts.

    Raises:
        RecipeError: if a text is malformed, or an option is unknown or out of range.
    """
    model = load_layout(name).options
    given: dict[str, object] = {}
    for override in map(parse_override, texts):
        if len(override.parts) != 1:
            raise RecipeError(f"option '{override.text}': options of a layout have no inner keys.")
        given[override.parts[0]] = override.value
    try:
        return model(**given)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "options"
        known = ", ".join(model.model_fields)
        if first["type"] == "extra_forbidden":
            raise RecipeError(f"layout '{name}' has no option '{key}'. Options: {known}.") from error
        raise RecipeError(f"layout '{name}', option {key}: {first['msg']}, got {first['input']!r}.") from error
