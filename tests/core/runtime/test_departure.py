"""Which layer is blamed: errors by hand, and what a layer only passes on is not its own."""

import weakref

import numpy as np
import pytest

from edgefw.contracts.backend import Layer
from edgefw.runtime.departure import FAR, departures, distance, first

RNG = np.random.default_rng(0)
X = RNG.normal(size=(4, 6)).astype(np.float32)


class View:
    """Layers that are functions: a name, what is computed, from what.

    Args:
        *steps: (name, function of the inputs' arrays or an array, names of inputs, what else a `Layer` says).
    """

    def __init__(self, *steps):
        self.layers = [
            Layer(
                layer=f"node-{name}",
                operator=more.get("operator", "Op"),
                tensor=name,
                stands_for=more.get("stands_for", name),
                inputs=inputs,
            )
            for name, _, inputs, more in steps
        ]
        self._steps = steps

    def values(self):
        known = {}
        for name, made, inputs, _ in self._steps:
            values = np.asarray(made(*(known[own] for own in inputs)) if callable(made) else made)
            sent = yield values.astype(np.float32) if values.dtype.kind == "f" else None
            known[name] = values if sent is None else sent


def step(name, made, *inputs, **more):
    return name, made, inputs, more


def same(values):
    return values


def twice(values):
    return 2 * values


def chain(*functions, start=X):
    names = "abcdefgh"
    steps = [step(names[at], made, names[at - 1]) for at, made in enumerate(functions, 1)]
    return View(step("a", start), *steps)


def test_an_error_is_that_of_the_whole_tensor_by_hand():
    rows = departures(chain(start=[[3.0, 4.0]]), chain(start=[[3.0, 4.5]]))
    assert rows[0].error == rows[0].own == pytest.approx(0.1)
    assert rows[0].cosine == pytest.approx((9 + 18) / (5 * np.hypot(3, 4.5)))


def test_the_layer_that_doubles_is_blamed_and_those_behind_it_are_not():
    rows = departures(chain(same, same, same), chain(twice, same, same))
    assert [row.error for row in rows] == pytest.approx([0, 1, 1, 1])
    assert [row.own for row in rows] == pytest.approx([0, 1, 0, 0])
    assert first(rows, 0.1).layer == "node-b"


def test_two_wrong_layers_have_each_their_own_error():
    rows = departures(chain(same, same, same), chain(twice, same, lambda values: -values))
    assert [row.own for row in rows] == pytest.approx([0, 1, 0, 2])


def test_a_layer_that_makes_an_inherited_error_larger_is_not_blamed():
    def cut(values):
        return values - 10

    rows = departures(chain(same, cut, start=X + 10), chain(lambda values: values + 0.01, cut, start=X + 10))
    assert rows[1].error < 0.0011
    assert rows[2].error > 8 * rows[1].error
    assert rows[2].own == pytest.approx(0, abs=1e-6)
    assert first(rows, 5e-4).layer == "node-b"


def test_a_layer_that_hides_an_inherited_error_does_not_let_it_come_back_as_anothers():
    source = View(step("a", X), step("b", same, "a"), step("c", lambda b: b + 1e6, "b"), step("d", lambda c: c - 1e6, "c"))  # fmt: skip
    other = View(step("a", X), step("b", twice, "a"), step("c", lambda b: b + 1e6, "b"), step("d", lambda c: c - 1e6, "c"))  # fmt: skip
    rows = departures(source, other)
    assert [row.layer for row in rows if row.own > 1e-3] == ["node-b"]


def test_nothing_departs_where_both_are_equal():
    rows = departures(chain(same), chain(same))
    assert first(rows, 0.0) is None


def test_a_tensor_without_counterpart_is_told_beside_the_layer_behind_it():
    other = View(step("a", X), step("new", twice, "a"), step("again", same, "new"), step("b", same, "again"), step("c", same, "b"))  # fmt: skip
    rows = departures(chain(same, same), other)
    assert [(row.tensor, row.own, row.inserted) for row in rows] == [
        ("a", 0.0, ()),
        ("b", pytest.approx(1.0), ("node-new", "node-again")),
        ("c", 0.0, ()),
    ]
    assert rows[1].to_json()["inserted"] == ["node-new", "node-again"]


def test_integers_between_layers_hand_values_on_and_are_no_rows():
    def rounded(values):
        return np.rint(values * 100).astype(np.int32)

    def back(values):
        return values / 100

    steps = [step("wrong", twice, "a"), step("int", rounded, "wrong"), step("b", back, "int", stands_for="wrong")]
    source = View(step("a", X), step("wrong", same, "a"))
    rows = departures(source, View(step("a", X), *steps))
    assert [row.tensor for row in rows] == ["a", "wrong", "b"]
    assert rows[2].error == pytest.approx(1, abs=0.01)
    assert rows[2].own < 0.01


