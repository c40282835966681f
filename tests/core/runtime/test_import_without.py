"""A package is imported as if another one were not installed, which is as it was afterwards."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgefw.runtime.import_without import import_without

PACKAGE = "try:\n    import told_tales\n    tells = True\nexcept ImportError:\n    tells = False\n"


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`told_tales`, and `quiet_one` that imports it where it can."""
    (tmp_path / "told_tales.py").write_text("")
    (tmp_path / "quiet_one.py").write_text(PACKAGE)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("told_tales", "quiet_one"):
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.mark.usefixtures("packages")
def test_the_other_package_cannot_be_imported_meanwhile_and_can_afterwards() -> None:
    assert import_without("quiet_one", "told_tales").tells is False
    assert "told_tales" not in sys.modules
    __import__("told_tales")


@pytest.mark.usefixtures("packages")
def test_what_was_imported_before_stays() -> None:
    told, before = __import__("told_tales"), __import__("quiet_one")
    assert import_without("quiet_one", "told_tales") is before and before.tells is True
    assert sys.modules["told_tales"] is told


@pytest.mark.usefixtures("packages")
def test_a_package_that_was_forbidden_stays_forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "told_tales", None)
    import_without("quiet_one", "told_tales")
    assert sys.modules["told_tales"] is None


@pytest.mark.usefixtures("packages")
def test_a_package_that_is_not_installed_is_an_import_error_and_leaves_nothing() -> None:
    with pytest.raises(ImportError, match="no_such_package"):
        import_without("no_such_package", "told_tales")
    assert "told_tales" not in sys.modules
