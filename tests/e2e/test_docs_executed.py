"""The commands of the documents that need a trained run, executed in order on a shortened quickstart. Seconds to minutes.

Each page gets a folder of its own with that run under the names the page uses, and with pictures where it looks for some.
Commands that train are checked (`edgefw check --static`) instead of run; a camera is not asked for.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgefw.cli.main import run as command_line
from edgefw.plugins.datasets.drawing.scene import draw_scene

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
ASKED = ("bench", "bundle", "compare", "label", "labels", "report", "verify")
PAGES = {"quickstart.md": (), "deployment.md": ("chair", "lamp"), "clip4retrofit.md": ("chair", "lamp")}
PAGES["camera.md"] = ("chair", "lamp")
PAGES["label-packs.md"] = ("a mug", "a bottle", "a cup")
"""Page -> names of the folders of labelled pictures."""


def commands(page: Path) -> list[list[str]]:
    """Words of every command of edgefw in the page's `bash` fences."""
    text = page.read_text(encoding="utf-8")
    fences = re.findall(r"^```bash\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    lines = [shlex.split(line, comments=True) for fence in fences for line in fence.replace("\\\n", " ").splitlines()]
    return [words[1:] for words in lines if words[:1] == ["edgefw"]]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, quick_quickstart: tuple[str, ...]) -> Path:
    """A shortened quickstart that can show heat maps."""
    folder = tmp_path_factory.mktemp("finished")
    command = [
        sys.executable,
        "-m",
        "edgefw",
        "run",
        "quickstart",
        *quick_quickstart,
        "export.heat=true",
        "--out",
        "run",
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    return folder / "run"


@pytest.fixture
def place(request: pytest.FixtureRequest, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which a page's reader works."""
    page = DOCS / request.param
    for name in set(re.findall(r"runs/([\w-]+)", page.read_text(encoding="utf-8"))):
        shutil.copytree(finished, tmp_path / "runs" / name)
    for number, name in enumerate(PAGES[request.param] * 3):
        for folder in ("held-out", "frames"):
            draw(tmp_path / folder / name, number)
    for number, folder in enumerate(("photos", "new-frames", "camera")):
        for step in range(3):
            draw(tmp_path / folder, 100 + number + 10 * step)
    if any("drive.mp4" in words for words in commands(page)):
        draw_video(tmp_path / "drive.mp4", tmp_path / "photos" / "100.png")
    monkeypatch.chdir(tmp_path)
    return page


def draw(folder: Path, number: int) -> None:
    """A scene as `folder/<number>.png`; of both sensors, in folders of their own, where the folder is a camera's."""
    scene = draw_scene(np.random.default_rng(number), "lamp" if number % 2 else "chair", 64)
    pictures = (
        {"": scene.rgb} if folder.name != "camera" else {"rgb": scene.rgb, "depth": scene.depth.astype(np.uint16)}
    )
    for sensor, pixels in pictures.items():
        (folder / sensor).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / sensor / f"{number}.png")


def draw_video(file: Path, picture: Path) -> None:
    """Five equal frames, if a video can be written here."""
    cv2 = pytest.importorskip("cv2")
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*"mp4v"), 5, (64, 64))
    for _ in range(5):
        writer.write(cv2.imread(str(picture)))
    writer.release()


@pytest.mark.slow
@pytest.mark.parametrize("place", PAGES, indirect=True)
def test_a_reader_can_type_what_a_page_shows(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    asked = [words for words in commands(place) if words[0] in ASKED and words[2:3] != ["0"]]
    assert asked
    for words in asked:
        code = command_line(words)
        said = capfd.readouterr()
        assert code == 0 or (code == 1 and words[0] == "verify"), f"edgefw {shlex.join(words)}: {code}\n{said.err}"
        assert said.out.strip() or said.err.strip(), f"edgefw {shlex.join(words)} says nothing"


TRAINED = [
    words
    for page in sorted(DOCS.rglob("*.md"))
    for words in commands(page)
    if words[0] == "run" and not words[1].endswith((".yaml", ".yml"))
]


@pytest.mark.slow
@pytest.mark.parametrize("words", TRAINED, ids=shlex.join)
def test_what_a_page_trains_passes_the_check(words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    changes = [word for word in words[2:] if re.match(r"[a-z][\w.\[\]-]*=", word)]
    assert command_line(["check", words[1], *changes, "--static"]) == 0, capfd.readouterr().err
