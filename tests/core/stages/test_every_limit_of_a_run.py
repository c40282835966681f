"""`verify RUN` with every limit set: each is judged for each artefact, or named as not judged."""

from edgefw.evaluation.budget import ALWAYS
from edgefw.recipe.schema import Verify
from edgefw.verifying.elsewhere import verify_elsewhere

FIELDS = tuple(name for name in Verify.model_fields if name not in ("split", "samples"))
NOT_OF_ALL = {
    "onnxruntime-fp32": {"max_slowdown", "max_ms", "max_mb", "max_memory_mib", "max_length_error"},
    "onnxruntime-int8-static": {"max_error"},
}
"""A float file is what the other was made from, and its cost is measured alone; an int8 file is no translation,
so its length is judged and not its error."""


def test_every_limit_that_applies_is_judged(run, tmp_path):
    loose = [f"verify.{name}={0.0 if name.startswith('min_') else 1e6}" for name in FIELDS]
    found = verify_elsewhere(run, loose, tmp_path / "all")
    for name, absent in NOT_OF_ALL.items():
        judged = {row["check"] for row in found["budget"] if row["artefact"] == name}
        assert judged == {*FIELDS, *ALWAYS} - absent
    assert not [text for text in found["warnings"] if "not judged" in text]


def test_of_one_sample_no_batch_can_be_made_and_verify_says_so(run, tmp_path):
    found = verify_elsewhere(run, ["verify.samples=1"], tmp_path / "one")
    assert "verify.max_batch_error is not judged: no two held-out samples to make a batch of" in found["warnings"]
    assert all(row["check"] != "max_batch_error" for row in found["budget"])
