"""CLIP, SigLIP and SigLIP2 models of Hugging Face transformers.

Idea: model, tokenizer and image processor are those of a hub repository or a local folder, used as their documentation
says; embeddings are `get_image_features` and `get_text_features`, brought to unit length. Sentences are padded to the
text tower's full length, which SigLIP was trained with and CLIP's causal tower does not notice.
Source: Radford et al. 2021 (CLIP), arXiv:2103.00020; Zhai et al. 2023 (SigLIP), arXiv:2303.15343; Tschannen et al. 2025
(SigLIP2), arXiv:2502.14786; Wolf et al. 2020, doi:10.18653/v1/2020.emnlp-demos.6.

SigLIP2 with free aspect ratio (`Siglip2Model`) takes a list of patches instead of a picture: `preprocess` packs that list
as (3, patches + 1, patch^2), the last row holding the grid's height and width, so that pictures of any shape share a
batch. Its grid changes from image to image, so it gives no tokens. Without a connection only the local cache is read.
Licence of the weights: `licence`, else what the model card (README.md) in the folder or in the local cache says.
Differs: nothing. Does not: use SigLIP's logit bias, which no softmax over texts depends on.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
import transformers
from PIL import Image
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

import edgefw
from edgefw.contracts.teacher import TeacherOutput, TeacherSpec, TokenSpec
from edgefw.errors import RecipeError
from edgefw.plugins.licences import Licence, cached_card_licence, card_licence
from edgefw.plugins.teachers.last_block import Captured, LastBlock, separate
from edgefw.registry.technique import Register
from edgefw.training.hub import fetching, hub_is_reachable
from edgefw.training.weight_files import fingerprint

_FREE_ASPECT = "siglip2"
_PREFIX = {"clip": 1, "siglip": 0, _FREE_ASPECT: 0}
_TEXTS_AT_A_TIME = 256


class TransformersConfig(edgefw.TechniqueConfig):
    """Options of a transformers teacher."""

    model: str = Field(description="folder, or repository of the hub: openai/clip-vit-base-patch32")
    licence: Licence = None


class TransformersTeacher:
    """A CLIP-like model of transformers, frozen, with its tokenizer and image processor."""

    def __init__(self, module: Any, tokenizer: Any, processor: Any, spec: TeacherSpec, last: LastBlock | None) -> None:
        self.module: nn.Module = module
        self.spec = spec
        self._model = module
        self._tokenizer = tokenizer
        self._processor = processor
        self._last = last
        self._free_aspect = module.config.model_type == _FREE_ASPECT

    def preprocess(self, image: Image.Image) -> Tensor:
        """The image processor's result: (3, H, W) float32, or packed patches (see the module)."""
        made = self._processor(images=image, return_tensors="pt")
        return _pack(made) if self._free_aspect else made["pixel_values"][0]

    @torch.no_grad()
    def encode_image(self, pixels: Tensor, want: frozenset[str] = frozenset()) -> TeacherOutput:
        """Unit embeddings of preprocessed pixels, and "tokens" and "qkv" of the last block where wanted.

        Raises:
            RecipeError: if the tower does not have what is wanted.
        """
        inputs = _unpack(pixels) if self._free_aspect else {"pixel_values": pixels}
        if not want:
            return TeacherOutput(embedding=_unit(self._model.get_image_features(**inputs)))
        with self._capture(want) as captured:
            embedding = _unit(self._model.get_image_features(**inputs))
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
        device = next(self.module.parameters()).device
        length = self._model.config.text_config.max_position_embeddings
        parts = []
        for start in range(0, len(texts), _TEXTS_AT_A_TIME):
            some = list(texts[start : start + _TEXTS_AT_A_TIME])
            tokens = self._tokenizer(
                some, padding="max_length", truncation=True, max_length=length, return_tensors="pt"
            ).to(device)
            parts.append(_unit(self._model.get_text_features(**tokens)))
        return torch.cat(parts) if parts else torch.zeros(0, self.spec.width, device=device)

    def _capture(self, want: frozenset[str]) -> AbstractContextManager[Captured]:
        has = self._last.words if self._last else frozenset()
        if self._last is None or want - has:
            raise RecipeError(
                f"teacher '{self.spec.source}' has no {', '.join(sorted(want - has))} in its image tower."
            )
        return self._last.capture(want)


def _unit(output: Any) -> Tensor:
    """Unit rows of a tensor (transformers 4) or of a record's pooled output (transformers 5)."""
    return normalize(getattr(output, "pooler_output", output).float(), dim=-1)


def _pack(made: Any) -> Tensor:
    """Patches (1, P, p * p * 3) and their grid (1, 2) as one tensor (3, P + 1, p * p)."""
    patches, grid = made["pixel_values"][0], made["spatial_shapes"][0]
    pixels = torch.unflatten(patches, -1, (-1, 3)).permute(2, 0, 1)  # (3, P, p * p)
    last = torch.zeros(3, 1, pixels.shape[2])
    last[:, 0, :2] = grid.float()
    return torch.cat([pixels, last], dim=1)


