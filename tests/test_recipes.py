"""Shipped recipes: each is read and composed, says what it is, and shows commands that exist; label lists are clean."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from omegaconf import OmegaConf

from edgefw.cli.main import cli
from edgefw.labels.names import prompts, read_label_names, unique_names
from edgefw.recipe import shipped
from edgefw.recipe.compose import compose
from edgefw.recipe.described import header_of, shipped_recipes
from edgefw.recipe.read import Recipe, read_recipe
from edgefw.registry.loading import Registry

RECIPES = {recipe.name: recipe for recipe in shipped_recipes()}
OF_EDGEVL = [name for name in RECIPES if name not in ("quickstart", "clip4retrofit", "edgevl-best")]
ROOT = Path(__file__).resolve().parents[1]
OF_THE_PAPER = [name for name in RECIPES if name != "quickstart"]


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry()


def given(name: str, *overrides: str) -> Recipe:
    """A shipped recipe with something for every key that it leaves open."""
    return read_recipe(name, [*(f"{key}=yours" for key in RECIPES[name].mandatory), *overrides])


def header(name: str) -> tuple[str, ...]:
    return header_of(RECIPES[name].file.read_text(encoding="utf-8"))


def commands(name: str) -> list[str]:
    """What the header tells a reader to type; several on a line are parted by a dot."""
    parts = [part.strip() for line in header(name) for part in line.removeprefix("Try:").split("·")]
    return [part for part in parts if part.startswith("edgefw ")]


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_composed_once_its_open_keys_are_given(name: str, registry: Registry) -> None:
    compose(given(name), registry)


@pytest.mark.parametrize("name", RECIPES)
def test_a_header_says_what_it_needs_and_how_long_and_what_to_try(name: str) -> None:
    wanted = ["Needs:", "Time:", "Try:"] + (["Source:"] if name in OF_THE_PAPER else [])
    assert [word for word in wanted if not any(line.startswith(word) for line in header(name))] == []
    assert len(RECIPES[name].summary) < 140


@pytest.mark.parametrize("name", RECIPES)
def test_the_commands_of_a_header_exist_and_their_recipes_can_be_read(name: str) -> None:
    assert commands(name)
    for text in commands(name):
        words = shlex.split(text)[1:]
        command = cli.get_command(click.Context(cli), words[0])
        assert command is not None, text
        command.make_parser(click.Context(command)).parse_args(args=words[1:])
        if words[0] in ("run", "check"):
            read_recipe(words[1], [word for word in words[2:] if re.match(r"[a-z][\w.]*=", word)])


@pytest.mark.parametrize(("name", "least", "template"), [("indoor", 50, "a photo of {a} {}"), ("satellite", 15, "a satellite image of {a} {}")])  # fmt: skip
def test_a_label_list_is_clean_and_its_prompts_read_as_english(name: str, least: int, template: str) -> None:
    names = read_label_names(str(shipped.asset(f"labels/{name}.txt")), Path(), "labels")
    assert unique_names(names) == (names, [])
    assert least <= len(names) < 1.3 * least
    assert not [name for name in names if name != name.strip() or not name[0].islower()]
    assert not [text for text in prompts(names, template) if re.search(r"\ba [aeiou]|\ban [^aeiou]", text)]


def leaves(value: Any, path: str = "") -> dict[str, Any]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if items is None:
        return {path: value}
    found: dict[str, Any] = {}
    for key, item in items:
        found |= leaves(item, f"{path}.{key}" if path else str(key))
    return found


FIRST_STAGE = {
    "curate.keep": 0.25,
    "train.0.losses.0.distance": "l1",
    "train.0.optimiser.lr": 1e-4,
    "train.0.optimiser.final_lr": 5e-6,
    "train.0.epochs": 120,
    "train.0.batch": 32,
    "train.0.clip": 5.0,
    "teacher.model": "ViT-g-14",
}
SECOND_STAGE = {
    "train.1.sampler.margin": 0.3,
    "train.1.sampler.negatives": 3,
    "train.1.losses.0.margin": 0.3,
    "train.1.optimiser.lr": 1e-6,
    "train.1.optimiser.final_lr": 5e-7,
    "train.1.epochs": 120,
    "train.1.batch": 4,
}


ONE_STAGE = ("edgevl-stage-1", "edgevl-ptq", "cmkd-rgb", "cmkd-depth")
TWO_STAGES = ("edgevl", "edgevl-swin", "edgevl-vit", "edgevl-dat", "edgevl-eurosat")


@pytest.mark.parametrize("name", [name for name in (*ONE_STAGE, *TWO_STAGES) if name in RECIPES])
def test_the_numbers_of_the_stages_are_the_papers(name: str) -> None:
    values, expected = leaves(given(name).resolved), FIRST_STAGE | (SECOND_STAGE if name in TWO_STAGES else {})
    assert {key: values[key] for key in expected} == expected
    decay = {value for key, value in values.items() if key.endswith("optimiser.weight_decay")}
    assert decay == {0.05 if name == "edgevl-dat" else 1e-3}


@pytest.mark.parametrize("name", OF_EDGEVL)
def test_a_student_drops_paths_at_the_papers_rate_for_it(name: str) -> None:
    student = given(name).resolved["student"]
    assert student["drop_path"] == (0.2 if student["name"] == "dat" else 0.3)


def changed(name: str, other: str) -> set[str]:
    """Keys in which two recipes differ."""
    ours, theirs = leaves(given(name).resolved), leaves(given(other).resolved)
    return {key for key in {**ours, **theirs} if ours.get(key, ()) != theirs.get(key, ())}


def test_the_successor_says_that_the_weights_inside_its_relations_are_inferred() -> None:
    text = " ".join(header("edgevl-successor"))
    inferred = text.split("Inferred: ")[1]
    assert "1 to 2 for distances to angles in `relational` (Park et al.'s 25 to 50)" in inferred
    assert "relational" in {loss["name"] for loss in given("edgevl-successor").resolved["train"][0]["losses"]}


def test_the_two_forms_of_cmkd_differ_in_the_modality_alone() -> None:
    assert changed("cmkd-depth", "cmkd-rgb") == {"train.0.scheme.modality"}


def test_cqd_is_the_softened_divergence_of_its_page_beside_the_loss_of_the_first_stage() -> None:
    losses = RECIPES["cqd"].file.read_text(encoding="utf-8")
    page = (ROOT / "docs" / "techniques" / "losses.md").read_text(encoding="utf-8")
    softened, aligned = OmegaConf.to_container(OmegaConf.create(losses))["train"]["distil"]["losses"]  # type: ignore[index, call-overload]
    shown = re.findall(r"`(\{name: similarity-kl, [^`]*\})`", page)
    assert [OmegaConf.to_container(OmegaConf.create(text)) for text in shown] == [softened]
    assert [aligned] == [{"name": "feature", "distance": "l1"}]


def test_ptq_as_the_released_code_rounds_is_a_recipe_for_one_quantizer(registry: Registry) -> None:
    page = (ROOT / "docs" / "edgevl.md").read_text(encoding="utf-8")
    [command] = [
        line for line in page.splitlines() if line.startswith("edgefw run edgevl-ptq") and "quantizers=" in line
    ]
    [override] = [word for word in shlex.split(command) if word.startswith("export.quantizers=")]
    recipe = given("edgevl-ptq", override)
    compose(recipe, registry)
    assert recipe.resolved["export"]["quantizers"] == [
        {"name": "int8-static", "zero_point": "symmetric", "operators": ["Gemm", "MatMul", "Softmax"]}
    ]


def test_ptq_is_the_first_stage_with_a_quantizer_and_no_gate() -> None:
    keys = {key.split(".")[0] for key in changed("edgevl-ptq", "edgevl-stage-1")}
    assert keys == {"export", "verify"}
    limits = given("edgevl-ptq").config.verify
    assert limits.max_drop is limits.min_cosine is limits.max_length_error is limits.max_slowdown is None


def test_the_default_student_of_edgevl_is_edgevl_swin() -> None:
    assert changed("edgevl", "edgevl-swin") == set()


def test_the_first_phase_of_edgevl_is_the_first_stage() -> None:
    assert {key.split(".")[1] for key in changed("edgevl", "edgevl-stage-1")} == {"1"}


def test_qat_has_the_loss_of_the_first_stage_and_the_pace_of_the_second() -> None:
    phases = given("edgevl-qat").resolved["train"]
    assert phases[1]["losses"] == phases[0]["losses"]
    assert changed("edgevl-qat", "edgevl") <= {"verify.max_slowdown"} | {
        f"train.1.{key}"
        for key in (
            "sampler.name", "sampler.margin", "sampler.negatives", "batch", "select.by",
            "losses.0.name", "losses.0.margin", "losses.0.distance",
        )
    }  # fmt: skip


def test_qvit_is_qat_with_attention_that_is_rectified_and_taught_by_the_first_stage() -> None:
    phases, others = given("edgevl-qvit").resolved["train"], given("edgevl-qat").resolved["train"]
    assert given("edgevl-qvit").resolved["student"] == given("edgevl-vit").resolved["student"]
    assert phases[1]["losses"][:1] == others[1]["losses"]
    assert [(loss["name"], loss["weight"]) for loss in phases[1]["losses"][1:]] == [("distribution-guided", 1.0)]
    assert phases[1] | {"losses": [], "quantizer": {}} == others[1] | {"losses": [], "quantizer": {}}
    assert phases[1]["quantizer"] == {"name": "qvit"}


def test_best_is_the_row_that_the_benchmark_measured() -> None:
    rows = yaml.safe_load((ROOT / "benchmarks" / "edgevl" / "rows.yaml").read_text(encoding="utf-8"))
    small = yaml.safe_load((ROOT / "benchmarks" / "edgevl" / "small.yaml").read_text(encoding="utf-8"))
    [row] = [row for row in rows["rows"] if row["method"] == "best"]
    best = given("edgevl-best").resolved
    for phase, name in zip(best["train"], row["phases"], strict=True):
        theirs = rows["every-phase"] | rows["phases"][name]
        ours = phase | {"select": {"by": phase["select"]["by"], "every": theirs["select"]["every"]}}
        keys = ("scheme", "views", "sampler", "losses", "optimiser", "batch", "ema", "quantizer", "select")
        wanted = {path: value for key in keys for path, value in leaves(theirs.get(key), key).items()}
        assert {path: leaves(ours).get(path) for path in wanted} == wanted
    assert best["train"][0]["epochs"] * rows["budget"]["second"] == best["train"][1]["epochs"] * rows["budget"]["first"]
    assert (best["student"]["model"], best["student"]["head"]) == (small["student"]["model"], small["student"]["head"])
    assert best["curate"]["keep"] == small["curate"]["keep"]
    assert best["curate"]["per_label"] is row["of-each-label"] is True


def test_what_ends_on_a_camera_is_held_to_the_time_of_float_and_rows_of_the_ablation_are_not() -> None:
    limits = {name: given(name).config.verify.max_slowdown for name in RECIPES if name.startswith("edgevl")}
    assert {name for name, limit in limits.items() if limit is None} == {"edgevl-ptq", "edgevl-qat", "edgevl-qvit"}
    assert set(limits.values()) == {None, 1.05}


def test_the_quickstart_judges_the_time_of_a_file_that_is_fast_without_vnni_too() -> None:
    config = given("quickstart").config
    assert config.verify.max_slowdown == 1.5
    assert given("quickstart").resolved["export"]["quantizers"][0]["reduce_range"] is True


def test_a_vit_averages_all_tokens_before_one_linear_layer() -> None:
    student = given("edgevl-vit").resolved["student"]
    assert (student["pool"], student["head"]) == ("all-tokens", {"name": "linear"})


def test_eurosat_has_one_band_beside_rgb_and_labels_of_land() -> None:
    recipe = given("edgevl-eurosat").resolved
    assert recipe["modalities"] == {
        "rgb": {"name": "rgb"},
        "swir": {"name": "multispectral", "bands": [1], "low": 0.0, "high": 0.4095},
    }
    assert recipe["curate"]["labels"].endswith("satellite.txt")


def test_clip4retrofit_has_every_part_of_the_paper() -> None:
    recipe = given("clip4retrofit").resolved
    phase, student = recipe["train"][0], recipe["student"]
    assert (student["model"], student["head"]["name"]) == ("efficientnet_b3", "mlp")
    losses = {loss["name"]: (loss.get("projector") or {}).get("name") for loss in phase["losses"]}
    assert losses == {"feature": None, "pca-attention": "pca", "gl-tokens": "gl", "view-adversarial": None}
    assert phase["views"]["name"] == "multi-view" and phase["gradient_checkpointing"]
    assert recipe["compute"]["precision"] == "bf16"
