"""The report's part on near duplicates knows every pair of splits that a run compares."""

from __future__ import annotations

from edgefw.data import near_duplicates
from edgefw.reporting import part_near_duplicates


def test_it_reads_the_counts_of_every_pair_of_splits() -> None:
    assert part_near_duplicates.PAIRS == near_duplicates.PAIRS
