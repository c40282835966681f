"""The recipe's own keys. Options of techniques are not here: each technique brings its config model.

A section that names a technique is a `Piece`: `name`, and whatever that technique's config accepts. Everything is
frozen; ranges and choices are in the types, so that `edgefw schema` and the error messages come from one place.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0.0)]
NotNegative = Annotated[float, Field(ge=0.0)]
PhaseName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")]
Label = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=24)]


class Section(BaseModel):
    """A part of the recipe: frozen, without extra keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())


class Piece(BaseModel):
    """A technique by `name`, with its options beside the name."""

    model_config = ConfigDict(frozen=True, extra="allow", protected_namespaces=())

    name: str = Field(description="name of the technique, see `edgefw list-plugins`")

    @property
    def options(self) -> dict[str, Any]:
        """The technique's options as plain values."""
        return dict(self.model_extra or {})

    @model_validator(mode="after")
    def _numbers_are_finite(self) -> Piece:
        for key, value in self.options.items():
            if _holds_no_number(value):
                raise ValueError(f"{key}: a recipe holds finite numbers, neither nan nor inf")
        return self


def _holds_no_number(value: Any) -> bool:
    """Whether a value is nan or infinite, or has such a number somewhere inside."""
    if isinstance(value, dict):
        return any(map(_holds_no_number, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_holds_no_number, value))
    return isinstance(value, float) and not math.isfinite(value)


class StudentPiece(Piece):
    """The student, and the head that takes its pooled features to the teacher's width."""

    head: Piece = Field(default=Piece(name="linear"), description="projector kept at export")


class LossPiece(Piece):
    """A loss with its weight in the sum, and its alignment projector where it uses one."""

    weight: NotNegative = Field(default=1.0, description="factor in the sum of losses")
    projector: Piece | None = Field(default=None, description="alignment projector of this loss, dropped at export")


