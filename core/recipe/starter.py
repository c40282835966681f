"""The text of a first recipe for somebody's data: every section, each choice with a comment that says what else there is.

It writes text and knows names of techniques only as defaults that a reader may change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgefw.recipe.detect import Found
from edgefw.registry.options import yaml_value

TEACHER = "ViT-B-32:laion2b_s34b_b79k"
_LOCAL = ("local-dir:", "hf-hub:")

_TEMPLATE = """\
# {title}
#
# Needs: {needs}
# Plan:  edgefw check {name}.yaml
# Start: edgefw run {name}.yaml
seed: 1

# {layout}
data:
{data}
modalities:
{modalities}

# The teacher: any model of open_clip, with a tag or a file of weights. Others: edgefw list-plugins --kind teacher
teacher: {teacher}

# The student: any backbone of timm; width, size and speed on the camera depend on it.
student: {{name: timm, model: mobilenetv4_conv_small, weights: {student_weights}, size: 224, head: {{name: linear-norm}}}}

{curate}
train:
  - name: distil
    scheme: {{name: {scheme}}}
    views: {{name: crop-flip, scale: [0.4, 1.0]}}
    losses: [{{name: feature, distance: cosine}}]    # others: edgefw list-plugins --kind loss
    optimiser: {{name: adamw, lr: 1.0e-3, final_lr: 1.0e-5, weight_decay: 1.0e-2, warmup: 0.05}}
    epochs: 20
    batch: {batch}
    cache: {{views: 4}}    # the teacher looks at 4 views of each image, once; null: at a new one in every step

export:
  backends: [{{name: onnxruntime}}]
  # int8 but where it is slower on this machine; for a camera with another processor: int8-static, and verify the bundle there.
  quantizers: [{{name: int8-latency-aware}}]

{evaluate}
# The budget of an artefact. Exit code 1 when it is not met; null: measured, not judged.
verify: {{split: {split}, max_drop: 1.0, min_cosine: 0.95, max_ms: null, max_mb: null}}
"""

_CURATE = """\
# Keep the images that the teacher is surest of, and remember what it takes them for.
curate: {{labels: {labels}, template: "a photo of a {{}}", keep: 0.5}}
"""

_NO_CURATE = """\
# To keep only what the teacher is sure of, name what may be in the images:
# curate: {labels: labels.txt, template: "a photo of a {}", keep: 0.25}
"""

_LAYOUTS = {
    "folder": "Photographs in folders; splits and labels come from folder names, or splits are drawn.",
    "csv": "A table with one row per sample and one column per sensor.",
    "webdataset": "Tar shards with one member per sensor.",
    "paired": "Sensor folders side by side, paired by file name in a table that `edgefw init` wrote.",
}


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What the user said.

    Attributes:
        name: the recipe's name.
        root: how the recipe writes the data folder.
        teacher: "MODEL:WEIGHTS" of open_clip, or "local-dir:FOLDER", or "hf-hub:ORG/REPO".
        labels: a file, a list of names, or None.
        table: the table that was written, for paired folders.
    """

    name: str
    root: str
    teacher: str = TEACHER
    labels: str | Sequence[str] | None = None
    table: str = ""


def starter_recipe(found: Found, answers: Answers) -> str:
    """A commented recipe for the data that was found."""
    local = answers.teacher.startswith(_LOCAL[0])
    return _TEMPLATE.format(
        title=f"Distil a teacher into a small encoder on the images of {answers.root}.",
        needs="edgefw[train]; " + ("no download." if local else "weights are downloaded at the first run."),
        name=answers.name,
        layout=_LAYOUTS[found.layout],
        data=_lines(_data(found, answers)),
        modalities=_lines({name: {"name": technique} for name, technique in found.modalities.items()}),
        teacher=yaml_value(_teacher(answers.teacher)),
        student_weights="none" if local else "pretrained",
        curate=_curate(found, answers),
        scheme="dual-modality" if len(found.modalities) > 1 else "single-modality",
        batch=_batch(found.train),
        evaluate=_evaluate(found, answers),
        split="test" if "test" in found.splits else "val",
    )


def _data(found: Found, answers: Answers) -> dict[str, Any]:
    data = dict(found.data)
    name = data.pop("name")
    if found.layout == "paired":
        return {"name": name, "file": answers.table, "root": answers.root, **data}
    if found.layout == "csv":
        return {"name": name, "file": f"{answers.root}/{data.pop('file')}", **data}
    return {"name": name, "root": answers.root, **data}


def _teacher(text: str) -> dict[str, str]:
    if text.startswith(_LOCAL):
        return {"name": "openclip", "model": text}
    model, _, weights = text.partition(":")
    return {"name": "openclip", "model": model, "weights": weights or "none"}


def _curate(found: Found, answers: Answers) -> str:
    if answers.labels is None or found.labelled:
        return _NO_CURATE
    return _CURATE.format(labels=yaml_value(answers.labels))


def _evaluate(found: Found, answers: Answers) -> str:
    if answers.labels is not None:
        return f'evaluate: {{labels: {yaml_value(answers.labels)}, template: "a photo of a {{}}"}}\n'
    if found.labelled:
        return '# The labels are the classes of the data.\nevaluate: {template: "a photo of a {}"}\n'
    return (
        "# The data has no labels: name some here, to see what teacher and student take the images for.\n"
        'evaluate: {labels: null, template: "a photo of a {}"}\n'
    )


def _batch(samples: int) -> int:
    """A power of two, at most 64, of which an epoch has four or more where there are enough samples."""
    batch = 64
    while batch > 2 and batch * 4 > samples:
        batch //= 2
    return batch


def _lines(section: Mapping[str, Any]) -> str:
    return "\n".join(f"  {key}: {yaml_value(value)}" for key, value in section.items())
