"""Two clocks that count on: a busy loop takes processor time, sleep takes none."""

from __future__ import annotations

import time

from edgefw.training.stopwatch import Stopwatch


def test_sleep_is_wall_time_and_work_is_both():
    clock = Stopwatch()
    time.sleep(0.2)
    wall, cpu = clock.read()
    assert wall >= 0.2
    assert cpu < 0.1
    until = time.process_time() + 0.1
    while time.process_time() < until:
        pass
    assert clock.read()[1] >= 0.1


def test_it_counts_on_from_an_earlier_execution():
    wall, cpu = Stopwatch(100.0, 40.0).read()
    assert 100.0 <= wall < 101.0
    assert 40.0 <= cpu < 41.0
