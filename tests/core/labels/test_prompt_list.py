"""Prompt lists: what a file may say, and one message for each thing that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edgefw.errors import BundleError
from edgefw.labels.prompt_file import LARGEST, load, read_prompts
from edgefw.labels.prompt_list import PromptLabel, PromptNegative, parse_prompts

TEXT = """
templates: ["a photo of {a} {}", "a dark photo of {a} {}"]
threshold: 0.3
labels:
  - car
  - name: construction  site
    synonyms: [road works]
    threshold: 0.6
    negatives: [parked truck, toy]
  - {name: dog, negatives: [Toy]}
negatives: [empty road]
"""


def test_a_list_says_what_its_file_says(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(TEXT)
    words = read_prompts(tmp_path / "p.yaml")
    assert [(one.name, tuple(one.synonyms), one.threshold) for one in words.labels] == [
        ("car", (), None),
        ("construction site", ("road works",), 0.6),
        ("dog", (), None),
    ]
    assert list(words.negatives) == [
        PromptNegative(text="empty road"),
        PromptNegative(text="parked truck", of=("construction site",)),
        PromptNegative(text="toy", of=("construction site", "dog")),
    ]
    assert (words.templates, words.threshold) == (("a photo of {a} {}", "a dark photo of {a} {}"), 0.3)


def test_the_example_of_the_documents_is_one() -> None:
    page = (Path(__file__).parents[3] / "docs" / "label-packs.md").read_text(encoding="utf-8")
    words = parse_prompts(load(page.split("```yml\n")[1].split("```")[0], "page"), "page")
    assert [label.texts for label in words.labels][1] == ("construction site", "road works", "excavator on a road")
    assert [tuple(one.of) for one in words.negatives] == [(), ("construction site",)]


def test_a_text_file_gives_names(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("# colours\nred\n\n dark  blue\n")
    words = read_prompts(tmp_path / "names.txt")
    assert list(words.labels) == [PromptLabel(name="red"), PromptLabel(name="dark blue")]
    assert (words.negatives, words.templates, words.threshold) == ((), (), None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "must be a mapping with the key labels, got nothing."),
        ("- a", "must be a mapping with the key labels, got a list."),
        ("label: [a]", "label: unknown key. It may be one of labels, negatives, templates, threshold."),
        ("threshold: 0.5", "no labels. Write them below `labels:`, one `- name` a line."),
        ("labels: []", "labels: must be a list with at least one entry, got an empty list."),
        ("labels: a", "labels: must be a list with at least one entry, got 'a'."),
        ("labels: [7]", "labels[0]: must be a name, or a mapping with one, got 7. Put a name in quotes."),
        ("labels: [no]", "labels[0]: must be a name, or a mapping with one, got false. Put a name in quotes."),
        ("labels: [' ']", "labels[0]: an empty text. Write one, or leave the entry out."),
        ("labels: [a, A ]", "labels[1]: 'A' stands at labels[0] already. Leave one out."),
        ("labels: [{synonyms: [b]}]", "labels[0]: a label without a name. Write `name: ...`."),
        ("labels: [{name: 1.5}]", "labels[0].name: must be text, got 1.5. Put it in quotes."),
        (
            "labels: [{name: a, synonym: b}]",
            "labels[0].synonym: unknown key. It may be one of name, synonyms, threshold, negatives.",
        ),
        ("labels: [{name: a, synonyms: [b, '']}]", "labels[0].synonyms[1]: an empty text."),
        ("labels: [{name: a, synonyms: b}]", "labels[0].synonyms: must be a list with at least one entry, got 'b'."),
        ("labels: [{name: a, synonyms: [A]}]", "labels[0].synonyms[0]: 'A' stands at labels[0] already."),
        ("labels: [a, {name: b, synonyms: [a]}]", "labels[1].synonyms[0]: 'a' stands at labels[0] already."),
        ("labels: [{name: a, threshold: 1.5}]", "labels[0].threshold: must be a number from 0 to 1, got 1.5."),
        ("labels: [{name: a, threshold: '0.5'}]", "labels[0].threshold: must be a number from 0 to 1, got '0.5'."),
        ("labels: [{name: a, threshold: yes}]", "labels[0].threshold: must be a number from 0 to 1, got true."),
        ("labels: [{name: a, threshold: }]", "labels[0].threshold: must be a number from 0 to 1, got nothing."),
        ("labels: [a]\nthreshold: .nan", "threshold: must be a number from 0 to 1, got nan."),
        ("labels: [a]\nthreshold: -1", "threshold: must be a number from 0 to 1, got -1."),
        ("labels: [a]\nnegatives: [A]", "negatives[0]: 'A' stands at labels[0] already."),
        ("labels: [{name: a, synonyms: [b]}]\nnegatives: [b]", "negatives[0]: 'b' stands at labels[0].synonyms[0]"),
        ("labels: [{name: a, negatives: [c, c]}]", "labels[0].negatives[1]: 'c' stands at labels[0].negatives[0]"),
        ("labels: [{name: a, negatives: [c]}]\nnegatives: [c]", "labels[0].negatives[0]: 'c' stands at negatives[0]"),
        ("labels: [a, {name: b, negatives: [a]}]", "labels[1].negatives[0]: 'a' stands at labels[0] already."),
        ("labels: [a]\nnegatives:", "negatives: must be a list with at least one entry, got nothing."),
        ("labels: [a]\ntemplates: a photo", "templates: 'a photo' has no {}, where the label goes."),
        ("labels: [a]\ntemplates: ['{}', '{}']", "templates: '{}' stands there twice."),
        ("labels: [a]\ntemplates: []", "templates: must be a list with at least one entry, got an empty list."),
        ('labels: ["a\\e"]', "labels[0]: 'a\\x1b' holds a control character."),
        ("labels: [a]\nlabels: [b]", "line 2, column 1: no YAML (the key 'labels' stands twice)."),
        ("labels: [a", "line 1, column 11: no YAML ("),
        ("labels: !!timestamp x", "no YAML ("),
        ("labels: " + "[" * 3000, "no YAML that can be read (nested too deeply)."),
    ],
)
def test_each_fault_has_one_message(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(BundleError) as caught:
        read_prompts(tmp_path / "p.yaml")
    assert str(caught.value).startswith(f"{tmp_path / 'p.yaml'}: {said}")
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"absent\.yaml: cannot be read"):
        read_prompts(tmp_path / "absent.yaml")
    (tmp_path / "bytes.yml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BundleError, match=r"bytes\.yml: no UTF-8 text"):
        read_prompts(tmp_path / "bytes.yml")
    (tmp_path / "long.yaml").write_bytes(b"#" * (LARGEST + 1))
    with pytest.raises(BundleError, match="too large for a prompt list"):
        read_prompts(tmp_path / "long.yaml")


WORDS = st.text(max_size=3) | st.sampled_from(["a", "A", " b ", "toy", "no", "\x1b"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | WORDS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "synonyms", "threshold", "negatives"]) | WORDS, inner, max_size=3)
    ),
    max_leaves=10,
)
LISTS = st.fixed_dictionaries(
    {"labels": st.lists(WORDS | st.fixed_dictionaries({"name": WORDS}, optional={
        "synonyms": st.lists(WORDS, max_size=3), "threshold": st.floats(-0.5, 1.5), "negatives": st.lists(WORDS, max_size=3),
    }), max_size=3) | VALUES},
    optional={"negatives": st.lists(WORDS, max_size=3) | VALUES, "threshold": VALUES, "templates": VALUES},
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(VALUES | LISTS)
@example({"labels": ["a"], "threshold": 10**5000})
@example({"\n": None})
def test_any_values_give_a_sound_list_or_one_message(values: object) -> None:
    try:
        words = parse_prompts(values, "p.yaml")
    except BundleError as error:
        assert str(error).startswith("p.yaml: ")
        assert "\n" not in str(error) and len(str(error)) < 400
        return
    texts = [text.casefold() for label in words.labels for text in label.texts]
    assert len(set(texts)) == len(texts) > 0
    assert not set(texts) & {one.text.casefold() for one in words.negatives}
    assert {name for one in words.negatives for name in one.of} <= {label.name for label in words.labels}
    assert all(text == " ".join(text.split()) for text in texts) and all(texts)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40) | st.text(alphabet="labels:[]{}-&*! ab\n'\"#%|>", max_size=60))
def test_any_text_is_yaml_or_one_message(text: str) -> None:
    try:
        load(text, "p.yaml")
    except BundleError as error:
        assert str(error).startswith("p.yaml: ") and "\n" not in str(error)


def test_what_is_written_as_yaml_is_read_again(tmp_path: Path) -> None:
    values = {"labels": [{"name": "naïve café", "synonyms": ["日本"], "threshold": 1}], "negatives": ["yes"]}
    (tmp_path / "p.yaml").write_text(yaml.safe_dump(values, allow_unicode=True), encoding="utf-8")
    words = read_prompts(tmp_path / "p.yaml")
    assert words == parse_prompts(values, "p.yaml")
    assert words.labels[0].texts == ("naïve café", "日本")
