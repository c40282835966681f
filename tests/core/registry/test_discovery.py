"""Discovery reads metadata: names, clashes, missing modules, the allow-list; and imports nothing."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import NamedTemporaryFile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefw.errors import EdgefwWarning
from edgefw.registry.discovery import installed, kind_word, short_name, summary
from edgefw.registry.kinds import Kind
from edgefw.registry.source_files import first_docstring_line, module_file


def names(kind: Kind | None = None) -> list[tuple[str, str, str]]:
    return [(ref.distribution, ref.name, ref.status) for ref in installed(kind)]


def test_a_strangers_technique_is_listed_without_importing_it(site) -> None:
    site.loss("edgefw-acme", "acme-x", '"""Says hello.\n\nMore."""\nraise RuntimeError("imported")\n')
    ref = next(ref for ref in installed(Kind.LOSS) if ref.name == "acme-x")
    assert (ref.distribution, ref.version, ref.module, ref.status) == ("edgefw-acme", "0.2", "edgefw_acme", "ok")
    assert ref.qualified == "acme:acme-x"
    assert summary(ref) == "Says hello."
    assert "edgefw_acme" not in sys.modules


def test_a_parent_package_is_not_executed(site) -> None:
    files = {"acme_pkg/__init__.py": "raise RuntimeError", "acme_pkg/deep/__init__.py": "raise RuntimeError"}
    files["acme_pkg/deep/loss.py"] = '# a comment\n\n"""Deep one."""\n'
    site.install("edgefw-acme", {"edgefw.losses": {"deep": "acme_pkg.deep.loss"}}, files)
    ref = next(ref for ref in installed(Kind.LOSS) if ref.name == "deep")
    assert (ref.status, summary(ref)) == ("ok", "Deep one.")


def test_a_module_that_does_not_exist_is_missing(site) -> None:
    site.install("edgefw-acme", {"edgefw.backends": {"coreml": "edgefw_apple.coreml"}})
    assert ("edgefw-acme", "coreml", "missing") in names(Kind.BACKEND)
    assert summary(next(ref for ref in installed(Kind.BACKEND) if ref.name == "coreml")) == ""


def test_two_distributions_with_one_name_both_clash(site) -> None:
    site.loss("edgefw-acme", "twin", '"""One."""')
    site.loss("edgefw-other", "twin", '"""Two."""')
    assert [row for row in names(Kind.LOSS) if row[1] == "twin"] == [
        ("edgefw-acme", "twin", "clash"),
        ("edgefw-other", "twin", "clash"),
    ]


def test_underscore_and_hyphen_clash(site) -> None:
    site.loss("edgefw-acme", "twin_one", '"""One."""')
    site.loss("edgefw-other", "twin-one", '"""Two."""')
    assert {status for _, name, status in names(Kind.LOSS) if name.startswith("twin")} == {"clash"}


def test_one_name_in_two_kinds_is_no_clash(site) -> None:
    modules = {"edgefw_acme.py": '"""Both."""'}
    site.install(
        "edgefw-acme", {"edgefw.losses": {"both": "edgefw_acme"}, "edgefw.views": {"both": "edgefw_acme"}}, modules
    )
    assert [(ref.kind, ref.status) for ref in installed() if ref.name == "both"] == [
        (Kind.LOSS, "ok"),
        (Kind.VIEW, "ok"),
    ]


def test_the_same_distribution_twice_on_the_path_is_one_distribution(site, tmp_path, monkeypatch) -> None:
    site.loss("edgefw-acme", "acme-x", '"""New."""')
    old = tmp_path / "old"
    type(site)(old).loss("edgefw-acme", "acme-x", '"""Old."""')
    monkeypatch.setattr(sys, "path", [*sys.path, str(old)])
    assert [row for row in names(Kind.LOSS) if row[1] == "acme-x"] == [("edgefw-acme", "acme-x", "ok")]


def test_observers_are_listed_beside_techniques(site) -> None:
    site.install("edgefw-acme", {"edgefw.hooks": {"tracker": "edgefw_acme"}}, {"edgefw_acme.py": '"""Tracks."""'})
    ref = next(ref for ref in installed() if ref.name == "tracker")
    assert (ref.kind, kind_word(ref.kind), summary(ref)) == (None, "observer", "Tracks.")


@pytest.mark.parametrize(
    "value, seen",
    [
        (None, {"edgefw-acme", "other"}),
        ("", set()),
        ("edgefw-acme", {"edgefw-acme"}),
        ("acme", {"edgefw-acme"}),
        ("Edgefw_Acme, other", {"edgefw-acme", "other"}),
        ("nobody", set()),
    ],
)
def test_the_allow_list_limits_what_is_seen_and_never_hides_first_party(site, monkeypatch, value, seen) -> None:
    site.loss("edgefw-acme", "acme-x", '"""One."""')
    site.loss("other", "other-x", '"""Two."""', module="other_x")
    if value is not None:
        monkeypatch.setenv("EDGEFW_PLUGINS", value)
    found = {ref.distribution for ref in installed()}
    assert found == {"edgefw"} | seen


def test_a_hidden_distribution_does_not_clash(site, monkeypatch) -> None:
    site.loss("edgefw-acme", "feature", '"""Mine."""')
    assert ("edgefw-acme", "feature", "clash") in names(Kind.LOSS)
    monkeypatch.setenv("EDGEFW_PLUGINS", "")
    assert all(row[2] != "clash" for row in names(Kind.LOSS))


def test_damaged_metadata_of_one_distribution_hides_no_other(site) -> None:
    site.loss("edgefw-acme", "acme-x", '"""Good."""')
    site.install("edgefw-bad", {"edgefw.losses": {"bad": "bad"}})
    file = next(site.folder.glob("edgefw_bad*")) / "entry_points.txt"
    file.write_text("[edgefw.losses]\nno equals sign\n")
    site.install("unrelated", {})
    (next(site.folder.glob("unrelated*")) / "entry_points.txt").write_bytes(b"\xff\xfe edgefw.")
    with pytest.warns(EdgefwWarning, match="edgefw-bad 0.2: its entry points cannot be read"):
        found = names(Kind.LOSS)
    assert ("edgefw-acme", "acme-x", "ok") in found


def test_order_is_kind_then_name(site) -> None:
    site.loss("edgefw-acme", "aaa", '"""One."""')
    refs = installed()
    order = [*Kind, None]
    keys = [(order.index(ref.kind), ref.name) for ref in refs]
    assert keys == sorted(keys)


def test_short_name_drops_the_prefix_only() -> None:
    assert [short_name(name) for name in ("edgefw-acme", "Edgefw_Acme.X", "acme", "edgefw")] == [
        "acme",
        "acme-x",
        "acme",
        "edgefw",
    ]


@pytest.mark.parametrize(
    "source, line",
    [
        ('"""One line."""', "One line."),
        ("#!/usr/bin/env python\n# -*- coding: utf-8 -*-\n\n'''\nSecond line.\n'''", "Second line."),
        ('r"""Raw \\d."""', "Raw \\d."),
        ("x = 1\n", ""),
        ("", ""),
        ('b"""bytes"""', ""),
        ('f"""{x}"""', ""),
        ('"""unfinished', ""),
        ('"""Fine."""\ndef broken(:\n', "Fine."),
        ("import x\n'''Late.'''", ""),
    ],
)
def test_summary_is_the_first_docstring_line(tmp_path, source, line) -> None:
    file = tmp_path / "module.py"
    file.write_text(source)
    assert first_docstring_line(file) == line


def test_summary_of_something_that_is_no_source_is_empty(tmp_path) -> None:
    file = tmp_path / "module.so"
    file.write_bytes(bytes(range(256)))
    assert first_docstring_line(file) == ""
    assert first_docstring_line(tmp_path / "absent.py") == ""


def test_module_file_finds_packages_and_not_attributes() -> None:
    assert module_file("edgefw.registry").name == "__init__.py"
    assert module_file("edgefw.errors.EdgefwError") is None
    assert module_file("nowhere.at.all") is None
    assert module_file("sys") is None


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_a_summary_of_any_bytes_is_one_line_and_never_an_error(data: bytes) -> None:
    with NamedTemporaryFile(suffix=".py") as file:
        file.write(data)
        file.flush()
        assert "\n" not in first_docstring_line(Path(file.name))
