"""Timing: turn by turn, percentiles of what was really taken."""

import hashlib
import threading
import time
from itertools import groupby

import numpy as np
import pytest

from edgefw.runtime.benchmark import (
    CALLS,
    WARM_UP,
    Latency,
    paired_ratio,
    slowdown,
    slower_notes,
    time_interleaved,
    turn,
)
from edgefw.runtime.bundle import open_bundle
from edgefw.runtime.bundle_bench import bench_bundle

_BLOCK = bytes(200_000)


class Sleeper:
    inputs = ("image",)

    def __init__(self, name, seconds, diary):
        self.name, self.seconds, self.diary = name, seconds, diary

    def run(self, feeds):
        self.diary.append(self.name)
        time.sleep(self.seconds)
        return feeds["image"]


class Spinner:
    """A runner with a thread that keeps a core busy for a while behind each call, as those of a runtime do, and a cost for whoever meets it."""

    inputs = ("image",)
    spinning: "dict[Spinner, float]"

    def __init__(self, spinning: "dict[Spinner, float]") -> None:
        self.spinning = spinning

    def run(self, feeds):
        now = time.perf_counter()
        met = any(until > now for other, until in self.spinning.items() if other is not self)
        time.sleep(0.006 if met else 0.001)
        until = self.spinning[self] = time.perf_counter() + 0.2
        threading.Thread(target=self.spin, args=(until,)).start()
        return feeds["image"]

    def spin(self, until: float) -> None:
        while self.spinning[self] <= until and time.perf_counter() < until:
            hashlib.sha256(_BLOCK)  # without the interpreter's lock


def test_runners_take_turns_and_are_told_apart():
    diary: list[str] = []
    runners = {"slow": Sleeper("slow", 0.004, diary), "fast": Sleeper("fast", 0.001, diary)}
    feeds = {name: [{"image": np.zeros((1, 1))}] for name in runners}
    found = time_interleaved(runners, feeds, seconds=0.0, least=4 * CALLS)
    assert [name for name, _ in groupby(diary[2 * WARM_UP :])] == ["slow", "fast", "slow", "fast", "slow"]
    assert found["fast"].calls > found["slow"].calls >= 4 * CALLS
    assert found["slow"].p50_ms >= 4.0
    assert found["slow"].p50_ms > found["fast"].p50_ms >= 1.0
    assert found["slow"].p95_ms >= found["slow"].p50_ms


def test_threads_that_spin_behind_another_runners_call_are_not_met():
    spinning: dict[Spinner, float] = {}
    runners = {name: Spinner(spinning) for name in ("one", "other")}
    feeds = {name: [{"image": np.zeros((1, 1))}] for name in runners}
    found = time_interleaved(runners, feeds, seconds=0.0, least=20)
    assert all(1.0 <= latency.p50_ms < 6.0 for latency in found.values())


def test_one_round_is_never_all():
    diary: list[str] = []
    runners = {name: Sleeper(name, 0.001, diary) for name in ("one", "other")}
    feeds = {name: [{"image": np.zeros((1, 1))}] for name in runners}
    time_interleaved(runners, feeds, seconds=0.0, least=1)
    assert [name for name, _ in groupby(diary[2 * WARM_UP :])] == ["one", "other", "one"]


def test_a_turn_counts_the_calls_behind_those_that_settle_it_and_takes_inputs_round_and_round():
    seen: list[int] = []
    feeds = [{"image": np.full((1, 1), number)} for number in range(3)]

    def call(inputs):
        seen.append(int(inputs["image"][0, 0]))

    assert len(turn(call, feeds, first=2, settle=0.0, count=0.0)) == CALLS
    assert seen == [2, *(place % 3 for place in range(CALLS))]
    began = time.perf_counter()
    assert CALLS < len(turn(call, feeds, settle=0.02, count=0.02)) < len(seen)
    assert time.perf_counter() - began >= 0.04


def test_timing_lasts_as_long_as_it_is_told():
    runner = Sleeper("x", 0.002, [])
    began = time.perf_counter()
    time_interleaved({"x": runner}, {"x": [{"image": np.zeros((1, 1))}]}, seconds=0.15, least=1)
    assert time.perf_counter() - began >= 0.15


def test_a_ratio_of_rounds_does_not_mind_a_machine_that_is_slower_for_a_while():
    quiet, busy = {"float": [1.0] * 9, "int8": [0.9] * 5}, {"float": [3.0] * 5, "int8": [2.7] * 9}
    rounds = [quiet, busy, quiet, busy]
    p50 = {name: np.median([seconds for each in rounds for seconds in each[name]]) for name in quiet}
    assert p50["int8"] / p50["float"] == pytest.approx(2.7)
    assert paired_ratio(rounds, "int8", "float") == pytest.approx(0.9)


def test_a_file_that_looks_too_slow_or_nearly_so_is_timed_again_and_others_are_not():
    diary: list[str] = []
    runners = {name: Sleeper(name, 0.001, diary) for name in ("float", "int8", "other")}
    feeds = {name: [{"image": np.zeros((1, 1))}] for name in runners}
    first = {"float": Latency(p50_ms=1.0, p95_ms=1.0, calls=20), "int8": Latency(p50_ms=2.0, p95_ms=2.0, calls=20)}
    assert slowdown("int8", "float", runners, feeds, first, None) == 2.0
    assert slowdown("int8", "float", runners, feeds, first, 2.6) == 2.0
    assert diary == []
    for looks, limit in enumerate((1.0, 1.9, 2.0, 2.4), start=1):
        assert slowdown("int8", "float", runners, feeds, first, limit, seconds=0.0) < 1.9
        assert set(diary) == {"float", "int8"} and len(diary) >= looks * 2 * (60 + WARM_UP)


@pytest.mark.parametrize("memory", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_bundle_is_benched_artefact_by_artefact(tmp_path, small_bundle, memory):
    folder = small_bundle.write_small_bundle(tmp_path / "b")
    with open_bundle(folder) as opened:
        rows = bench_bundle(opened, batch=4, threads=1, seconds=0.05, memory=memory)
    assert {row["name"] for row in rows} == {"onnxruntime-fp32", "onnxruntime-int8-static"}
    assert rows == sorted(rows, key=lambda row: row["latency_ms_p50"])
    for row in rows:
        assert row["latency_ms_p95"] >= row["latency_ms_p50"] > 0
        assert row["images_per_second"] > 0
        assert (row["memory_mib"] is None) is not memory
        if memory:
            assert 0 < row["memory_mib"] < 200


def test_a_slower_file_is_told_with_both_times_and_a_few_per_cent_are_not() -> None:
    (note,) = slower_notes(1.5, 3.0, 2.1)
    assert note == (
        "slower than its float source on this machine: 1.50 times as long at batch 1 "
        "(3.00 ms against 2.10 ms when all files took turns)"
    )
    (note,) = slower_notes(1.5, 3.0, 2.1, "its network without rounding")
    assert note.startswith("slower than its network without rounding on this machine: 1.50 times")
    assert slower_notes(1.04, 3.0, 2.9) == slower_notes(0.5, 1.0, 2.0) == slower_notes(None, 1.0, 2.0) == []
