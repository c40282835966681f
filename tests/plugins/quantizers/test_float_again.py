"""Parts go back to float: the graph then says so in its numbers, worst parts first, and time ends a search."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgefw.plugins.quantizers.float_again import Found, Search, float_layers, parts, without
from edgefw.plugins.quantizers.int8_static import Int8Static, StaticConfig


@pytest.fixture
def pair(conv_file, images, calibration, tmp_path):
    """The float graph and its int8 graph, whose biases a quantizer might have changed."""
    Int8Static(StaticConfig(), "q").quantize(conv_file, tmp_path / "int8.onnx", calibration(images))
    return onnx.load(conv_file), onnx.load(tmp_path / "int8.onnx")


def answers(run, tmp_path, model, images):
    onnx.save(model, tmp_path / "tried.onnx")
    return run(tmp_path / "tried.onnx", images)


def test_every_part_in_float_is_the_float_graph(pair, images, run, tmp_path):
    source, rounded = pair
    restored = without(rounded, source, parts(rounded))
    assert not {node.op_type for node in restored.graph.node} & {"QuantizeLinear", "DequantizeLinear"}
    expected = answers(run, tmp_path, source, images)
    np.testing.assert_allclose(answers(run, tmp_path, restored, images), expected, rtol=1e-5, atol=1e-6)


def test_one_part_in_float_brings_back_its_own_weights_only(pair):
    source, rounded = pair
    body = next(part for part in parts(rounded) if "body" in part.layers)
    restored = without(rounded, source, [body])
    stored = {entry.name: numpy_helper.to_array(entry) for entry in restored.graph.initializer}
    weights = {entry.name: numpy_helper.to_array(entry) for entry in source.graph.initializer}
    np.testing.assert_array_equal(stored["w2_float"], weights["w2"])
    assert "w2_quantized" not in stored
    assert "w1_quantized" in stored
    onnx.checker.check_model(restored)


def test_part_reaches_the_layers_behind_a_flatten(pair):
    rounded = pair[1]
    flatten = next(node for node in rounded.graph.node if node.name == "flatten")
    pool = next(part for part in parts(rounded) if "pool" in part.layers)
    flatten.input[0] = pool.pair
    assert next(part for part in parts(rounded) if part.pair == pool.pair).layers == ("pool", "e_QuantizeLinear")


def search(pair, harm, wanted, tries=1000, ranks=1000):
    """A search in which each int8 part named in `harm` costs so much; `tries` are allowed."""
    source, rounded = pair
    asked = []

    def score(model):
        return 1.0 - sum(harm.get(part.tensor, 0.0) for part in parts(model))

    def time_left():
        asked.append(1)
        return len(asked) <= tries

    left = iter(range(ranks))
    return Search(
        source=source,
        few=score,
        all=score,
        wanted=wanted,
        time_left=time_left,
        time_to_rank=lambda: next(left, None) is not None and time_left(),
    ).run(rounded)


def test_the_fewest_and_worst_parts_go_back(pair):
    tensors = [part.tensor for part in parts(pair[1])]
    assert len(tensors) >= 3
    harm = {tensors[0]: 0.01, tensors[1]: 0.3, tensors[2]: 0.1}
    found = search(pair, harm, wanted=0.98)
    assert [part.tensor for part in found.parts] == [tensors[1], tensors[2]]
    assert found.cosine == pytest.approx(0.99)
    assert not found.out_of_time


def test_good_graph_is_left_as_it_is(pair):
    found = search(pair, {}, wanted=0.9)
    assert found.parts == ()
    assert found.model is pair[1]


def test_time_that_ends_while_parts_are_ranked_leaves_the_int8_graph(pair):
    found = search(pair, {parts(pair[1])[0].tensor: 0.5}, wanted=0.9, tries=1)
    assert found.out_of_time
    assert found.model is pair[1]


def test_time_that_ends_later_leaves_the_best_graph_so_far(pair):
    tensors = [part.tensor for part in parts(pair[1])]
    harm = dict.fromkeys(tensors, 0.2)
    found = search(pair, harm, wanted=0.99, tries=len(tensors) + 1)
    assert found.out_of_time
    assert len(found.parts) == 1


def test_wish_beyond_float_gives_everything_back_and_says_that_time_was_left(pair):
    found = search(pair, {"unknown": 1.0} | dict.fromkeys([part.tensor for part in parts(pair[1])], 0.1), wanted=1.5)
    assert found.cosine == pytest.approx(1.0)
    assert not found.out_of_time


def test_partial_order_is_enough_to_search(pair):
    tensors = [part.tensor for part in parts(pair[1])]
    found = search(pair, {tensors[-1]: 0.5}, wanted=0.9, ranks=1)
    assert found.cosine == pytest.approx(1.0)
    assert not found.out_of_time


def test_time_that_ends_with_the_last_trial_is_not_blamed(pair):
    tensors = [part.tensor for part in parts(pair[1])]
    trials = 1 + int(np.ceil(np.log2(len(tensors))))
    assert not search(pair, dict.fromkeys(tensors, 0.1), wanted=1.5, ranks=0, tries=trials).out_of_time


def test_answers_that_are_no_numbers_start_the_search(pair):
    found = search(pair, {parts(pair[1])[0].tensor: float("nan")}, wanted=0.9)
    assert found.cosine == pytest.approx(1.0)
    assert len(found.parts) == 1


def test_readers_without_names_keep_their_part(pair):
    body = next(node for node in pair[1].graph.node if node.name == "body")
    body.name = ""
    assert not any("" in part.layers or body.input[0] == part.pair for part in parts(pair[1]))


def test_float_layers_are_those_of_the_source_without_a_rounded_input(pair):
    source, rounded = pair
    body = next(part for part in parts(rounded) if "body" in part.layers)
    found = Found(model=without(rounded, source, [body, body]), cosine=1.0, parts=(body, body))
    assert float_layers(found, source) == ["body"]
    assert float_layers(Found(model=rounded, cosine=1.0, parts=(body,)), source) == []
