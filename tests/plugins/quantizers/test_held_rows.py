"""Which rows are judged, and that ranges see the others and no row twice."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefw.contracts.quantizer import Calibration
from edgefw.plugins.quantizers.held_rows import held_rows, only, without


def numbered(count: int, batch: int, modalities=()) -> Calibration:
    def batches():
        return ({"image": np.arange(at, min(at + batch, count))} for at in range(0, count, batch))

    return Calibration(batches=batches, samples=count, modalities=modalities)


@settings(deadline=None)
@given(st.integers(1, 300), st.integers(1, 9), st.integers(1, 3))
def test_judged_rows_are_spread_and_the_others_are_left_for_ranges(count, batch, kinds):
    modalities = tuple(f"m{number % kinds}" for number in range(count))
    data = numbered(count, batch, modalities)
    held = held_rows(data, 32)
    assert set(held.judged) == set(modalities)
    for name, own in held.judged.items():
        of_kind = modalities.count(name)
        if of_kind < 4:
            assert len(own) == of_kind and not set(own) & set(held.left_out)
        else:
            assert len(own) == max(1, min(32 // kinds, of_kind // 4))
            gaps = np.diff(own)
            assert not len(gaps) or gaps.max() - gaps.min() <= kinds
        assert {modalities[row] for row in own} == {name}
    rest = without(data, held.left_out)
    seen = np.concatenate([rows["image"] for rows in rest.batches()])
    assert sorted([*seen, *held.left_out]) == list(range(count))
    assert rest.samples == len(seen) and rest.modalities == tuple(modalities[row] for row in seen)
    assert only(data, held.rows)["image"].tolist() == held.rows.tolist()


def test_rows_of_unknown_modality_are_one_kind():
    held = held_rows(numbered(16, 3), 32)
    assert held.left_out.tolist() == held.rows.tolist() == [2, 6, 10, 14]
