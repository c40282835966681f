"""The budget: which limits are judged for which artefact, and which artefact is the best."""

import pytest

from edgefw.evaluation.budget import Measured, best_notes, broken, checks, failures, keeps, not_judged
from edgefw.evaluation.budget import best as best_of

LIMITS = {"max_drop": 1.0, "min_cosine": 0.99, "min_agreement": None, "max_ms": 10.0, "max_mb": 3.0}


def artefact(name="int8", quantised=True, drop=0.5, cosine=0.995, agreement=0.9, ms=5.0, mb=2.0):
    values = {"max_drop": drop, "min_cosine": cosine, "min_agreement": agreement, "max_ms": ms, "max_mb": mb}
    return Measured(name=name, quantised=quantised, values=values)


def best(measured, limits, *others):
    """Of the rows that the limits make, and others."""
    return best_of(measured, [*checks(measured, limits), *others], limits)


FLOAT = artefact("fp32", quantised=False, drop=0.0, cosine=1.0, ms=8.0, mb=8.0)


def test_every_limit_that_is_set_is_checked():
    rows = checks([artefact()], LIMITS)
    assert [row["check"] for row in rows] == ["max_drop", "min_cosine", "max_ms", "max_mb"]
    assert all(row["ok"] for row in rows)


def test_cost_of_a_float_file_is_judged_only_when_it_is_what_is_deployed():
    assert {row["check"] for row in checks([FLOAT, artefact()], LIMITS) if row["artefact"] == "fp32"} == {
        "max_drop",
        "min_cosine",
    }
    alone = checks([FLOAT], LIMITS)
    assert [row["check"] for row in alone if not row["ok"]] == ["max_mb"]


def test_a_quantised_file_is_held_against_the_time_of_its_source_and_a_float_file_is_not():
    slow = Measured(name="int8", quantised=True, values={"max_slowdown": 1.85})
    rows = checks([FLOAT, slow, artefact("fast")], {"max_slowdown": 1.1})
    assert rows == [{"artefact": "int8", "check": "max_slowdown", "limit": 1.1, "value": 1.85, "ok": False}]
    assert failures(rows) == "  int8: max_slowdown is 1.85, the budget is 1.1"
    assert checks([slow], {"max_slowdown": None}) == []
    assert best([FLOAT, slow], {"max_slowdown": 1.1}) == ("fp32", True)


@pytest.mark.parametrize(
    ("limits", "exact", "rounded"),
    [
        ({"max_error": 0.01, "max_batch_error": 0.25}, 0.01, 0.25),
        ({"max_error": 0.5, "max_batch_error": 0.25}, 0.25, 0.25),
        ({"max_error": None, "max_batch_error": 0.25}, 0.25, 0.25),
        ({"max_error": 0.01, "max_batch_error": None}, None, None),
    ],
)
def test_what_an_image_alone_changes_in_an_exact_file_is_an_error_as_any_other(limits, exact, rounded):
    """`max_error` has no key in a rounded file; an exact one without a student has it, with no value."""
    files = [
        Measured(name="exact", quantised=False, values={"max_error": None, "max_batch_error": 0.2}),
        Measured(name="rounded", quantised=True, values={"max_batch_error": 0.2}),
    ]
    rows = {row["artefact"]: (row["limit"], row["ok"]) for row in checks(files, limits)}
    said = {"exact": exact, "rounded": rounded}
    assert rows == {name: (limit, limit >= 0.2) for name, limit in said.items() if limit is not None}
    assert best(files, limits)[0] == ("rounded" if exact == 0.01 else "exact")


def test_a_limit_is_said_as_it_was_set():
    rows = checks([artefact(cosine=0.9997)], {"min_cosine": 0.99999})
    assert failures(rows) == "  int8: min_cosine is 0.9997, the budget is 0.99999"


def test_memory_is_a_cost_of_what_is_deployed_like_time_and_size():
    source, small, large = (
        Measured(name=name, quantised=name != "fp32", values={"max_memory_mib": mib})
        for name, mib in (("fp32", 90.0), ("small", 20.0), ("large", 50.0))
    )
    rows = checks([source, small, large], {"max_memory_mib": 40.0})
    assert [(row["artefact"], row["ok"]) for row in rows] == [("small", True), ("large", False)]
    assert failures(rows) == "  large: max_memory_mib is 50, the budget is 40"
    assert [row["ok"] for row in checks([source], {"max_memory_mib": 40.0})] == [False]


def test_a_limit_is_kept_when_it_is_met_exactly():
    assert keeps("max_drop", 1.0, 1.0)
    assert keeps("min_cosine", 0.99, 0.99)


@pytest.mark.parametrize("check", ["max_drop", "min_cosine"])
def test_not_a_number_keeps_no_limit(check):
    assert not keeps(check, 0.5, float("nan"))


def test_what_could_not_be_measured_is_named_and_not_judged():
    unlabelled = artefact(drop=None)
    assert not_judged([unlabelled], LIMITS) == ["max_drop is not judged: it could not be measured"]
    assert "max_drop" not in [row["check"] for row in checks([unlabelled], LIMITS)]
    assert not_judged([unlabelled], {**LIMITS, "max_drop": None}) == []


