"""Assemble CHANGELOG.md from the fragments in changes/.

A change brings `changes/<topic>.<added|changed|fixed|removed>.md`, one sentence for users, so that two branches never
touch one line. This script writes the fragments under "Unreleased"; with `--release 0.2.0` under that version, with
today's date, and removes them.

    python scripts/changelog.py [--release VERSION] [--check]

`--check` writes nothing and exits 1 when a fragment is malformed.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KINDS = ("added", "changed", "fixed", "removed")
HEAD = """\
# Changelog

What changed for users, newest first. Written by `make changelog` from the fragments in `changes/`.
"""
UNRELEASED = "## Unreleased"


def fragments(folder: Path) -> dict[str, list[str]]:
    """Kind -> sentences in the order of their topics.

    Raises:
        ValueError: naming every fragment that is malformed.
    """
    found: dict[str, list[str]] = {kind: [] for kind in KINDS}
    wrong = []
    for path in sorted(folder.glob("*")):
        reason = fault(path)
        if reason:
            wrong.append(f"{path.name}: {reason}")
        else:
            found[path.name.split(".")[-2]].append(" ".join(path.read_text(encoding="utf-8").split()))
    if wrong:
        raise ValueError("\n".join(wrong))
    return found


def fault(path: Path) -> str:
    """What is wrong with a fragment; empty when nothing is."""
    name = re.fullmatch(r"[a-z0-9-]+\.([a-z]+)\.md", path.name)
    if not name or name[1] not in KINDS:
        return f"a fragment is named <topic>.<{'|'.join(KINDS)}>.md"
    text = path.read_text(encoding="utf-8").strip()
    if not text:
        return "is empty"
    if not text.endswith((".", ".)")) or "\n\n" in text or text.startswith(("-", "*", "#")):
        return "a fragment is one paragraph of plain text that ends with a full stop"
    return ""


def section(heading: str, found: dict[str, list[str]]) -> str:
    """A section of the changelog."""
    parts = [heading]
    for kind in KINDS:
        if found[kind]:
            parts.append(f"### {kind.capitalize()}\n\n" + "\n".join(f"- {sentence}" for sentence in found[kind]))
    return "\n\n".join(parts) + "\n"


def assembled(earlier: str, heading: str, found: dict[str, list[str]]) -> str:
    """The new changelog: head, the new section, and the released ones of the earlier text."""
    released = [f"## {part.strip()}\n" for part in re.split(r"^## ", earlier, flags=re.MULTILINE)[1:]]
    kept = [part for part in released if not part.startswith((UNRELEASED, heading.split(",")[0] + ","))]
    return "\n".join([HEAD, section(heading, found), *kept])


def write(root: Path, release: str | None, today: date) -> None:
    """Write CHANGELOG.md; a release uses its fragments up."""
    found = fragments(root / "changes")
    file = root / "CHANGELOG.md"
    earlier = file.read_text(encoding="utf-8") if file.is_file() else ""
    heading = f"## {release}, {today.isoformat()}" if release else UNRELEASED
    file.write_text(assembled(earlier, heading, found), encoding="utf-8")
    if release:
        remove((root / "changes").glob("*.md"))


def remove(paths: Iterable[Path]) -> None:
    """Remove fragments that a release has used."""
    for path in paths:
        path.unlink()


def main() -> None:
    """Read the arguments and write."""
    parser = argparse.ArgumentParser(description="assemble CHANGELOG.md from changes/")
    parser.add_argument("--release", help="version that the fragments go into")
    parser.add_argument("--check", action="store_true", help="only look whether the fragments are well-formed")
    arguments = parser.parse_args()
    try:
        if arguments.check:
            fragments(ROOT / "changes")
        else:
            write(ROOT, arguments.release, date.today())
    except ValueError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
