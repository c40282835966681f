"""The kit passes what `new-plugin` writes, and catches each of these mistakes in it."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from edgefw.errors import PluginError
from edgefw.registry.kinds import Kind
from edgefw.scaffold.render import module_name, new_plugin
from edgefw.testing import checks_of, parametrize_with_checks
from edgefw.testing.parametrize import make_checks

FRESH_INTERPRETER = {"import_has_no_side_effects", "imports_no_torch"}
"""Checks that start an interpreter; `test_import_checks.py` has their tests."""
COMPILERS = {"checkpointing_changes_no_gradient", "exports_to_onnx"}
"""Checks that make torch load its compilers: seconds."""


@pytest.fixture
def plant(site, tmp_path):
    """Puts a package of `new-plugin` into the environment, with replacements in its module."""

    def planted(kind: Kind, *edits: tuple[str, str]) -> None:
        folder = new_plugin(kind, "acme-x", tmp_path / "packages")
        source = (folder / f"src/edgefw_acme_x/{kind}.py").read_text()
        for old, new in edits:
            assert old in source, f"{old!r} does not stand in the template of {kind}"
            source = source.replace(old, new)
        files = {"edgefw_acme_x/__init__.py": "", f"edgefw_acme_x/{kind}.py": source}
        site.install("edgefw-acme-x", {kind.group: {"acme-x": module_name(kind, "acme-x")}}, files)

    return planted


def failing(kind: Kind, only: str | None = None, without: Collection[str] = (), **options) -> dict[str, str]:
    """Failed checks of acme-x -> the message."""
    failed = {}
    for check in make_checks(kind, "acme-x", **options):
        if check.name in FRESH_INTERPRETER or check.name in without or only not in (None, check.name):
            continue
        try:
            check()
        except Exception as error:  # noqa: BLE001 - whatever a broken technique raises
            failed[check.name] = f"{type(error).__name__}: {error}"
    return failed


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.BACKEND])
def test_what_new_plugin_writes_passes(kind: Kind, plant) -> None:
    plant(kind)
    assert failing(kind, without=COMPILERS) == {}


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Kind.BACKEND, Kind.STUDENT])
def test_what_new_plugin_writes_passes_with_compilers(kind: Kind, plant) -> None:
    plant(kind)
    assert failing(kind) == {}


MANY = """
    def open_many(self, file, most, threads=None):
        runners = [self.open(file, 1) for _ in range(min(most, threads))]
        for runner in runners:
            runner.buffer = runners[0].buffer
        return runners

    def open(self, file: Path"""
ONE_BUFFER = (
    ("\n    def open(self, file: Path", MANY),
    ("self.session = session", "self.session, self.buffer = session, {}"),
    (
        "return self.session.run(None, dict(feeds))[0]",
        "found = self.session.run(None, dict(feeds))[0]\n        return np.add(found, 0, out=self.buffer.setdefault(1, found))",
    ),
)
"""Runners of a backend that write their answers to the same place."""

MUTANTS = [
    (Kind.LOSS, "summary_is_one_short_sentence", ('embeddings.\n', 'embeddings\n')),
    (Kind.LOSS, "options_are_described", (', description="exponent of the distance of each row"', "")),
    (Kind.LOSS, "requires_is_complete", ('("torch",)', "()")),
    (Kind.LOSS, "missing_package_is_named", ("""install='pip install "edgefw[train]"',""", "")),
    (Kind.LOSS, "unknown_option_is_refused", ("edgefw.TechniqueConfig", "__import__('pydantic').BaseModel")),
    (Kind.LOSS, "config_is_frozen", ("edgefw.TechniqueConfig", "__import__('pydantic').BaseModel")),
    (Kind.LOSS, "name_is_registered", ('name="acme-x"', 'name="acme-y"')),
    (Kind.LOSS, "words_are_in_the_vocabulary", ("build=build,", "build=build, needs_for=lambda c: frozenset({'run.labels'}),")),
    (Kind.LOSS, "works_offline", ("return AcmeXLoss", "__import__('urllib.request').request.urlopen('http://127.0.0.1:9')\n    return AcmeXLoss")),
    (Kind.LOSS, "value_is_a_finite_scalar", (".mean()", "")),
    (Kind.LOSS, "value_is_a_finite_scalar", (".mean()", ".mean().log()")),
    (Kind.LOSS, "smallest_at_identity", ("(1 - cos", "(1 + cos")),
    (Kind.LOSS, "gradient_reaches_the_student", ("student.embedding.float()", "student.embedding.detach().float()")),
    (Kind.LOSS, "inputs_are_left_alone", ("inputs.teacher.embedding.float()", "inputs.teacher.embedding.mul_(2)")),
    (Kind.LOSS, "order_of_rows_does_not_matter", ("return (1", "teacher = teacher.roll(1, 0) \n        return (1")),
    (Kind.LOSS, "across_batch_is_declared", ("return (1", "student = student - student.mean(0)\n        return (1")),
    (Kind.LOSS, "half_precision", ("inputs.student.embedding.float(), ", "inputs.student.embedding * 1e5, ")),
    (Kind.LOSS, "same_input_same_value", (".mean()", ".mean() + __import__('time').time_ns() % 1000003")),
    (Kind.LOSS, "parameters_are_trained", ("self.power = power", "self.power = power\n        self.idle = nn.Linear(2, 2)")),
    (Kind.LOSS, "adversary_is_declared", ("build=build,", "build=build, provides=frozenset({'adversary'}),")),
    (Kind.PROJECTOR, "is_a_head_or_an_alignment", ('provides=frozenset({"head"}),', "")),
    (Kind.PROJECTOR, "widths_are_those_of_student_and_teacher", ("context.teacher.width)", "7)")),
    (Kind.PROJECTOR, "every_parameter_is_trained", ("return nn.Sequential(first", "first.extra = nn.Linear(2, 2)\n    return nn.Sequential(first")),
    (Kind.PROJECTOR, "rows_do_not_see_each_other", ("nn.ReLU()", "nn.BatchNorm1d(config.width, track_running_stats=False)")),
    (Kind.STUDENT, "shapes_are_those_of_the_spec", ("width=width,\n", "width=width + 1,\n")),
    (Kind.STUDENT, "words_follow_the_spec", ('{"pooled", "map", ', '{"pooled", ')),
    (Kind.STUDENT, "attention_is_read_by_head", ('{"pooled", "map", ', '{"pooled", "map", "attention", ')),
    (Kind.STUDENT, "parameter_count_is_that_of_the_spec", ("parameter.numel()", "1")),
    (Kind.STUDENT, "every_parameter_is_trained", ("self.checkpointing = False", "self.checkpointing = False\n        self.idle = nn.Linear(2, 2)")),
    (Kind.STUDENT, "images_do_not_see_each_other", ("for layer in", "pixels = pixels - pixels.mean(0)\n        for layer in")),
    (Kind.STUDENT, "same_seed_same_student", ("self.checkpointing = False", "self.checkpointing = False\n        nn.init.constant_(self.layers[0][0].bias, __import__('time').time() % 1)")),
    (Kind.TEACHER, "is_frozen_and_in_evaluation_mode", (".requires_grad_(False).eval()", "")),
    (Kind.TEACHER, "preprocesses_pictures_of_any_shape", ("(self.config.size, self.config.size)", "(self.config.size, 9)")),
    (Kind.TEACHER, "image_embeddings_are_unit_rows", ("embedding=normalize(shares, dim=1)", "embedding=shares")),
    (Kind.TEACHER, "text_embeddings_are_unit_rows", ("return normalize(torch.tensor(rows", "return (torch.tensor(rows")),
    (Kind.TEACHER, "images_do_not_see_each_other", (".mean(dim=1)\n", ".mean(dim=1)\n        shares = shares + shares.sum(dim=0)\n")),
    (Kind.TEACHER, "different_images_differ", (".mean(dim=1)\n", ".mean(dim=1) * 0 + 1\n")),
    (Kind.TEACHER, "same_image_same_embedding", (".mean(dim=1)\n", ".mean(dim=1)\n        shares = shares + torch.rand(1)\n")),
    (Kind.TEACHER, "tokens_come_when_asked_for", ('{"embedding", "text"}', '{"embedding", "text", "tokens"}')),
    (Kind.TEACHER, "fingerprint_follows_the_weights", ('f"acme-x 1 {config!r}"', "str(__import__('time').time_ns())")),
    (Kind.SCHEME, "rows_are_aligned", ("return forward_rows", "return __import__('dataclasses').replace(forward_rows"), ("self.modalities, self.modalities)\n\n    def embed", "self.modalities, self.modalities), role=None)\n\n    def embed")),
    (Kind.SCHEME, "peer_is_declared", ("build=build,", "build=build, provides=frozenset({'peer'}),")),
    (Kind.SCHEME, "samples_it_uses_have_rows", ("batch, self.modalities, self", "batch, self.modalities[:1], self")),
    (Kind.SCHEME, "embeds_every_modality_it_serves", (".embedding", ".pooled")),
    (Kind.SCHEME, "embeds_images_together", ("inputs=(modalities[0],)", "inputs=tuple(modalities)")),
    (Kind.SCHEME, "extras_are_parts_of_the_network", ("    def embed(self", "    def extras(self, network):\n        return {'absent': network}\n\n    def embed(self")),
    (Kind.SCHEME, "signatures_serve_each_modality_once", ("serves=tuple(modalities)", "serves=('sonar',)")),
    (Kind.SAMPLER, "batches_are_full_and_in_range", ("% table.size)", ")")),
    (Kind.SAMPLER, "an_epoch_is_a_pure_function", ("first = epoch", "import random\n        first = random.randrange(50) + epoch")),
    (Kind.SAMPLER, "length_is_the_number_of_batches", ("return table.size // batch", "return 1 + table.size // batch")),
    (Kind.SAMPLER, "too_few_samples_are_an_error", ("raise DataError", "return\n            raise DataError")),
    (Kind.SAMPLER, "groups_are_tagged", ("% table.size)", "% table.size, role=place % 2)")),
    (Kind.VIEW, "draws_are_replayable", ("rng.integers(2**31)", "np.random.randint(2**31)")),
    (Kind.VIEW, "geometry_keeps_type_and_channels", ("(size, size), natural", "(size, 5), natural")),
    (Kind.VIEW, "all_modalities_move_alike", ("draw: ViewDraw, size: int) -> np.ndarray:\n", "draw: ViewDraw, size: int) -> np.ndarray:\n        image = np.roll(image, 20, 0)\n")),
    (Kind.VIEW, "the_same_draw_gives_the_same_picture", ("return image\n\n    def for", "return image + 1e-3 * np.random.rand()\n\n    def for")),
    (Kind.VIEW, "colours_stay_in_range", ("return image\n\n    def for", "return image * 2\n\n    def for")),
    (Kind.VIEW, "inputs_are_left_alone", ("return image\n\n    def for", "image *= 0.5\n        return image\n\n    def for")),
    (Kind.VIEW, "teacher_sees_a_picture", ("return _mirrored(image, draw)", "return _mirrored(image[:, :, 0], draw)")),
    (Kind.VIEW, "recipe_names_the_view", ('f"acme-x flip={flip!r}"', "repr(object())")),
    (Kind.VIEW, "view_zero_is_clean", ("build=build)", "build=build, provides=frozenset({'clean'}))")),
    (Kind.QUANTIZER, "level_is_declared", ('level = "onnx"', 'level = "module"')),
    (Kind.QUANTIZER, "timing_is_declared", ('provides=frozenset({"onnx"})', 'provides=frozenset({"onnx", "timed"})')),
    (Kind.QUANTIZER, "file_is_smaller_and_source_is_kept", ("astype(np.float16)", "astype(np.float64)")),
    (Kind.QUANTIZER, "file_gives_nearly_the_same_embeddings", ("astype(np.float16)", "round().astype(np.float16)")),
    (Kind.MODALITY, "damaged_files_are_data_errors", ("raise DataError(f\"{where}: no readable", "raise ValueError(f\"{where}: no readable")),
    (Kind.MODALITY, "decodes_a_file_of_its_sensor", ('not in "ui"', 'not in "c"')),
    (Kind.MODALITY, "decoding_is_deterministic", ("return values.astype(np.float32)", "return values.astype(np.float32) + np.random.rand()")),
    (Kind.MODALITY, "decoding_bears_threads", ("values = np.asarray(image)", "values = self.values = np.asarray(image)"), ("return values.astype", "return self.values.astype")),
    (Kind.MODALITY, "preprocessing_gives_the_students_input", ('"size": input.size', '"size": 7')),
    (Kind.MODALITY, "pictures_can_be_looked_at", (", 3, axis=2)", ", 1, axis=2)")),
    (Kind.DATASET, "training_split_has_samples", ("default=40", "default=0")),
    (Kind.DATASET, "identifiers_are_unique", ("{index:05d}", "{index // 2}")),
    (Kind.DATASET, "order_is_fixed", ("index % len", "int(np.random.rand() * 99) % len")),
    (Kind.DATASET, "labels_are_classes", ("label=label,", "label='other',")),
    (Kind.DATASET, "images_belong_to_modalities_of_the_recipe", ("in self.modalities}", "in ('sonar',)}")),
    (Kind.DATASET, "references_can_be_read_again", ("default_rng(self.seed)", "default_rng()")),
    (Kind.DATASET, "splits_do_not_overlap", ("SPLITS.index(split), ", "")),
    (Kind.DATASET, "unknown_split_is_empty", ("split not in SPLITS", "split == ''"), ("SPLITS.index(split)", "len(split)")),
    (Kind.BACKEND, "accepted_levels_are_declared", ('accepts = frozenset({"module"})', 'accepts = frozenset({"program"})')),
    (Kind.BACKEND, "file_agrees_with_the_network", ("dict(feeds))[0]", "dict(feeds))[0] * 1.1")),
    (Kind.BACKEND, "batch_is_dynamic", ("{0: batch}", "{}")),
    (Kind.BACKEND, "runner_runs_in_other_threads", ("self.session = session", "self.session, self.thread = session, __import__('threading').get_ident()"), ("        return self.session.run", "        assert __import__('threading').get_ident() == self.thread\n        return self.session.run")),
    (Kind.BACKEND, "runners_run_at_the_same_time", *ONE_BUFFER),
    (Kind.BACKEND, "damaged_file_is_a_bundle_error", ("raise BundleError", "raise ValueError")),
]  # fmt: skip


COMPILES = (
    "file_agrees_with_the_network",
    "batch_is_dynamic",
    "damaged_file_is_a_bundle_error",
    "runner_runs_in_other_threads",
    "runners_run_at_the_same_time",
)


CHANCE = ("decoding_bears_threads", "runners_run_at_the_same_time")
"""Threads that meet by chance: one run may miss the mistake, and several do not."""


def mutants() -> list[object]:
    """The mistakes as parameters; those that compile a network are slow."""
    return [
        pytest.param(kind, check, edits, id=f"{kind}-{check}", marks=[pytest.mark.slow] * (check in COMPILES))
        for kind, check, *edits in MUTANTS
    ]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind, check, edits", mutants())
def test_a_mistake_is_caught(kind: Kind, check: str, edits: list[tuple[str, str]], plant) -> None:
    plant(kind, *edits)
    tries = 8 if check in CHANCE else 1
    assert any(check in failing(kind, only=check) for _ in range(tries))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_runners_that_share_nothing_run_at_the_same_time(plant) -> None:
    plant(Kind.BACKEND, ONE_BUFFER[0], ("self.session = session", "self.session, self.buffer = session, {}"))
    assert failing(Kind.BACKEND, only="runners_run_at_the_same_time") == {}


def test_every_check_of_every_kind_has_a_mistake_that_it_catches() -> None:
    tried = {check for _, check, *_ in MUTANTS} | FRESH_INTERPRETER
    without = {name for kind in Kind for name in checks_of(kind)} - tried
    assert without == {
        "config_round_trips_through_yaml",  # see test_subject.py
        "says_what_it_is", "licence_is_stated",  # a field that is not there
        "state_can_be_saved_and_loaded", "checkpointing_changes_no_gradient", "exports_to_onnx",
        "queries_keys_values_come_when_asked_for", "rows_show_samples_of_the_batch", "missing_images_are_no_rows",
        "gradient_reaches_the_network", "targets_carry_no_gradient", "same_source_same_file",
        "calibration_is_read_in_passes", "prepared_network_trains", "converted_network_keeps_its_outputs",
        "rounded_program_keeps_its_outputs",
        "preprocessing_survives_the_bundle", "artefact_lies_in_the_folder", "threads_can_be_limited",
    }  # fmt: skip


def test_every_check_says_what_it_promises() -> None:
    for kind in Kind:
        for name, promise in checks_of(kind).items():
            assert promise.endswith("."), name


def test_expected_failures_are_strict_and_need_a_reason() -> None:
    mark = parametrize_with_checks("loss", "anything", expected_failures={"half_precision": "needs float32, issue 4"})
    parameters = {parameter.id: parameter for parameter in mark.args[1]}
    assert set(parameters) == set(checks_of("loss"))
    (xfail,) = parameters["half_precision"].marks
    assert xfail.name == "xfail" and xfail.kwargs == {"reason": "needs float32, issue 4", "strict": True}
    assert not parameters["value_is_a_finite_scalar"].marks


@pytest.mark.parametrize(
    "failures, words", [({"half": "x"}, "unknown checks: half. Checks: "), ({"half_precision": " "}, "needs a reason")]
)
def test_expected_failures_that_make_no_sense_are_refused(failures, words) -> None:
    with pytest.raises(PluginError, match=words):
        parametrize_with_checks("loss", "anything", expected_failures=failures)


def test_an_unknown_kind_is_refused_at_once() -> None:
    with pytest.raises(PluginError, match="unknown kind 'lossy'"):
        parametrize_with_checks("lossy", "anything")


def test_options_may_be_a_function_of_a_folder(plant) -> None:
    plant(Kind.LOSS)
    seen = []

    def options(folder):
        seen.append(list(folder.iterdir()))
        return {"power": 2}

    assert failing(Kind.LOSS, only="value_is_a_finite_scalar", config=options) == {}
    assert seen == [[]]


def test_options_that_are_wrong_fail_the_checks(plant) -> None:
    plant(Kind.LOSS)
    assert "power" in failing(Kind.LOSS, only="works_offline", config={"power": 99})["works_offline"]
