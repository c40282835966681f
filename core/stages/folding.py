"""Preprocessing as part of a graph: from (B, H, W, 3) uint8 of any size to embeddings, in one ONNX file.

The steps of a modality's contract become ONNX operators in front of an exported file. Pillow resizes 8-bit pictures one
direction after the other and rounds after each, half up; Resize operators with a rounding between them do the same, with `antialias`, Keys' cubic of -0.5 as Pillow has it, and weights that sum to one at the border.
Columns come first, but from Pillow 13 on rows do where more than twice as many of them go; the order is that of the installed one.
Pillow's weights are fixed-point numbers, so here and there a pixel differs by one of 255; how much that matters for the
embedding, `verify` measures.

It knows steps and ONNX; it does not write steps that work on one image's own range, jet, or the filters box and lanczos.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefw.errors import ExportError
from edgefw.runtime.folded_file import INPUT

if TYPE_CHECKING:
    import onnx

    from edgefw.runtime.preprocessing import Preprocessing

_MODES = {"bilinear": "linear", "bicubic": "cubic"}
_OLDEST_OPSET = 18
_ROWS, _COLUMNS = 2, 3
_CHOOSES = 13
"""The first Pillow whose order of directions depends on the picture."""


def unfoldable(contract: Preprocessing, colour: bool) -> str | None:
    """Why a contract cannot be part of a graph; None if it can."""
    if not colour:
        return "its files are no 8-bit pictures of three channels"
    for step in contract.steps:
        if step.name not in _WRITERS:
            return f"its step '{step.name}' has no place in a graph; {', '.join(_WRITERS)} have"
        filter = step.options.get("filter")
        if filter is not None and (filter not in _MODES or not step.options.get("antialias", True)):
            return f"it resizes with '{filter}'; bilinear and bicubic with antialiasing have a place in a graph"
    return None


def fold(source: Path, contract: Preprocessing, target: Path) -> None:
    """Write `target`: the graph of `source` with the contract in front of it.

    Args:
        source: an ONNX file of one input (B, C, H, W) float32.
        contract: one that `unfoldable` finds nothing against.
        target: the file to write.

    Raises:
        ExportError: if the file has several inputs, operators older than opset 18, or onnx cannot join the two graphs.
    """
    import onnx
    from onnx import compose, helper

    model = onnx.load(source)
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    names = [entry.name for entry in model.graph.input]
    if len(names) != 1 or opsets.get("", 0) < _OLDEST_OPSET:
        raise ExportError(f"{source}: preprocessing goes in front of one input, in opset {_OLDEST_OPSET} or newer.")
    front = _front(contract, opsets[""], model.ir_version)
    body = compose.add_prefix(model, "encoder/", rename_inputs=False, rename_outputs=False)
    try:
        merged = compose.merge_models(front, body, io_map=[("prepared", names[0])])
    except Exception as error:  # onnx has no class for it
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ExportError(f"{source}: preprocessing cannot go in front of it ({reason}).") from error
    helper.set_model_props(merged, {entry.key: entry.value for entry in model.metadata_props})
    onnx.save(merged, target)


class _Graph:
    """Nodes and constants under construction; `at` is the name of what has been computed so far."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.at = INPUT

    def constant(self, values: Any, dtype: Any) -> str:
        """The name of a new constant."""
        from onnx import numpy_helper

        name = f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """The name of a new node's output."""
        from onnx import helper

        name = f"{operator.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, [*inputs], [name], name=f"prepare/{name}", **attributes))
        return name

    def then(self, operator: str, *others: str, **attributes: Any) -> None:
        """Go on with an operator on what there is."""
        self.at = self.add(operator, self.at, *others, **attributes)


def _front(contract: Preprocessing, opset: int, ir_version: int) -> onnx.ModelProto:
    """(B, H, W, 3) uint8 to (B, 3, S, S) float32, called "prepared"."""
    from onnx import TensorProto, helper

    graph = _Graph()
    graph.at = _planes_first(graph)
    graph.then("Cast", to=TensorProto.FLOAT)
    for step in contract.steps:
        _WRITERS[step.name](graph, step.options)
    graph.nodes.append(helper.make_node("Identity", [graph.at], ["prepared"]))
    picture = helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["batch", "height", "width", 3])
    prepared = helper.make_tensor_value_info("prepared", TensorProto.FLOAT, ["batch", 3, None, None])
    made = helper.make_graph(graph.nodes, "prepare", [picture], [prepared], graph.constants)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)


