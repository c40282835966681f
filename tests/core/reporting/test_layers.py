"""The report's part about layers: a figure, a table, and the one that departs first."""

from types import SimpleNamespace

from edgefw.reporting.figure_layers import layer_figure
from edgefw.reporting.part_layers import blame, layer_rows

LAYERS = [
    {"layer": f"conv-{at}", "operator": "Conv", "tensor": f"t{at}", "error": error, "own": own, "cosine": 0.5}
    for at, (error, own) in enumerate([(0.0, 0.0), (1e-7, 1e-7), (0.8, 0.8), (0.9, 0.1)])
]
ROW = {"artefact": "onnxruntime-fp32", "limit": 0.001, "first": LAYERS[2], "layers": LAYERS}


def run_with(rows):
    return SimpleNamespace(stage=lambda name: {"blame": rows})


def test_the_first_departure_stands_in_sentence_table_and_figure():
    entry = blame(run_with([ROW]))["artefacts"][0]
    assert entry["first"]["layer"] == "conv-2"
    assert [row["layer"] for row in entry["rows"] if row["blamed"]] == ["conv-2"]
    assert [row["layer"] for row in entry["rows"]] == ["conv-0", "conv-1", "conv-2", "conv-3"]
    assert "conv-2 departs first" in entry["figure"]
    assert entry["figure"].count("<rect") == 4


def test_what_was_inserted_before_the_first_departure_is_told():
    first = {**LAYERS[2], "inserted": ["transpose", "scale"]}
    assert blame(run_with([{**ROW, "first": first}]))["artefacts"][0]["first"]["inserted"] == "transpose, scale"
    assert blame(run_with([ROW]))["artefacts"][0]["first"]["inserted"] == ""


def test_a_backend_that_shows_no_layers_says_so():
    entry = blame(run_with([{"artefact": "ncnn-fp32", "absent": "backend 'ncnn' does not show its layers"}]))
    assert entry["artefacts"] == [{"artefact": "ncnn-fp32", "absent": "backend 'ncnn' does not show its layers"}]


def test_a_run_that_failed_nothing_has_no_layers_to_show():
    assert "no artefact failed" in blame(run_with([]))["absent"]


def test_the_blamed_layer_stands_in_the_table_where_many_behind_it_are_worse():
    later = [{**LAYERS[3], "layer": f"conv-{at}", "tensor": f"t{at}", "own": 0.9 + at / 100} for at in range(4, 30)]
    rows = layer_rows({**ROW, "layers": LAYERS[:3] + later})
    assert [row["layer"] for row in rows] == ["conv-2", *(f"conv-{at}" for at in range(19, 30))]
    assert [row["blamed"] for row in rows] == [True] + 11 * [False]


def test_what_was_not_looked_into_has_no_rows():
    assert layer_rows({"artefact": "ncnn-fp32", "absent": "backend 'ncnn' does not show its layers"}) == []


def test_errors_from_zero_to_absurd_fit_into_the_figure():
    drawn = layer_figure(["a", "b", "c"], [0.0, 1e-9, 1e6], None, "t")
    assert "departs" not in drawn
    assert "nan" not in drawn