def test_a_limit_that_does_not_apply_to_an_artefact_is_no_omission():
    assert (
        not_judged([Measured(name="a", quantised=False, values={"max_mb": 1.0})], {"max_error": 0.1, "max_mb": 2.0})
        == []
    )


def test_what_is_not_judged_is_one_sentence_per_reason_and_says_of_which_artefacts():
    limits = {"max_drop": 1.0, "min_cosine": 0.9, "max_error": 0.1, "max_mb": 2.0}
    alone = {"max_drop": "no labels", "min_cosine": "no source", "max_error": "no source"}
    first = Measured(name="a", quantised=False, values=dict.fromkeys(alone), reasons=alone)
    second = Measured(name="b", quantised=True, values={"max_drop": None, "min_cosine": 0.95}, reasons=alone)
    third = Measured(name="c", quantised=True, values={"max_drop": None, "min_cosine": None}, reasons=alone)
    assert not_judged([first, second, third], limits, "verify.") == [
        "verify.max_drop is not judged: no labels",
        "verify.min_cosine is not judged for a and c: no source",
        "verify.max_error is not judged for a: no source",
    ]
    assert not_judged([first], limits) == [
        "max_drop is not judged: no labels",
        "min_cosine and max_error are not judged: no source",
    ]


def test_the_fastest_of_those_that_keep_the_budget_is_the_best():
    slow_int8 = artefact("slow", ms=9.0)
    assert best([FLOAT, slow_int8, artefact("fast", ms=4.0)], LIMITS) == ("fast", True)


def test_a_faster_file_that_breaks_the_budget_is_not_the_best():
    assert best([artefact("good", ms=6.0), artefact("inexact", ms=2.0, cosine=0.9)], LIMITS) == ("good", True)


def test_a_float_file_wins_when_int8_is_slower_and_no_size_is_asked_for():
    limits = {**LIMITS, "max_mb": None}
    assert best([FLOAT, artefact(ms=9.5)], limits) == ("fp32", True)


def test_equally_fast_files_are_told_apart_by_size():
    assert best([FLOAT, artefact(ms=8.2)], {**LIMITS, "max_mb": None}) == ("int8", True)


def test_when_none_keeps_everything_the_one_that_keeps_most_is_named():
    assert best([artefact("a", cosine=0.5, drop=9.0), artefact("b", cosine=0.5)], LIMITS) == ("b", False)


def test_a_float_file_that_keeps_all_that_is_judged_is_taken_before_an_int8_file_with_wrong_answers():
    limits = {"min_cosine": 0.99, "max_drop": 1.0, "max_mb": 5.0}
    source = artefact("fp32", quantised=False, drop=0.0, cosine=1.0, ms=10.0, mb=10.0)
    files = [source, artefact(cosine=0.2, ms=9.0, mb=3.0)]
    assert [(row["artefact"], row["check"]) for row in checks(files, limits) if not row["ok"]] == [
        ("int8", "min_cosine")
    ]
    assert best(files, limits) == ("fp32", True)


def test_one_wrong_answer_weighs_more_than_any_cost():
    wrong, dear = artefact("wrong", cosine=0.9), artefact("dear", ms=20.0, mb=9.0)
    assert best([wrong, dear], LIMITS) == ("dear", False)
    assert best([wrong, artefact("worse", cosine=0.9, drop=5.0, ms=1.0)], LIMITS) == ("wrong", False)


def test_what_a_float_file_costs_decides_between_files_that_keep_the_budget():
    """It is not judged, but the chosen file is what is deployed."""
    small = artefact(ms=9.5)
    assert all(row["ok"] for row in checks([FLOAT, small], LIMITS))
    assert best([FLOAT, small], LIMITS) == ("int8", True)


@pytest.mark.parametrize(
    "row",
    [broken("fast", "it fails"), {"artefact": "fast", "check": "max_reference_error", "limit": 0.1, "value": 0.5, "ok": False}],
)  # fmt: skip
def test_rows_of_other_checks_count_too(row):
    files = [artefact("fast", ms=2.0), artefact("slow", ms=6.0)]
    assert best(files, LIMITS) == ("fast", True)
    assert best(files, LIMITS, row) == ("slow", True)
    assert best(files, LIMITS, row, {**row, "artefact": "slow"}) == ("fast", False)
    assert best(files, LIMITS, {**row, "ok": True}) == ("fast", True)
    assert best(files, LIMITS, {**row, "artefact": "labels.json"}) == ("fast", True)


def test_what_there_is_to_know_of_the_best_is_said():
    assert best([], LIMITS) == (None, False)
    assert best_notes(None, False) == ["no artefact could be judged"]
    assert best_notes("a", True) == []
    assert best_notes("a", False) == ["no artefact keeps the whole budget; a comes nearest"]


def test_failures_are_a_line_each():
    text = failures(checks([artefact(cosine=0.9, ms=20.0)], LIMITS))
    assert text.splitlines() == [
        "  int8: min_cosine is 0.9, the budget is 0.99",
        "  int8: max_ms is 20, the budget is 10",
    ]