def _unpack(pixels: Tensor) -> dict[str, Tensor]:
    patches = pixels[:, :, :-1].permute(0, 2, 3, 1).flatten(2)  # (B, P, p * p * 3)
    grid = pixels[:, 0, -1, :2].round().long()  # (B, 2)
    places = torch.arange(patches.shape[1], device=pixels.device)
    mask = (places[None] < grid.prod(dim=1, keepdim=True)).int()
    return {"pixel_values": patches, "pixel_attention_mask": mask, "spatial_shapes": grid}


def _find(model: str, context: edgefw.BuildContext) -> tuple[str, bool]:
    """What transformers is given (folder or repository), and whether it may only look on this machine."""
    folder = context.resolve(model)
    if folder.is_dir():
        return str(folder), True
    if model.startswith((".", "/", "~")) or model.count("/") > 1:
        raise RecipeError(f"model: there is no folder {folder}.")
    return model, not hub_is_reachable()


def _load(config: TransformersConfig, context: edgefw.BuildContext) -> tuple[Any, Any, Any]:
    name, here = _find(config.model, context)
    remedy = (
        "The folder needs config.json, the weights, the tokenizer's files and preprocessor_config.json."
        if Path(name).is_dir()
        else f"Connect once, or download it elsewhere (`hf download {name} --local-dir FOLDER`) and set model to FOLDER."
    )
    with fetching(f"'{name}'", remedy):
        settings = transformers.AutoConfig.from_pretrained(name, local_files_only=here)
        if settings.model_type not in _PREFIX:
            kinds = ", ".join(_PREFIX)
            raise RecipeError(
                f"model: '{config.model}' is a '{settings.model_type}' model; this teacher reads {kinds}."
            )
        module = transformers.AutoModel.from_pretrained(name, local_files_only=here).float()
        tokenizer = transformers.AutoTokenizer.from_pretrained(name, local_files_only=here)
        images: Any = transformers.AutoImageProcessor  # untyped upstream
        processor = images.from_pretrained(name, local_files_only=here)
    return module.eval().requires_grad_(False), tokenizer, processor


def _last_block(module: Any) -> LastBlock | None:
    kind, vision = module.config.model_type, module.config.vision_config
    if kind == _FREE_ASPECT:
        return None
    layers = next(part for name, part in module.vision_model.named_modules() if name.endswith("encoder.layers"))
    side = vision.image_size // vision.patch_size
    spec = TokenSpec(grid=(side, side), width=vision.hidden_size, heads=vision.num_attention_heads)
    attention = layers[-1].self_attn
    return LastBlock(block=layers[-1], attention=attention, split=separate(attention), prefix=_PREFIX[kind], spec=spec)


def build(config: TransformersConfig, context: edgefw.BuildContext) -> TransformersTeacher:
    """Load the model with its tokenizer and processor, freeze it and hash it."""
    module, tokenizer, processor = _load(config, context)
    last = _last_block(module)
    settings, preprocessing = module.config.to_dict(), processor.to_dict()
    black = Image.new("RGB", (64, 48))
    probe = TransformersTeacher(module, tokenizer, processor, _unmeasured(), last)
    pixels = probe.preprocess(black)
    spec = TeacherSpec(
        width=probe.encode_image(pixels[None]).embedding.shape[1],
        image_size=(pixels.shape[1], pixels.shape[2]),
        logit_scale=float(module.logit_scale.exp()),
        fingerprint=fingerprint(module, {"library": "transformers", "model": settings, "processor": preprocessing}),
        preprocessing=f"transformers {json.dumps(preprocessing, sort_keys=True, default=str)}",
        tokens=last.spec if last else None,
        licence=config.licence or _card(config, context),
        source=f"transformers {config.model}",
    )
    return TransformersTeacher(module, tokenizer, processor, spec, last)


def _card(config: TransformersConfig, context: edgefw.BuildContext) -> str:
    folder = context.resolve(config.model)
    return card_licence(folder) if folder.is_dir() else cached_card_licence(config.model)


def _unmeasured() -> TeacherSpec:
    return TeacherSpec(width=0, image_size=(0, 0), logit_scale=1.0, fingerprint="")


@edgefw.hookimpl
def edgefw_register_teachers(register: Register) -> None:
    """Offer the teacher."""
    register(
        edgefw.Technique(
            name="transformers",
            config=TransformersConfig,
            build=build,
            provides=frozenset({"embedding", "text", "tokens", "qkv"}),
            requires=("torch", "transformers"),
            install='pip install "edgefw[train]"',
            paper="arXiv:2103.00020",
            licence="that of the chosen weights",
        )
    )
