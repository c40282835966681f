"""Latency-aware int8 on real sessions: what is delivered, what is said, what stays float. No test depends on who is faster: where
int8 has to be, the timings are made up."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgefw.errors import ExportError
from edgefw.evaluation.comparison import row_cosines
from edgefw.plugins.backends.onnx_work import int8_share
from edgefw.plugins.backends.onnxruntime import OnnxRuntimeBackend, OnnxRuntimeConfig
from edgefw.plugins.quantizers import latency_trials
from edgefw.plugins.quantizers.int8_latency_aware import Int8LatencyAware, LatencyAwareConfig
from edgefw.plugins.quantizers.int8_static import StaticConfig
from edgefw.plugins.quantizers.latency_outcome import Outcome
from edgefw.plugins.quantizers.latency_search import Choice, Timing, timing_of
from edgefw.plugins.quantizers.latency_trials import Trials
from edgefw.plugins.quantizers.operator_groups import left_in_float, operator_groups
from edgefw.plugins.quantizers.static_writer import StaticWriter
from edgefw.reporting.part_choices import choice_lines

WIDTH = 256


@pytest.fixture
def opened():
    backend = OnnxRuntimeBackend(OnnxRuntimeConfig(threads=1))
    return lambda file: backend.open(file, 1)


@pytest.fixture
def wide_file(tmp_path):
    """Two matrices. (B, 256) to (B, 256)."""
    rng = np.random.default_rng(0)
    weights = {name: rng.normal(size=(WIDTH, WIDTH)).astype(np.float32) / 16 for name in ("w1", "w2")}
    nodes = [
        helper.make_node("Gemm", ["image", "w1"], ["a"], name="one", transB=1),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("Gemm", ["b", "w2"], ["embedding"], name="two", transB=1),
    ]
    info = helper.make_tensor_value_info
    shape = ["batch", WIDTH]
    graph = helper.make_graph(
        nodes, "g", [info("image", TensorProto.FLOAT, shape)], [info("embedding", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, tmp_path / "wide.onnx")
    return tmp_path / "wide.onnx"


@pytest.fixture
def int8_wins(monkeypatch):
    """Made-up timings: each group in int8 halves the time."""

    def compare(self, one, other, *rest) -> Timing:
        ratio = 0.5 ** (len(one) - len(other))
        return Timing(ratio=ratio, low=0.9 * ratio, high=1.1 * ratio, ms=ratio, other_ms=1.0)

    monkeypatch.setattr(Trials, "compare", compare)


@pytest.fixture
def rows():
    return np.random.default_rng(3).normal(size=(16, WIDTH)).astype(np.float32)


def quantised(source, values, calibration, opened, **options):
    target, said = source.with_name("int8.onnx"), []
    config = LatencyAwareConfig(**{"seconds": 5.0, **options})
    made = Int8LatencyAware(config, "export.quantizers[0]", said.append)
    return target, made.quantize_timed(source, target, calibration(values), opened)


def floats(path) -> set[str]:
    return {entry.name for entry in onnx.load(path).graph.initializer if entry.data_type == TensorProto.FLOAT}


def trials_of(source, folder, calibration, opened, **options) -> Trials:
    writer = StaticWriter(source, folder, StaticConfig(**options), "q")
    groups = operator_groups(writer.model, writer.candidates())
    return Trials(source, folder, writer, groups, calibration, opened)


def test_what_is_faster_becomes_int8_and_the_table_says_so(
    int8_wins, wide_file, rows, calibration, opened, run, cosine
) -> None:
    target, report = quantised(wide_file, rows, calibration, opened, seconds=600.0)
    assert not report.stays_float and target.is_file()
    (row,) = report.details["choices"]
    assert (row["group"], row["nodes"], row["precision"]) == (f"Gemm {WIDTH}x{WIDTH}", 2, "int8")
    assert row["int8_ms"] < row["float_ms"]
    assert report.details["whole_file"]["ratio_high"] < 1
    assert report.details["bytes_after"] == target.stat().st_size < 0.3 * wide_file.stat().st_size
    assert cosine(run(wide_file, rows), run(target, rows)) > 0.99
    assert int8_share(target) == 1.0


def test_what_hurts_is_taken_out_and_if_nothing_is_left_the_float_file_stays(
    int8_wins, wide_file, rows, calibration, opened
) -> None:
    target, report = quantised(wide_file, rows, calibration, opened, seconds=600.0, min_cosine=1.0)
    assert report.stays_float and not target.exists()
    (row,) = report.details["choices"]
    assert row["precision"] == "float" and row["why"].startswith("hurts: cosine 0.9")
    assert report.warnings[0] == (
        "nothing that is faster in int8 keeps a mean cosine of 1 to the float file: the float file stays"
    )
    assert report.details["whole_file"] is None


def test_time_that_is_out_before_what_hurts_is_found_keeps_the_float_file(
    int8_wins, wide_file, rows, calibration, opened
) -> None:
    target, report = quantised(wide_file, rows, calibration, opened, seconds=1e-6, min_cosine=1.0)
    assert report.stays_float and not target.exists()
    assert report.warnings[0].startswith("int8 is not accurate enough, and time was out before what hurts was found")
    assert report.warnings[0].endswith(": the float file stays")


@pytest.mark.parametrize(("ratio", "is_made"), [(0.98, False), (0.96, True)])
def test_a_file_that_saves_next_to_nothing_is_not_made(
    monkeypatch, wide_file, rows, calibration, opened, ratio, is_made
) -> None:
    monkeypatch.setattr(
        Trials,
        "compare",
        lambda *_: Timing(ratio=ratio, low=ratio - 0.01, high=ratio + 0.01, ms=ratio, other_ms=1.0),
    )
    target, report = quantised(wide_file, rows, calibration, opened)
    assert target.exists() == is_made and report.stays_float != is_made
    if not is_made:
        assert report.warnings[0] == (
            "the file as a whole takes 0.98 times as long as in float, which saves less than least_gain (0.03): "
            "the float file stays"
        )
        assert not quantised(wide_file, rows, calibration, opened, least_gain=0.01)[1].stays_float


def test_a_small_network_gets_a_file_that_is_faster_or_none(conv_file, images, calibration, opened) -> None:
    before = conv_file.read_bytes()
    target, report = quantised(conv_file, images, calibration, opened, seconds=2.0)
    assert conv_file.read_bytes() == before
    assert target.exists() != report.stays_float
    details = report.details
    assert sum(row["nodes"] for row in details["choices"]) == 3
    assert sum(row["macs_share"] for row in details["choices"]) == pytest.approx(1.0)
    assert all(row["why"] for row in details["choices"])
    if report.stays_float:
        assert all(row["precision"] == "float" for row in details["choices"])
    else:
        chosen = sum(row["macs_share"] for row in details["choices"] if row["precision"] == "int8")
        assert int8_share(target) == pytest.approx(chosen)


def test_time_that_is_out_at_once_leaves_the_faster_of_the_two_ends(conv_file, images, calibration, opened) -> None:
    target, report = quantised(conv_file, images, calibration, opened, seconds=1e-6)
    assert report.details["comparisons"] <= 2
    assert "2 of 2 groups were not timed" in " ".join(report.warnings)
    assert target.exists() != report.stays_float


def test_no_group_is_the_float_file_and_not_a_file_with_everything_in_int8(
    tmp_path, conv_file, images, calibration, opened
) -> None:
    trials = trials_of(conv_file, tmp_path, calibration(images), opened)
    assert trials.cosine(frozenset()) == pytest.approx(1.0, abs=1e-12)
    with pytest.raises(ExportError, match="every node that could become int8 is excluded"):
        trials.write(frozenset(), tmp_path / "none.onnx")


def test_what_the_user_excludes_is_float_in_every_file(tmp_path, conv_file, images, calibration, opened) -> None:
    trials = trials_of(conv_file, tmp_path, calibration(images), opened, exclude=["body"])
    labels = [group.label for group in trials.groups]
    assert labels == ["Conv 3x3 at 8x8, 16 channels", "Gemm 64x8"]
    for chosen, kept in ((labels, {"w2"}), (labels[:1], {"w2", "w3"}), (labels[1:], {"w1", "w2"})):
        trials.write(frozenset(chosen), tmp_path / "t.onnx")
        assert floats(tmp_path / "t.onnx") & {"w1", "w2", "w3"} == kept


def test_nodes_without_names_get_one_before_any_is_left_out(tmp_path, conv_file, images, calibration, opened) -> None:
    model = onnx.load(conv_file)
    for node in model.graph.node:
        node.name = ""
    onnx.save(model, conv_file)
    trials = trials_of(conv_file, tmp_path, calibration(images), opened, exclude=["Gemm_*"])
    assert [len(group.nodes) for group in trials.groups] == [2]  # both convolutions, and not the head
    trials.write(frozenset({trials.groups[0].label}), tmp_path / "t.onnx")
    assert floats(tmp_path / "t.onnx") & {"w1", "w2", "w3"} == {"w3"}


def test_everything_excluded_is_refused(conv_file, images, calibration, opened) -> None:
    with pytest.raises(ExportError, match=r"^export.quantizers\[0\].exclude: every node"):
        quantised(conv_file, images, calibration, opened, exclude=["*"])


def test_ranges_are_measured_once_however_many_files_are_written(
    tmp_path, conv_file, images, calibration, opened
) -> None:
    passes = []
    plain = calibration(images)

    def batches():
        passes.append(1)
        return plain.batches()

    trials = trials_of(conv_file, tmp_path, type(plain)(batches=batches, samples=plain.samples), opened)
    trials.prepare()
    files = []
    for number, chosen in enumerate([trials.groups[:1], trials.groups, trials.groups]):
        trials.write(frozenset(group.label for group in chosen), tmp_path / f"{number}.onnx")
        files.append((tmp_path / f"{number}.onnx").read_bytes())
    assert len(passes) == 1
    assert files[1] == files[2] != files[0]


def test_both_files_are_timed_equally_often_and_each_first_in_turn(
    tmp_path, conv_file, images, calibration, opened, monkeypatch
) -> None:
    trials, order = trials_of(conv_file, tmp_path, calibration(images), opened), []

    class Watched:
        def __init__(self, file) -> None:
            self.name, self.runner, self.inputs = file.name, opened(file), ()

        def run(self, feeds):
            order.append(self.name)
            return self.runner.run(feeds)

    def kept(own, other) -> Timing:
        lengths.extend([len(own), len(other)])
        return timing_of(own, other)

    lengths: list[int] = []
    monkeypatch.setattr(latency_trials, "timing_of", kept)
    trials.opened = Watched
    found = trials.compare(frozenset({trials.groups[0].label}), frozenset(), seconds=0.0, least=15)
    turns = [name for name, _ in groupby(order)]
    assert len(turns) % 2 == 1 and turns == (["conv.onnx", "trial.onnx"] * len(turns))[: len(turns)]
    assert lengths[0] == lengths[1] >= 15
    assert 0 < found.low <= found.ratio <= found.high


def test_a_file_that_does_not_run_is_one_message(tmp_path, conv_file, images, calibration, opened) -> None:
    trials = trials_of(conv_file, tmp_path, calibration(images[:, :2]), opened)
    with pytest.raises(
        ExportError, match=r"^a file with some layers in int8 opens and does not run \(.*\). Use int8-static"
    ):
        trials.cosine(frozenset())


def test_accuracy_is_that_of_the_worst_modality_on_rows_that_ranges_do_without(
    tmp_path, conv_file, images, calibration, opened, run
) -> None:
    images[1::2] *= 8.0  # of the second modality, which every other row shows
    given = replace(calibration(images), modalities=("rgb", "depth") * 20)
    trials = trials_of(conv_file, tmp_path, given, opened)
    judged = trials.held.rows
    assert judged.tolist() == [4, 5, 12, 13, 20, 21, 28, 29, 36, 37]
    labels = frozenset(group.label for group in trials.groups)
    trials.write(labels, tmp_path / "ours.onnx")
    trials.writer._ranges = None
    trials.writer.write(tmp_path / "rest.onnx", calibration(np.delete(images, judged, axis=0)), [])
    assert (tmp_path / "ours.onnx").read_bytes() == (tmp_path / "rest.onnx").read_bytes()
    cosines = row_cosines(run(tmp_path / "ours.onnx", images[judged]), run(conv_file, images[judged]))
    assert trials.cosine(labels) == pytest.approx(min(cosines[judged % 2 == side].mean() for side in (0, 1)), abs=1e-6)


def test_what_cannot_become_int8_has_a_row_and_its_share_of_the_file(
    tmp_path, attention_file, tokens, calibration, opened
) -> None:
    trials = trials_of(attention_file, tmp_path, calibration(tokens), opened, exclude=["out"])
    writer = trials.writer
    others = left_in_float(writer.model, writer.candidates(), writer.reasons)
    projection, product = 64 * 48 * 48, 64 * 64 * 48
    assert [(group.label, set(group.nodes), group.macs) for group in others] == [
        ("product of activations", {"scores", "mix"}, 2 * product),
        ("excluded", {"out"}, projection),
    ]
    (group,) = trials.groups
    outcome = Outcome(
        groups=trials.groups, others=others, choices={group.label: Choice(is_int8=True)}, hurting={},
        labels=frozenset({group.label}), timing=None, whole="", min_cosine=0.9,
    )  # fmt: skip
    trials.write(outcome.labels, tmp_path / "t.onnx")
    shares = [row["macs_share"] for row in outcome.rows()]
    assert sum(shares) == pytest.approx(1.0) and shares[0] == pytest.approx(int8_share(tmp_path / "t.onnx"))
    assert shares[0] == pytest.approx(3 * projection / (4 * projection + 2 * product))
    assert [(row["precision"], row["why"]) for row in outcome.rows()[1:]] == [("float", "not tried")] * 2


def test_a_group_of_convolutions_says_how_many_channels_and_an_unknown_shape_no_share(conv_file) -> None:
    model = onnx.load(conv_file)
    assert [group.label for group in operator_groups(model, {"stem", "body"})] == ["Conv 3x3 at 8x8, 16 to 64 channels"]
    del model.graph.input[:]
    assert {group.macs for group in operator_groups(model, {"stem", "head"})} == {None}
    assert [(group.label, group.macs) for group in left_in_float(model, {"stem"}, {"head": "excluded"})] == [
        ("excluded", None)
    ]
    assert choice_lines([{"group": "g", "nodes": 1, "macs_share": None, "float_ms": None, "int8_ms": None,
                          "precision": "float", "why": "not tried"}])[1].split() == ["g", "1", "–", "–", "–", "float", "not", "tried"]  # fmt: skip
