"""ConSE: a timm classifier and a text encoder make a teacher; no image-text model is needed.

Idea: an image lies where the class names lie that a classifier sees in it.
Formula, with class probabilities p = softmax(logits / temperature), the T surest classes, and unit embeddings c of the
class names:
    f(x) = sum over those T of p_t c_t / sum over those T of p_t,   embedding = f(x) / |f(x)|
A sentence is embedded by the same text side. `centre` subtracts the mean of the class embeddings from class names and
sentences before each is brought to unit length, so that what all names have in common does not count.
Source: Norouzi et al. 2014, Zero-Shot Learning by Convex Combination of Semantic Embeddings, arXiv:1312.5650, equations
3 to 5; text side as Reimers and Gurevych 2019 (arXiv:1908.10084) or any table of embeddings, such as CLIP's.

Differs: the paper has T, no temperature, prompt or centring; their defaults (1, "{}", off) change nothing. `classes`
names the classifier's outputs: timm's WordNet names (`first`, `lemmas`, `definitions`), open_clip's cleaned ImageNet
names (`openai`), or a file. A table (`text` as a list) knows only its own names.
Does not: give tokens, or know anything that its class names do not span. `logit_scale` is an option, not learnt.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import timm
import timm.data
import torch
from PIL import Image
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn.functional import normalize

import edgefw
from edgefw.contracts.teacher import TeacherOutput, TeacherSpec
from edgefw.errors import RecipeError
from edgefw.plugins.teachers.text_sides import EmbeddingTable, SentenceEncoder, TextSide, read_names
from edgefw.plugins.timm_models import TimmModelConfig, create, licence
from edgefw.registry.technique import Register
from edgefw.training.weight_files import fingerprint, locate

_timm_data: Any = timm.data  # its names are not declared as exported
_BUILT_IN = ("first", "lemmas", "definitions", "openai")


class Table(edgefw.TechniqueConfig):
    """Text embeddings made elsewhere."""

    embeddings: str = Field(description=".npy file, one row per name")
    names: str = Field(description=".json list of names, or a text file with one name a line")


class TimmConseConfig(TimmModelConfig):
    """Options of the composed teacher."""

    text: str | Annotated[list[Table], Field(min_length=1)] = Field(
        description="folder of a sentence encoder (package:NAME/PATH for a pip package's), or tables of embeddings"
    )
    classes: str = Field(
        default="first", description="names of the classifier's outputs: first, lemmas, definitions, openai, or a file"
    )
    prompt: str | Annotated[list[str], Field(min_length=1)] = Field(
        default="{}", description="sentence(s) around a class name; embeddings of several are averaged"
    )
    top: Annotated[int, Field(ge=1)] = Field(default=10, description="T: classes that take part in the mixture")
    temperature: Annotated[float, Field(gt=0.0, le=100.0)] = Field(default=1.0, description="divides the logits")
    centre: bool = Field(default=False, description="subtract the mean class embedding from names and sentences")
    crop: Annotated[float, Field(gt=0.0, le=1.0)] | None = Field(
        default=None, description="part of the picture's side that is seen; null: the model's own"
    )
    logit_scale: Annotated[float, Field(gt=0.0, le=1000.0)] = Field(
        default=20.0, description="factor on cosines before a softmax over texts"
    )

    @field_validator("prompt")
    @classmethod
    def _has_a_place_for_the_name(cls, value: str | list[str]) -> str | list[str]:
        for prompt in [value] if isinstance(value, str) else value:
            if "{}" not in prompt:
                raise ValueError(f"'{prompt}' has no {{}} where the class name goes")
        return value


class Conse(nn.Module):
    """Pixels to unit mixtures of class embeddings; the text side's tensors travel with it."""

    classes: Tensor
    mean: Tensor

    def __init__(self, classifier: nn.Module, text: nn.Module, classes: Tensor, mean: Tensor) -> None:
        super().__init__()
        self.classifier = classifier
        self.text = text
        self.register_buffer("classes", classes)  # (classes, D), unit rows
        self.register_buffer("mean", mean)  # (D,)

    def forward(self, pixels: Tensor, top: int, temperature: float) -> Tensor:
        """Unit embeddings (B, D) of preprocessed pixels."""
        values, index = (self.classifier(pixels).float() / temperature).topk(top, dim=1)
        weights = values.softmax(dim=1)  # (B, T): probabilities of the T surest, divided by their sum
        return normalize((weights.unsqueeze(2) * self.classes[index]).sum(dim=1), dim=1)


