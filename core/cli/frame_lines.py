"""What is printed of each frame: a line of JSON, or what is seen whenever that changes. It knows records, and no camera."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from edgefw.cli.output import drop_output, tell
from edgefw.cli.whole_lines import WholeLines
from edgefw.errors import DataError


class FrameLines:
    """Prints records on standard output.

    Args:
        as_lines: every record as a line of JSON.
        top: labels that stand in a line.
        stored: whether frames are stored too; then they go on being stored when nothing more can be printed.
    """

    def __init__(self, as_lines: bool, top: int, stored: bool) -> None:
        self._as_lines, self._top, self._stored = as_lines, top, stored
        self._before, self._owed = ("", ""), False
        self._out, self._failures = WholeLines(), 0

    @property
    def lost(self) -> int:
        """Records that could not be printed, also not later."""
        return self._failures - self._out.finished

    def print(self, records: Iterator[dict[str, Any]]) -> int:
        """Print all of them, or until the reader has gone away; how many there were.

        Raises:
            DataError: if a line cannot be written, and frames are not stored.
        """
        count = 0
        try:
            for record in records:
                count += 1
                self._say(record)
            self._out.finish()
        except BrokenPipeError:
            # Ctrl-C reaches every program of a pipe, and the reader may be gone first: the totals are told all the same.
            drop_output()
        finally:
            records.close()  # type: ignore[attr-defined]
        if self._failures:
            drop_output()
        return count

    def _say(self, record: Mapping[str, Any]) -> None:
        now = (record["label"] or "unknown", record.get("trigger", ""))
        changed, self._before = self._as_lines or now != self._before, now
        try:
            if self._as_lines:
                self._out.write(json.dumps(record))  # ASCII: a file name may be no text
            elif changed or self._owed:
                self._out.write(_line(record, self._top))
            self._owed = False
        except BrokenPipeError:
            raise
        except OSError as error:
            self._owed = not self._out.begun  # what is seen now is said as soon as there is room
            self._failed(error, counts=changed)

    def _failed(self, error: OSError, counts: bool) -> None:
        why = f"what is seen cannot be printed ({error.strerror or error})"
        if not self._stored:
            drop_output()
            raise DataError(f"{why}. Send the output elsewhere, or keep frames with --store.") from error
        if not self._failures:
            tell(f"warning: {why}; frames are stored as before.")
        self._failures += counts


def _line(record: Mapping[str, Any], top: int) -> str:
    """Seconds, source, what is seen, the next labels where more were asked for, and what the trigger did."""
    said = record["label"] or "unknown"
    ranking = [said if number == 0 else entry["label"] for number, entry in enumerate(record["labels"][:top])]
    scores = [entry["score"] for entry in record["labels"][:top]]
    told = "".join(f"\t{name}" + ("" if score is None else f"\t{score:.3f}") for name, score in zip(ranking, scores))
    source = record["source"].encode("utf-8", "backslashreplace").decode()
    return f"{record['seconds']:.2f} s\t{source}{told}\t{record.get('trigger', '')}".rstrip()
