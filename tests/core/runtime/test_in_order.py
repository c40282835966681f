"""Threads that work ahead: order, bounds, failures in their place, and an end at any time."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from edgefw.runtime.in_order import MOST_THREADS, InOrder, in_order, processors


def later_ones_are_faster(number: int) -> int:
    time.sleep(0.02 if number % 4 == 0 else 0.0)
    return number * number


def test_results_come_in_the_order_of_the_items():
    assert list(in_order(later_ones_are_faster, range(60), 8)) == [number * number for number in range(60)]


def test_several_items_are_worked_on_at_the_same_time():
    together = threading.Barrier(3)

    def wait_for_the_others(number: int) -> int:
        together.wait(10)
        return number

    assert list(InOrder(wait_for_the_others, range(6), threads=3, ahead=3).results()) == list(range(6))


@pytest.mark.parametrize("threads", [1, 2, 50, None])
def test_no_more_threads_work_than_are_asked_for_or_there_are_processors(threads):
    seen: set[int] = set()

    def count(number: int) -> None:
        seen.add(threading.get_ident())
        time.sleep(0.005)

    list(in_order(count, range(20), 8, threads))
    assert len(seen) == min(threads or MOST_THREADS, MOST_THREADS, processors())


@pytest.mark.parametrize(("threads", "ahead"), [(1, 1), (2, 5), (4, 4)])
def test_no_more_items_are_taken_than_results_may_wait(threads, ahead):
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    working = InOrder(lambda number: number, items(), threads, ahead)
    results = working.results()
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    time.sleep(0.1)
    assert len(taken) <= 3 + ahead
    results.close()
    assert working.join(5)


def test_a_failure_is_raised_in_its_place():
    def refuse_five(number: int) -> int:
        if number == 5:
            raise ValueError("not this one")
        return number

    results = in_order(refuse_five, range(20), 4)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="not this one"):
        next(results)


def test_items_that_fail_end_it_after_what_was_taken_before():
    def items() -> Iterator[int]:
        yield from range(3)
        raise OSError("the disk is gone")

    results = in_order(later_ones_are_faster, items(), 4)
    assert [next(results) for _ in range(3)] == [0, 1, 4]
    with pytest.raises(OSError, match="the disk is gone"):
        next(results)


@pytest.mark.parametrize("read", [0, 1, 7])
def test_an_early_end_leaves_no_thread(read):
    before = threading.active_count()
    results = in_order(later_ones_are_faster, iter(range(10**9)), 4)
    for _ in range(read):
        next(results)
    results.close()
    assert threading.active_count() == before


def test_a_wish_to_stop_ends_it_also_while_work_hangs():
    released, asked = threading.Event(), threading.Event()
    working = InOrder(lambda number: released.wait(20), range(3), threads=1, ahead=1)
    threading.Timer(0.1, asked.set).start()
    assert list(working.results(asked.is_set)) == []
    assert not working.join(0.1)
    released.set()
    assert working.join(5)


def test_nothing_gives_nothing():
    assert list(in_order(later_ones_are_faster, [], 4)) == []


def test_there_is_a_processor():
    assert processors() >= 1
