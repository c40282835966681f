"""An environment of its own for packages that cannot live beside edgefw's: made by one command, reused, run as a program.

A converter that wants another torch than the one that trains gets a virtual environment in the user's cache, named after
its packages and this Python. Nothing of it is imported: a script of edgefw runs in its interpreter, reads files and writes
files. Which environments there are, `ENVIRONMENTS` says; `edgefw doctor` lists them, `edgefw doctor --make NAME` makes one.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
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
        return _interpreter(self.folder)

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
        """Make it, if it is not there, in a folder of its own that is renamed at the end; two may do so at once.

        Raises:
            MissingDependency: with the last line of what the installer said.
        """
        if self.ready:
            return
        say(f"{self.name}: makes {self.folder} for {', '.join(self.requirements)}")
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f"{self.folder.name}-", dir=self.folder.parent))
        try:
            self._done([sys.executable, "-m", "venv", str(draft)])
            pip = [str(_interpreter(draft)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            self._done([*pip, *self.requirements])
            (draft / _READY).write_text("\n".join(self.requirements) + "\n", encoding="utf-8")
            self._put(draft)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _put(self, draft: Path) -> None:
        """Rename a whole environment to its place, unless another process was faster."""
        if self.ready:
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        try:
            draft.rename(self.folder)
        except OSError as error:
            if not self.ready:
                raise MissingDependency(
                    f"environment '{self.name}': cannot be put into {self.folder} ({error})."
                ) from error

    def _done(self, command: Sequence[str]) -> None:
        result = subprocess.run(command, capture_output=True, text=True, check=False, env=_environment())
        if result.returncode != 0:
            raise MissingDependency(
                f"environment '{self.name}': {_last_line(result.stderr)} ({_end(result.returncode)} of "
                f"{' '.join(command[1:4])}). Nothing of it was kept."
            )

    def run(self, script: Path, arguments: Sequence[str], what: str) -> str:
        """Run a script with its interpreter; gives what the script printed.

        Args:
            script: a Python file that imports nothing of edgefw.
            arguments: of the script.
            what: the beginning of an error's message: "backend 'litert': the network cannot be converted".

        Raises:
            MissingDependency: if the environment has not been made.
            ExportError: if the script fails; the message ends with the last line of its traceback and its status or signal.
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
            raise ExportError(f"{what} ({_last_line(result.stderr)}; {_end(result.returncode)}).")
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


def _interpreter(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def _end(status: int) -> str:
    """How a program ended, from its return code: below 0 is a signal."""
    if status >= 0:
        return f"status {status}"
    known = {own.value: own.name for own in signal.Signals}
    return f"killed by {known.get(-status, f'signal {-status}')}"


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
