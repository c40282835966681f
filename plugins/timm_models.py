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
from torch import Tensor

import edgefw
from edgefw.contracts.licence import RANDOM, UNKNOWN
from edgefw.errors import RecipeError
from edgefw.plugins.licences import Licence
from edgefw.training.hub import fetching
from edgefw.training.weight_files import load_by_name, load_by_order, read_weights

_PerChannel = Annotated[tuple[float, ...], Field(min_length=1, max_length=256)]


class Normalise(edgefw.TechniqueConfig):
    """Statistics of the input, per channel, of pixel values scaled to 0..1."""

    mean: _PerChannel = Field(description="mean of each channel, 0..1")
    std: _PerChannel = Field(description="standard deviation of each channel, above 0")

    @field_validator("std")
    @classmethod
    def _positive(cls, value: tuple[float, ...]) -> tuple[float, ...]:
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
    licence: Licence = None

    @property
    def input_channels(self) -> int:
        """Channels of the model's input."""
        return 3

    @field_validator("model")
    @classmethod
    def _known(cls, value: str) -> str:
        if not timm.is_model(value):
            close = get_close_matches(value.split(".")[0], timm.list_models(), n=4)
            hint = f" Close: {', '.join(close)}." if close else " timm.list_models() names all of them."
            raise ValueError(f"timm {timm.__version__} has no model '{value}'.{hint}")
        return value

    @model_validator(mode="after")
    def _statistics_are_per_channel(self) -> TimmModelConfig:
        if self.normalise and (len(self.normalise.mean), len(self.normalise.std)) != (self.input_channels,) * 2:
            raise ValueError(
                f"normalise: the input has {self.input_channels} channels, got {len(self.normalise.mean)} numbers of "
                f"mean and {len(self.normalise.std)} of std"
            )
        return self

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
        why = str(error) or "timm gives no reason"
        raise RecipeError(f"timm cannot build '{config.model}' with {given}: {why}") from error


def _download(config: TimmModelConfig, **options: Any) -> Any:
    if not timm.is_model_pretrained(config.model):
        tagged = timm.list_models(f"{config.model.split('.')[0]}.*", pretrained=True)
        hint = f"Tags: {', '.join(tagged)}." if tagged else "timm has none for it: set weights: none, or name a file."
        raise RecipeError(f"weights: timm has no pretrained weights '{config.model}'. {hint}")
    remedy = "Connect to the model hub once, or set weights to a local file, or to none."
    with fetching(f"weights: the pretrained weights of '{config.model}'", remedy):
        return _build(config, pretrained=True, **options)


def _from_file(config: TimmModelConfig, path: Path, **options: Any) -> Any:
    model, state = _build(config, **options), read_weights(path)
    if config.match == "order":
        state = _in_timms_names(config, state, path, options)
    else:
        convert = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
        state = convert(state, model) if convert else state
    state = _for_channels(model, state, options.get("in_chans", 3), path)
    load_by_name(model, state, path, _spare_names(model, options))
    return model


def _in_timms_names(
    config: TimmModelConfig, state: dict[str, Tensor], path: Path, options: dict[str, Any]
) -> dict[str, Tensor]:
    """The tensors of a file in timm's order, under timm's names: those of the whole model for photographs."""
    whole = _build(
        config, **{name: value for name, value in options.items() if name not in ("in_chans", "num_classes")}
    )
    load_by_order(whole, state, path)
    named: dict[str, Tensor] = whole.state_dict()
    return named


def _for_channels(model: Any, state: dict[str, Tensor], channels: int, path: Path) -> dict[str, Tensor]:
    """The tensors with a stem for so many channels: timm's own inflation, where the file has a stem for three."""
    first = model.pretrained_cfg.get("first_conv") or ()
    adapted = dict(state)
    for stem in (first,) if isinstance(first, str) else first:
        weight = state.get(f"{stem}.weight")
        if channels == 3 or weight is None or weight.shape[1] == channels:
            continue
        try:
            adapted[f"{stem}.weight"] = timm.models.adapt_input_conv(channels, weight)
        except (NotImplementedError, AssertionError) as error:
            raise RecipeError(
                f"weights: {path}: the stem {stem} {tuple(weight.shape)} cannot be inflated to {channels} channels "
                f"({error}). Use weights: none, or three channels."
            ) from error
    return adapted


def _spare_names(model: Any, options: dict[str, Any]) -> tuple[str, ...]:
    """What a file may hold beyond the model: its classifier, where the model was built without one."""
    if options.get("num_classes") != 0:
        return ()
    classifier = model.pretrained_cfg.get("classifier") or ()
    return tuple(f"{name}." for name in ((classifier,) if isinstance(classifier, str) else classifier))


def licence(config: TimmModelConfig, model: Any) -> str:
    """Licence of the weights: the recipe's statement, else timm's for a download; unknown for a file."""
    if config.licence is not None:
        return config.licence
    if config.weights == "none":
        return RANDOM
    return str(model.pretrained_cfg.get("license") or UNKNOWN) if config.weights == "pretrained" else UNKNOWN
