"""Any open_clip model: ViT, ResNet, ConvNeXt, SigLIP, CoCa, custom text towers.

Idea: image and text towers, tokenizer and image transform are open_clip's own, untouched; this module only names them.
Embeddings are `encode_image(..., normalize=True)` and `encode_text(..., normalize=True)`.
Source: Ilharco et al. 2021, OpenCLIP, doi:10.5281/zenodo.5143773; Radford et al. 2021, arXiv:2103.00020.

`model` is a name of open_clip, or "local-dir:FOLDER" (its own config, weights and tokenizer), or "hf-hub:ORG/REPO".
`weights` is a tag, a file, or none (random); folders and hub repositories bring their own. QuickGELU follows the tag.
Tokens and q/k/v come from vision transformers only; q/k/v not from those with rotary positions (EVA).
Differs: nothing. Does not: use SigLIP's logit bias, which no softmax over texts depends on.
Licence of the weights: `licence`; else what their source says: "licence" in the open_clip_config.json of a local folder,
the model card (README.md) beside it, or the card of the hub repository in the local cache. open_clip's tags record none.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import open_clip
import timm
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from pydantic import Field, field_validator, model_validator
from safetensors import SafetensorError
from torch import Tensor, nn

import edgefw
from edgefw.contracts.licence import RANDOM, UNKNOWN
from edgefw.contracts.teacher import TeacherOutput, TeacherSpec, TokenSpec
from edgefw.errors import RecipeError
from edgefw.plugins.licences import Licence, cached_card_licence, card_licence
from edgefw.plugins.teachers.last_block import Captured, LastBlock, fused, timm_fused
from edgefw.registry.technique import Register
from edgefw.training.hub import fetching
from edgefw.training.weight_files import fingerprint

_FOLDER, _HUB = "local-dir:", "hf-hub:"
_TIMM_FUSED = ("deit", "vision_transformer", "vision_transformer_hybrid", "vitamin")
_TIMM_TOKENS = (*_TIMM_FUSED, "beit", "eva", "vision_transformer_relpos")
_TEXTS_AT_A_TIME = 256
_REMEDY = "Connect to the model hub once, name a weight file, or use model: local-dir:FOLDER with config and tokenizer."


class OpenClipConfig(edgefw.TechniqueConfig):
    """Options of an open_clip teacher."""

    model: str = Field(description="open_clip's name of the model, local-dir:FOLDER, or hf-hub:ORG/REPO")
    weights: str | None = Field(
        default=None, description="tag, file, or none for random ones; null: what the folder or repository brings"
    )
    licence: Licence = None

    @field_validator("model")
    @classmethod
    def _known(cls, value: str) -> str:
        if not value.startswith((_FOLDER, _HUB)) and value not in open_clip.list_models():
            close = get_close_matches(value, open_clip.list_models(), n=4)
            hint = f" Close: {', '.join(close)}." if close else " open_clip.list_models() names all of them."
            raise ValueError(f"open_clip {open_clip.__version__} has no model '{value}'.{hint}")
        return value

    @model_validator(mode="after")
    def _weights_are_stated_once(self) -> OpenClipConfig:
        brings_its_own = self.model.startswith((_FOLDER, _HUB))
        if brings_its_own and self.weights not in (None, "none"):
            raise ValueError(f"'{self.model}' brings its own weights: leave weights out, or set it to none")
        if not brings_its_own and self.weights is None:
            tags = ", ".join(open_clip.list_pretrained_tags_by_model(self.model)) or "no tags"
            raise ValueError(f"weights: say which: a file, none (random), or a tag of {self.model}: {tags}")
        return self


class OpenClipTeacher:
    """An open_clip model, frozen."""

    def __init__(self, module: Any, tokenizer_name: str, spec: TeacherSpec, last: LastBlock | None) -> None:
        self.module: nn.Module = module
        self.spec = spec
        self._model = module
        self._last = last
        self._tokenizer_name = tokenizer_name
        self._tokenizer: Any = None
        self._transform = image_transform_v2(_preprocessing(module), is_train=False)

    def preprocess(self, image: Image.Image) -> Tensor:
        """open_clip's transform for evaluation: (3, H, W) float32."""
        pixels: Tensor = self._transform(image)
        return pixels

    @torch.no_grad()
    def encode_image(self, pixels: Tensor, want: frozenset[str] = frozenset()) -> TeacherOutput:
        """Unit embeddings of (B, 3, H, W) pixels, and "tokens" and "qkv" of the last block where wanted.

        Raises:
            RecipeError: if the tower does not have what is wanted.
        """
        if not want:
            return TeacherOutput(embedding=self._model.encode_image(pixels, normalize=True).float())
        with self._capture(want) as captured:
            embedding = self._model.encode_image(pixels, normalize=True).float()
        return TeacherOutput(
            embedding=embedding,
            tokens=captured.tokens,
            queries=captured.queries,
            keys=captured.keys,
            values=captured.values,
        )

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Unit embeddings (K, D) of K sentences."""
        if self._tokenizer is None:
            with fetching(f"the tokenizer of '{self._tokenizer_name}'", _REMEDY):
                self._tokenizer = open_clip.get_tokenizer(self._tokenizer_name)
        device = next(self.module.parameters()).device
        parts = [
            self._model.encode_text(self._tokenizer(list(texts[start : start + _TEXTS_AT_A_TIME])).to(device), True)
            for start in range(0, len(texts), _TEXTS_AT_A_TIME)
        ]
        return torch.cat(parts).float() if parts else torch.zeros(0, self.spec.width, device=device)

    def _capture(self, want: frozenset[str]) -> AbstractContextManager[Captured]:
        has = self._last.words if self._last else frozenset()
        if self._last is None or want - has:
            raise RecipeError(
                f"teacher '{self.spec.source}' has no {', '.join(sorted(want - has))} in its image tower."
            )
        return self._last.capture(want)


def _preprocessing(module: nn.Module) -> PreprocessCfg:
    return PreprocessCfg(**open_clip.get_model_preprocess_cfg(module))


def _load(config: OpenClipConfig, context: edgefw.BuildContext) -> tuple[Any, str]:
    """The model, and the name under which open_clip knows it (folders with their absolute path)."""
    if config.model.startswith(_HUB):
        with fetching(f"'{config.model}'", _REMEDY):
            return _create(config.model, own=config.weights is None), config.model
    if config.model.startswith(_FOLDER):
        folder = context.resolve(config.model.removeprefix(_FOLDER))
        if not (folder / "open_clip_config.json").is_file():
            raise RecipeError(
                f"model: {folder} has no open_clip_config.json, so it is no folder of an open_clip model."
            )
        name = f"{_FOLDER}{folder}"
        return _locally(config, str(folder), lambda: _create(name, own=config.weights is None)), name
    if config.weights == "none":
        return _locally(config, "open_clip's own config", lambda: _create(config.model)), config.model
    tag = open_clip.get_pretrained_cfg(config.model, config.weights)
    if tag:
        with fetching(f"weights '{config.weights}' of '{config.model}'", _REMEDY):
            quick = bool(tag.get("quick_gelu"))
            return _create(config.model, config.weights, own=True, quick_gelu=quick), config.model
    file = context.resolve(config.weights or "")
    if not file.is_file():
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(config.model)) or "none"
        raise RecipeError(f"weights: there is no file {file}, and no tag of {config.model} is so called. Tags: {tags}.")
    return _locally(config, str(file), lambda: _create(config.model, str(file), own=True)), config.model


def _create(name: str, weights: str | None = None, own: bool = False, quick_gelu: bool = False) -> Any:
    return open_clip.create_model(
        name,
        pretrained=weights,
        load_weights=own,
        require_pretrained=own,
        pretrained_text=False,
        force_quick_gelu=quick_gelu,
    )


def _locally(config: OpenClipConfig, where: str, create: Any) -> Any:
    try:
        return create()
    except (RuntimeError, OSError, ValueError, KeyError, TypeError, pickle.UnpicklingError, SafetensorError) as error:
        lines = str(error).strip().splitlines() or [""]
        shown = " ".join(line.strip() for line in lines[:2])
        raise RecipeError(
            f"open_clip cannot load '{config.model}' from {where} ({type(error).__name__}: {shown})."
        ) from error


def _last_block(visual: Any) -> LastBlock | None:
    """The last block of a vision transformer tower; None for convolutional ones."""
    if hasattr(visual, "transformer") and hasattr(visual, "grid_size"):
        block = visual.transformer.resblocks[-1]
        heads = block.attn.num_heads
        spec = TokenSpec(grid=tuple(visual.grid_size), width=visual.transformer.width, heads=heads)
        return LastBlock(block=block, attention=block.attn, split=fused(block.attn, heads), prefix=1, spec=spec)
    trunk = getattr(visual, "trunk", None)
    if trunk is None or _family(trunk) not in _TIMM_TOKENS:
        return None
    block = trunk.blocks[-1]
    split = timm_fused(block.attn) if type(block.attn).__name__ == "Attention" else None
    grid = tuple(trunk.patch_embed.grid_size)
    spec = TokenSpec(grid=grid, width=trunk.embed_dim, heads=block.attn.num_heads)
    prefix = trunk.num_prefix_tokens
    return LastBlock(block=block, attention=block.attn, split=split, prefix=prefix, spec=spec)


def _family(trunk: nn.Module) -> str:
    return type(trunk).__module__.rpartition(".")[2]


def licence_of(config: OpenClipConfig, name: str) -> str:
    """Licence of the weights: the recipe's statement, else what their source says; `name` as open_clip knows the model."""
    if config.licence is not None:
        return config.licence
    if config.weights == "none":
        return RANDOM
    if name.startswith(_FOLDER):
        return _folder_licence(Path(name.removeprefix(_FOLDER)))
    tag = open_clip.get_pretrained_cfg(name, config.weights) if config.weights else {}
    repository = name.removeprefix(_HUB) if name.startswith(_HUB) else str(tag.get("hf_hub") or "")
    return cached_card_licence("/".join(repository.split("/")[:2])) if repository else UNKNOWN