def test_a_tensor_of_another_shape_is_as_far_away_as_can_be():
    rows = departures(chain(same, lambda v: v.sum(0)), chain(lambda v: v.T, lambda v: v.sum(1)))
    assert (rows[1].error, rows[1].own, rows[1].cosine) == (FAR, FAR, -1.0)
    assert first(rows, 0.1).layer == "node-b"


def test_the_order_of_independent_layers_does_not_matter():
    left, right = step("l", same, "a"), step("r", twice, "a")
    end = step("end", np.add, "l", "r")
    rows = departures(View(step("a", X), left, right, end), View(step("a", X), right, left, end))
    assert [(row.tensor, row.error) for row in rows] == [("a", 0.0), ("r", 0.0), ("l", 0.0), ("end", 0.0)]


def test_values_are_forgotten_when_their_last_counterpart_had_them():
    living, alive = [], []

    class Passing(View):
        """Holds nothing itself."""

        def values(self):
            for _ in self.layers:
                values = np.ones((2, 3), np.float32)
                living.append(weakref.ref(values))
                yield values
                del values
                alive.append(sum(own() is not None for own in living))

    steps = [step(f"t{at}", X) for at in range(50)]
    assert len(departures(Passing(*steps), Passing(*steps))) == 50
    assert max(alive) < 7


def test_what_is_not_finite_is_as_far_away_as_can_be():
    row = departures(chain(start=X), chain(start=X * np.nan))[0]
    assert (row.error, row.cosine) == (FAR, -1.0)


def test_what_both_mask_with_infinity_is_no_error():
    masked = np.where(X > 0, X, -np.inf)
    assert distance(masked, masked) == (0.0, 1.0)
    kept = X[X > 0]
    assert distance(np.where(X > 0, 1.5 * X, -np.inf), masked)[0] == pytest.approx(0.5)
    assert distance(np.where(X > 0, X, np.inf), masked) == (FAR, -1.0)
    assert kept.size


def test_large_tensors_are_compared_in_blocks_with_the_same_result():
    one, other = RNG.normal(size=(2, 3, 1 << 20)).astype(np.float32)
    left, right = one.astype(np.float64).ravel(), other.astype(np.float64).ravel()
    error, cosine = distance(one, other)
    assert error == pytest.approx(np.linalg.norm(left - right) / np.linalg.norm(right), rel=1e-9)
    assert cosine == pytest.approx(left @ right / np.linalg.norm(left) / np.linalg.norm(right), rel=1e-9)


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_the_scale_of_a_network_does_not_matter(scale):
    noisy = X + 0.01 * RNG.normal(size=X.shape)
    one, other = (departures(chain(start=own * X), chain(start=own * noisy)) for own in (1.0, scale))
    assert one[0].error == pytest.approx(other[0].error, rel=1e-4)


CUT = X.clip(-0.5, 0.5)
SOURCE = View(
    step("a", X),
    step("b", lambda values: values.clip(-0.5, 0.5), "a", operator="Clip"),
    step("c", same, "a"),
)


def behind_a_rounding(rounded, *others, clamp="Clip"):
    """What is rounded in front of a clamp: the layer, the pair of roundings, the clamp, and more readers."""
    return View(
        step("a", X),
        step("a_back", lambda values: rounded, "a", stands_for="a", operator="DequantizeLinear"),
        step("b", lambda values: values.clip(-0.5, 0.5), "a_back", operator=clamp),
        *others,
    )


@pytest.mark.parametrize("clamp", ["Clip", "Relu"])
def test_what_a_clamp_cuts_off_anyway_is_no_error_of_the_rounding_before_it(clamp):
    rows = departures(SOURCE, behind_a_rounding(CUT, clamp=clamp))
    assert [(row.error, row.own) for row in rows] == [(0.0, 0.0)] * 3


def test_a_wrong_rounding_before_a_clamp_is_blamed_itself():
    rows = departures(SOURCE, behind_a_rounding(2 * CUT))
    expected = X.clip(-1, 1)  # as far as the wrong one reaches
    assert rows[1].error == pytest.approx(np.linalg.norm(2 * CUT - expected) / np.linalg.norm(expected), rel=1e-6)
    assert first(rows, 0.1).layer == "node-a_back"


def test_a_rounding_before_a_clamp_that_is_not_finite_is_blamed():
    row = departures(SOURCE, behind_a_rounding(CUT * np.nan))[1]
    assert (row.layer, row.error, row.own) == ("node-a_back", FAR, FAR)


def test_what_something_else_reads_too_may_not_be_cut_off():
    rows = departures(SOURCE, behind_a_rounding(CUT, step("c", same, "a_back")))
    assert rows[1].own == pytest.approx(np.linalg.norm(CUT - X) / np.linalg.norm(X), rel=1e-6)
    assert first(rows, 0.1).layer == "node-a_back"


def test_a_clamp_that_reads_no_rounding_changes_nothing():
    rows = departures(SOURCE, View(step("a", CUT), step("b", same, "a", operator="Clip")))
    assert first(rows, 0.1).layer == "node-a"
