"""The script behind `make`: which Python it takes, how an environment is named, where it lies."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def environment() -> ModuleType:
    spec = importlib.util.spec_from_file_location("environment", ROOT / "scripts" / "environment.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_an_old_python_gets_one_clear_message(environment: ModuleType) -> None:
    message = environment.refusal((3, 9, 2), "/usr/bin/python3")
    assert message == (
        "edgefw needs Python 3.11 or newer, and /usr/bin/python3 is 3.9.2. "
        "Install a newer one, or name it: make test PYTHON=python3.12"
    )


@pytest.mark.parametrize("version", [(3, 11, 0), (3, 14, 1)])
def test_a_new_python_is_taken(environment: ModuleType, version: tuple[int, ...]) -> None:
    assert environment.refusal(version, "python3") is None


def test_the_key_follows_the_project_file_and_the_python(environment: ModuleType) -> None:
    key = environment.environment_key(b"a", (3, 11, 7))
    assert key == environment.environment_key(b"a", (3, 11, 9))
    assert key != environment.environment_key(b"b", (3, 11, 7))
    assert key != environment.environment_key(b"a", (3, 12, 0))


def test_without_a_cache_the_environment_lies_in_the_checkout(environment: ModuleType, tmp_path: Path) -> None:
    assert environment.place(tmp_path, "key", "") == tmp_path / ".venv"


def test_with_a_cache_the_checkout_links_to_a_folder_named_by_the_key(environment: ModuleType, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    assert environment.place(checkout, "one", str(cache)) == cache / "one"
    assert environment.place(checkout, "two", str(cache)) == cache / "two"
    assert (checkout / ".venv").resolve() == (cache / "two").resolve()


def test_a_real_environment_is_not_replaced_by_a_link(environment: ModuleType, tmp_path: Path) -> None:
    (tmp_path / ".venv").mkdir()
    assert environment.place(tmp_path, "key", str(tmp_path / "cache")) == tmp_path / ".venv"


def test_a_folder_without_an_interpreter_does_not_work(environment: ModuleType, tmp_path: Path) -> None:
    assert not environment.works(tmp_path)


def test_a_matching_stamp_installs_nothing(
    environment: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    (tmp_path / "pyproject.toml").write_text("[project]\n")
    key = environment.environment_key(b"[project]\n", tuple(sys.version_info))
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / environment.STAMP).write_text(f"{key} {tmp_path}\n")
    monkeypatch.setattr(environment.subprocess, "run", lambda *a, **k: pytest.fail("nothing should be started"))
    environment.prepare(tmp_path, "", reinstall=False)
