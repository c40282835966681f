"""Which float operators between QuantizeLinear and DequantizeLinear run in int8 in ONNX Runtime's CPU provider.

Both inputs of a Conv, Gemm or MatMul come from DequantizeLinear. A convolution's output goes to QuantizeLinear at once, or through a
Relu or Clip that rounding makes idle; of a matrix product it may stay float for all its readers, of a Gemm only if its bias is no float.
What is read and what is written has one type. On x86 that is uint8: ONNX Runtime turns int8 into uint8 where a rounding
is one QuantizeLinear, one DequantizeLinear behind it and one reader behind that, and else leaves the operator in float, so that
int8 activations which two layers read (a residual) cost both of them their kernels. On ARM int8 stays as it is, and needs int8 weights.
A Gemm takes int8 everywhere.

Source: the node group selectors and QDQS8ToU8Transformer of ONNX Runtime 1.32 (core/optimizer/qdq_transformer); tests hold these rules
against the graphs that it writes. Does not: follow a rounding that ONNX Runtime moves past a MaxPool, Reshape or Transpose, where it
counts too little; see that a MatMul of two dimensions with a float Add behind it becomes a float Gemm, or that a bias has another step than the
products, where it counts too much. Files of our quantizers have neither, but for a linear layer on rows (B, D) in a file of `optimise: none`.
"""

from __future__ import annotations

import platform
from collections import defaultdict

import onnx

from edgefw.plugins.backends.onnx_clamps import CLAMPS, is_idle

_INT8, _UINT8 = int(onnx.TensorProto.INT8), int(onnx.TensorProto.UINT8)


def has_signed_kernels() -> bool:
    """Whether ONNX Runtime is built to keep int8 activations on this processor: on ARM."""
    return platform.machine().lower().startswith(("arm", "aarch64"))


class Rounding:
    """Where a graph's QuantizeLinear and DequantizeLinear sit.

    Args:
        model: main graph; what subgraphs read is not looked at.
        signed: as `has_signed_kernels`; None: of this processor.
    """

    def __init__(self, model: onnx.ModelProto, signed: bool | None = None) -> None:
        graph = model.graph
        self._signed = has_signed_kernels() if signed is None else signed
        self._constants = {entry.name: entry for entry in graph.initializer}
        self._makers = {name: node for node in graph.node for name in node.output}
        self._outputs = {entry.name for entry in graph.output}
        self._readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in graph.node:
            for name in node.input:
                self._readers[name].append(node)

    def surrounds(self, node: onnx.NodeProto) -> bool:
        """Whether ONNX Runtime has an int8 kernel for a float operator that stands here."""
        given, weights = (self._read(name) for name in node.input[:2])
        if node.op_type == "ConvTranspose" or given is None or weights is None:
            return False
        if given == _INT8 and not (weights == _INT8 and (self._signed or node.op_type == "Gemm")):
            return False
        rounding = self._rounding(node.output[0])
        if rounding is not None:
            return self._written(rounding) == given
        return node.op_type != "Conv" and not self._has_float_bias(node) and not self._is_partly_rounded(node.output[0])

    def _read(self, name: str) -> int | None:
        """The type that a kernel reads a tensor in; None if that is not eight bits."""
        maker = self._makers.get(name)
        if maker is None or maker.op_type != "DequantizeLinear":
            return None
        before = self._makers.get(maker.input[0])
        turned = before is not None and before.op_type == "QuantizeLinear" and self._is_turned(before)
        return _UINT8 if turned else _eight_bits(self._element(maker))

    def _written(self, rounding: onnx.NodeProto) -> int | None:
        return _UINT8 if self._is_turned(rounding) else _eight_bits(self._element(rounding))

    def _is_turned(self, rounding: onnx.NodeProto) -> bool:
        """Whether an int8 QuantizeLinear is made one to uint8: it has one reader, and that one has one."""
        if self._signed or self._element(rounding) != _INT8:
            return False
        reader = self._only_reader(rounding.output[0])
        return reader is not None and reader.op_type == "DequantizeLinear" and self._uses(reader.output[0]) == 1

    def _uses(self, name: str) -> int:
        return len(self._readers[name]) + (name in self._outputs)

    def _only_reader(self, name: str) -> onnx.NodeProto | None:
        return self._readers[name][0] if self._readers[name] and self._uses(name) == 1 else None

    def _rounding(self, name: str) -> onnx.NodeProto | None:
        """The QuantizeLinear that is the one reader of a tensor, at once or behind an idle Relu or Clip."""
        reader = self._only_reader(name)
        if reader is None or reader.op_type == "QuantizeLinear":
            return reader
        after = self._only_reader(reader.output[0]) if reader.op_type in CLAMPS else None
        idle = after is not None and after.op_type == "QuantizeLinear" and is_idle(reader, after, self._constants)
        return after if idle else None

    def _is_partly_rounded(self, name: str) -> bool:
        """Whether one reader of several rounds a tensor: neither the kernel that rounds fits there nor the one that does not."""
        return any(reader.op_type == "QuantizeLinear" for reader in self._readers[name])

    def _has_float_bias(self, node: onnx.NodeProto) -> bool:
        if node.op_type != "Gemm" or len(node.input) < 3 or not node.input[2]:
            return False
        maker = self._makers.get(node.input[2])
        return maker is None or maker.op_type != "DequantizeLinear"

    def _element(self, node: onnx.NodeProto) -> int:
        """The integer type that a QuantizeLinear gives, or a DequantizeLinear takes; uint8 where nothing says."""
        if node.op_type == "DequantizeLinear" and node.input[0] in self._constants:
            return int(self._constants[node.input[0]].data_type)
        zero = self._constants.get(node.input[2]) if len(node.input) > 2 else None
        return int(zero.data_type) if zero is not None else _UINT8


def _eight_bits(element: int) -> int | None:
    return element if element in (_INT8, _UINT8) else None
