"""Environments of their own: named by what they hold, made whole or not at all, run apart from ours."""

import sys
from pathlib import Path

import pytest

from edgefw.cli.main import run
from edgefw.errors import ExportError, MissingDependency
from edgefw.own_environment import ENVIRONMENTS, OwnEnvironment, own_environment
from edgefw.user_cache import user_cache


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("EDGEFW_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def made(cache) -> OwnEnvironment:
    """An environment without packages: pip is asked for nothing but itself."""
    own = OwnEnvironment("empty", ("pip",))
    own.make(lambda text: None)
    return own


def test_the_cache_is_where_the_variable_says_else_in_the_systems_cache_folder(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("EDGEFW_CACHE", str(tmp_path))
    assert user_cache() == tmp_path
    monkeypatch.delenv("EDGEFW_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert user_cache() == tmp_path / "x" / "edgefw"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert user_cache() == Path.home() / ".cache" / "edgefw"


def test_other_packages_are_another_folder_and_their_order_does_not_matter(cache) -> None:
    one, other = OwnEnvironment("a", ("x==1", "y")), OwnEnvironment("a", ("x==2", "y"))
    assert one.folder.parent == cache / "environments" and one.folder.name.startswith("a-")
    assert one.folder != other.folder
    assert one.folder == OwnEnvironment("a", ("y", "x==1")).folder


def test_one_that_is_not_there_names_the_command_that_makes_it(cache) -> None:
    own = own_environment("litert")
    assert not own.ready
    with pytest.raises(
        MissingDependency, match="litert-torch.* cannot be installed beside edgefw and is not there yet"
    ):
        own.require()
    with pytest.raises(MissingDependency, match="once: edgefw doctor --make litert$"):
        own.run(Path("x.py"), [], "no")


def test_it_runs_scripts_in_its_own_interpreter_without_our_packages(made, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    assert made.ready
    script = tmp_path / "say.py"
    script.write_text("import sys, importlib.util as u\nprint(sys.prefix, u.find_spec('edgefw'), *sys.argv[1:])\n")
    assert made.run(script, ["a b", "c"], "what").split("\n")[0] == f"{made.folder} None a b c"
    assert str(made.folder) != sys.prefix


def test_a_script_that_fails_gives_one_message_with_its_last_line(made, tmp_path) -> None:
    script = tmp_path / "fail.py"
    script.write_text("raise ValueError('no such\\n operator: sin')\n")
    with pytest.raises(ExportError) as caught:
        made.run(script, [], "backend 'x': cannot convert")
    assert str(caught.value) == "backend 'x': cannot convert (operator: sin; status 1)."


def test_a_script_that_is_killed_names_the_signal(made, tmp_path) -> None:
    script = tmp_path / "killed.py"
    script.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    with pytest.raises(ExportError, match=r"cannot convert \(it said nothing; killed by SIGKILL\)\.$"):
        made.run(script, [], "backend 'x': cannot convert")


def test_two_that_make_it_at_once_leave_one_whole_environment(cache, monkeypatch) -> None:
    own, other = OwnEnvironment("both", ("pip",)), OwnEnvironment("both", ("pip",))
    plain = OwnEnvironment._done

    def meanwhile(self, command) -> None:
        monkeypatch.setattr(OwnEnvironment, "_done", plain)
        plain(self, command)
        other.make(lambda text: None)
        (other.folder / "theirs").touch()

    monkeypatch.setattr(OwnEnvironment, "_done", meanwhile)
    own.make(lambda text: None)
    assert own.ready and (own.folder / "theirs").exists()
    assert [path.name for path in own.folder.parent.iterdir()] == [own.folder.name]


def test_one_that_cannot_be_made_says_why_and_is_not_ready(cache) -> None:
    own = OwnEnvironment("wrong", ("./no-such-folder",))
    with pytest.raises(MissingDependency, match="environment 'wrong': .*no-such-folder"):
        own.make(lambda text: None)
    assert not own.ready and not list(own.folder.parent.iterdir())


def test_doctor_lists_them_and_refuses_a_name_that_it_does_not_know(cache, capsys) -> None:
    assert run(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "litert: nothing" in out
    assert "which cannot live beside edgefw. Make: edgefw doctor --make litert" in out
    assert run(["doctor", "--make", "sonar"]) == 2
    assert f"there is no environment 'sonar'. There are: {', '.join(ENVIRONMENTS)}." in capsys.readouterr().err
