"""What `bundle show` and `bundle diff` say: numbers of an artefact in words; a row for each difference of two manifests, whatever holds it."""

import pytest

from edgefw.runtime.bundle import open_bundle
from edgefw.runtime.bundle_text import describe, differences

STEPS = [
    {"name": "resize", "size": 20, "filter": "bilinear"},
    {"name": "resize", "size": 16, "filter": "bilinear"},
    {"name": "scale", "divisor": 255.0},
    {"name": "fill", "value": 0.0},
    {"name": "normalise", "mean": [0.5] * 3, "std": [0.5] * 3},
]
PLACE = "manifest.modalities.rgb.preprocessing.steps"
SUM = "sha256.manifest.json"


@pytest.fixture(scope="module")
def between(tmp_path_factory, small_bundle):
    """Rows of two bundles whose contract for photographs is `STEPS`, the second one's manifest changed."""
    place = tmp_path_factory.mktemp("diff")
    first, second = (small_bundle.write_small_bundle(place / name) for name in ("first", "second"))
    small_bundle.change_manifest(first, lambda manifest: set_steps(manifest, STEPS))

    def rows(change):
        small_bundle.change_manifest(second, lambda manifest: manifest.update(original(first)))
        small_bundle.change_manifest(second, change)
        with open_bundle(first) as one, open_bundle(second) as other:
            found = {row["key"]: (row["first"], row["second"]) for row in differences(one, other)}
        assert SUM in found
        return {key: value for key, value in found.items() if key != SUM}

    return rows


def original(folder):
    with open_bundle(folder) as opened:
        return opened.manifest.to_json()


def set_steps(manifest, steps):
    manifest["modalities"]["rgb"]["preprocessing"]["steps"] = steps


def test_the_first_of_two_steps_of_one_name(between):
    steps = [{**STEPS[0], "size": 32}, *STEPS[1:]]
    assert between(lambda manifest: set_steps(manifest, steps)) == {f"{PLACE}[resize].size": (20, 32)}


def test_the_second_of_two_steps_of_one_name(between):
    steps = [STEPS[0], {**STEPS[1], "filter": "nearest"}, *STEPS[2:]]
    assert between(lambda manifest: set_steps(manifest, steps)) == {
        f"{PLACE}[resize 2].filter": ("bilinear", "nearest")
    }


def test_steps_in_another_order(between):
    steps = [*STEPS[:2], STEPS[3], STEPS[2], STEPS[4]]
    names = ["resize", "resize 2", "scale", "fill", "normalise"]
    other = ["resize", "resize 2", "fill", "scale", "normalise"]
    assert between(lambda manifest: set_steps(manifest, steps)) == {f"{PLACE} (order)": (names, other)}


def test_sensors_in_another_order(between):
    def turn(manifest):
        manifest["modalities"] = dict(reversed(manifest["modalities"].items()))

    assert between(turn) == {"manifest.modalities (order)": (["rgb", "depth"], ["depth", "rgb"])}


def test_a_step_that_only_one_has_gives_its_values_and_no_order(between):
    rows = between(lambda manifest: set_steps(manifest, [STEPS[0], *STEPS[2:]]))
    assert rows == {
        f"{PLACE}[resize 2].name": ("resize", None),
        f"{PLACE}[resize 2].size": (16, None),
        f"{PLACE}[resize 2].filter": ("bilinear", None),
    }


@pytest.mark.parametrize(
    ("quality", "line"),
    [
        ({"cosine_mean": 0.99914, "batch_1": {"cosine_mean": 0.9987}}, "cosine 0.9991 in batches, 0.9987 one by one"),
        ({"cosine_mean": 0.99914, "batch_1": None}, "cosine 0.9991 in batches"),
        ({}, None),
    ],
)
def test_an_artefact_says_its_cosines_at_both_batch_sizes(tmp_path, small_bundle, quality, line):
    folder = small_bundle.write_small_bundle(tmp_path / "bundle")
    small_bundle.change_manifest(folder, lambda manifest: manifest["artefacts"][0].update(quality=quality))
    with open_bundle(folder) as opened:
        said = [text.strip() for text in describe(opened) if text.strip().startswith("cosine")]
    assert said == ([line] if line else [])


def test_no_text_of_a_bundle_reaches_the_terminal_as_a_command(tmp_path, small_bundle):
    folder, licence = small_bundle.write_small_bundle(tmp_path / "bundle"), {"student": "\x1b[31mfree\x9b2J\n é"}
    small_bundle.change_manifest(folder, lambda manifest: manifest["provenance"].update(licences=licence))
    with open_bundle(folder) as opened:
        assert describe(opened)[-1] == "  student    \\x1b[31mfree\\x9b2J\\x0a é"
