"""Progress: lines without a terminal, bars with one, nothing on stdout."""

from __future__ import annotations

import io

import pytest

from edgefw.reporting.progress import (
    PlainProgress,
    SilentProgress,
    TerminalProgress,
    format_seconds,
    format_values,
    make_progress,
)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_lines_come_every_so_many_seconds_with_eta_and_values() -> None:
    stream, clock = io.StringIO(), Clock()
    with PlainProgress(stream, every_s=10.0, clock=clock).bar("train distil", 100, start=20) as bar:
        for step in range(21, 61):
            clock.now += 0.5
            bar.update(step, {"loss": 0.123456, "lr": 1e-5})
    assert stream.getvalue().splitlines() == [
        "train distil  40/100  10.0 s  ETA 30.0 s  loss 0.1235  lr 1.0e-05",
        "train distil  60/100  20.0 s  ETA 20.0 s  loss 0.1235  lr 1.0e-05",
        "train distil  60/100  20.0 s  loss 0.1235  lr 1.0e-05",
    ]


def test_the_last_unit_has_one_line() -> None:
    stream, clock = io.StringIO(), Clock()
    with PlainProgress(stream, every_s=10.0, clock=clock).bar("x", 1) as bar:
        clock.now = 30.0
        bar.update(1)
    assert stream.getvalue() == "x  1/1  30.0 s\n"


def test_a_bar_that_ends_with_an_error_leaves_no_line() -> None:
    stream = io.StringIO()
    with pytest.raises(ValueError), PlainProgress(stream).bar("x", 3):
        raise ValueError
    assert stream.getvalue() == ""


def test_a_terminal_shows_a_bar_and_keeps_a_line() -> None:
    stream = io.StringIO()
    progress = TerminalProgress(stream)
    with progress.bar("train distil", 4) as bar:
        progress.say("[not markup]")
        bar.update(4, {"loss": 0.5})
    assert "[not markup]" in stream.getvalue()
    assert "train distil  4/4" in stream.getvalue()
    assert "loss 0.5" in stream.getvalue()


def test_on_a_narrow_terminal_bar_count_and_eta_stay_and_values_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("FORCE_COLOR", "1")
    stream = io.StringIO()
    with TerminalProgress(stream).bar("train distil", 1000) as bar:
        bar.update(400, {name: 0.123456 for name in ("loss", "feature", "similarity-kl", "infonce", "lr")})
    live = next(part for part in stream.getvalue().split("\r") if "400/1000" in part)
    assert "train distil" in live
    assert "━" in live
    assert "loss 0.1235" in live
    assert "…" in live


def test_silence_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with SilentProgress().bar("x", 1) as bar:
        bar.update(1)
    SilentProgress().say("y")
    assert capsys.readouterr() == ("", "")


def test_without_a_terminal_there_are_lines_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    make_progress().say("curate: started")
    assert capsys.readouterr() == ("", "curate: started\n")


def test_times_and_numbers_are_short() -> None:
    assert [format_seconds(s) for s in (4.24, 59.94, 200, 7500)] == ["4.2 s", "59.9 s", "3 min 20 s", "2 h 5 min"]
    assert format_values({"epoch": 3, "loss": 0.0, "lr": 0.000512}) == "epoch 3  loss 0  lr 5.1e-04"
