"""Threads that change places between any two lines: what they share is mixed up, what they own is not."""

from __future__ import annotations

import sys

import pytest

from edgefw.testing.interleaved import interleaved


class Keeps:
    """Gives back what it was given, by way of itself."""

    def through(self, number: int) -> int:
        self.number = number
        return self.number


def test_results_stand_in_the_order_of_the_calls():
    assert interleaved([lambda number=number: number for number in range(5)]) == list(range(5))


def test_what_threads_share_is_mixed_up():
    def many_times(piece: Keeps, number: int) -> int:
        return sum(piece.through(number) != number for _ in range(200))

    shared = Keeps()
    assert sum(interleaved([lambda number=number: many_times(shared, number) for number in range(4)])) > 0
    assert sum(interleaved([lambda number=number: many_times(Keeps(), number) for number in range(4)])) == 0


def test_a_call_that_fails_says_so_and_tracing_stays_as_it_was():
    before = sys.gettrace()
    with pytest.raises(ZeroDivisionError):
        interleaved([lambda: 1, lambda: 1 // 0])
    assert sys.gettrace() is before
