"""Composing: techniques by name, their options, what they need and provide, and building one of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from edgefw.errors import CapabilityError, DataError, EdgefwError, MissingDependency, PluginNotFound, RecipeError
from edgefw.recipe.compose import Composition, build, compose
from edgefw.registry.technique import BuildContext

Composer = Callable[..., Composition]


@pytest.fixture
def composed(small, registry) -> Composer:
    return lambda *overrides: compose(small(*overrides), registry)


def refusal(composed: Composer, *overrides: str, kind: type[EdgefwError] = CapabilityError) -> str:
    with pytest.raises(kind) as caught:
        composed(*overrides)
    assert type(caught.value) is kind
    return str(caught.value)


def test_every_piece_is_chosen_with_its_path_and_validated_options(composed) -> None:
    composition = composed("train.0.losses.0.weight=2")
    assert [chosen.path for chosen in composition.all()] == [
        "data",
        "modalities.rgb",
        "modalities.depth",
        "teacher",
        "student",
        "student.head",
        "train[0].scheme",
        "train[0].views",
        "train[0].sampler",
        "train[0].losses[0]",
        "export.backends[0]",
    ]
    assert composition.student.config.size == 32
    assert composition.phases[0].losses[0].weight == 2.0
    assert composition.phases[0].losses[0].loss.config.power == 1
    assert list(composition.modalities) == ["rgb", "depth"]


def test_an_unknown_technique_keeps_its_error_and_gains_its_path(composed) -> None:
    message = refusal(composed, "teacher.name=oracel", kind=PluginNotFound)
    assert "teacher.name: no teacher called 'oracel' is installed. Did you mean oracle?" in message


@pytest.mark.parametrize(
    ("override", "fragment"),
    [
        ("student.size=65", "student.size: must be at most 64, got 65. (command line)"),
        ("student.size='8'", "student.size: must be a whole number, got '8'. Remove the quotes."),
        ("student.sise=8", "student.sise: unknown key. Did you mean 'size'? Allowed: size."),
        ("train.0.losses.0.power=3", "train[0].losses[0].power: must be one of 1, 2, got 3."),
        ("train.0.losses.0.temperature=-0.1", "losses[0].temperature: must be greater than 0.0, got -0.1."),
        ("modalities.depth.encoding=jett", "must be one of 'min-max', 'jet', got 'jett'. Did you mean 'jet'?"),
        ("data={name: pile}", "data.root: is required: folder."),
        ("teacher.model=x", "teacher.model: unknown key. Allowed: none."),
        ("student={name: scholar, low: 2}", "student: low (2.0) must not be above high (1.0)."),
    ],
)
def test_wrong_options_of_a_technique_are_told_like_wrong_keys(composed, override: str, fragment: str) -> None:
    assert fragment in refusal(composed, override, kind=RecipeError)


def test_all_problems_of_all_pieces_come_in_one_message(composed) -> None:
    message = refusal(composed, "teacher.name=oracel", "student.size=0", "data.rot=x", kind=RecipeError)
    assert "3 problems" in message
    assert len(message.splitlines()) == 4


@pytest.mark.parametrize(
    ("overrides", "fragment"),
    [
        (
            ["train.0.losses.0={name: attentive, projector: {name: bent}}"],
            (
                "train[0].losses[0]: loss 'attentive' needs teacher.qkv; teacher 'oracle' provides embedding, text. "
                "Losses that fit: near, labelled, worded."
            ),
        ),
        (
            ["train.0.losses.0={name: attentive}", "teacher.name=seer"],
            "loss 'attentive' needs projector.alignment; it has no projector.",
        ),
        (
            ["train.0.losses.0={name: attentive, projector: {name: straight}}", "teacher.name=seer"],
            (
                "losses[0].projector.name: this place needs projector.alignment; projector 'straight' provides head. "
                "Projectors that fit: bent."
            ),
        ),
        (
            ["train.0.losses.0.projector.name=bent", "teacher.name=seer"],
            "train[0].losses[0].projector: loss 'near' uses no alignment projector. Remove the key.",
        ),
        (
            ["student.head.name=bent", "teacher.name=seer"],
            (
                "student.head.name: this place needs projector.head; projector 'bent' provides alignment. "
                "Projectors that fit: straight."
            ),
        ),
        (
            ["modalities={rgb: {name: photo}}"],
            "train[0].scheme: scheme 'both' needs run.pairs; the recipe has one modality, rgb. Schemes that fit: alone",
        ),
        (
            ["curate=null", "train.0.losses.0={name: labelled}"],
            "loss 'labelled' needs run.labels; the recipe has no curate section. Losses that fit: near, worded.",
        ),
        (["curate=null", "evaluate=null"], "evaluate: must be a mapping"),
        (
            ["curate=null", "evaluate.labels=null", "train.0.losses.0={name: worded}"],
            "loss 'worded' needs run.texts; the recipe has neither curate.labels nor evaluate.labels.",
        ),
        (
            ["train.0.losses.0={name: later}"],
            "loss 'later' needs run.reference; this is the first phase. Losses that fit: near",
        ),
        (
            ["train.0.losses.0={name: grouped}"],
            "loss 'grouped' needs sampler.groups; sampler 'plain' provides nothing.",
        ),
        (
            ["train.0.quantizer.name=after"],
            (
                "train[0].quantizer.name: a phase needs quantizer.module; quantizer 'after' provides onnx. "
                "It works after training: move it to export.quantizers."
            ),
        ),
        (
            ["export.quantizers=[{name: during}]"],
            (
                "export.quantizers[0].name: export needs quantizer.onnx or quantizer.program; "
                "quantizer 'during' provides module."
            ),
        ),
        (
            ["export={backends: [{name: sealed}], quantizers: [{name: after}]}"],
            "quantizer 'after' needs backend.onnx; backend 'sealed' provides module. Add a backend",
        ),
        (
            ["export.backends=[{name: file}, {name: file}]"],
            (
                "export.backends[1].name: backend 'file' stands twice; their artefacts would share a name. "
                "Give one of them a label, for example {name: file, label: 2}. (command line)"
            ),
        ),
        (
            ["export.quantizers=[{name: after, label: a}, {name: after}, {name: after, label: a}]"],
            (
                "export.quantizers[2].label: quantizer 'after' stands twice with the label 'a'; their artefacts would share "
                "a name. Give one of them another label, for example {name: after, label: "
            ),
        ),
        (
            ["train.0.quantizer.name=during", "export.backends=[{name: narrow}]"],
            (
                "export.backends[0].name: backend 'narrow' compiles float networks only, and the last phase trains with "
                "quantizer 'during'. Backends that fit: file, sealed."
            ),
        ),
        (
            ["train.0.quantizer.name=during", "export.quantizers=[{name: after}]"],
            (
                "export.quantizers[0].name: quantizer 'after' finds no float file, because the last phase trains with "
                "quantizer 'during'. Remove one of the two."
            ),
        ),
        (
            ["train.0.gradient_checkpointing=true"],
            (
                "train[0].gradient_checkpointing: gradient checkpointing needs student.checkpointing; "
                "student 'pupil' provides map, pooled. Set it to false."
            ),
        ),
        (["student.name=picky"], "student 'picky' needs teacher.tokens; teacher 'oracle' provides embedding, text."),
        (
            ["train.0.losses.0={name: grouped}", "train.0.sampler.name=mining"],
            "train[0].select.by: loss is not measured on the validation split, which has no groups for 'grouped'.",
        ),
        (["teacher.name=mute"], "curate: curation needs teacher.text; teacher 'mute' provides embedding."),
        (["teacher.name=mute", "curate=null"], "evaluate.labels: label names need teacher.text"),
    ],
)
def test_pieces_that_do_not_fit_are_refused_with_what_would(composed, overrides: list[str], fragment: str) -> None:
    kind = RecipeError if fragment.startswith("evaluate: must") else CapabilityError
    assert fragment in refusal(composed, *overrides, kind=kind)


@pytest.mark.parametrize(
    "overrides",
    [
        ["train.0.losses.0={name: attentive, projector: {name: bent}}", "teacher.name=seer"],
        ["train.0.losses.0={name: labelled}"],
        ["train.0.losses.0={name: grouped}", "train.0.sampler.name=mining", "train.0.select.by=agreement"],
        ["train.0.losses=[{name: grouped}, {name: near}]", "train.0.sampler.name=mining"],
        [("train.1={name: next, scheme: {name: both}, views: {name: still}, sampler: {name: plain}, "
         "losses: [{name: later}], steps: 1, quantizer: {name: during}}")],
        ["student.name=scholar", "train.0.gradient_checkpointing=true"],
        ["export.quantizers=[{name: after}]"],
        ["modalities={rgb: {name: photo}}", "train.0.scheme.name=alone"],
        ["teacher.name=mute", "curate=null", "evaluate.labels=null"],
    ],
)  # fmt: skip
def test_pieces_that_fit_compose(composed, overrides: list[str]) -> None:
    assert composed(*overrides)


def test_building_gives_the_piece_its_config_and_its_path(composed) -> None:
    composition = composed()
    config, context = build(composition.student, BuildContext(seed=3))
    assert config is composition.student.config
    assert (context.path, context.seed) == ("student", 3)


def test_an_error_while_building_starts_with_the_path(composed) -> None:
    with pytest.raises(DataError, match=r"^data: no such folder\.$"):
        build(composed("data.name=broken").dataset, BuildContext())


def test_a_missing_package_is_told_with_the_install_command(composed) -> None:
    with pytest.raises(MissingDependency) as caught:
        build(composed("data.name=heavy").dataset, BuildContext())
    assert str(caught.value) == (
        "data: dataset 'heavy' needs the package 'no_such_package', which is not installed. "
        "Install it: pip install edgefw[heavy]"
    )
    with pytest.raises(MissingDependency, match="a_package_that_nobody_has"):
        build(composed("data.name=undeclared").dataset, BuildContext())


def choir(*voices: str) -> str:
    return f"teacher={{name: choir, voices: [{', '.join(voices)}]}}"


def test_techniques_inside_options_follow_the_one_that_names_them_and_are_built_first(composed) -> None:
    composition = composed(choir("{name: soloist, size: 4}", "{name: choir, voices: [{name: oracle}]}"))
    paths = [chosen.path for chosen in composition.all() if chosen.path.startswith("teacher")]
    assert paths == ["teacher", "teacher.voices[0]", "teacher.voices[1]", "teacher.voices[1].voices[0]"]
    config, context = build(composition.teacher, BuildContext(seed=3))
    assert context.path == "teacher" and len(context.inner) == len(config.voices) == 2
    options, within = context.inner[0]
    assert (options.size, within.path, within.seed, within.inner) == (4, "teacher.voices[0]", 3, ())
    assert context.inner[1][1].inner[0][1].path == "teacher.voices[1].voices[0]"


@pytest.mark.parametrize(
    ("voices", "kind", "fragment"),
    [
        (
            ["{name: oracle}", "{name: mute}"],
            CapabilityError,
            "teacher.voices[1].name: this place needs teacher.text; teacher 'mute' provides embedding. Teachers that fit: ",
        ),
        (
            ["{name: oracel}"],
            PluginNotFound,
            "teacher.voices[0].name: no teacher called 'oracel' is installed. Did you mean oracle?",
        ),
        (
            ["{name: choir, voices: [{name: soloist, size: 99}]}"],
            RecipeError,
            "teacher.voices[0].voices[0].size: must be at most 64, got 99. (command line)",
        ),
        (["{name: soloist, sise: 9}"], RecipeError, "teacher.voices[0].sise: unknown key. Did you mean 'size'?"),
    ],
)
def test_a_wrong_technique_inside_options_is_told_with_its_place(composed, voices, kind, fragment) -> None:
    assert fragment in refusal(composed, choir(*voices), kind=kind)


def test_what_a_technique_inside_options_needs_is_matched(composed) -> None:
    single = ["modalities={rgb: {name: photo}}", "train.0.scheme.name=alone"]
    assert composed(choir("{name: follower}"))
    message = refusal(composed, choir("{name: follower}"), *single)
    assert "teacher.voices[0]: teacher 'follower' needs run.pairs; the recipe has one modality, rgb." in message


def test_entries_of_one_technique_are_told_apart_by_labels_that_are_no_options(small, registry) -> None:
    entries = "[{name: after}, {name: after, label: tails}]"
    composition = compose(small(f"export.quantizers={entries}"), registry)
    assert [chosen.label for chosen in composition.quantizers] == ["", "tails"]
    assert [chosen.config.model_dump() for chosen in composition.quantizers] == [{}, {}]
    assert [chosen.label for chosen in composition.backends] == [""]


def test_a_recipe_without_labels_is_what_it_was_before_there_were_any(small) -> None:
    assert small().resolved["export"]["backends"] == [{"name": "file"}]
    assert small("export.backends=[{name: file, label: null}]").resolved["export"]["backends"] == [{"name": "file"}]
    labelled = small("export.backends=[{name: file, label: a}]").resolved["export"]["backends"]
    assert labelled == [{"name": "file", "label": "a"}]


@pytest.mark.parametrize(
    ("label", "text"),
    [
        ("Two Words", "must be text of the form ^[a-z0-9][a-z0-9-]*$, got 'Two Words'."),
        ("x" * 25, "must be at most 24 characters long, got"),
        ("8", "must be text, got 8. Put it in quotes."),
    ],
)
def test_a_label_is_a_short_word(small, label: str, text: str) -> None:
    with pytest.raises(RecipeError) as caught:
        small(f"export.backends=[{{name: file, label: {label}}}]")
    assert f"export.backends[0].label: {text}" in str(caught.value)


def test_labels_are_of_export_alone(small, registry) -> None:
    with pytest.raises(RecipeError, match=r"train\[0\].quantizer.label: unknown key. Allowed: none."):
        compose(small("train.0.quantizer={name: during, label: a}"), registry)
