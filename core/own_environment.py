"""An environment of its own for packages that cannot live beside edgefw's: made by one command, reused, run as a program.

A converter that wants another torch than the one that trains gets a virtual environment in the user's cache, named after
its packages and this Python. Nothing of it is imported: a script of edgefw runs in its interpreter, reads files and writes
files. Which environments there are, `ENVIRONMENTS` says; `edgefw doctor` lists them, `edgefw doctor --make NAME` makes one.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgefw.errors import ExportError, MissingDependency
from edgefw.user_cache import user_cache

ENVIRONMENTS: dict[str, tuple[str, ...]] = {"litert": ("litert-torch==0.10.0",)}
"""Name -> what is installed into it, as pip takes it."""
_READY = "edgefw-ready.txt"
_PATIENCE_S = 3600


@dataclass(frozen=True)
class OwnEnvironment:
    """One environment.

    Attributes:
        name: what commands and messages call it.
        requirements: what is installed into it.
    """

    name: str
    requirements: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """Where it lies; other packages or another Python make another folder."""
        seed = "\n".join((*sorted(self.requirements), f"{sys.version_info[0]}.{sys.version_info[1]}"))
        return user_cache() / "environments" / f"{self.name}-{hashlib.sha256(seed.encode()).hexdigest()[:12]}"

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")

    @property
    def ready(self) -> bool:
        """Whether it has been made whole."""
        return (self.folder / _READY).is_file() and self.python.exists()

    @property
    def command(self) -> str:
        """The command that makes it."""
        return f"edgefw doctor --make {self.name}"

    def require(self) -> None:
        """Refuse to go on without it.

        Raises:
            MissingDependency: with the command that makes it.
        """
        if not self.ready:
            raise MissingDependency(
                f"{', '.join(self.requirements)} cannot be installed beside edgefw and is not there yet. Make it an "
                f"environment of its own, once: {self.command}"
            )

    def make(self, say: Callable[[str], None]) -> None:
        """Make it, if it is not there; what an attempt that failed left is removed first.

        Raises:
            MissingDependency: with the last line of what the installer said.
        """
        if self.ready:
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        say(f"{self.name}: makes {self.folder} for {', '.join(self.requirements)}")
        self._done([sys.executable, "-m", "venv", str(self.folder)])
        pip = [str(self.python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        self._done([*pip, *self.requirements])
        (self.folder / _READY).write_text("\n".join(self.requirements) + "\n", encoding="utf-8")

    def _done(self, command: Sequence[str]) -> None:
        result = subprocess.run(command, capture_output=True, text=True, check=False, env=_environment())
        if result.returncode != 0:
            raise MissingDependency(
                f"environment '{self.name}': {_last_line(result.stderr)} (status {result.returncode} of "
                f"{' '.join(command[1:4])}). What there is of it lies in {self.folder}."
            )

    def run(self, script: Path, arguments: Sequence[str], what: str) -> str:
        """Run a script with its interpreter; gives what the script printed.

        Args:
            script: a Python file that imports nothing of edgefw.
            arguments: of the script.
            what: the beginning of an error's message: "backend 'litert': the network cannot be converted".

        Raises:
            MissingDependency: if the environment has not been made.
            ExportError: if the script fails; the message ends with the last line of its traceback.
        """
        self.require()
        command = [str(self.python), "-I", str(script), *arguments]
        try:
            result = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=_PATIENCE_S, env=_environment()
            )
        except subprocess.TimeoutExpired as error:
            raise ExportError(f"{what} (it took more than {_PATIENCE_S} s).") from error
        if result.returncode != 0:
            raise ExportError(f"{what} ({_last_line(result.stderr)}).")
        return result.stdout


def own_environment(name: str) -> OwnEnvironment:
    """The environment of that name, whether it has been made or not.

    Raises:
        MissingDependency: if there is none of that name.
    """
    if name not in ENVIRONMENTS:
        raise MissingDependency(f"there is no environment '{name}'. There are: {', '.join(ENVIRONMENTS)}.")
    return OwnEnvironment(name, ENVIRONMENTS[name])


def _environment() -> dict[str, str]:
    """This process's variables without those that would mix our packages into another interpreter."""
    return {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
