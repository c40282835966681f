"""Which groups become int8: decided on made-up costs, so that every outcome is known; real files are timed elsewhere."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from edgefw.plugins.quantizers.latency_outcome import Outcome
from edgefw.plugins.quantizers.latency_search import (
    EQUAL,
    FASTER,
    SLOWER,
    Choice,
    Search,
    Timing,
    timing_of,
    without_the_worst,
)
from edgefw.plugins.quantizers.operator_groups import Group

LABELS = ("a", "b", "c", "d")


def timing(ratio: float, noise: float = 0.0) -> Timing:
    return Timing(ratio=ratio, low=ratio - noise, high=ratio + noise, ms=ratio, other_ms=1.0)


class Machine:
    """A chain of groups, each with a time in float and in int8, and a time for each change between the two."""

    def __init__(self, gains, change: float = 0.0, noise: float = 0.001) -> None:
        self.gains, self.change, self.noise = dict(zip(LABELS, gains)), change, noise
        self.asked = 0

    def time(self, labels: frozenset) -> float:
        kinds = [False, *(label in labels for label in self.gains), False]
        changes = sum(one != other for one, other in pairwise(kinds))
        return 10.0 - sum(self.gains[label] for label in labels) + self.change * changes

    def compare(self, one: frozenset, other: frozenset) -> Timing:
        self.asked += 1
        return timing(self.time(one) / self.time(other), self.noise)


def search(machine: Machine, calls: int = 1000) -> tuple[frozenset, Search]:
    made = Search(LABELS, machine.compare, lambda: machine.asked >= calls)
    return made.run(), made


def test_all_is_int8_where_all_is_faster() -> None:
    found, made = search(Machine([1, 1, 1, 1]))
    assert found == set(LABELS)
    assert all(choice.is_int8 and choice.timing.verdict == FASTER for choice in made.choices.values())


def test_a_group_that_is_slower_in_int8_is_taken_out_of_a_faster_file() -> None:
    found, made = search(Machine([2, -0.5, 1, 1]))
    assert found == {"a", "c", "d"}
    assert made.choices["b"].timing.verdict == SLOWER


def test_a_group_without_a_difference_stays_as_the_faster_end_has_it() -> None:
    assert search(Machine([2, 0, 1, 1]))[0] == set(LABELS)
    assert search(Machine([-3, 0, 1, -1]))[0] == {"c"}


def test_the_one_faster_group_of_a_slower_file_is_found() -> None:
    found, made = search(Machine([-2, 1, -1, -1]))
    assert found == {"b"}
    assert [made.choices[label].is_int8 for label in LABELS] == [False, True, False, False]


def test_groups_that_are_faster_together_only_are_found_from_the_other_end() -> None:
    machine = Machine([-3, 0.5, 0.5, 0.5], change=0.4)  # each alone: 0.5 - 0.8 < 0; b, c, d together: 1.5 - 0.8
    assert search(machine)[0] == {"b", "c", "d"}


def test_nothing_is_int8_where_nothing_is_faster() -> None:
    found, made = search(Machine([-1, -1, -1, -1]))
    assert found == frozenset()
    assert all(not choice.is_int8 and choice.timing.verdict == SLOWER for choice in made.choices.values())


@pytest.mark.parametrize("calls", range(1, 12))
def test_the_search_can_stop_at_any_moment_and_is_never_slower_than_float(calls) -> None:
    draw = np.random.default_rng(calls)
    for _ in range(40):
        machine = Machine(draw.normal(size=4), change=float(draw.uniform(0, 0.5)))
        found, made = search(machine, calls)
        assert machine.time(found) <= machine.time(frozenset()) * 1.001
        assert machine.asked <= calls + 1
        assert {label for label, choice in made.choices.items() if choice.is_int8} == found


def test_the_interval_of_a_median_ratio_covers_it_as_often_as_it_says() -> None:
    for count in (15, 31, 100, 1000):
        found = timing_of(np.arange(1, count + 1), np.ones(count))
        low, high = int(found.low), int(found.high)  # their ranks
        assert low + high == count + 1
        covered = sum(math.comb(count, number) for number in range(low, high)) / 2**count  # exact
        assert 0.945 < covered < 0.975


def test_calls_of_one_file_are_no_different_and_a_faster_one_is() -> None:
    draw = np.random.default_rng(0)
    wrong = 0
    for _ in range(300):
        noise = 1 + draw.gamma(1.0, 0.1, size=(2, 60))
        wrong += timing_of(noise[0], noise[1]).verdict != EQUAL
        assert timing_of(0.7 * noise[0], noise[1]).verdict == FASTER
        assert timing_of(1.4 * noise[0], noise[1]).verdict == SLOWER
    assert wrong / 300 < 0.09  # 5 % by construction


def test_few_calls_say_nothing() -> None:
    assert timing_of([1.0], [2.0]).verdict == EQUAL


def hurting(labels, cosine, least: float, files: int = 1000) -> tuple[dict[str, float], bool, list[str], int]:
    """(what was taken out, whether that was enough, what was said, how many files were made); time is out after `files` of them."""
    asked, said = [], []

    def counted(chosen: frozenset) -> float:
        asked.append(chosen)
        return cosine(chosen)

    found = without_the_worst(frozenset(labels), counted, least, lambda: len(asked) >= files, said.append)
    return dict(found.taken), found.is_enough, said, len(asked)


def test_groups_that_hurt_are_taken_out_the_worst_first_until_it_is_enough() -> None:
    loss = {"a": 0.001, "b": 0.02, "c": 0.0, "d": 0.03}
    cosine = lambda labels: 1 - sum(loss[label] for label in labels)
    taken, enough, said, _ = hurting(LABELS, cosine, 0.99)
    assert enough and list(taken.items()) == [("d", 0.97), ("b", 0.98)]
    assert said == [
        "mean cosine 0.9490, 0.99 is wanted: looking for what hurts among 4 groups in int8",
        "d goes back to float: mean cosine 0.9790",
        "b goes back to float: mean cosine 0.9990",
    ]
    assert hurting(LABELS, cosine, 0.9) == ({}, True, [], 1)
    assert list(hurting("ab", cosine, 1.0)[0]) == ["b", "a"]
    assert hurting("", lambda labels: 1.0, 1.0)[:2] == ({}, True)


def test_the_search_for_what_hurts_ends_when_time_is_out() -> None:
    cosine = lambda labels: 1 - 0.1 * len(labels)
    for files in range(1, 9):  # all, four alone, then a, b, c taken out one by one
        taken, enough, _, asked = hurting(LABELS, cosine, 0.95, files)
        assert asked == files and not enough and len(taken) == max(0, files - 5)
    assert hurting(LABELS, cosine, 0.95, 9)[1] and hurting(LABELS, cosine, 0.5, 1)[1]


def outcome(**changes) -> Outcome:
    groups = [Group(label=label, nodes=(label, label * 2), macs=macs) for label, macs in zip(LABELS, (60, 20, 15, 5))]
    choices = {
        "a": Choice(is_int8=True, timing=timing(0.5)),
        "b": Choice(is_int8=False, timing=timing(1.5)),
        "c": Choice(is_int8=True, timing=timing(1.0, 0.1)),
        "d": Choice(is_int8=True),
    }
    values = {"hurting": {}, "labels": frozenset("acd"), "timing": timing(0.8), "whole": "", **changes}
    return Outcome(groups=groups, others=(), choices=choices, min_cosine=0.99, **values)


def test_every_group_has_a_row_with_a_reason() -> None:
    rows = outcome().rows()
    assert [(row["group"], row["nodes"], row["macs_share"], row["precision"]) for row in rows] == [
        ("a", 2, 0.6, "int8"), ("b", 2, 0.2, "float"), ("c", 2, 0.15, "int8"), ("d", 2, 0.05, "int8"),
    ]  # fmt: skip
    assert [row["why"] for row in rows] == [
        "faster in int8",
        "slower in int8",
        "no difference beyond noise: smaller in int8",
        "not timed, the search was over: the file is faster in int8 as a whole",
    ]
    assert (rows[0]["float_ms"], rows[0]["int8_ms"], rows[3]["int8_ms"]) == (1.0, 0.5, None)


def test_accuracy_goes_before_time_and_the_whole_file_before_both() -> None:
    rows = outcome(hurting={"d": 0.9}, labels=frozenset("ac")).rows()
    assert rows[3]["why"] == "hurts: cosine 0.9000 alone, below 0.99 together"
    refused = outcome(hurting={"d": 0.9}, labels=frozenset("ac"), whole="not smaller")
    assert {(row["precision"], row["why"]) for row in refused.rows()} == {("float", "not smaller")}
    assert refused.stays_float


def test_the_outcome_warns_of_what_was_not_timed_and_of_a_file_that_is_not_there() -> None:
    assert outcome().warnings(20) == (
        "1 of 4 groups were not timed, as the search may take 20 s; give the quantizer more seconds",
    )
    assert outcome(labels=frozenset(), timing=None).stays_float and not outcome().stays_float


def test_the_reason_of_a_missing_file_is_the_one_that_decided() -> None:
    nothing = {"labels": frozenset(), "timing": None}
    assert outcome(**nothing).warnings(20)[0] == "nothing was faster in int8: the float file stays"
    assert outcome(**nothing, hurting={"a": 0.9, "c": 0.8, "d": 0.7}).warnings(20)[0] == (
        "nothing that is faster in int8 keeps a mean cosine of 0.99 to the float file: the float file stays"
    )
    whole = "the file as a whole is not smaller than in float"
    assert outcome(whole=whole, hurting={"d": 0.9}).warnings(20)[0] == f"{whole}: the float file stays"
