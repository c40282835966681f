"""Which layer is blamed: errors by hand, and what a layer only passes on is not its own."""

import numpy as np
import pytest

from edgefw.contracts.backend import LayerOutput
from edgefw.stages.departure import departures, first

RNG = np.random.default_rng(0)
X = RNG.normal(size=(4, 6)).astype(np.float32)


def layer(name, values, inputs=(), stands_for=None, operator="Op"):
    return LayerOutput(
        layer=f"node-{name}",
        operator=operator,
        tensor=name,
        stands_for=stands_for or name,
        inputs=inputs,
        values=np.asarray(values, np.float32),
    )


def chain(*values):
    names = ["a", "b", "c", "d"]
    return [layer(name, own, (names[at - 1],) if at else ()) for at, (name, own) in enumerate(zip(names, values))]


def test_an_error_is_that_of_the_whole_tensor_by_hand():
    rows = departures(chain([[3.0, 4.0]]), chain([[3.0, 4.5]]))
    assert rows[0].error == rows[0].own == pytest.approx(0.1)
    assert rows[0].cosine == pytest.approx((9 + 18) / (5 * np.hypot(3, 4.5)))


def test_the_layer_that_doubles_is_blamed_and_those_behind_it_are_not():
    rows = departures(chain(X, X, X, X), chain(X, 2 * X, 2 * X, 2 * X))
    assert [row.error for row in rows] == pytest.approx([0, 1, 1, 1])
    assert [row.own for row in rows] == pytest.approx([0, 1, 0, 0])
    assert first(rows, 0.1).layer == "node-b"


def test_nothing_departs_where_both_are_equal():
    rows = departures(chain(X, X), chain(X, X))
    assert first(rows, 0.0) is None


def test_a_tensor_without_counterpart_hands_its_inputs_error_on():
    other = [layer("a", 2 * X), layer("new", X, ("a",)), layer("c", 2 * X, ("new",))]
    rows = departures(chain(X, X, X), other)
    assert [row.tensor for row in rows] == ["a", "c"]
    assert rows[1].own == pytest.approx(0)


def test_what_is_not_finite_is_as_far_away_as_can_be():
    row = departures(chain(X), chain(X * np.nan))[0]
    assert (row.error, row.cosine) == (1e6, -1.0)


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_the_scale_of_a_network_does_not_matter(scale):
    noisy = X + 0.01 * RNG.normal(size=X.shape)
    one, other = departures(chain(X), chain(noisy)), departures(chain(scale * X), chain(scale * noisy))
    assert one[0].error == pytest.approx(other[0].error, rel=1e-4)


def behind_a_rounding(rounded, clamped, *others, clamp="Clip"):
    """What is rounded in front of a clamp: the layer, the pair of roundings, the clamp, and more readers."""
    return [
        layer("a", X),
        layer("a_back", rounded, ("a",), stands_for="a", operator="DequantizeLinear"),
        layer("b", clamped, ("a_back", "low", "high"), operator=clamp),
        *others,
    ]


SOURCE = [layer("a", X), layer("b", X.clip(-0.5, 0.5), ("a",), operator="Clip"), layer("c", X, ("a",))]
CUT = X.clip(-0.5, 0.5)


@pytest.mark.parametrize("clamp", ["Clip", "Relu"])
def test_what_a_clamp_cuts_off_anyway_is_no_error_of_the_rounding_before_it(clamp):
    rows = departures(SOURCE, behind_a_rounding(CUT, CUT, clamp=clamp))
    assert [row.error for row in rows] == [0.0, 0.0, 0.0]


def test_a_wrong_rounding_before_a_clamp_is_blamed_itself():
    rows = departures(SOURCE, behind_a_rounding(2 * CUT, CUT))
    expected = X.clip(-1, 1)  # as far as the wrong one reaches
    assert rows[1].error == pytest.approx(np.linalg.norm(2 * CUT - expected) / np.linalg.norm(expected), rel=1e-6)
    assert first(rows, 0.1).layer == "node-a_back"


def test_what_something_else_reads_too_may_not_be_cut_off():
    rows = departures(SOURCE, behind_a_rounding(CUT, CUT, layer("c", CUT, ("a_back",))))
    assert rows[1].own == pytest.approx(np.linalg.norm(CUT - X) / np.linalg.norm(X), rel=1e-6)
    assert first(rows, 0.1).layer == "node-a_back"


def test_a_clamp_that_reads_no_rounding_changes_nothing():
    rows = departures(SOURCE, [layer("a", CUT), layer("b", CUT, ("a",), operator="Clip")])
    assert first(rows, 0.1).layer == "node-a"
