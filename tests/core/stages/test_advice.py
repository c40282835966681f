"""Who is advised of what: backends that say something, the files that it concerns, and what to take instead."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from torch import nn

from edgefw import BuildContext
from edgefw.plugins.backends.aoti import AotiBackend, AotiConfig
from edgefw.plugins.backends.onnxruntime import OnnxRuntimeConfig
from edgefw.plugins.backends.onnxruntime import build as onnxruntime
from edgefw.plugins.quantizers.int8_static import Int8Static, StaticConfig
from edgefw.plugins.quantizers.weight_only import WeightOnly, WeightOnlyConfig
from edgefw.reporting.part_advice import advice as part
from edgefw.reporting.part_advice import advice_line
from edgefw.stages.advice import advice

FOUND = {"SiLU": 49, "GELU": 1, "squeeze-excite": 26}
STATIC, WEIGHTS = Int8Static(StaticConfig(), "q"), WeightOnly(WeightOnlyConfig(), "q")


class Known(nn.Module):
    """A trunk that knows another one."""

    def replacements(self) -> tuple[str, ...]:
        return ("student.model=plain",)


class Entry(SimpleNamespace):
    """What a recipe says of a backend or a quantizer."""

    label = ""


def runtime(**options):
    return onnxruntime(OnnxRuntimeConfig(**options), BuildContext())


def rows(*backends, quantizers=(STATIC,), trunk=None, trained_with=None, entries=None):
    targets, rounding = entries or ([Entry()] * len(backends), [Entry()] * len(quantizers))
    composition = SimpleNamespace(backends=targets, quantizers=rounding)
    pieces = SimpleNamespace(backends=backends, quantizers=quantizers, composition=composition)
    return advice(pieces, SimpleNamespace(trunk=trunk or nn.Identity()), FOUND, trained_with)


@pytest.mark.parametrize("layout", ["onnx", "ort"])
def test_a_backend_is_asked_of_each_operator_that_was_found(layout: str) -> None:
    silu, gate = rows(runtime(format=layout), trunk=Known())
    assert (silu["operator"], silu["calls"], silu["backend"]) == ("SiLU", 49, "onnxruntime")
    assert (gate["operator"], gate["calls"]) == ("squeeze-excite", 26)
    assert silu["files"] == ["onnxruntime-int8-static"] and silu["instead"] == ["student.model=plain"]
    assert silu["why"].startswith("stays in float between int8 layers")


def test_only_files_with_rounded_activations_are_concerned() -> None:
    assert rows(runtime(), quantizers=(WEIGHTS,))[0]["files"] == []
    assert rows(runtime(), quantizers=(WEIGHTS, STATIC))[0]["files"] == ["onnxruntime-int8-static"]
    trained = SimpleNamespace(precision="int8-qat")
    assert rows(runtime(), quantizers=(), trained_with=trained)[0]["files"] == ["onnxruntime-int8-qat"]


def test_a_backend_that_says_nothing_and_one_that_is_named_twice() -> None:
    assert rows(AotiBackend(AotiConfig())) == []
    assert rows(runtime(), runtime(format="ort")) == rows(runtime(format="ort"))


def test_labels_stand_in_the_names_of_files() -> None:
    labelled = [Entry(), Entry(label="ort")], [Entry(), Entry(label="tails")]
    (row, _) = rows(runtime(), runtime(format="ort"), quantizers=(STATIC, STATIC), entries=labelled)
    static, ort = "onnxruntime-int8-static", "onnxruntime-ort-int8-static"
    assert row["files"] == [static, f"{static}-tails", ort, f"{ort}-tails"]


def test_the_sentence_names_files_and_replacement_where_there_are_some() -> None:
    row = {
        "operator": "SiLU",
        "calls": 3,
        "backend": "b",
        "files": ["b-int8", "b-int4"],
        "why": "is slow",
        "instead": ["x=y"],
    }
    assert advice_line(row) == "3 x SiLU is slow. Concerns b-int8, b-int4. Without it: x=y."
    bare = {**row, "files": [], "instead": []}
    assert advice_line(bare) == "3 x SiLU is slow. Concerns int8 files of b, if the recipe gets any."


def test_the_report_has_a_line_for_each_and_nothing_for_an_older_run() -> None:
    row = rows(runtime())[0]
    assert part(SimpleNamespace(stage=lambda name: {"advice": [row]}))["lines"] == [advice_line(row)]
    assert "absent" in part(SimpleNamespace(stage=lambda name: {}))
