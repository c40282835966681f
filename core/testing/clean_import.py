"""Which packages importing a module brings into a fresh interpreter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache

_SCRIPT = """
import importlib, json, sys
importlib.import_module(sys.argv[1])
print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})))
"""


@cache
def imports_of(module: str) -> frozenset[str]:
    """Top-level names of everything that is loaded after `import module`.

    Raises:
        AssertionError: if the module cannot be imported on its own.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, module], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{module} cannot be imported on its own: {done.stderr.strip().splitlines()[-1:]}"
    return frozenset(json.loads(done.stdout.splitlines()[-1]))