class ExportPiece(Piece):
    """A backend or a post-training quantizer, with a label where one technique stands there several times."""

    label: Label | None = Field(default=None, description="tells entries of one technique apart, in the names of files")

    @model_serializer(mode="wrap")
    def _without_an_empty_label(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A label that is not given is not there: the hash of such a recipe is what it was before there were labels."""
        return {key: value for key, value in plain(self).items() if key != "label" or value is not None}


def _has_a_place(template: str) -> str:
    if "{}" not in template:
        raise ValueError(f"{template!r} has no {{}} for the label: every label would read the same.")
    return template


Template = Annotated[str, AfterValidator(_has_a_place)]


class Curate(Section):
    """Keep the samples that the teacher is sure of, and remember what it takes them for."""

    labels: str | Annotated[list[str], Field(min_length=1)] = Field(
        description="label superset: a text file with one name a line, or a list"
    )
    template: Template | Annotated[list[Template], Field(min_length=1)] = Field(
        default="a photo of a {}", description="prompt(s); {} is the label, {a} its a or an"
    )
    keep: Annotated[float, Field(gt=0.0, le=1.0)] = Field(default=0.25, description="fraction kept, the surest first")
    per_label: bool = Field(default=False, description="keep that fraction of each label's samples, not of all")
    threshold: Fraction | None = Field(default=None, description="keep what scores above this, instead of a fraction")
    near_duplicates: Annotated[int, Field(ge=0, le=16)] | None = Field(
        default=3,
        description="bits of 64 in which a held-out image may differ from its look-alike; null: not looked for",
    )

    @model_validator(mode="after")
    def _one_rule(self) -> Curate:
        if self.per_label and self.threshold is not None:
            raise ValueError(
                f"per_label is true and threshold is {self.threshold:g}. A threshold is one for all labels: "
                "give per_label with keep, or threshold alone."
            )
        return self

    @property
    def rule(self) -> str:
        """What is kept, in words: for the plan and the result."""
        if self.threshold is not None:
            return f"confidence above {self.threshold:g}"
        return f"the surest {100 * self.keep:g} %{' of each label' if self.per_label else ''}"


class Optimiser(Section):
    """One optimiser with warm-up and cosine decay, both counted in optimiser steps."""

    name: Literal["adamw", "adam", "sgd"] = Field(default="adamw", description="update rule")
    lr: PositiveFloat = Field(default=1e-4, description="peak learning rate")
    final_lr: NotNegative = Field(default=0.0, description="learning rate at the last step")
    weight_decay: NotNegative = Field(
        default=0.0, description="decay (decoupled for adamw); none on norms, biases, positions"
    )
    betas: tuple[Fraction, Fraction] = Field(default=(0.9, 0.999), description="Adam's decay rates")
    momentum: Fraction = Field(default=0.9, description="momentum of sgd")
    warmup: NotNegative = Field(default=0.0, description="below 1: fraction of all steps; from 1 on: steps")


class PhaseCache(Section):
    """Teacher features on disk, so that the teacher runs once per image and view."""

    views: Positive = Field(default=1, description="augmented views stored and replayed per sample")
    dtype: Literal["float32", "float16"] = Field(default="float32", description="storage type")


class Select(Section):
    """Which checkpoint of a phase is kept: the best on the validation split, or the last one."""

    by: Literal["accuracy", "agreement", "loss", "last"] = Field(
        default="loss", description="validation quantity; accuracy needs labels, agreement needs evaluate.labels"
    )
    every: Positive | None = Field(default=None, description="validate every so many steps; null: after each epoch")


class Phase(Section):
    """One training phase."""

    name: PhaseName = Field(description="names the folder train/<name>")
    scheme: Piece = Field(default=Piece(name="dual-modality"), description="shape of the distillation")
    views: Piece = Field(default=Piece(name="crop-flip"), description="augmentation")
    sampler: Piece = Field(default=Piece(name="shuffle"), description="which samples form a batch")
    losses: Annotated[list[LossPiece], Field(min_length=1)] = Field(description="summed with their weights")
    quantizer: Piece | None = Field(default=None, description="training-time quantizer")
    optimiser: Optimiser = Field(default=Optimiser(), description="optimiser and schedule")
    epochs: Positive | None = Field(default=None, description="passes over the kept samples")
    steps: Positive | None = Field(default=None, description="optimiser steps, instead of epochs")
    batch: Positive = Field(default=32, description="samples per process and step (anchors, for groups)")
    accumulate: Positive = Field(default=1, description="batches per optimiser step")
    clip: PositiveFloat | None = Field(default=5.0, description="largest gradient norm; null: no clipping")
    ema: Annotated[float, Field(gt=0.0, lt=1.0)] | None = Field(default=None, description="decay of averaged weights")
    gradient_checkpointing: bool = Field(default=False, description="less memory for more compute")
    cache: PhaseCache | None = Field(default=None, description="teacher cache; null: the teacher runs every step")
    select: Select = Field(default=Select(), description="which checkpoint is kept")

    @model_validator(mode="after")
    def _one_length(self) -> Phase:
        if self.epochs is None and self.steps is None:
            raise ValueError("the phase has no length. Give either epochs or steps.")
        if self.epochs is not None and self.steps is not None:
            raise ValueError(f"epochs is {self.epochs} and steps is {self.steps}. Give one of them, null the other.")
        return self


class Export(Section):
    """What is compiled: each backend in float, and each quantizer on top of each backend it fits."""

    backends: Annotated[list[ExportPiece], Field(min_length=1)] = Field(
        default=[ExportPiece(name="onnxruntime")], description="targets"
    )
    quantizers: list[ExportPiece] = Field(default=[], description="post-training quantizers")
    calibration: Positive = Field(default=256, description="training samples that quantizers may look at")
    heat: bool = Field(
        default=False, description="also compile what is said of each cell, for `edgefw label --show heat`"
    )
    folded: list[str] = Field(
        default=[], description="modalities that also get ONNX files with their preprocessing inside: pictures in"
    )


class Evaluate(Section):
    """Zero-shot evaluation against the embeddings of label names."""

    labels: str | list[str] | None = Field(
        default=None, description="label names: a file, a list, or null for the data set's classes"
    )
    template: Template | Annotated[list[Template], Field(min_length=1)] = Field(
        default="a photo of a {}", description="prompt(s); {} is the label, {a} its a or an"
    )
    batch: Positive = Field(default=64, description="images at a time")


class Verify(Section):
    """The budget that an artefact must keep on held-out samples. Null: measured, not judged."""

    split: Literal["val", "test"] = Field(default="test", description="held-out split")
    samples: Positive | None = Field(default=None, description="at most so many samples; null: all")
    max_drop: NotNegative | None = Field(default=1.0, description="points of top-1 against the float artefact")
    min_cosine: Fraction | None = Field(default=0.99, description="smallest mean cosine to the source model")
    min_agreement: Fraction | None = Field(default=None, description="smallest top-1 agreement with the source model")
    max_slowdown: PositiveFloat | None = Field(
        default=1.05, description="largest p50 latency of a quantised file, as a multiple of its float artefact's"
    )
    max_ms: PositiveFloat | None = Field(default=None, description="largest p50 latency at batch 1, milliseconds")
    max_mb: PositiveFloat | None = Field(default=None, description="largest file, 10^6 bytes")
    max_memory_mib: PositiveFloat | None = Field(
        default=None, description="most memory that opening and running the file takes, 2^20 bytes"
    )
    max_error: PositiveFloat | None = Field(
        default=0.01, description="largest relative error of an fp32 file on any sample, in a batch or alone"
    )
    max_length_error: PositiveFloat | None = Field(
        default=0.1,
        description="of a file that is not fp32: how far the median length of its embeddings is from its source model's, as a share of it",
    )
    max_batch_error: PositiveFloat | None = Field(
        default=0.25,
        description="largest relative error between an image alone and in a batch; of an fp32 file, max_error if that is less",
    )


class Compute(Section):
    """Where and how the arithmetic is done."""

    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?|mps)$", description="auto, cpu, cuda, cuda:1")
    precision: Literal["fp32", "bf16", "fp16"] = Field(default="fp32", description="mixed precision of training")
    memory_format: Literal["contiguous", "channels-last"] = Field(
        default="contiguous", description="order of image tensors while training; channels-last suits convolutions"
    )
    workers: Annotated[int, Field(ge=0)] = Field(default=0, description="loader processes")
    keep_decoded: Annotated[int, Field(ge=0)] = Field(
        default=256, description="MB of decoded training images that each loading process keeps; 0: none"
    )
    threads: Positive | None = Field(
        default=None,
        description="CPU threads of training, and of exported files whose backend states no `threads`; null: the library's choice",
    )
    checkpoint_every: Positive | None = Field(default=None, description="steps between checkpoints; null: per epoch")
    log_every: Positive = Field(default=10, description="steps between logged steps")


class RunConfig(Section):
    """A whole recipe."""

    seed: Annotated[int, Field(ge=0, lt=2**31)] = Field(default=0, description="start of every random draw")
    data: Piece = Field(description="data set")
    modalities: Annotated[dict[PhaseName, Piece], Field(min_length=1)] = Field(description="sensors, by name")
    teacher: Piece = Field(description="vision-language teacher")
    student: StudentPiece = Field(description="image encoder for the device")
    curate: Curate | None = Field(default=None, description="null: every sample is kept, no pseudo-labels")
    train: Annotated[list[Phase], Field(min_length=1)] = Field(description="phases, in order")
    export: Export = Field(default=Export(), description="backends and post-training quantizers")
    evaluate: Evaluate = Field(default=Evaluate(), description="labels and prompts")
    verify: Verify = Field(default=Verify(), description="budget of an artefact")
    compute: Compute = Field(default=Compute(), description="device and precision")

    @model_validator(mode="after")
    def _phases_have_names_of_their_own(self) -> RunConfig:
        names = [phase.name for phase in self.train]
        if len(set(names)) != len(names):
            raise ValueError(f"two phases of train share a name: {', '.join(names)}")
        return self


STAGES = ("curate", "train", "export", "verify", "report")
