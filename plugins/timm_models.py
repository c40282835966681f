"""Build a timm model, with random, pretrained or local weights; whatever goes wrong is one message.

Students and teachers that use timm share this. It knows timm's factory and weight files, and no kind of technique.
"""

from __future__ import annotations

import sys
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import timm
from pydantic import Field, field_validator, model_validator

import edgefw
from edgefw.errors import RecipeError
from edgefw.training.hub import fetching
from edgefw.training.weight_files import load_by_name, load_by_order, read_weights


class Normalise(edgefw.TechniqueConfig):
    """Statistics of the input, per channel, of pixel values scaled to 0..1."""

    mean: tuple[float, float, float] = Field(description="mean of each channel, 0..1")
    std: Annotated[tuple[float, float, float], Field(description="standard deviation of each channel, above 0")]

    @field_validator("std")
    @classmethod
    def _positive(cls, value: tuple[float, float, float]) -> tuple[float, float, float]:
        if min(value) <= 0:
            raise ValueError("must be above 0")
        return value


class TimmModelConfig(edgefw.TechniqueConfig):
    """Which timm model, with which weights; the options that every technique on timm has."""

    model: str = Field(description="name in timm's registry, with or without a tag of weights: resnet18.a1_in1k")
    weights: str = Field(
        default="none", description="none, pretrained, or a file; package:NAME/PATH for a pip package's"
    )
    match: Literal["name", "order"] = Field(default="name", description="how a weight file is matched to the model")
    size: Annotated[int, Field(ge=16, le=2048)] | None = Field(
        default=None, description="square input in pixels; null: the model's own"
    )
    normalise: Normalise | None = Field(default=None, description="mean and std; null: the model's own")

    @field_validator("model")
    @classmethod
    def _known(cls, value: str) -> str:
        if not timm.is_model(value):
            close = get_close_matches(value.split(".")[0], timm.list_models(), n=4)
            hint = f" Close: {', '.join(close)}." if close else " timm.list_models() names all of them."
            raise ValueError(f"timm {timm.__version__} has no model '{value}'.{hint}")
        return value

    @model_validator(mode="after")
    def _order_needs_a_file(self) -> TimmModelConfig:
        if self.match == "order" and self.weights in ("none", "pretrained"):
            raise ValueError("match: order is for a weight file; weights names none")
        return self


def create(config: TimmModelConfig, path: Path | None, **options: Any) -> Any:
    """The model, on the CPU.

    Args:
        config: model, weights and size.
        path: the weight file where `config.weights` names one, resolved.
        options: for timm's factory; `num_classes=0` leaves the classifier out.

    Raises:
        RecipeError: if timm cannot build it so, or the weights are missing or do not fit.
    """
    if config.weights == "none":
        return _build(config, **options)
    if config.weights == "pretrained" or path is None:
        return _download(config, **options)
    return _from_file(config, path, **options)


def _build(config: TimmModelConfig, **options: Any) -> Any:
    settings = timm.get_pretrained_cfg(config.model)
    if config.size is not None and settings is not None and settings.fixed_input_size:
        options["img_size"] = config.size
    try:
        return timm.create_model(config.model, **options)
    except (TypeError, AssertionError, ValueError, RuntimeError) as error:
        given = ", ".join(f"{name}={value}" for name, value in options.items())
        raise RecipeError(f"timm cannot build '{config.model}' with {given}: {error}") from error


def _download(config: TimmModelConfig, **options: Any) -> Any:
    if not timm.is_model_pretrained(config.model):
        tagged = timm.list_models(f"{config.model.split('.')[0]}.*", pretrained=True)
        hint = f"Tags: {', '.join(tagged)}." if tagged else "timm has none for it: set weights: none, or name a file."
        raise RecipeError(f"weights: timm has no pretrained weights '{config.model}'. {hint}")
    remedy = "Connect to the model hub once, or set weights to a local file, or to none."
    with fetching(f"weights: the pretrained weights of '{config.model}'", remedy):
        return _build(config, pretrained=True, **options)


def _from_file(config: TimmModelConfig, path: Path, **options: Any) -> Any:
    state = read_weights(path)
    if config.match == "order":
        classes = options.pop("num_classes", None)
        model = _build(config, **options)
        load_by_order(model, state, path)
        if classes is not None:
            model.reset_classifier(classes)
        return model
    model = _build(config, **options)
    convert = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    load_by_name(model, convert(state, model) if convert else state, path, _spare_names(model, options))
    return model


def _spare_names(model: Any, options: dict[str, Any]) -> tuple[str, ...]:
    """What a file may hold beyond the model: its classifier, where the model was built without one."""
    if options.get("num_classes") != 0:
        return ()
    classifier = model.pretrained_cfg.get("classifier") or ()
    return tuple(f"{name}." for name in ((classifier,) if isinstance(classifier, str) else classifier))


def licence(config: TimmModelConfig, model: Any) -> str:
    """Licence of the weights: timm's statement for a download, unknown for a file."""
    if config.weights == "none":
        return "random weights"
    return str(model.pretrained_cfg.get("license") or "unknown") if config.weights == "pretrained" else "unknown"
