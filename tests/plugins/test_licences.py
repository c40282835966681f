"""Licences of weights: what a model card says, in a folder or in the hub's local cache."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub.constants
import pytest
from pydantic import ValidationError

from edgefw.contracts.licence import unlicensed
from edgefw.contracts.teacher import TeacherSpec
from edgefw.plugins.licences import cached_card_licence, card_licence
from edgefw.plugins.teachers.transformers import TransformersConfig

CARDS = {
    "---\nlanguage: en\nlicense: mit\n---\n# A model\nlicense: gpl\n": "mit",
    "---\r\nlicense: apache-2.0\r\n---\r\n": "apache-2.0",
    "---\nlicense: other\nlicense_name: acme-research\nlicense_link: LICENSE\n---\n": "acme-research",
    "---\nlicense: other\n---\n": "other",
    "---\nlicense: [mit, cc-by-4.0]\n---\n": "mit, cc-by-4.0",
    "---\nlibrary_name: open_clip\n---\n": "unknown",
    "---\nlicense: mit\n": "unknown",  # the block has no end
    "# A model\n\n---\nlicense: mit\n---\n": "unknown",  # no block at the top
    "---\nlicense: [mit\n---\n": "unknown",  # no YAML
    "---\n- license\n---\n": "unknown",
    "": "unknown",
}


@pytest.mark.parametrize("text", CARDS)
def test_the_block_at_the_top_of_a_model_card_is_read(text: str, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_bytes(text.encode())
    assert card_licence(tmp_path) == CARDS[text]


def test_a_folder_without_a_readable_card_is_unknown(tmp_path: Path) -> None:
    assert card_licence(tmp_path) == card_licence(tmp_path / "absent") == "unknown"
    (tmp_path / "README.md").write_bytes(b"---\nlicense: \xff\n---\n")
    assert card_licence(tmp_path) == "unknown"


def test_a_card_in_the_hubs_cache_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    snapshot = tmp_path / "models--acme--clip" / "snapshots" / "c0ffee"
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("c0ffee")
    assert cached_card_licence("acme/clip") == "unknown"
    (snapshot / "README.md").write_text("---\nlicense: mit\n---\n")
    assert cached_card_licence("acme/clip") == "mit"
    assert cached_card_licence("acme/other") == cached_card_licence("no name of a repository") == "unknown"


def test_an_empty_statement_is_refused_and_a_statement_is_in_the_schema() -> None:
    with pytest.raises(ValidationError, match="licence\n.*at least 1 character"):
        TransformersConfig(model="x", licence="  ")
    assert TransformersConfig(model="x", licence=" MIT ").licence == "MIT"
    assert "provenance" in TransformersConfig.model_json_schema()["properties"]["licence"]["description"]


def test_what_is_unknown_is_named_by_the_option_that_states_it() -> None:
    numbers = {"width": 1, "image_size": (1, 1), "logit_scale": 1.0, "fingerprint": ""}
    assert unlicensed(TeacherSpec(**numbers)) == ("licence",)
    assert unlicensed(TeacherSpec(**numbers, licence="MIT")) == ()
    assert unlicensed(TeacherSpec(**numbers, licence="unknown; MIT", unlicensed=("a.licence",))) == ("a.licence",)
