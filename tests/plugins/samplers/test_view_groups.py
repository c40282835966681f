"""Groups of views: every sample once, each as often as asked for, whole groups on each process."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from edgefw.contracts.sampler import SampleTable
from edgefw.data.batches import rank_part
from edgefw.errors import DataError
from edgefw.plugins.samplers.view_groups import ViewGroups, ViewGroupsConfig

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "fixtures"))

from samplers_by_loops import shuffled


@pytest.mark.parametrize("views", [2, 3, 5])
def test_samples_come_as_in_shuffle_each_as_so_many_numbered_views(views: int) -> None:
    table = SampleTable(size=23)
    plain = shuffled(23, 4, epoch=2, seed=9)
    grouped = list(ViewGroups(views).batches(table, 4, 2, 9))
    assert len(grouped) == len(plain) == ViewGroups(views).length(table, 4)
    for batch, singles in zip(grouped, plain):
        assert [pick.index for pick in batch] == [index for index in singles for _ in range(views)]
        assert [pick.view for pick in batch] == [pick.role for pick in batch] == list(range(views)) * 4
        assert [pick.group for pick in batch] == np.repeat(range(4), views).tolist()


def test_the_views_of_a_sample_stay_on_one_process() -> None:
    batch = next(iter(ViewGroups(3).batches(SampleTable(size=20), 8, 0, 0)))
    parts = [rank_part(batch, rank, 4) for rank in range(4)]
    assert [len(part) for part in parts] == [6] * 4 and [pick for part in parts for pick in part] == batch
    assert all(len({pick.group for pick in part}) == 2 for part in parts)


def test_too_few_samples_and_too_few_views_are_refused() -> None:
    with pytest.raises(DataError, match="sampler 'view-groups': 3 samples fill no batch of 4. Make batch smaller."):
        next(iter(ViewGroups(2).batches(SampleTable(size=3), 4, 0, 0)))
    with pytest.raises(ValidationError, match="greater than or equal to 2"):
        ViewGroupsConfig(views=1)
