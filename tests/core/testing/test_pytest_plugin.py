"""The kit without a test file."""

from __future__ import annotations

import pytest

# pytester forgets what a run imports, and compiled packages can be loaded only once: so they are loaded here.
import edgefw.testing.checks_common
import edgefw.testing.checks_view
import edgefw.testing.fakes  # noqa: F401

pytest_plugins = "pytester"

SOURCE = '''"""A view without options."""
import edgefw

class View:
    size = None
    recipe = "x"

def build(config, context):
    return View()

@edgefw.hookimpl
def edgefw_register_views(register):
    register(edgefw.Technique(name="x", config=edgefw.NoOptions, build=build))
'''


@pytest.fixture
def run_kit(site, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch):
    """Runs pytest in an empty folder that has one failing test file, with a stranger's view installed."""
    site.install("edgefw-acme", {"edgefw.views": {"x": "edgefw_acme"}}, {"edgefw_acme.py": SOURCE})
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makepyfile(test_other="def test_other():\n    assert False\n")
    options = ("-p", "no:cacheprovider", "-p", "edgefw.testing.pytest_plugin")
    return lambda *arguments: pytester.runpytest_inprocess(*options, *arguments)


def test_the_checks_run_and_a_broken_promise_is_quoted(run_kit) -> None:
    result = run_kit("--edgefw-plugin", "view/x", "-k", "recipe or draws")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*view/x::draws_are_replayable*"])
    assert "test_other" not in str(result.stdout)


def test_a_broken_promise_is_quoted_without_a_traceback(run_kit) -> None:
    result = run_kit("--edgefw-plugin", "view/x", "-k", "offline", "--edgefw-config", '{"colour": 1}')
    result.stdout.fnmatch_lines(["With these options the piece is built without*", "RecipeError: view 'x' refuses*"])
    assert "Traceback" not in str(result.stdout) and "def works_offline" not in str(result.stdout)


def test_test_files_that_are_named_run_too(run_kit) -> None:
    result = run_kit("--edgefw-plugin", "view/x", "-k", "recipe or other", "test_other.py")
    result.assert_outcomes(passed=1, failed=1)


def test_without_the_option_nothing_is_added(run_kit) -> None:
    run_kit().assert_outcomes(failed=1)


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--edgefw-plugin", "x"], "--edgefw-plugin takes KIND/NAME, got 'x'"),
        (["--edgefw-plugin", "lossy/x"], "unknown kind 'lossy'"),
        (["--edgefw-plugin", "view/x", "--edgefw-config", "{"], "--edgefw-config is not JSON"),
    ],
)
def test_a_wrong_option_is_a_usage_error(run_kit, arguments, words) -> None:
    result = run_kit(*arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert words in str(result.stderr)
