"""Frames, packs, rules and the store together: quotas of the store, budgets that change, packs that bring no trigger."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from edgefw.camera.frames import Frame
from edgefw.camera.session import Session, own_rule
from edgefw.camera.store import FrameStore, read_lines
from edgefw.errors import BundleError
from edgefw.runtime.label_pack import Label, LabelPack, Negative, read_pack, write_pack
from edgefw.runtime.trigger_rule import Rule

NOON = datetime(2026, 5, 1, 12, 0, 0, tzinfo=UTC)
RED, BLUE = np.eye(2, dtype=np.float32)


def pack(**trigger: object) -> LabelPack:
    labels = [Label(name="red", vectors=RED[None]), Label(name="blue", vectors=BLUE[None])]
    rule = Rule.model_validate(trigger) if trigger else None
    return LabelPack(labels=labels, logit_scale=20.0, encoder="e" * 64, trigger=rule)


def frame(second: float, size: int = 10) -> Frame:
    values, time = np.zeros((2, 2, 3), np.uint8), NOON + timedelta(seconds=second)
    return Frame(
        number=int(second), seconds=second, time=time, values=values, where="t", data=b"x" * size, ending="jpg"
    )


def outcomes(session: Session, *frames: Frame) -> list[str]:
    return [session.look(one, RED)["trigger"] for one in frames]


def test_a_quota_counts_what_former_runs_stored(tmp_path: Path):
    wanted = pack(any=["red"], quota=2, quota_hours=1.0)
    first = FrameStore(tmp_path)
    assert outcomes(Session(wanted, None, first), frame(0), frame(1800), frame(1900)) == ["kept", "kept", "quota"]
    first.close()
    second = Session(wanted, None, FrameStore(tmp_path))
    assert outcomes(second, frame(2000), frame(3601), frame(3602), frame(5401)) == ["quota", "kept", "quota", "kept"]


def test_a_quota_outlives_a_change_of_the_pack(tmp_path: Path):
    session = Session(pack(any=["red"], quota=1), None, FrameStore(tmp_path))
    assert outcomes(session, frame(0)) == ["kept"]
    session.use(pack(any=["red", "blue"], quota=1))
    assert outcomes(session, frame(1)) == ["quota"]


def test_a_frame_over_the_budget_begins_no_cool_down(tmp_path: Path):
    session = Session(pack(any=["red"], cool_down=60.0, quota=1, budget_mb=1e-5), None, FrameStore(tmp_path))
    assert outcomes(session, frame(0, 11), frame(1, 11), frame(2, 10), frame(3, 10)) == [
        "over budget", "over budget", "kept", "cool-down",
    ]  # fmt: skip


def test_the_budget_of_a_new_pack_holds_from_then_on(tmp_path: Path):
    session = Session(pack(any=["red"]), None, FrameStore(tmp_path))
    assert outcomes(session, frame(0)) == ["kept"]
    session.use(pack(any=["red"], budget_mb=1.5e-5))
    assert outcomes(session, frame(1)) == ["over budget"]
    session.use(pack(any=["red"], budget_mb=3e-5))
    assert outcomes(session, frame(2)) == ["kept"]


def test_a_new_pack_without_a_trigger_is_refused_while_frames_are_stored(tmp_path: Path):
    session = Session(pack(any=["red"]), None, FrameStore(tmp_path))
    with pytest.raises(BundleError, match="nothing says which frames to keep: give --keep LABEL, or a label pack with"):
        session.use(pack())
    assert outcomes(session, frame(0)) == ["kept"]


def test_the_command_lines_rule_stays_when_a_new_pack_has_none(tmp_path: Path):
    session = Session(pack(any=["blue"]), own_rule(["red"], 0.5, "probability", 0.0, None), FrameStore(tmp_path))
    session.use(pack())
    assert outcomes(session, frame(0)) == ["kept"]


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_stored_line_holds_the_hash_of_the_file_in_use(tmp_path: Path, dtype):
    rng = np.random.default_rng(0)
    labels = [Label(name=name, vectors=rng.normal(size=(1, 2)).astype(np.float32)) for name in ("red", "blue")]
    path = tmp_path / "pack.json"
    write_pack(LabelPack(labels=labels, logit_scale=20.0, encoder="e" * 64), path, dtype)
    read = read_pack(path)
    session = Session(read, Rule(any=("red", "blue"), begin=0.0), FrameStore(tmp_path / "kept"))
    assert outcomes(session, frame(0)) == ["kept"]
    assert f'"sha256": "{read_lines(tmp_path / "kept")[0]["pack"]}"' in path.read_text()


def test_so_many_labels_stand_in_a_record_as_were_asked_for():
    assert len(Session(pack(), None, None, scores=1).look(frame(0), RED)["labels"]) == 1


@pytest.mark.parametrize("score", ["cosine", "probability"])
def test_a_frame_more_like_a_negative_keeps_nothing(tmp_path: Path, score: str):
    wanted = pack(any=["red"], begin=0.01, score=score)
    road = Negative(name="road", vectors=(RED + BLUE)[None])
    session = Session(replace(wanted, negatives=[road]), None, FrameStore(tmp_path))
    half = (RED + 0.9 * BLUE).astype(np.float32)
    told = [session.look(frame(0), RED), session.look(frame(1), half)]
    assert [(one["label"], one["trigger"], one["holding"]) for one in told] == [
        ("red", "kept", ["red"]),
        (None, "quiet", []),
    ]
    assert {entry["label"] for one in told for entry in one["labels"]} == {"red", "blue"}
    assert Session(wanted, None, None).look(frame(0), half)["label"] == "red"


def thresholds(red: float, blue: float, **trigger: object) -> LabelPack:
    given = pack(**trigger)
    return replace(given, labels=[replace(label, threshold=at) for label, at in zip(given.labels, (red, blue))])


def test_a_kept_label_begins_at_its_own_threshold_unless_the_rule_says_otherwise():
    halfway = (RED + BLUE) / np.sqrt(2)  # each label's probability is 0.5
    for rule, labels, outcome in (
        (own_rule(["red"], None, "probability", 0.0, None), thresholds(0.4, 0.0), "kept"),
        (own_rule(["red"], None, "probability", 0.0, None), thresholds(0.6, 0.0), "quiet"),
        (own_rule(["red"], 0.3, "probability", 0.0, None), thresholds(0.6, 0.0), "kept"),
        (own_rule(["red"], None, "cosine", 0.0, None), thresholds(0.9, 0.0), "kept"),
        (None, thresholds(0.6, 0.0, any=["red"], begin="own"), "quiet"),
        (None, thresholds(0.6, 0.4, any=["red", "blue"], begin="own"), "kept"),
        (None, thresholds(0.6, 0.0, any=["red"]), "kept"),
    ):
        assert Session(labels, rule, None).look(frame(0), halfway)["trigger"] == outcome


def test_a_label_without_a_threshold_begins_at_a_half():
    rule = own_rule(["red"], None, "probability", 0.0, None)
    seen = [Session(pack(), rule, None).look(frame(0), one)["trigger"] for one in (RED, BLUE)]
    assert seen == ["kept", "quiet"]


def test_a_stored_line_holds_the_scores_that_the_trigger_asked_for(tmp_path: Path):
    session = Session(pack(), own_rule(["blue"], -1.0, "cosine", 0.0, None), FrameStore(tmp_path), scores=1)
    record = session.look(frame(0), RED)
    assert [row["label"] for row in record["labels"]] == ["red"]
    stored = read_lines(tmp_path)[0]["labels"]
    assert [row["label"] for row in stored] == ["red", "blue"]
    assert stored[1]["cosine"] == pytest.approx(0.0, abs=1e-6)
