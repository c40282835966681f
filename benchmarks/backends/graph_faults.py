"""Ways in which a compiled graph goes wrong, each as a change of an ONNX model in memory.

Where a fault needs a layer, it is the one in the middle, unless a place is given. Nothing here knows runs or gates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import onnx
from onnx import helper, numpy_helper

Change = Callable[[onnx.ModelProto, float], str]
"""Changes the model in place at a place from 0 (first layer) to 1 (last); gives the name of what was changed."""

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def nodes_of(model: onnx.ModelProto, *kinds: str) -> list[onnx.NodeProto]:
    """Nodes of some operators, in the order of the graph."""
    return [node for node in model.graph.node if node.op_type in kinds]


def chosen(items: list[onnx.NodeProto], place: float) -> onnx.NodeProto:
    """The item at a place from 0 to 1."""
    return items[min(int(place * len(items)), len(items) - 1)]


def initializer(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    """A stored tensor by name."""
    return next(entry for entry in model.graph.initializer if entry.name == name)


def rewrite(model: onnx.ModelProto, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Replace a stored tensor by what `change` makes of it; type and name stay."""
    entry = initializer(model, name)
    values = numpy_helper.to_array(entry)
    entry.CopyFrom(numpy_helper.from_array(np.array(change(values), values.dtype, order="C"), name))


def normalised_twice(model: onnx.ModelProto, place: float = 0.0) -> str:
    """The graph normalises an input that is normalised already."""
    mean, std = (np.array(values, np.float32).reshape(1, 3, 1, 1) for values in (MEAN, STD))
    model.graph.initializer.extend(
        [numpy_helper.from_array(mean, "twice_mean"), numpy_helper.from_array(std, "twice_std")]
    )
    name = model.graph.input[0].name
    _redirect(model, name, "twice_normalised")
    for position, node in enumerate(
        (
            helper.make_node("Sub", [name, "twice_mean"], ["twice_centred"], name="twice_sub"),
            helper.make_node("Div", ["twice_centred", "twice_std"], ["twice_normalised"], name="twice_div"),
        )
    ):
        model.graph.node.insert(position, node)
    return "input"


def swapped_channels(model: onnx.ModelProto, place: float = 0.0) -> str:
    """The first convolution reads BGR."""
    node = nodes_of(model, "Conv")[0]
    rewrite(model, node.input[1], lambda weight: weight[:, ::-1])
    return node.name


def transposed_grid(model: onnx.ModelProto, place: float = 0.0) -> str:
    """Height and width change places behind the first activation."""
    node = nodes_of(model, "Relu")[0]
    _insert_behind(model, node, lambda source, target: [
        helper.make_node("Transpose", [source], [target], name="grid_transpose", perm=[0, 1, 3, 2])
    ])  # fmt: skip
    return node.name


def scaled_by_2(model: onnx.ModelProto, place: float = 0.5) -> str:
    """One convolution's weights are twice what they were."""
    node = chosen(nodes_of(model, "Conv"), place)
    rewrite(model, node.input[1], lambda weight: weight * 2)
    return node.name


