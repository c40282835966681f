"""The trigger frame by frame, against a plain re-reading of its rules, and each rule alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefw.camera.trigger import Trigger
from edgefw.errors import BundleError
from edgefw.runtime.trigger_rule import Rule, keeps_everything, parse_rule

NAMES = ("road works", "rain", "night")


def outcomes(rule: Rule, scores: list, step: float = 1.0) -> list[str]:
    trigger = Trigger(rule, NAMES)
    return [_stored(trigger, at * step, row) for at, row in enumerate(scores)]


def _stored(trigger: Trigger, time: float, row) -> str:
    decision = trigger.look(time, np.array(row))
    if decision.kept:
        trigger.keep(time, decision.holding)
    return decision.outcome


def one(*values: float) -> list[tuple[float, float, float]]:
    return [(value, 0.0, 0.0) for value in values]


def test_a_label_holds_from_begin_until_below_end():
    rule = Rule(any=("road works",), begin=0.6, end=0.4)
    assert outcomes(rule, one(0.5, 0.6, 0.5, 0.4, 0.39, 0.5, 0.7)) == [
        "quiet", "kept", "kept", "kept", "quiet", "quiet", "kept",
    ]  # fmt: skip


def test_so_many_frames_in_a_row_begin_an_event():
    rule = Rule(any=("road works",), begin=0.5, frames=3)
    assert outcomes(rule, one(0.9, 0.9, 0.1, 0.9, 0.9, 0.9, 0.9)) == ["quiet"] * 5 + ["kept"] * 2


def test_a_cool_down_counts_from_the_last_kept_frame():
    rule = Rule(any=("road works",), cool_down=2.5)
    assert outcomes(rule, one(*[0.9] * 7)) == [
        "kept",
        "cool-down",
        "cool-down",
        "kept",
        "cool-down",
        "cool-down",
        "kept",
    ]


def test_all_and_none_are_demands_of_their_own():
    rule = Rule(all=("road works", "night"), none=("rain",))
    assert outcomes(rule, [(0.9, 0, 0.9), (0.9, 0, 0.1), (0.9, 0.9, 0.9), (0.1, 0, 0.9)]) == [
        "kept", "quiet", "quiet", "quiet",
    ]  # fmt: skip


def test_a_quota_is_of_each_label_and_comes_back():
    rule = Rule(any=("road works", "rain"), quota=2, quota_hours=10 / 3600)
    rows = [(0.9, 0, 0)] * 3 + [(0.9, 0.9, 0)] * 3 + [(0, 0, 0)] * 4 + [(0.9, 0, 0)]
    assert outcomes(rule, rows) == ["kept", "kept", "quota", "kept", "kept", "quota"] + ["quiet"] * 4 + ["kept"]


def test_a_frame_that_was_not_stored_begins_no_cool_down_and_uses_no_quota():
    trigger = Trigger(Rule(any=("road works",), cool_down=10.0, quota=1), NAMES)
    row = np.array([0.9, 0.0, 0.0])
    assert [trigger.look(at, row).outcome for at in (0.0, 1.0, 2.0)] == ["kept"] * 3
    trigger.keep(2.0, ("road works",))
    assert [trigger.look(at, row).outcome for at in (3.0, 12.0)] == ["cool-down", "quota"]


def test_frames_of_former_runs_count_for_a_quota():
    trigger = Trigger(Rule(any=("road works", "rain"), quota=2, quota_hours=1.0), NAMES)
    for time in (-3700.0, -3500.0, -100.0):
        trigger.count(time, ("road works", "gone"))
    assert trigger.look(0.0, np.array([0.9, 0.0, 0.0])).outcome == "quota"
    assert trigger.look(1.0, np.array([0.9, 0.9, 0.0])).outcome == "kept"
    assert trigger.look(101.0, np.array([0.9, 0.0, 0.0])).outcome == "kept"


def test_a_score_that_is_no_number_holds_nothing():
    assert outcomes(Rule(any=("road works",)), one(float("nan"), 0.9, float("nan"))) == ["quiet", "kept", "quiet"]


def test_the_labels_that_hold_are_told():
    trigger = Trigger(Rule(any=("rain", "night"), none=("road works",)), NAMES)
    assert trigger.look(0.0, np.array([0.0, 0.9, 0.8])).holding == ("rain", "night")


rows = st.lists(st.tuples(*[st.sampled_from([0.0, 0.3, 0.5, 0.7])] * 3), min_size=1, max_size=60)


@settings(max_examples=150, deadline=None)
@given(rows, st.sampled_from([0.5, 0.3, None]), st.integers(1, 3), st.sampled_from([0.0, 1.5, 4.0]))
def test_it_is_what_a_plain_reading_of_all_frames_so_far_says(scores, off, frames, cool_down):
    rule = Rule(any=("road works",), none=("night",), begin=0.5, end=off, frames=frames, cool_down=cool_down)
    assert outcomes(rule, scores) == list(reference(rule, scores))


def reference(rule: Rule, scores: list):
    """Each frame from the whole history, without state."""
    off, last = rule.begin if rule.end is None else rule.end, None
    for at in range(len(scores)):
        holds = [_holds([row[place] for row in scores[: at + 1]], rule.begin, off, rule.frames) for place in (0, 2)]
        if not holds[0] or holds[1]:
            yield "quiet"
        elif last is not None and at - last < rule.cool_down:
            yield "cool-down"
        else:
            last = at
            yield "kept"


def _holds(history: list, on: float, off: float, frames: int) -> bool:
    begins = [end for end in range(frames, len(history) + 1) if min(history[end - frames : end]) >= on]
    return any(all(value >= off for value in history[end - 1 :]) for end in begins)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "a trigger needs labels under any or all"),
        ({"any": ["rain"], "none": ["rain"]}, "rain: asked for and forbidden at once"),
        ({"any": ["rain"], "begin": 0.4, "end": 0.5}, r"end \(0.5\) lies above begin \(0.4\)"),
        ({"any": ["rain"], "quota": 0}, "quota: must be greater than or equal to 1, got 0"),
        ({"any": ["rain"], "hold": 3}, "hold: unknown key. It may be one of any, all, none, score, begin, end, "),
        ({"any": ["rain"], "begin": float("nan")}, "begin: must be a finite number, got nan"),
        ({"any": ["rain"], "begin": True}, "begin: must be a valid number, got True"),
        ({"any": ["rain"], "frames": True}, "frames: must be a valid integer, got True"),
        ({"any": ["rain"], "begin": -0.5}, r"begin \(-0.5\) is no probability, and would hold whatever is seen; say "),
        ({"any": ["rain"], "end": -0.1}, r"end \(-0.1\) is no probability"),
        ({"any": ["rain"], "budget_mb": 1e303}, "budget_mb: must be less than or equal to 1000000000000, got 1e.303"),
        ({"any": ["rain"], "quota_hours": 1e9}, "quota_hours: must be less than or equal to 87600, got 1000000000.0"),
        ({"any": "rain"}, "any: must be a list of labels, got 'rain'"),
        ({"any": [False]}, "any.0: must be text; put it in quotes, got False"),
        ({True: 0.4, "any": ["rain"]}, "True: unknown key"),
        (["rain"], "a trigger is a mapping such as 'any: .rain.', got .'rain'.\\."),
        (None, "a trigger is a mapping such as 'any: .rain.', got nothing"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(values, said):
    with pytest.raises(BundleError, match=f"^pack.json: {said}"):
        parse_rule(values, "pack.json")


def test_a_cosine_may_be_negative_and_a_window_may_be_ten_years():
    values = {"any": ["rain"], "score": "cosine", "begin": -0.2, "end": -0.3, "quota": 1, "quota_hours": 87_600}
    assert parse_rule(values, "pack.json").end == -0.3


def test_the_rule_on_the_page_is_one_and_names_every_key():
    page = (Path(__file__).parents[3] / "docs" / "camera.md").read_text(encoding="utf-8")
    values = yaml.safe_load(page.split("```yml\n")[1].split("```")[0])
    assert parse_rule(values, "camera.md").begin == 0.6
    assert values.keys() == Rule.model_fields.keys()


def test_a_label_that_the_pack_has_not_is_named():
    with pytest.raises(
        BundleError, match="names 'snow', which is no label of the pack. It has: road works, rain, night"
    ):
        Trigger(Rule(any=("snow",)), NAMES)


def test_where_a_rule_of_probabilities_would_keep_everything():
    one, other = Rule(any=("rain",)), Rule(any=("rain",), score="cosine", begin=0.2)
    assert "'rain' is all that the label pack holds" in (keeps_everything(one, ["rain"], 0) or "")
    assert [keeps_everything(other, ["rain"], 0), keeps_everything(one, ["rain"], 1)] == [None, None]
    assert keeps_everything(one, ["rain", "night"], 0) is None


@pytest.mark.parametrize("more", [{"score": "cosine"}, {"end": 0.3}])
def test_labels_that_begin_at_their_own_thresholds_take_no_cosine_and_no_end(more):
    with pytest.raises(BundleError, match="begin: own is of probabilities, and each label ends where it begins"):
        parse_rule({"any": ["rain"], "begin": "own", **more}, "t.yaml")
