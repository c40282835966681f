"""Take the picture of the README: the first screens of a run's report, as headless Chromium shows them.

python scripts/report_picture.py runs/quickstart/report.html docs/images/report.png
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

WIDTH, HEIGHT = 1120, 1160
COLOURS = 96


def take(page: Path, target: Path) -> None:
    """Write the picture as a small PNG."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        raise SystemExit("no Chromium on this machine (Debian: apt-get install chromium)")
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "page.png"
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"]
        options += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
        options += [f"--user-data-dir={folder}/profile", f"--window-size={WIDTH},{HEIGHT}", f"--screenshot={raw}"]
        subprocess.run([browser, *options, page.resolve().as_uri()], check=True, capture_output=True, timeout=120)
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.open(raw).convert("RGB").quantize(COLOURS).save(target, optimize=True)


def main() -> None:
    """Read the arguments and take it."""
    parser = argparse.ArgumentParser(description="take the picture of the README")
    parser.add_argument("page", type=Path, help="report.html of a run")
    parser.add_argument("target", type=Path, help="PNG file to write")
    arguments = parser.parse_args()
    take(arguments.page, arguments.target)


if __name__ == "__main__":
    main()
