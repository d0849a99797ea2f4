"""How the gallery is built: what is kept from the last build, and what is said meanwhile.

Sphinx-gallery runs the tutorials, several at a time, each in a worker process; it skips those whose
text did not change. What it cannot know is that their output depends on the package too.
"""

import hashlib
import shutil
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TUTORIALS = ROOT / "tutorials"
GALLERY = ROOT / "docs" / "gallery"
KEY = GALLERY / "package.sha256"  # of the package that the gallery's output comes from
RUNS = "runs/gallery"  # of the tutorials' trainings, below the folder of each

started: dict[str, float] = {}


def package_digest(root: Path) -> str:
    """SHA-256 of the package's files and of the versions it is run with."""
    folders = [root / "hw2_keras", root / "export"]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    digest = hashlib.sha256((root / "requirements.txt").read_bytes())
    for path in sorted(path for path in files if "__pycache__" not in path.parts):
        digest.update(f"\n{path.relative_to(root).as_posix()}\n".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def forget_what_changed(app) -> None:
    """Deletes the gallery where the package changed since, so that every tutorial runs again.

    Connected to Sphinx's ``builder-inited``, before sphinx-gallery. Without running tutorials
    (``GALLERY=0``) nothing is deleted.
    """
    if not app.config.sphinx_gallery_conf["plot_gallery"]:
        return
    digest = package_digest(ROOT)
    if not KEY.is_file() or KEY.read_text() != digest:
        shutil.rmtree(GALLERY, ignore_errors=True)
        GALLERY.mkdir()
        KEY.write_text(digest)
    scripts = list(TUTORIALS.glob("*/*.py"))
    tell(f"gallery: {len(scripts)} tutorials, {len(scripts) - len(current())} of them to run")


def current() -> list[Path]:
    """The scripts whose output in the gallery is that of their text and of this package."""
    return [
        script
        for script in TUTORIALS.glob("*/*.py")
        if (made := GALLERY / script.relative_to(TUTORIALS).with_suffix(".py.md5")).is_file()
        and made.read_text() == hashlib.md5(script.read_bytes()).hexdigest()
    ]


def arguments(gallery: dict, script: dict) -> list[str]:
    """What sphinx-gallery gives a tutorial as its arguments: a folder for its runs alone."""
    return ["--out", f"{RUNS}/{Path(script['src_file']).stem}"]


def each(gallery: dict, name: str | None, when: str) -> None:
    """Called by sphinx-gallery in its worker before and after each tutorial, and for each folder.

    Tells which tutorial it is and how many are done. Runs of an earlier build are deleted: they
    would be opened in place of training.
    """
    if name is None:
        return
    (script,) = TUTORIALS.glob(f"*/{name}")
    if when == "before":
        shutil.rmtree(script.parent / RUNS / script.stem, ignore_errors=True)
        started[name] = time.monotonic()
        tell(f"gallery: {script.relative_to(TUTORIALS)} runs")
    else:
        seconds = time.monotonic() - started[name]
        done = f"{len(current())} of {len(list(TUTORIALS.glob('*/*.py')))} done"
        tell(f"gallery: {script.relative_to(TUTORIALS)} took {seconds:.0f} s, {done}")


def tell(line: str) -> None:
    """One line on the terminal at once, also while a tutorial's own output is collected."""
    print(line, file=sys.__stderr__, flush=True)
