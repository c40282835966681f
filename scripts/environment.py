"""Make `.venv` ready for work on edgefw: create it when missing, install what pyproject.toml asks for, once.

Run by the Makefile with any `python3`; needs only the standard library. The second run compares a stamp (hash of
pyproject.toml, Python version, place of this checkout) and returns at once. The installer is uv where PyPI gives it,
else pip; both compile what they install, which saves every later process the seconds that reading torch and timm takes.
When EDGEFW_ENV_CACHE names a folder, the environment lives there in a folder named by the hash and `.venv` is a link to
it: one checkout at a time, meant for CI. Knows nothing of what edgefw does with its packages.

    python3 scripts/environment.py [--reinstall]

`--reinstall` writes the package's metadata again, as a new entry point needs.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST = (3, 11)
STAMP = "edgefw-environment.txt"
TARGET = ".[train]"


def refusal(version: tuple[int, ...], executable: str) -> str | None:
    """Why this Python cannot be used, or None when it can."""
    if tuple(version[:2]) >= OLDEST:
        return None
    found = ".".join(str(part) for part in version[:3])
    return (
        f"edgefw needs Python 3.11 or newer, and {executable} is {found}. "
        "Install a newer one, or name it: make test PYTHON=python3.12"
    )


def environment_key(project: bytes, version: tuple[int, ...]) -> str:
    """Name of the environment that a pyproject.toml and a Python make: 16 hexadecimal digits."""
    seed = project + f"|{version[0]}.{version[1]}".encode()
    return hashlib.sha256(seed).hexdigest()[:16]


def place(root: Path, key: str, cache: str) -> Path:
    """Where the environment lives; `.venv` becomes a link when that is in a cache."""
    link = root / ".venv"
    if not cache:
        return link
    home = Path(cache).expanduser().absolute() / key
    home.mkdir(parents=True, exist_ok=True)
    if link.is_symlink() or not link.exists():
        link.unlink(missing_ok=True)
        link.symlink_to(home, target_is_directory=True)
        return home
    return link


def works(home: Path) -> bool:
    """Whether the environment has an interpreter that starts and has pip."""
    python = home / "bin" / "python"
    if not python.exists():
        return False
    return subprocess.run([str(python), "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0


def create(home: Path) -> None:
    """An empty environment in place of whatever lies there."""
    print(f"Making {home} with {sys.executable}.", flush=True)
    shutil.rmtree(home, ignore_errors=True)
    made = subprocess.run([sys.executable, "-m", "venv", str(home)], check=False)
    if made.returncode != 0:
        raise SystemExit(
            f"{sys.executable} -m venv {home} failed. Debian and Ubuntu keep the module in a package of its own: "
            "apt-get install python3-venv"
        )


def installer(home: Path) -> list[str]:
    """The command that installs: uv, or a pip that knows dependency groups."""
    python = str(home / "bin" / "python")
    quiet = ["--quiet", "--disable-pip-version-check"]
    if subprocess.run([python, "-m", "pip", "install", *quiet, "uv"], check=False).returncode == 0:
        return [python, "-m", "uv", "pip", "install", "--python", python, "--compile-bytecode"]
    return pip_installer(home)


def pip_installer(home: Path) -> list[str]:
    """The command of the slower installer."""
    python = str(home / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "--quiet", "pip>=25.1"], check=True)
    return [python, "-m", "pip", "install"]


def install(home: Path, root: Path, arguments: list[str]) -> None:
    """Install with uv, and with pip when uv cannot."""
    if subprocess.run([*installer(home), *arguments], cwd=root, check=False).returncode == 0:
        return
    print("uv could not install; trying pip.", flush=True)
    if subprocess.run([*pip_installer(home), *arguments], cwd=root, check=False).returncode != 0:
        raise SystemExit("the packages of pyproject.toml could not be installed; the reason stands above.")


def prepare(root: Path, cache: str, reinstall: bool) -> None:
    """Bring the environment up to date with pyproject.toml."""
    key = environment_key((root / "pyproject.toml").read_bytes(), tuple(sys.version_info))
    home = place(root, key, cache)
    stamp = home / STAMP
    wanted = f"{key} {root}\n"
    written = stamp.read_text() if stamp.is_file() else ""
    if written == wanted and not reinstall:
        return
    if not works(home):
        create(home)
    stamp.unlink(missing_ok=True)
    if written.startswith(key):  # the packages are right; only the editable install has to point here
        install(home, root, ["--no-deps", "--editable", TARGET])
    else:
        print("Installing edgefw[train] and the tools: once, some minutes, several GB with torch.", flush=True)
        install(home, root, ["--editable", TARGET, "--group", "dev"])
    stamp.write_text(wanted)


def main() -> None:
    """Read the arguments and prepare."""
    parser = argparse.ArgumentParser(description="make .venv ready")
    parser.add_argument("--reinstall", action="store_true", help="write the package's metadata again")
    arguments = parser.parse_args()
    reason = refusal(tuple(sys.version_info[:3]), sys.executable)
    if reason:
        raise SystemExit(reason)
    prepare(ROOT, os.environ.get("EDGEFW_ENV_CACHE", ""), arguments.reinstall)


if __name__ == "__main__":
    main()
