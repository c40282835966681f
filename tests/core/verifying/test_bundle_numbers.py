"""Numbers of a bundle's artefacts from sheets by hand."""

import numpy as np

from edgefw.evaluation import worst_drop
from edgefw.verifying.bundle_numbers import lost
from edgefw.verifying.sheets import Column, Sheet

LABELS = np.array([0, 1, -1, 2, 0, 1])


def sheet(role, labels=LABELS, **predictions):
    """In two batches."""
    columns = {name: Column(prediction=np.split(np.array(own), [4])) for name, own in predictions.items()}
    return Sheet(role=role, columns=columns, labels=np.split(labels, [4]))


RGB = sheet("rgb", source=[0, 1, 2, 2, 0, 0], own=[0, 0, 0, 2, -1, 1])
"""Of five labelled images the source has four, the other three: two are gone, one has come."""
DEPTH = sheet("depth", source=[0, 1, 2, 2, 0, 0], own=[0, 1, 0, 2, 0, 0])


def test_what_is_lost_is_counted_where_there_is_a_label_on_the_worst_sensor():
    said = lost("own", "source", [DEPTH, RGB])
    right = np.array([1, 1, 1, 1, 0], bool), np.array([1, 0, 1, 0, 1], bool)
    assert said == worst_drop("top1", {"rgb": right})
    assert (said.points, said.n, said.modality) == (20.0, 5, "rgb")
    assert said.low < 0 < said.points < said.high


def test_nothing_is_lost_where_nothing_is_labelled_or_asked():
    assert lost("own", "source", [sheet("rgb", np.full(6, -1), source=[0] * 6, own=[1] * 6)]) is None
    assert (
        lost("own", "source", [Sheet(role="rgb", columns={"own": Column(), "source": Column()}, labels=[LABELS])])
        is None
    )
    assert lost("own", "source", [Sheet(role="rgb", columns={})]) is None
