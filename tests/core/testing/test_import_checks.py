"""The checks that start an interpreter: what importing a module does, and what it brings along."""

from __future__ import annotations

import pytest

from edgefw.registry.discovery import installed
from edgefw.testing.clean_import import imports_of
from edgefw.testing.import_effects import effects_of_import, top_imports


def test_each_side_effect_of_an_import_is_named(site) -> None:
    lines = {
        "environment variables": "import os; os.environ['ACME'] = '1'",
        "working directory": "import os; os.chdir('/')",
        "files in the home folder": "import pathlib; (pathlib.Path.home() / 'acme').write_text('x')",
        "threads": "import threading, time; threading.Thread(target=time.sleep, args=(9,), daemon=True).start()",
        "level of the root logger": "import logging; logging.getLogger().setLevel(10)",
        "handlers of the root logger": "import logging; logging.basicConfig()",
        "Python's random state": "import random; random.seed(1)",
        "NumPy's random state": "import numpy; numpy.random.seed(1)",
        "sys.path": "import sys; sys.path.insert(0, '/acme')",
        "RuntimeError: imported": "raise RuntimeError('imported')",
    }
    points = {f"x{index}": f"acme_x{index}" for index in range(len(lines))}
    modules = {f"acme_x{index}.py": f'"""Bad."""\n{line}\n' for index, line in enumerate(lines.values())}
    site.install(
        "edgefw-acme", {"edgefw.losses": {**points, "good": "acme_good"}}, {**modules, "acme_good.py": '"""Good."""\n'}
    )
    refs = {ref.name: ref for ref in installed() if ref.distribution == "edgefw-acme"}
    assert effects_of_import(refs["good"], ()) == []
    for index, effect in enumerate(lines):
        assert effect in effects_of_import(refs[f"x{index}"], ()), effect


def test_an_import_that_ends_the_interpreter_is_reported(site) -> None:
    site.loss("edgefw-acme", "x", '"""Bad."""\nimport os\nos._exit(3)\n')
    ref = next(ref for ref in installed() if ref.distribution == "edgefw-acme")
    assert effects_of_import(ref, ()) == ["the interpreter ended: exit code 3"]


def test_top_imports_are_packages_outside_the_standard_library(tmp_path) -> None:
    file = tmp_path / "module.py"
    file.write_text("import os, torch.nn\nfrom timm import x\nfrom . import y\nif 1:\n    import hidden\n")
    assert top_imports(file) == {"torch", "timm"}


def test_imports_of_a_module_are_those_of_a_fresh_interpreter(site) -> None:
    site.loss("edgefw-acme", "x", '"""Good."""\nimport colorsys\n')
    assert "colorsys" in imports_of("edgefw_acme")
    assert "torch" not in imports_of("edgefw_acme")


def test_a_module_that_cannot_be_imported_alone_fails_the_check(site) -> None:
    site.loss("edgefw-acme", "x", '"""Bad."""\nimport nowhere\n', module="acme_alone")
    with pytest.raises(AssertionError, match="acme_alone cannot be imported on its own"):
        imports_of("acme_alone")
