"""Standard output and standard error that cannot be written to any more: a full disk behind `> file`, a reader that is gone."""

from __future__ import annotations

import contextlib
import errno
import os
import sys

import click

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of the operating system that say: there is no room."""


_NO_FILE = (OSError, ValueError, AttributeError)
"""What a standard output raises that is no file of the system, is closed, or is not there at all (`>&-`)."""


def drop_output() -> None:
    """Let go of what is still to be written, so that the end of the process does not fail for it."""
    with contextlib.suppress(*_NO_FILE):
        place = sys.stdout.fileno()
        os.dup2(os.open(os.devnull, os.O_WRONLY), place)


def drop_stuck_output() -> bool:
    """Drop standard output where it takes nothing any more, and only there; whether that was so."""
    try:
        sys.stdout.flush()
    except OSError:
        drop_output()
        return True
    except _NO_FILE:  # nothing is waiting in it
        return False
    return False


def tell(text: str) -> None:
    """A line on stderr, if that takes one: often it is the same file, on the same disk."""
    with contextlib.suppress(OSError):
        click.echo(text, err=True)
