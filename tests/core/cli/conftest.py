"""A command line as a user types it."""

from __future__ import annotations

import pytest

from edgefw.cli.main import run


@pytest.fixture
def edgefw(capsys):
    """Run a command line: (exit code, stdout, stderr)."""

    def call(*arguments):
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call