def _folder_licence(folder: Path) -> str:
    stated = json.loads((folder / "open_clip_config.json").read_text(encoding="utf-8"))
    return str(stated.get("licence") or stated.get("license") or card_licence(folder))


def build(config: OpenClipConfig, context: edgefw.BuildContext) -> OpenClipTeacher:
    """Load the model, freeze it and hash it."""
    module, name = _load(config, context)
    module.eval().requires_grad_(False)
    settings = open_clip.get_model_config(name)
    preprocessing = _preprocessing(module)
    size = preprocessing.size
    last = _last_block(module.visual)
    facts = {"library": "open_clip", "model": settings, "preprocessing": asdict(preprocessing)}
    spec = TeacherSpec(
        width=settings["embed_dim"],
        image_size=(size, size) if isinstance(size, int) else (size[0], size[1]),
        logit_scale=float(module.logit_scale.exp()),
        fingerprint=fingerprint(module, facts),
        preprocessing=f"open_clip {json.dumps(asdict(preprocessing), sort_keys=True)}",
        tokens=last.spec if last else None,
        licence=licence_of(config, name),
        source=f"open_clip {config.model}" + (f", weights {config.weights}" if config.weights else ""),
    )
    return OpenClipTeacher(module, name, spec, last)


def provides_for(config: OpenClipConfig) -> frozenset[str]:
    """Embeddings and texts always; tokens and q/k/v as the image tower's kind has them."""
    words = frozenset({"embedding", "text", "tokens", "qkv"})
    folder = Path(config.model.removeprefix(_FOLDER)).expanduser()
    unread = config.model.startswith(_HUB) or not (folder / "open_clip_config.json").is_file()
    if config.model.startswith((_FOLDER, _HUB)) and unread:
        return words
    vision = open_clip.get_model_config(config.model)["vision_cfg"]
    trunk = vision.get("timm_model_name")
    if trunk is None:
        return words - {"tokens", "qkv"} if isinstance(vision.get("layers"), list) else words
    if timm.models.is_model_in_modules(trunk, _TIMM_FUSED):
        return words
    return words - {"qkv"} if timm.models.is_model_in_modules(trunk, _TIMM_TOKENS) else words - {"tokens", "qkv"}


@edgefw.hookimpl
def edgefw_register_teachers(register: Register) -> None:
    """Offer the teacher."""
    register(
        edgefw.Technique(
            name="openclip",
            config=OpenClipConfig,
            build=build,
            provides=frozenset({"embedding", "text", "tokens", "qkv"}),
            provides_for=provides_for,
            requires=("torch", "open_clip", "timm"),
            install='pip install "edgefw[train]"',
            paper="arXiv:2103.00020",
            licence="that of the chosen weights",
        )
    )