def _planes_first(graph: _Graph) -> str:
    """(B, H, W, 3) to (B, 3, H, W) without a Transpose: onnxruntime 1.32 moves one behind a Resize with `axes`, and fails."""
    first = graph.constant([1], np.int64)
    planes = [graph.add("Gather", graph.at, graph.constant(number, np.int64), axis=3) for number in range(3)]
    return graph.add("Concat", *(graph.add("Unsqueeze", plane, first) for plane in planes), axis=1)


def _resize(graph: _Graph, options: Mapping[str, Any]) -> None:
    """One direction after the other, each rounded to 0..255; what keeps its size changes no pixel."""
    heights, widths = _sizes(graph, options)
    passes = [(_COLUMNS, widths), (_ROWS, heights)]
    if _chooses_order():
        passes.insert(0, (_ROWS, _rows_first(graph, heights, widths)))
    for axis, size in passes:
        mode = _MODES[options["filter"]]
        cubic = {"cubic_coeff_a": -0.5} if mode == "cubic" else {}
        graph.then(
            "Resize", "", "", size, mode=mode, axes=[axis], antialias=1, exclude_outside=1,
            coordinate_transformation_mode="half_pixel", **cubic,
        )  # fmt: skip
        graph.then("Add", graph.constant(0.5, np.float32))
        graph.then("Floor")
        graph.then("Clip", graph.constant(0.0, np.float32), graph.constant(255.0, np.float32))


def _chooses_order() -> bool:
    """Whether the Pillow that is installed resizes some pictures rows first; see its pull request 9549."""
    import PIL

    return int(PIL.__version__.partition(".")[0]) >= _CHOOSES


def _rows_first(graph: _Graph, heights: str, widths: str) -> str:
    """Name of the (1,) height after a first pass: the last one if more than twice as many rows go as columns, else as it is."""
    height = _extent(graph, _ROWS)
    rows, columns = graph.add("Sub", height, heights), graph.add("Sub", _extent(graph, _COLUMNS), widths)
    shrinks = graph.add("Greater", rows, graph.constant([0], np.int64))
    more = graph.add("Greater", rows, graph.add("Mul", columns, graph.constant([2], np.int64)))
    return graph.add("Where", graph.add("And", shrinks, more), heights, height)


def _sizes(graph: _Graph, options: Mapping[str, Any]) -> tuple[str, str]:
    """Names of (1,) height and (1,) width to resize to."""
    side = graph.constant([options["size"]], np.int64)
    if options.get("fit", "stretch") == "stretch":
        return side, side
    height, width = _extent(graph, _ROWS), _extent(graph, _COLUMNS)
    short, long = graph.add("Min", height, width), graph.add("Max", height, width)
    longer = graph.add("Max", side, graph.add("Div", graph.add("Mul", side, long), short))
    upright = graph.add("Greater", height, width)
    return graph.add("Where", upright, longer, side), graph.add("Where", upright, side, longer)


def _extent(graph: _Graph, axis: int) -> str:
    """(1,) the size of a direction."""
    return graph.add("Shape", graph.at, start=axis, end=axis + 1)


def _centre_crop(graph: _Graph, options: Mapping[str, Any]) -> None:
    from onnx import TensorProto

    side = graph.constant([options["size"]], np.int64)
    starts = []
    for axis in (_ROWS, _COLUMNS):
        spare = graph.add("Cast", graph.add("Sub", _extent(graph, axis), side), to=TensorProto.FLOAT)
        half = graph.add("Round", graph.add("Div", spare, graph.constant(2.0, np.float32)))  # half to even, as Python
        starts.append(graph.add("Cast", half, to=TensorProto.INT64))
    first = graph.add("Concat", *starts, axis=0)
    graph.then("Slice", first, graph.add("Add", first, side), graph.constant([_ROWS, _COLUMNS], np.int64))


def _scale(graph: _Graph, options: Mapping[str, Any]) -> None:
    graph.then("Div", graph.constant(options["divisor"], np.float32))


def _clip(graph: _Graph, options: Mapping[str, Any]) -> None:
    graph.then("Clip", graph.constant(options["low"], np.float32), graph.constant(options["high"], np.float32))


def _normalise(graph: _Graph, options: Mapping[str, Any]) -> None:
    for operator, numbers in (("Sub", options["mean"]), ("Div", options["std"])):
        graph.then(operator, graph.constant(_column(numbers), np.float32))


def _column(numbers: Sequence[float]) -> list[list[list[float]]]:
    return [[[number]] for number in numbers]


_WRITERS: dict[str, Callable[[_Graph, Mapping[str, Any]], None]] = {
    "resize": _resize,
    "centre-crop": _centre_crop,
    "scale": _scale,
    "clip": _clip,
    "normalise": _normalise,
}
