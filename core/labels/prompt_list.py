"""A prompt list: the labels of a pack in words, with synonyms, thresholds, and negatives that compete with them.

    templates: ["a photo of {a} {}", "a dark photo of {a} {}"]
    threshold: 0.3
    labels:
      - car
      - name: construction site
        synonyms: [road works, excavator on a road]
        threshold: 0.6
        negatives: [parked truck]
    negatives: [empty road]

A text stands in it once, capitals and blanks aside; only the same negative may stand under several labels. It knows
words; how they become vectors, `edgefw.labels.texts` knows, and how a file is read, `edgefw.labels.prompt_file`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from edgefw.errors import BundleError


@dataclass(frozen=True, kw_only=True)
class PromptLabel:
    """A label in words.

    Attributes:
        name: what is said of an image.
        synonyms: other words for it; each gives a vector, and the nearest one counts.
        threshold: smallest probability at which it is said, 0..1; None: that of the list.
    """

    name: str
    synonyms: Sequence[str] = ()
    threshold: float | None = None

    @property
    def texts(self) -> tuple[str, ...]:
        """The name, then the synonyms."""
        return (self.name, *self.synonyms)


@dataclass(frozen=True, kw_only=True)
class PromptNegative:
    """Words that compete and are never said: with the labels `of`, or with all where there are none."""

    text: str
    of: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class PromptList:
    """Everything a label pack says in words.

    Attributes:
        labels: in the order of the pack.
        negatives: those of all labels first.
        templates: prompts with `{}`; empty: the bundle's own.
        threshold: of labels without one of their own; None: not said.
    """

    labels: Sequence[PromptLabel]
    negatives: Sequence[PromptNegative] = ()
    templates: Sequence[str] = ()
    threshold: float | None = None


def parse_prompts(values: object, where: str) -> PromptList:
    """The prompt list of plain YAML values.

    Args:
        values: what the file holds.
        where: file name, for messages.

    Raises:
        BundleError: naming the first thing that is wrong, and its place.
    """
    try:
        return _parsed(values)
    except _Fault as fault:
        raise BundleError(f"{where}: {fault}") from None


class _Fault(Exception):
    """What is wrong, without the file's name."""


def _parsed(values: object) -> PromptList:
    top = _mapping(values, "", ("labels", "negatives", "templates", "threshold"))
    if "labels" not in top:
        raise _Fault("no labels. Write them below `labels:`, one `- name` a line.")
    rows = [_row(entry, f"labels[{at}]") for at, entry in enumerate(_listed(top["labels"], "labels"))]
    common = _texts(top, "negatives", "")
    places = _check_words(rows)
    _check_negatives(rows, common, places)
    return PromptList(
        labels=[PromptLabel(name=row.name, synonyms=row.synonyms, threshold=row.threshold) for row in rows],
        negatives=[*(PromptNegative(text=text) for text in common), *_own_negatives(rows)],
        templates=_templates(top),
        threshold=_threshold(top, ""),
    )


@dataclass(frozen=True, kw_only=True)
class _Row(PromptLabel):
    """A label with the negatives that stand below it."""

    negatives: Sequence[str] = ()


def _row(entry: object, place: str) -> _Row:
    if isinstance(entry, str):
        return _Row(name=_text(entry, place))
    if not isinstance(entry, Mapping):
        raise _Fault(f"{place}: must be a name, or a mapping with one, got {_shown(entry)}. Put a name in quotes.")
    values = _mapping(entry, place, ("name", "synonyms", "threshold", "negatives"))
    if "name" not in values:
        raise _Fault(f"{place}: a label without a name. Write `name: ...`.")
    return _Row(
        name=_text(values["name"], f"{place}.name"),
        synonyms=_texts(values, "synonyms", place),
        threshold=_threshold(values, place),
        negatives=_texts(values, "negatives", place),
    )