def truncated_weights(model: onnx.ModelProto, place: float = 0.5) -> str:
    """The second half of one convolution's weights is zero, as a file that was cut and filled up has them."""
    node = chosen(nodes_of(model, "Conv"), place)
    rewrite(model, node.input[1], lambda weight: np.where(np.arange(weight.size) < weight.size // 2, weight.ravel(), 0).reshape(weight.shape))  # fmt: skip
    return node.name


def dropped_bias(model: onnx.ModelProto, place: float = 0.5) -> str:
    """One convolution forgets its bias."""
    node = chosen([own for own in nodes_of(model, "Conv") if len(own.input) > 2], place)
    del node.input[2]
    return node.name


def lost_activation(model: onnx.ModelProto, place: float = 0.5) -> str:
    """One ReLU is gone."""
    node = chosen(nodes_of(model, "Relu"), place)
    node.op_type = "Identity"
    return node.name


def other_weights(model: onnx.ModelProto, place: float = 0.0) -> str:
    """All convolutions have the weights of some other step of the training: 3 % of noise."""
    rng = np.random.default_rng(0)
    for node in nodes_of(model, "Conv"):
        rewrite(model, node.input[1], lambda weight: weight + 0.03 * weight.std() * rng.standard_normal(weight.shape))
    return "all"


def nan_in_the_dark(model: onnx.ModelProto, place: float = 0.0) -> str:
    """The input is multiplied by contrast / contrast, which is 1 and, for an image of one value, not a number."""
    name = model.graph.input[0].name
    _redirect(model, name, "contrast_input")
    axes = numpy_helper.from_array(np.array([1, 2, 3], np.int64), "contrast_axes")
    pixels = numpy_helper.from_array(np.array([2, 3], np.int64), "contrast_pixels")
    model.graph.initializer.extend([axes, pixels])
    chain = [
        helper.make_node("ReduceMax", [name, "contrast_pixels"], ["contrast_high"], name="contrast_max"),
        helper.make_node("ReduceMin", [name, "contrast_pixels"], ["contrast_low"], name="contrast_min"),
        helper.make_node("Sub", ["contrast_high", "contrast_low"], ["contrast_range"], name="contrast_sub"),
        helper.make_node("ReduceSum", ["contrast_range", "contrast_axes"], ["contrast"], name="contrast_sum"),
        helper.make_node("Div", ["contrast", "contrast"], ["contrast_one"], name="contrast_div"),
        helper.make_node("Mul", [name, "contrast_one"], ["contrast_input"], name="contrast_mul"),
    ]
    for position, node in enumerate(chain):
        model.graph.node.insert(position, node)
    return "input"


def int8_weight_scale(model: onnx.ModelProto, place: float = 0.5) -> str:
    """The scale of one layer's int8 weights is twice what it was."""
    node = chosen(nodes_of(model, "Conv"), place)
    source = _producer(model, node.input[1])
    rewrite(model, source.input[1], lambda scale: scale * 2)
    return node.name


def int8_activation_scale(model: onnx.ModelProto, place: float = 0.5) -> str:
    """An int8 activation is read with twice the scale that it was written with."""
    reader = chosen(list(_activation_readers(model)), place)
    scale = numpy_helper.to_array(initializer(model, reader.input[1]))
    model.graph.initializer.append(numpy_helper.from_array(scale * 2, "scale_off_by_2"))
    reader.input[1] = "scale_off_by_2"
    return reader.name


def output_scaled_by_2(model: onnx.ModelProto, place: float = 1.0) -> str:
    """Every embedding is twice as long as it was; its direction stays."""
    name = model.graph.output[0].name
    source = _producer(model, name)
    source.output[list(source.output).index(name)] = "output_unscaled"
    _redirect(model, name, "output_unscaled")
    model.graph.initializer.append(numpy_helper.from_array(np.array(2.0, np.float32), "output_factor"))
    model.graph.node.append(helper.make_node("Mul", ["output_unscaled", "output_factor"], [name], name="output_mul"))
    return "output"


def int8_range(model: onnx.ModelProto, place: float = 0.5) -> str:
    """The range of one int8 activation is half of what was calibrated: the upper half is clipped."""
    reader = chosen(list(_activation_readers(model)), place)
    rewrite(model, reader.input[1], lambda scale: scale / 2)
    return reader.name


def _activation_readers(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    written = {name for node in nodes_of(model, "QuantizeLinear") for name in node.output}
    yield from (node for node in nodes_of(model, "DequantizeLinear") if node.input[0] in written)


def _producer(model: onnx.ModelProto, name: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if name in node.output)


def _redirect(model: onnx.ModelProto, old: str, new: str) -> None:
    for node in model.graph.node:
        for position, name in enumerate(node.input):
            if name == old:
                node.input[position] = new


def _insert_behind(
    model: onnx.ModelProto, node: onnx.NodeProto, make: Callable[[str, str], list[onnx.NodeProto]]
) -> None:
    name = node.output[0]
    changed = f"{name}_changed"
    _redirect(model, name, changed)
    position = list(model.graph.node).index(node) + 1
    for offset, own in enumerate(make(name, changed)):
        model.graph.node.insert(position + offset, own)
