"""What is said of artefacts that show no layers."""

from types import SimpleNamespace

from edgefw.cli.verify import _blamed
from edgefw.stages.blame import Blamer


def test_an_artefact_without_layers_is_told_in_one_sentence_where_they_can_be_seen():
    said = []
    context = SimpleNamespace(progress=SimpleNamespace(say=said.append))
    artefact = SimpleNamespace(
        name="executorch-fp32", record={"backend": "executorch"}, backend=SimpleNamespace(name="executorch")
    )
    (row,) = Blamer(context, trained=None, held=None).rows([artefact])
    assert said == ["verify: layers of executorch-fp32"]
    assert row["artefact"] == "executorch-fp32"
    assert _blamed(row) == (
        "its layers cannot be looked into: only files of the backends onnxruntime (with format: onnx), openvino, ncnn and litert "
        "show theirs. Export one as well to see where the graph departs"
    )


def test_what_was_inserted_is_told_beside_the_layer_behind_it():
    first = {"layer": "conv-2", "operator": "Conv", "error": 0.5, "inserted": ["transpose", "scale"]}
    assert _blamed({"artefact": "a", "limit": 0.001, "first": first}) == (
        "conv-2 (Conv) departs first, relative error 0.5; before it stands what the network has not: transpose, scale"
    )
    del first["inserted"]
    assert _blamed({"artefact": "a", "limit": 0.001, "first": first}).endswith("relative error 0.5")
