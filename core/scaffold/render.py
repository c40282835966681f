"""Writes a plugin package from templates: `new_plugin("loss", "acme-x")` gives the folder `edgefw-acme-x`.

Knows names and files, and refuses to know what a technique does: that stands in the templates, two per kind. A package
appears as a whole or not at all.
"""

from __future__ import annotations

import shutil
import tempfile
from importlib.resources import files
from pathlib import Path
from string import Template

from edgefw import __version__
from edgefw.errors import PluginError
from edgefw.registry.discovery import canonical, installed
from edgefw.registry.intake import NAME
from edgefw.registry.kinds import Kind

_COMMON = {
    "pyproject.toml": "pyproject.toml.tmpl",
    "README.md": "readme.md.tmpl",
    "LICENSE": "licence.tmpl",
    ".gitignore": "gitignore.tmpl",
    ".github/workflows/test.yml": "workflow.yml.tmpl",
    "src/{package}/__init__.py": "package.py.tmpl",
    "tests/test_conformance.py": "test_conformance.py.tmpl",
}


def new_plugin(kind: Kind, name: str, out: Path) -> Path:
    """Write a package with one technique that works as it is, into `out/edgefw-<name>`.

    Args:
        kind: what the technique is.
        name: the technique's name, lower-case words joined by hyphens; best with a prefix of your own.
        out: the folder to write into; made when missing.

    Returns:
        The new folder.

    Raises:
        PluginError: if the name cannot be used, or the folder exists.
    """
    _check(kind, name)
    target = out / f"edgefw-{name}"
    if target.exists():
        raise PluginError(f"{target} exists already. Choose another name, or another --out.")
    try:
        out.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".edgefw-new-", dir=out))
    except OSError as error:
        raise PluginError(f"{out}: cannot be written to ({error.strerror or error}).") from error
    try:
        _write(draft, kind, name)
        draft.chmod(0o755)
        draft.rename(target)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return target


def module_name(kind: Kind, name: str) -> str:
    """The dotted module that holds the technique: `edgefw_acme_x.loss`."""
    return f"{_package(name)}.{kind}"


def _package(name: str) -> str:
    return f"edgefw_{name.replace('-', '_')}"


def _check(kind: Kind, name: str) -> None:
    if not NAME.fullmatch(name) or "_" in name:
        raise PluginError(f"name '{name}' must be lower-case words joined by hyphens, like 'acme-{kind}'.")
    if name.startswith("edgefw"):
        raise PluginError(f"name '{name}' must not start with 'edgefw': the package is called edgefw-NAME already.")
    if len(name) > 60:
        raise PluginError(f"name '{name}' is longer than 60 characters.")
    for ref in installed(kind, everything=True):
        if canonical(ref.name) == name and canonical(ref.distribution) != f"edgefw-{name}":
            raise PluginError(
                f"{kind} '{name}' is offered by {ref.source} already, and two of one name clash. "
                f"Put a word of your own in front: acme-{name}."
            )


def _write(folder: Path, kind: Kind, name: str) -> None:
    words = _words(kind, name)
    layout = dict(_COMMON)
    layout[f"src/{{package}}/{kind}.py"] = f"{kind}.py.tmpl"
    layout["tests/test_behaviour.py"] = f"test_{kind}.py.tmpl"
    for path, template in layout.items():
        file = folder / path.format(**words)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(render(template, words), encoding="utf-8")


def render(template: str, words: dict[str, str]) -> str:
    """A template of this package with `$word` replaced; a word that is not given is an error."""
    text = files("edgefw.scaffold").joinpath("templates", template).read_text(encoding="utf-8")
    return Template(text).substitute(words)


def _words(kind: Kind, name: str) -> dict[str, str]:
    return {
        "name": name,
        "kind": kind.value,
        "group": kind.group,
        "hook": kind.hook,
        "distribution": f"edgefw-{name}",
        "package": _package(name),
        "module": module_name(kind, name),
        "Class": _class_name(kind, name),
        "floor": ".".join(__version__.split(".")[:2]),
        "recipe": _RECIPES[kind].replace("NAME", name),
    }


def _class_name(kind: Kind, name: str) -> str:
    """`AcmeX` for acme-x; the templates put the kind behind it, so a name that ends in its kind loses it."""
    parts = name.split("-")
    kept = parts[:-1] if parts[-1] == kind and len(parts) > 1 else parts
    return "".join(part.capitalize() for part in kept)


_RECIPES = {
    Kind.TEACHER: "teacher: {name: NAME}",
    Kind.STUDENT: "student: {name: NAME}",
    Kind.PROJECTOR: "student: {name: timm, model: mobilenetv4_conv_small, head: {name: NAME}}",
    Kind.LOSS: "train:\n  - losses: [{name: NAME}]",
    Kind.SCHEME: "train:\n  - scheme: {name: NAME}",
    Kind.SAMPLER: "train:\n  - sampler: {name: NAME}",
    Kind.VIEW: "train:\n  - views: {name: NAME}",
    Kind.QUANTIZER: "export:\n  quantizers: [{name: NAME}]",
    Kind.MODALITY: "modalities:\n  thermal: {name: NAME}",
    Kind.DATASET: "data: {name: NAME}",
    Kind.BACKEND: "export:\n  backends: [{name: NAME}]",
}
