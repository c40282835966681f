"""A line of `edgefw verify` from a record by hand."""

import pytest

from edgefw.cli.artefact_numbers import distance, numbers_of

COSTS = {"latency_ms_p50": 1.234, "bytes": 2_500_000, "slowdown": None, "int8_share": None, "precision": "fp32"}
FAR = {"cosine_mean": 0.99, "cosine_p1": 0.75, "cosine_min": 0.5, "relative_error_mean": 0.0421}
SAID = "cosine 0.9900 (p1 0.7500, min 0.5000), relative error 0.042"
NOTHING = dict.fromkeys(FAR)


def test_what_is_not_known_is_left_out():
    assert numbers_of({"name": "a", **FAR, **COSTS}) == f"{SAID}, 1.23 ms, 2.50 MB"
    more = {
        "top1_agreement": 0.975,
        "slowdown": 0.5,
        "memory_mib": 30.04,
        "int8_share": 0.98,
        "precision": "int8-static",
    }
    said = numbers_of({"name": "a", **FAR, **COSTS, **more})
    assert said.startswith(f"{SAID}, agreement 97.5 %, 1.23 ms, x 0.50 of float, 2.50 MB, memory 30.0 MiB, ")


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({**NOTHING, "reference": "a"}, "no reference"),
        ({**NOTHING, "reference": "b"}, "no sample to compare it on"),
        (NOTHING, "no sample to compare it on"),
        ({**FAR, "reference": "b"}, SAID),
        (
            {**FAR, "batch_1": {"cosine_mean": 0.98, "cosine_min": 0.4}},
            f"{SAID}, alone 0.9800 (min 0.4000)",
        ),
    ],
)
def test_what_has_nothing_to_be_compared_with_has_no_cosine(facts, said):
    assert distance({"name": "a", **facts}) == said