class TimmConseTeacher:
    """The classifier and the text side, frozen."""

    def __init__(
        self, module: Conse, side: TextSide, spec: TeacherSpec, transform: Any, config: TimmConseConfig
    ) -> None:
        self.module = module
        self.spec = spec
        self._side = side
        self._transform = transform
        self._config = config

    def preprocess(self, image: Image.Image) -> Tensor:
        """timm's transform for evaluation: (3, H, W) float32."""
        pixels: Tensor = self._transform(image)
        return pixels

    @torch.no_grad()
    def encode_image(self, pixels: Tensor, want: frozenset[str] = frozenset()) -> TeacherOutput:
        """Unit embeddings of (B, 3, H, W) pixels.

        Raises:
            RecipeError: if tokens or q/k/v are wanted.
        """
        if want:
            raise RecipeError(f"teacher 'timm-conse' has no {', '.join(sorted(want))}.")
        return TeacherOutput(embedding=self.module(pixels, self._config.top, self._config.temperature))

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Unit embeddings (K, D) of K sentences."""
        if not texts:
            return self.module.classes[:0]
        return normalize(self._side.embed(texts) - self.module.mean, dim=1)


def _names(config: TimmConseConfig, model: Any, context: edgefw.BuildContext) -> list[str]:
    count = int(model.num_classes)
    if config.classes not in _BUILT_IN:
        names = read_names(locate(config.classes, context))
    elif config.classes == "openai":
        from open_clip import IMAGENET_CLASSNAMES

        names = list(IMAGENET_CLASSNAMES)
    else:
        subset = _timm_data.infer_imagenet_subset(model)
        if subset is None:
            raise RecipeError(f"classes: '{config.model}' has {count} outputs, which are no ImageNet; name a file.")
        names = list(_timm_data.ImageNetInfo(subset).label_descriptions(detailed=config.classes == "definitions"))
        if config.classes == "first":
            names = [name.split(",")[0] for name in names]
    if len(names) != count:
        raise RecipeError(
            f"classes: {len(names)} names in '{config.classes}', but '{config.model}' has {count} outputs."
        )
    return names


def _text_side(config: TimmConseConfig, context: edgefw.BuildContext) -> TextSide:
    if isinstance(config.text, str):
        return SentenceEncoder(locate(config.text, context))
    files = [(locate(table.embeddings, context), locate(table.names, context)) for table in config.text]
    return EmbeddingTable(files)


def _class_embeddings(config: TimmConseConfig, names: Sequence[str], side: TextSide) -> tuple[Tensor, Tensor]:
    """Unit rows (classes, D), and what was subtracted from them (D,): zeros without centring."""
    prompts = [config.prompt] if isinstance(config.prompt, str) else config.prompt
    each = [side.embed([prompt.replace("{}", name) for name in names]) for prompt in prompts]
    rows = normalize(torch.stack(each).mean(dim=0), dim=1)
    mean = rows.mean(dim=0) if config.centre else torch.zeros(rows.shape[1])
    return normalize(rows - mean, dim=1), mean


def _data_config(config: TimmConseConfig, model: Any) -> dict[str, Any]:
    """timm's settings of the evaluation transform, with what the recipe overrides."""
    settings = _timm_data.resolve_model_data_config(model)
    if config.size is not None:
        settings["input_size"] = (3, config.size, config.size)
    if config.crop is not None:
        settings["crop_pct"] = config.crop
    if config.normalise is not None:
        settings.update(mean=config.normalise.mean, std=config.normalise.std)
    return dict(settings)


def build(config: TimmConseConfig, context: edgefw.BuildContext) -> TimmConseTeacher:
    """Load both sides, embed the class names, freeze and hash."""
    path: Path | None = None if config.weights in ("none", "pretrained") else locate(config.weights, context)
    model = create(config, path)
    names = _names(config, model, context)
    if config.top > len(names):
        raise RecipeError(f"top: {config.top} classes are asked for, '{config.model}' has {len(names)}.")
    side = _text_side(config, context)
    with torch.no_grad():
        classes, mean = _class_embeddings(config, names, side)
    module = Conse(model, side.module, classes, mean)
    module.eval().requires_grad_(False)
    settings = _data_config(config, model)
    facts = {"temperature": config.temperature, "top": config.top, "names": names, "data": settings, **side.facts}
    spec = TeacherSpec(
        width=classes.shape[1],
        image_size=(settings["input_size"][1], settings["input_size"][2]),
        logit_scale=config.logit_scale,
        fingerprint=fingerprint(module, facts),
        preprocessing=f"timm {json.dumps(settings, sort_keys=True, default=str)}",
        licence=f"classifier: {licence(config, model)}; text: unknown",
        source=f"timm {timm.__version__} {config.model}, weights {config.weights}; text {_text_source(config)}",
    )
    return TimmConseTeacher(module, side, spec, _timm_data.create_transform(**settings, is_training=False), config)


def _text_source(config: TimmConseConfig) -> str:
    return config.text if isinstance(config.text, str) else ", ".join(table.embeddings for table in config.text)


@edgefw.hookimpl
def edgefw_register_teachers(register: Register) -> None:
    """Offer the teacher."""
    register(
        edgefw.Technique(
            name="timm-conse",
            config=TimmConseConfig,
            build=build,
            provides=frozenset({"embedding", "text"}),
            requires=("torch", "timm", "transformers", "open_clip"),
            install='pip install "edgefw[train]"',
            paper="arXiv:1312.5650",
            licence="that of the chosen classifier and text encoder",
        )
    )
