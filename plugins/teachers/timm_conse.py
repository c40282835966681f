"""ConSE: a timm classifier and a text encoder, joined into a teacher.

Idea: an image lies where the class names lie that a classifier sees in it.
Formula, with class probabilities p = softmax(logits / temperature), the T surest classes, and unit embeddings c of the
class names:
    f(x) = sum over those T of p_t c_t / sum over those T of p_t,   embedding = f(x) / |f(x)|
A sentence is embedded by the same text side. `centre` subtracts the mean of the class embeddings from class names and
sentences before each is brought to unit length, so that what all names have in common does not count. `whiten` also divides
each principal direction of the class embeddings by sqrt(v + whiten * v_1), with v its variance and v_1 the largest one, so
that a classifier with 120 breeds of dog does not see dogs everywhere.
Source: Norouzi et al. 2014, Zero-Shot Learning by Convex Combination of Semantic Embeddings, arXiv:1312.5650, equations
3 to 5; text side as Reimers and Gurevych 2019 (arXiv:1908.10084) or any table of embeddings, such as CLIP's; whitening
of sentence embeddings: Su et al. 2021, arXiv:2103.15316, here with a ridge.

Differs: the paper has T, no temperature, prompt, centring or whitening; their defaults (1, "{}", off, off) change
nothing. `classes` names the classifier's outputs: timm's WordNet names (`first`, `lemmas`, `definitions`), open_clip's
cleaned ImageNet names (`openai`), or a file; several are averaged. A table (`text` as a list) knows only its own names.
Licences: `licence` of the classifier, else timm's statement; `text_licence`, else the model card of the encoder's folder.
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
from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn
from torch.nn.functional import normalize

import edgefw
from edgefw.contracts.licence import UNKNOWN
from edgefw.contracts.teacher import TeacherOutput, TeacherSpec
from edgefw.errors import RecipeError
from edgefw.plugins.licences import Stated, card_licence
from edgefw.plugins.teachers.text_sides import EmbeddingTable, SentenceEncoder, TextSide, read_names
from edgefw.plugins.timm_models import TimmModelConfig, create, licence
from edgefw.registry.technique import Register
from edgefw.training.weight_files import fingerprint, locate

_timm_data: Any = timm.data  # its names are not declared as exported
_OneOrMore = str | Annotated[list[str], Field(min_length=1)]
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
    classes: _OneOrMore = Field(
        default="first", description="names of the classifier's outputs: first, lemmas, definitions, openai, or a file"
    )
    prompt: _OneOrMore = Field(default="{}", description="sentence(s) around a class name; several are averaged")
    top: Annotated[int, Field(ge=1)] = Field(default=10, description="T: classes that take part in the mixture")
    temperature: Annotated[float, Field(gt=0.0, le=100.0)] = Field(default=1.0, description="divides the logits")
    centre: bool = Field(default=False, description="subtract the mean class embedding from names and sentences")
    whiten: Annotated[float, Field(gt=0.0, le=100.0)] | None = Field(
        default=None,
        description="even out the principal directions of the class embeddings, less so the larger this is",
    )
    crop: Annotated[float, Field(gt=0.0, le=1.0)] | None = Field(
        default=None, description="part of the picture's side that is seen; null: the model's own"
    )
    logit_scale: Annotated[float, Field(gt=0.0, le=1000.0)] = Field(
        default=20.0, description="factor on cosines before a softmax over texts"
    )
    text_licence: Stated | None = Field(
        default=None, exclude=True, description="licence of the text side; null: what the encoder's model card says"
    )

    @field_validator("prompt")
    @classmethod
    def _has_a_place_for_the_name(cls, value: str | list[str]) -> str | list[str]:
        for prompt in _several(value):
            if "{}" not in prompt:
                raise ValueError(f"'{prompt}' has no {{}} where the class name goes")
        return value

    @model_validator(mode="after")
    def _whitening_starts_from_the_mean(self) -> TimmConseConfig:
        if self.whiten is not None and not self.centre:
            raise ValueError("whiten starts from centred embeddings: set centre: true as well")
        return self


def _several(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


class Conse(nn.Module):
    """Pixels to unit mixtures of class embeddings; the text side's tensors travel with it.

    Args:
        classifier: pixels (B, 3, H, W) to logits (B, classes).
        text: holds the text side's tensors.
        rows: unit embeddings (classes, D) of the class names.
        centre: whether their mean is subtracted from names and sentences.
        whiten: ridge of the whitening, or None.
    """

    classes: Tensor
    mean: Tensor
    matrix: Tensor

    def __init__(
        self, classifier: nn.Module, text: nn.Module, rows: Tensor, centre: bool, whiten: float | None
    ) -> None:
        super().__init__()
        self.classifier = classifier
        self.text = text
        self.register_buffer("mean", rows.mean(dim=0) if centre else torch.zeros(rows.shape[1]))  # (D,)
        matrix = torch.eye(rows.shape[1]) if whiten is None else _whitening(rows - self.mean, whiten)
        self.register_buffer("matrix", matrix)  # (D, D)
        self.register_buffer("classes", self.place(rows))  # (classes, D), unit rows

    def place(self, rows: Tensor) -> Tensor:
        """Unit rows (K, D) of text embeddings in the space of the mixtures."""
        return normalize((rows - self.mean) @ self.matrix, dim=1)

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
        return self.module.place(self._side.embed(texts))


def _whitening(centred: Tensor, ridge: float) -> Tensor:
    """The symmetric matrix (D, D) that divides each principal direction of rows (K, D) as the module says."""
    covariance = (centred.T.double() @ centred.double()) / len(centred)
    variance, directions = torch.linalg.eigh(covariance)
    scale = (variance.clamp(min=0) + ridge * variance[-1]).rsqrt()
    return torch.einsum("de,e,fe->df", directions, scale, directions).float()


def class_names(which: str, config: TimmConseConfig, model: Any, context: edgefw.BuildContext) -> list[str]:
    """Names of the classifier's outputs, in order: a built-in list or a file.

    Raises:
        RecipeError: if the list does not fit the classifier.
    """
    count = int(model.num_classes)
    if which not in _BUILT_IN:
        names = read_names(locate(which, context))
    elif which == "openai":
        from open_clip import IMAGENET_CLASSNAMES

        names = list(IMAGENET_CLASSNAMES)
    else:
        subset = _timm_data.infer_imagenet_subset(model)
        if subset is None:
            raise RecipeError(f"classes: '{config.model}' has {count} outputs, which are no ImageNet; name a file.")
        names = list(_timm_data.ImageNetInfo(subset).label_descriptions(detailed=which == "definitions"))
        if which == "first":
            names = [name.split(",")[0] for name in names]
    if len(names) != count:
        raise RecipeError(f"classes: {len(names)} names in '{which}', but '{config.model}' has {count} outputs.")
    return names


def _text_side(config: TimmConseConfig, context: edgefw.BuildContext) -> TextSide:
    if isinstance(config.text, str):
        return SentenceEncoder(locate(config.text, context))
    files = [(locate(table.embeddings, context), locate(table.names, context)) for table in config.text]
    return EmbeddingTable(files)


def _class_embeddings(config: TimmConseConfig, lists: Sequence[Sequence[str]], side: TextSide) -> Tensor:
    """Unit rows (classes, D): the average over every list of names in every prompt."""
    prompts = _several(config.prompt)
    each = [side.embed([prompt.replace("{}", name) for name in names]) for names in lists for prompt in prompts]
    return normalize(torch.stack(each).mean(dim=0), dim=1)


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
    names = [class_names(which, config, model, context) for which in _several(config.classes)]
    if config.top > len(names[0]):
        raise RecipeError(f"top: {config.top} classes are asked for, '{config.model}' has {len(names[0])}.")
    side = _text_side(config, context)
    with torch.no_grad():
        module = Conse(model, side.module, _class_embeddings(config, names, side), config.centre, config.whiten)
    module.eval().requires_grad_(False)
    settings = _data_config(config, model)
    licences = {"licence": licence(config, model), "text_licence": _text_licence(config, context)}
    facts = {"temperature": config.temperature, "top": config.top, "names": names, "data": settings, **side.facts}
    spec = TeacherSpec(
        width=module.classes.shape[1],
        image_size=(settings["input_size"][1], settings["input_size"][2]),
        logit_scale=config.logit_scale,
        fingerprint=fingerprint(module, facts),
        preprocessing=f"timm {json.dumps(settings, sort_keys=True, default=str)}",
        licence=f"classifier: {licences['licence']}; text: {licences['text_licence']}",
        unlicensed=tuple(key for key, stated in licences.items() if stated == UNKNOWN),
        source=f"timm {timm.__version__} {config.model}, weights {config.weights}; text {_text_source(config)}",
    )
    return TimmConseTeacher(module, side, spec, _timm_data.create_transform(**settings, is_training=False), config)


def _text_source(config: TimmConseConfig) -> str:
    return config.text if isinstance(config.text, str) else ", ".join(table.embeddings for table in config.text)


def _text_licence(config: TimmConseConfig, context: edgefw.BuildContext) -> str:
    if config.text_licence is not None:
        return config.text_licence
    return card_licence(locate(config.text, context)) if isinstance(config.text, str) else UNKNOWN


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
