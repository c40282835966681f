"""The command table: lazy commands, and one place for exit codes."""

from __future__ import annotations

import errno
import io
import subprocess
import sys
import warnings
from pathlib import Path

import click
import pytest

from edgefw import __version__
from edgefw.cli import main as cli_main
from edgefw.errors import DataError, EdgefwWarning, GateFailed


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch):
    """Puts a command `fail` into the table that does what it is told."""

    def install(action) -> None:
        @click.command()
        def command():
            return action()

        module = type(sys)("failing_command")
        module.command = command
        monkeypatch.setitem(sys.modules, "failing_command", module)
        monkeypatch.setitem(cli_main.COMMANDS, "fail", ("failing_command:command", "Fail."))

    return install


class OnFullDisk(io.StringIO):
    """A text file that takes nothing."""

    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def raising(error: BaseException):
    def action() -> None:
        raise error

    return action


def test_help_lists_every_command_and_imports_none(capsys: pytest.CaptureFixture[str]) -> None:
    code = "import sys; from edgefw.cli.main import run; run(['--help']); print(sorted(m for m in sys.modules if 'edgefw.' in m))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for name, (_, summary) in cli_main.COMMANDS.items():
        assert name in done.stdout
        assert summary in done.stdout
    assert done.stdout.splitlines()[-1] == "['edgefw.cli', 'edgefw.cli.main', 'edgefw.errors']"


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli_main.run(["--version"]) == 0
    assert capsys.readouterr().out == f"edgefw {__version__}\n"


def test_unknown_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli_main.run(["list_plugin"]) == 2
    assert "unknown command 'list_plugin'. Did you mean list-plugins" in capsys.readouterr().err


def test_unknown_option_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli_main.run(["--nonsense"]) == 2
    assert "--nonsense" in capsys.readouterr().err


def test_wrong_input_is_one_message_and_exit_2(failing, capsys: pytest.CaptureFixture[str]) -> None:
    failing(raising(DataError("data.root: no such folder: /x. Create it.")))
    assert cli_main.run(["fail"]) == 2
    captured = capsys.readouterr()
    assert captured.err == "Error: data.root: no such folder: /x. Create it.\n"
    assert captured.out == ""


def test_a_gate_that_was_not_met_is_exit_1(failing, capsys: pytest.CaptureFixture[str]) -> None:
    failing(raising(GateFailed("verify: max_drop 1.0, got 3.2.")))
    assert cli_main.run(["fail"]) == 1
    assert capsys.readouterr().err == "verify: max_drop 1.0, got 3.2.\n"


def test_a_bug_keeps_its_traceback_and_says_where_to_report(failing, capsys: pytest.CaptureFixture[str]) -> None:
    failing(raising(KeyError("inner")))
    assert cli_main.run(["fail"]) == 70
    err = capsys.readouterr().err
    assert "Traceback" in err and "KeyError: 'inner'" in err and "report it" in err


def test_interrupt_is_exit_130(failing, capsys: pytest.CaptureFixture[str]) -> None:
    failing(raising(KeyboardInterrupt()))
    assert cli_main.run(["fail"]) == 130
    assert "Interrupted." in capsys.readouterr().err


def test_a_missing_optional_package_names_the_extra(failing, capsys: pytest.CaptureFixture[str]) -> None:
    failing(raising(ModuleNotFoundError("No module named 'torch'", name="torch.nn")))
    assert cli_main.run(["fail"]) == 2
    assert 'pip install "edgefw[train]"' in capsys.readouterr().err


def test_a_missing_package_that_no_extra_brings_is_a_bug(failing, capsys: pytest.CaptureFixture[str]) -> None:
    failing(raising(ModuleNotFoundError("No module named 'nowhere'", name="nowhere")))
    assert cli_main.run(["fail"]) == 70


def test_a_command_may_give_its_exit_code(failing) -> None:
    failing(lambda: 1)
    assert cli_main.run(["fail"]) == 1


def test_our_warnings_are_one_line_each(failing, capsys: pytest.CaptureFixture[str]) -> None:
    failing(lambda: warnings.warn("observer 'x' is switched off.", EdgefwWarning, stacklevel=1))
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert cli_main.run(["fail"]) == 0
    assert capsys.readouterr().err == "warning: observer 'x' is switched off.\n"


@pytest.mark.parametrize("category", [EdgefwWarning, RuntimeWarning])
def test_a_warning_that_cannot_be_printed_fails_nothing(failing, monkeypatch, category) -> None:
    done = []

    def action() -> None:
        warnings.warn("broken EXIF", category, stacklevel=1)
        done.append("picture")

    failing(action)
    monkeypatch.setattr(sys, "stderr", OnFullDisk())
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert cli_main.run(["fail"]) == 0
    assert done == ["picture"]


def test_a_librarys_warning_looks_as_python_prints_it(failing, capsys: pytest.CaptureFixture[str]) -> None:
    failing(lambda: warnings.warn_explicit("old", UserWarning, "lib.py", 3))
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert cli_main.run(["fail"]) == 0
    assert capsys.readouterr().err == "lib.py:3: UserWarning: old\n"


def test_python_dash_m_is_the_same_command() -> None:
    done = subprocess.run([sys.executable, "-m", "edgefw", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"edgefw {__version__}\n"


def test_what_libraries_tell_their_developers_is_not_printed(capfd: pytest.CaptureFixture[str]) -> None:
    chatter = "import logging; logging.getLogger('torch.utils._pytree').warning('an enum')"
    program = f"from edgefw.cli.main import run; run(['recipes']); {chatter}"
    subprocess.run([sys.executable, "-c", program], check=True)
    assert "an enum" not in capfd.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_behind_the_output_is_one_message():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "edgefw", "--help"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert done.stderr == (
        "Error: a file cannot be written because the disk is full (No space left on device). "
        "Make room, or write to another disk.\n"
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("word", ["--help", "--nonsense", "nonsense"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_where_both_outputs_are_full_the_exit_code_stays(monkeypatch, word, unbuffered):
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-m", "edgefw", word], stdout=full, stderr=full, check=False)
    assert done.returncode == 2


@pytest.mark.parametrize(
    ("error", "code"),
    [(GateFailed("no."), 1), (DataError("no."), 2), (click.UsageError("no."), 2), (KeyError("x"), 70)],
)
def test_an_error_that_cannot_be_printed_keeps_its_code(failing, monkeypatch, error, code):
    failing(raising(error))
    monkeypatch.setattr(sys, "stderr", OnFullDisk())
    assert cli_main.run(["fail"]) == code


@pytest.mark.parametrize(
    ("names", "place"),
    [(("a.bin",), "a.bin:"), (("draft.bin", None, "a.bin"), "a.bin:"), ((), "a file")],
)
def test_a_full_disk_is_no_bug_and_its_file_is_named_where_it_is_known(capsys, names, place):
    assert cli_main._exit_code(OSError(28, "No space left on device", *names)) == 2
    assert capsys.readouterr().err == (
        f"Error: {place} cannot be written because the disk is full (No space left on device). "
        "Make room, or write to another disk.\n"
    )
