"""Numbers of the command line that are none."""

from __future__ import annotations

import pytest

from edgefw.cli.main import run


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
@pytest.mark.parametrize(
    "arguments", [("bench", "bundle", "--seconds"), ("labels", "build", "bundle", "--threshold")], ids=" ".join
)
def test_nan_and_infinities_are_refused(arguments, value, capsys) -> None:
    assert run([*arguments, value]) == 2
    assert f"{arguments[-1]}" in (said := capsys.readouterr().err) and value in said
