"""From a frame and its embedding to a record: what is seen, whether the trigger keeps it, where it was stored.

It knows packs, rules and the store; where frames come from and how they are encoded, it does not.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
from PIL import Image

from edgefw.camera.frames import Frame
from edgefw.camera.store import FrameStore
from edgefw.camera.trigger import Decision, Trigger
from edgefw.errors import BundleError
from edgefw.runtime.label_pack import LabelPack
from edgefw.runtime.pack_scores import Scores
from edgefw.runtime.trigger_rule import DEFAULT_BEGIN, Rule, parse_rule

JPEG_QUALITY = 90
MOST_SCORES = 5
"""So many labels stand in a record unless something else is asked for, the best first."""

NO_TRIGGER = "nothing says which frames to keep: give --keep LABEL, or a label pack with a trigger (edgefw labels build --trigger)."


class Session:
    """Looks at frames one after the other.

    Args:
        pack: labels that fit the encoder.
        rule: the trigger; None takes the pack's own, and without that keeps nothing.
        store: where kept frames go, or None.
        about: what every stored line says of bundle and artefact.
        scores: labels in a record, the best first.

    Attributes:
        outcomes: how many frames were quiet, kept, in a cool-down, over their quota, over the budget, or met a disk
            that is full or cannot be written.

    Raises:
        BundleError: if the rule does not fit the pack, or there is a store and no rule.
    """

    def __init__(
        self,
        pack: LabelPack,
        rule: Rule | None,
        store: FrameStore | None,
        about: Mapping[str, Any] | None = None,
        scores: int = MOST_SCORES,
    ) -> None:
        self._given, self._store, self._about, self._scores = rule, store, dict(about or {}), scores
        self.outcomes: Counter[str] = Counter()
        self.labels: Counter[str] = Counter()
        self.use(pack)

    def use(self, pack: LabelPack) -> None:
        """Go on with another pack: its trigger begins without a memory, save for what the store says of quotas.

        Raises:
            BundleError: if the rule names a label that the pack has not, or there is none and one is needed; the former
                pack stays in use.
        """
        rule = self._given or pack.trigger
        if rule is None and self._store is not None:
            raise BundleError(NO_TRIGGER)
        trigger = None if rule is None else Trigger(rule, pack.names, thresholds_of(pack))
        if self._store is not None and rule is not None:
            self._store.limit(rule.budget_mb)
        self._pack, self._trigger, self._hash, self._counted = pack, trigger, pack.sha256, False

    def look(self, frame: Frame, embedding: np.ndarray) -> dict[str, Any]:
        """What is said about a frame, as a JSON object."""
        scores = self._pack.scores(embedding[None])
        record = {**_place(frame), **self._said(scores)}
        if self._trigger is not None:
            self._count_stored(self._trigger, frame)
            asked = scores.cosines[0] if self._trigger.rule.score == "cosine" else scores.probabilities[0]
            decision = self._trigger.look(frame.seconds, np.where(scores.beaten[0], np.nan, asked))
            record |= self._kept(frame, decision, {**record, "labels": self._with_asked(scores, record["labels"])})
        return record

    def _count_stored(self, trigger: Trigger, frame: Frame) -> None:
        """Quotas are of the store: what former runs, and former packs, stored counts too."""
        if self._counted or self._store is None or trigger.rule.quota is None:
            return
        self._counted = True
        began = frame.time - timedelta(seconds=frame.seconds)
        for moment, holding in self._store.kept(frame.time - timedelta(hours=trigger.rule.quota_hours)):
            trigger.count((moment - began).total_seconds(), holding)

    def _said(self, given: Scores) -> dict[str, Any]:
        probabilities = given.probabilities[0]
        order = np.argsort(-np.nan_to_num(probabilities, nan=-1.0), kind="stable")[: self._scores]
        names, said = self._pack.names, self._pack.said(probabilities, given.beaten[0])
        self.labels[said or "unknown"] += 1
        scores = [_row(names, given, int(at)) for at in order]
        return {"label": said, "score": scores[0]["score"], "labels": scores}

    def _with_asked(self, given: Scores, told: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """The best labels, and behind them those that the trigger asks for: why a frame was kept stands in its line."""
        names, there = self._pack.names, {row["label"] for row in told}
        asked = self._trigger.rule.named if self._trigger is not None else ()
        return [*told, *(_row(names, given, names.index(name)) for name in asked if name not in there)]

    def _kept(self, frame: Frame, decision: Decision, record: Mapping[str, Any]) -> dict[str, Any]:
        outcome: str = decision.outcome
        if decision.kept and self._store is not None:
            told = self._store.add(*_picture(frame), frame.time, self._line(decision, record))
            outcome = "kept" if told == "stored" else told
        if outcome == "kept" and self._trigger is not None:
            self._trigger.keep(frame.seconds, decision.holding)
        self.outcomes[outcome] += 1
        return {"trigger": outcome, "holding": list(decision.holding)}

    def _line(self, decision: Decision, record: Mapping[str, Any]) -> dict[str, Any]:
        told = {key: record[key] for key in ("source", "frame", "seconds", "label", "score", "labels")}
        return {**told, "holding": list(decision.holding), "pack": self._hash, **self._about}


def thresholds_of(pack: LabelPack) -> dict[str, float]:
    """Each label's own threshold, 0 where it has none."""
    return {label.name: label.threshold for label in pack.labels}


def _row(names: Sequence[str], given: Scores, at: int) -> dict[str, Any]:
    probability, cosine = given.probabilities[0][at], given.cosines[0][at]
    return {"label": names[at], "score": _number(probability), "cosine": _number(cosine)}


def _place(frame: Frame) -> dict[str, Any]:
    return {
        "source": frame.where,
        "frame": frame.number,
        "seconds": round(frame.seconds, 3),
        "time": frame.time.isoformat(),
    }


def _number(value: float) -> float | None:
    """JSON has no word for what is no number."""
    return float(value) if np.isfinite(value) else None


def _picture(frame: Frame) -> tuple[bytes, str]:
    """The file that the frame came from, or a JPEG of it; and the ending of its name."""
    if frame.data is not None:
        return frame.data, frame.ending
    buffer = io.BytesIO()
    Image.fromarray(frame.values).save(buffer, format="JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue(), "jpg"


def own_rule(
    keep: list[str], threshold: float | None, score: str, cool_down: float, budget_mb: float | None
) -> Rule | None:
    """The rule of a command line: any of some labels, from one threshold on or each from its own; None when it names none.

    Without a threshold a label begins at its own where probabilities are asked for, and at 0.5 of cosines.

    Raises:
        BundleError: if it makes no sense.
    """
    if not keep:
        return None
    begin = ("own" if score == "probability" else DEFAULT_BEGIN) if threshold is None else threshold
    values = {"any": tuple(keep), "begin": begin, "score": score, "cool_down": cool_down, "budget_mb": budget_mb}
    return parse_rule(values, "--keep")
