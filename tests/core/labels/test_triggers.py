"""A trigger from a YAML file, into a pack and back."""

from __future__ import annotations

import numpy as np
import pytest

from edgefw.errors import BundleError
from edgefw.labels.triggers import with_trigger
from edgefw.runtime.label_pack import Label, LabelPack, read_pack, write_pack


@pytest.fixture
def pack() -> LabelPack:
    labels = [Label(name=name, vectors=row[None]) for name, row in zip(("rain", "night"), np.eye(2, dtype=np.float32))]
    return LabelPack(labels=labels, logit_scale=10.0, encoder="a" * 64)


def test_it_survives_the_file(pack, tmp_path):
    (tmp_path / "t.yaml").write_text("any: [rain]\nbegin: 0.6\nend: 0.4\nquota: 20\nbudget_mb: 500\n")
    made = with_trigger(pack, tmp_path / "t.yaml")
    write_pack(made, tmp_path / "pack.json")
    again = read_pack(tmp_path / "pack.json")
    assert again.trigger == made.trigger
    assert (again.trigger.begin, again.trigger.end, again.trigger.quota, again.trigger.budget_mb) == (
        0.6,
        0.4,
        20,
        500.0,
    )


def test_a_pack_without_one_stays_in_the_older_format(pack, tmp_path):
    assert pack.to_json()["format"] == 1
    assert "trigger" not in pack.to_json()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("any: [snow]", "the trigger names 'snow', which is no label of the pack. It has: rain, night"),
        ("any: [rain]\nwhen: always", "when: unknown key. It may be one of any, all"),
        ("- rain", "a trigger is a mapping such as"),
        ("", "a trigger is a mapping such as 'any: .rain.', got nothing"),
        ("any: [", "line 1, column 7: no YAML"),
        ("any: [rain]\nbegin: 0.6\nbegin: 0.9", "line 3, column 1: no YAML .the key 'begin' stands twice"),
        ("any: [rain]\nbegin: 2020-13-45", "no YAML .month must be in 1..12"),
        ("[" * 3000, "nested too deeply"),
    ],
)
def test_a_file_that_is_no_trigger_is_refused(pack, tmp_path, text, said):
    (tmp_path / "t.yaml").write_text(text)
    with pytest.raises(BundleError, match=said):
        with_trigger(pack, tmp_path / "t.yaml")


def test_a_file_that_is_no_text_or_too_large_is_refused(pack, tmp_path):
    (tmp_path / "t.yaml").write_bytes(b"\x89PNG")
    with pytest.raises(BundleError, match="no UTF-8 text"):
        with_trigger(pack, tmp_path / "t.yaml")
    (tmp_path / "t.yaml").write_bytes(b"#" * (2**20 + 1))
    with pytest.raises(BundleError, match="1048577 bytes is too large for a trigger"):
        with_trigger(pack, tmp_path / "t.yaml")


def test_a_trigger_that_was_changed_by_hand_is_found_out(pack, tmp_path):
    (tmp_path / "t.yaml").write_text("any: [rain]")
    path = tmp_path / "pack.json"
    write_pack(with_trigger(pack, tmp_path / "t.yaml"), path)
    path.write_text(path.read_text().replace('"rain"\n', '"night"\n'))
    with pytest.raises(BundleError, match="the label pack is damaged"):
        read_pack(path)


def test_one_that_would_keep_every_frame_is_refused(pack, tmp_path):
    (tmp_path / "t.yaml").write_text("any: [rain]")
    alone = LabelPack(labels=pack.labels[:1], logit_scale=10.0, encoder="a" * 64)
    with pytest.raises(BundleError, match="t.yaml: 'rain' is all that the label pack holds, so its probability is 1"):
        with_trigger(alone, tmp_path / "t.yaml")
