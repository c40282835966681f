"""Promises of every technique, whatever its kind. Each check's docstring is what the author of a failing one reads."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from edgefw.errors import EdgefwError
from edgefw.registry.capabilities import unknown_words
from edgefw.registry.discovery import canonical, summary
from edgefw.registry.loading import Registry
from edgefw.testing.import_effects import effects_of_import, top_imports
from edgefw.testing.subject import Subject

BASE_PACKAGES = {
    "edgefw",
    "pluggy",
    "omegaconf",
    "pydantic",
    "rich",
    "click",
    "numpy",
    "PIL",
    "onnxruntime",
    "safetensors",
}
"""Import names that `pip install edgefw` brings."""


def name_is_registered(subject: Subject) -> None:
    """The module registers a technique with the name of its entry point, and nothing about it warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        technique = subject.technique
    assert canonical(technique.name) == canonical(subject.ref.name)


def summary_is_one_short_sentence(subject: Subject) -> None:
    """The module's docstring starts with one sentence of at most 80 characters: `list-plugins` prints it."""
    line = summary(subject.ref)
    assert line, f"{subject.ref.module} has no docstring, or it is not the first statement of the file."
    assert len(line) <= 80, f"{len(line)} characters: {line}"
    assert line.endswith("."), f"no full stop: {line}"


def import_has_no_side_effects(subject: Subject) -> None:
    """Importing the module starts no thread, writes no file, and changes no seed, setting or variable of the process.

    Checked in a fresh interpreter in which the packages of `requires` are imported already.
    """
    effects = effects_of_import(subject.ref, subject.technique.requires)
    assert not effects, f"importing {subject.ref.module} changed: {', '.join(effects)}."


def options_are_described(subject: Subject) -> None:
    """Every option has a description: `plugins show` prints it beside the default."""
    fields = subject.technique.config.model_fields
    bare = [name for name, field in fields.items() if not (field.description or "").strip()]
    assert not bare, f"options without a description: {', '.join(bare)}."


def config_round_trips_through_yaml(subject: Subject) -> None:
    """The options, written to YAML as edgefw writes them and read again, are the same options."""
    from omegaconf import OmegaConf

    plain = subject.config.model_dump(mode="json")
    read = OmegaConf.to_container(OmegaConf.create(OmegaConf.to_yaml(OmegaConf.create(plain))))
    again = subject.technique.config.model_validate(read)
    assert again == subject.config, f"{again!r} is not {subject.config!r}"


def unknown_option_is_refused(subject: Subject) -> None:
    """A key that is no option is an error, never ignored: the config forbids extra keys."""
    from pydantic import ValidationError

    try:
        subject.technique.config.model_validate({**subject.values, "no_such_option": 1})
    except ValidationError as error:
        assert "no_such_option" in str(error)
    else:
        raise AssertionError("an unknown option was accepted: derive the config from edgefw.TechniqueConfig.")


def config_is_frozen(subject: Subject) -> None:
    """Options cannot change after they were validated."""
    from pydantic import ValidationError

    for name in subject.technique.config.model_fields:
        try:
            setattr(subject.config, name, getattr(subject.config, name))
        except ValidationError:
            continue
        raise AssertionError(f"option '{name}' can be assigned: derive the config from edgefw.TechniqueConfig.")


def words_are_in_the_vocabulary(subject: Subject) -> None:
    """What a config provides is part of what the technique says it provides; all words are known."""
    technique, kind = subject.technique, subject.kind
    provided, needed = technique.provided(subject.config), technique.needed(subject.config)
    assert provided <= technique.provides, f"provides_for gives {sorted(provided - technique.provides)} on top."
    assert needed <= technique.needs, f"needs_for gives {sorted(needed - technique.needs)} on top."
    assert not unknown_words(kind, provided, needed)


def requires_is_complete(subject: Subject) -> None:
    """Every package that the module imports at its top, and that edgefw's base install lacks, is in `requires`."""
    assert subject.ref.file is not None
    foreign = top_imports(subject.ref.file) - BASE_PACKAGES - {subject.ref.module.split(".")[0]}
    missing = foreign - {package.split(".")[0] for package in subject.technique.requires}
    assert not missing, f"not in requires: {', '.join(sorted(missing))}."


def missing_package_is_named(subject: Subject) -> None:
    """Without a package of `requires` there is one message that names it, and how to install it; no traceback."""
    technique = subject.technique
    assert not technique.requires or technique.install, (
        "`requires` names packages, `install` does not say how to get them."
    )
    for package in technique.requires:
        with _without(package, subject.ref.module):
            try:
                Registry([subject.ref]).load_ref(subject.ref)
            except EdgefwError as error:
                assert package in str(error), f"without {package}: {error}"


def works_offline(subject: Subject) -> None:
    """With these options the piece is built without a connection to anywhere."""
    with _no_network():
        subject.build()


CHECKS = (
    name_is_registered,
    summary_is_one_short_sentence,
    import_has_no_side_effects,
    options_are_described,
    config_round_trips_through_yaml,
    unknown_option_is_refused,
    config_is_frozen,
    words_are_in_the_vocabulary,
    requires_is_complete,
    missing_package_is_named,
    works_offline,
)


@contextmanager
def _without(package: str, module: str) -> Iterator[None]:
    """As if a package were not installed, for a module that is imported anew."""
    saved = dict(sys.modules)
    own = module.split(".")[0]
    for name in saved:
        if name.split(".")[0] == package or name == module or (own != "edgefw" and name.split(".")[0] == own):
            del sys.modules[name]
    sys.modules[package] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        sys.modules.clear()
        sys.modules.update(saved)


@contextmanager
def _no_network() -> Iterator[None]:
    """Every attempt to connect to another machine fails."""
    import socket

    def refuse(self: socket.socket, address: object) -> None:
        raise OSError(f"a connection to {address!r} was attempted; the kit runs without a network")

    saved = socket.socket.connect, socket.socket.connect_ex
    socket.socket.connect = socket.socket.connect_ex = refuse  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        socket.socket.connect, socket.socket.connect_ex = saved  # type: ignore[method-assign]