def _check_words(rows: Sequence[_Row]) -> dict[str, str]:
    """Refuse a name or synonym that stands twice; where each stands."""
    places: dict[str, str] = {}
    for at, row in enumerate(rows):
        for number, text in enumerate(row.texts):
            place = f"labels[{at}].synonyms[{number - 1}]" if number else f"labels[{at}]"
            _once(text, place, places)
    return places


def _check_negatives(rows: Sequence[_Row], common: Sequence[str], places: Mapping[str, str]) -> None:
    """Refuse a negative that is a label's word, or stands twice for one label."""
    everywhere = dict(places)
    for number, text in enumerate(common):
        _once(text, f"negatives[{number}]", everywhere)
    for at, row in enumerate(rows):
        seen = dict(everywhere)
        for number, text in enumerate(row.negatives):
            _once(text, f"labels[{at}].negatives[{number}]", seen)


def _once(text: str, place: str, places: dict[str, str]) -> None:
    key = text.casefold()
    if key in places:
        raise _Fault(f"{place}: '{text}' stands at {places[key]} already. Leave one out.")
    places[key] = place


def _own_negatives(rows: Sequence[_Row]) -> Iterator[PromptNegative]:
    """Each text once, with all labels that it stands under."""
    found: dict[str, tuple[str, list[str]]] = {}
    for row in rows:
        for text in row.negatives:
            found.setdefault(text.casefold(), (text, []))[1].append(row.name)
    for text, names in found.values():
        yield PromptNegative(text=text, of=tuple(names))


def _templates(top: Mapping[str, object]) -> tuple[str, ...]:
    if "templates" not in top:
        return ()
    value = top["templates"]
    found = (_text(value, "templates"),) if isinstance(value, str) else _texts(top, "templates", "")
    for template in found:
        if "{}" not in template:
            raise _Fault(f"templates: '{template}' has no {{}}, where the label goes. Write 'a photo of a {{}}'.")
    repeated = [text for at, text in enumerate(found) if text in found[:at]]
    if repeated:
        raise _Fault(f"templates: '{repeated[0]}' stands there twice. Leave one out.")
    return found


def _threshold(values: Mapping[str, object], place: str) -> float | None:
    if "threshold" not in values:
        return None
    value = values["threshold"]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise _Fault(f"{_below(place, 'threshold')}: must be a number from 0 to 1, got {_shown(value)}.")
    return float(value)


def _texts(values: Mapping[str, object], key: str, place: str) -> tuple[str, ...]:
    if key not in values:
        return ()
    where = _below(place, key)
    return tuple(_text(entry, f"{where}[{at}]") for at, entry in enumerate(_listed(values[key], where)))


def _listed(value: object, place: str) -> Sequence[object]:
    if not isinstance(value, list) or not value:
        got = "an empty list" if value == [] else _shown(value)
        raise _Fault(f"{place}: must be a list with at least one entry, got {got}.")
    return value


def _text(value: object, place: str) -> str:
    if not isinstance(value, str):
        raise _Fault(f"{place}: must be text, got {_shown(value)}. Put it in quotes.")
    text = " ".join(value.split())
    if not text:
        raise _Fault(f"{place}: an empty text. Write one, or leave the entry out.")
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in text):
        raise _Fault(f"{place}: {_shown(value)} holds a control character.")
    return text


def _mapping(value: object, place: str, known: Sequence[str]) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise _Fault(f"must be a mapping with the key labels, got {_shown(value)}.")
    for key in value:
        if key not in known:
            name = key if isinstance(key, str) and key.isprintable() else _shown(key)
            raise _Fault(f"{_below(place, name)}: unknown key. It may be one of {', '.join(known)}.")
    return value


def _below(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key


def _shown(value: object) -> str:
    """A value in a message: short, and on one line."""
    if isinstance(value, (list, tuple, set)):
        return "a list"
    if isinstance(value, Mapping):
        return "a mapping"
    if value is None or isinstance(value, bool):
        return {None: "nothing", True: "true", False: "false"}[value]
    try:
        text = ascii(value)
    except ValueError:  # an integer of thousands of digits
        return "a huge number"
    return text if len(text) <= 60 else f"{text[:57]}..."
