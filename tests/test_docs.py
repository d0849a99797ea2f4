"""The documentation: its configuration, its programs, and the check of links."""

import ast
import importlib.util
import os
import re
import runpy
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import ModuleType

import pytest

import hw2_keras as hw2

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Two pages whose links are in order."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "index.html").write_text(
        '<h1 id="top">One</h1><a href="sub/two.html#part%201">two</a><a href="#top">up</a>'
        '<a href="https://example.org/x">elsewhere</a><img src="picture.png">'
    )
    (tmp_path / "sub" / "two.html").write_text('<p id="part 1">Two</p><a href="../">one</a>')
    (tmp_path / "picture.png").write_bytes(b"")
    return tmp_path


def test_a_site_in_order_has_no_broken_links(site: Path, capsys: pytest.CaptureFixture) -> None:
    links = load(DOCS / "links.py")
    assert links.broken_links(site) == []
    assert links.main(site) == 0
    assert "2 pages, 0 broken links" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("html", "problem"),
    [
        ('<a href="three.html">', "three.html (no such file)"),
        ('<a href="../index.html#bottom">', "../index.html#bottom (no such anchor)"),
        ('<a href="#bottom">', "#bottom (no such anchor)"),
        ('<img src="gone.png">', "gone.png (no such file)"),
        ('<script src="https://cdn.example/x.js">', "(loaded from another site)"),
        ('<link rel="stylesheet" href="//cdn.example/x.css">', "(loaded from another site)"),
    ],
)
def test_each_kind_of_broken_link_is_named(site: Path, html: str, problem: str) -> None:
    page = site / "sub" / "two.html"
    page.write_text(page.read_text() + html)
    (line,) = load(DOCS / "links.py").broken_links(site)
    assert line.startswith("sub/two.html: ") and line.endswith(problem)


def test_a_folder_without_pages_is_bad_input(tmp_path: Path) -> None:
    assert load(DOCS / "links.py").main(tmp_path) == 2


def test_the_configuration_names_the_version_and_what_exists() -> None:
    conf = runpy.run_path(str(DOCS / "conf.py"))
    assert conf["release"] == hw2.__version__
    assert conf["html_theme"] == "furo"
    gallery = conf["sphinx_gallery_conf"]
    assert all((DOCS / folder).is_dir() for folder in gallery["examples_dirs"])
    ignored = (ROOT / ".gitignore").read_text().split()
    assert all(f"docs/{folder}/" in ignored for folder in gallery["gallery_dirs"])


def test_the_gallery_runs_again_what_changed_and_says_what_it_does(tmp_path: Path) -> None:
    docs, tutorials, package = (tmp_path / n for n in ("docs", "tutorials/a", "hw2_keras"))
    for folder in (docs / "_static", tutorials, package):
        folder.mkdir(parents=True)
    for name in ("conf.py", "building.py"):
        shutil.copy(DOCS / name, docs)
    (tmp_path / "requirements.txt").touch()
    (docs / "index.rst").write_text("Docs\n====\n\n.. toctree::\n\n   gallery/index\n")
    for folder in (tutorials.parent, tutorials):
        (folder / "GALLERY_HEADER.rst").write_text("Tutorials\n=========\n")
    code = '"""\nTitle\n=====\n\nText.\n"""\nimport pathlib, sys\nprint(sys.argv[1:])\n'
    code += "pathlib.Path(sys.argv[2]).mkdir(parents=True)  # fails where an old run was left\n"
    for name in ("one", "two"):
        (tutorials / f"{name}.py").write_text(code)
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "-b", "dummy", docs]
    command += [docs / "_build", "-D", "extensions=sphinx.ext.autodoc,sphinx_gallery.gen_gallery"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}

    def build() -> list[str]:
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        return re.findall(r"^gallery: (.*)$", done.stderr, re.M)

    said = build()
    assert said[0] == "2 tutorials, 2 of them to run"
    assert {"a/one.py runs", "a/two.py runs"} < set(said)
    assert re.fullmatch(r"a/(one|two)\.py took \d+ s, 2 of 2 done", said[-1])
    assert "runs/gallery/one" in (docs / "gallery" / "a" / "one.rst").read_text()
    (tutorials / "one.py").write_text(f"{code}# more\n")
    said = build()
    assert said[0] == "2 tutorials, 1 of them to run" and said[1] == "a/one.py runs"
    assert "two.py" not in "".join(said)
    (package / "module.py").touch()
    assert build()[0] == "2 tutorials, 2 of them to run"


def test_every_section_of_the_gallery_has_a_heading() -> None:
    folders = {path.parent for path in (ROOT / "tutorials").glob("*/*.py")}
    assert len(folders) >= 3
    assert all((folder / "GALLERY_HEADER.rst").is_file() for folder in folders)


def test_the_reference_lists_modules_that_exist_and_all_that_matter() -> None:
    listed = set(
        re.findall(r"^   ((?:hw2_keras|export)[\w.]*)$", (DOCS / "api.rst").read_text(), re.M)
    )
    for name in listed:
        path = ROOT / name.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__init__.py").is_file(), name
    theory = {f"hw2_keras.theory.{path.stem}" for path in ROOT.glob("hw2_keras/theory/[!_]*.py")}
    assert theory <= listed
    for name in listed:
        path = ROOT / name.replace(".", "/")
        file = (
            path.with_suffix(".py") if path.with_suffix(".py").is_file() else path / "__init__.py"
        )
        assert ast.get_docstring(ast.parse(file.read_text())), name


@pytest.mark.parametrize(
    ("program", "answer"),
    [
        ("own_speller.py", "verdict          passed"),
        ("use_classifier.py", "(2, 10)"),
        ("use_stream.py", "microscope"),
        ("use_speller.py", "microscope\ndiscuver\n-0.127 discover"),
    ],
)
def test_the_programs_of_the_pages_run(program: str, answer: str, tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    folder = tmp_path if program == "own_speller.py" else ROOT  # that one writes a file
    done = subprocess.run(
        [sys.executable, DOCS / program],
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert answer in done.stdout


def test_every_symptom_has_its_demonstration_and_what_it_printed() -> None:
    page = (DOCS / "why_not_learning.rst").read_text(encoding="utf-8")
    scripts = sorted(path.name for path in (DOCS / "symptoms").glob("*.py"))
    assert len(scripts) == 5
    shown = re.findall(
        r"literalinclude:: symptoms/(\w+\.py)\n   :lines: 3-\n\n.. code-block:: text\n\n   \S", page
    )
    assert sorted(shown) == scripts
    for name in scripts:
        source = (DOCS / "symptoms" / name).read_text(encoding="utf-8")
        compile(source, name, "exec")
        printed = page.split(f"symptoms/{name}\n   :lines")[1].split("code-block:: text")[1]
        heads = re.findall(r'^print\("(.+)"\)$', source, re.M)
        assert all(head in printed for head in heads)


def test_commands_are_spelled_one_way() -> None:
    pages = [ROOT / "README.md", ROOT / "examples" / "README.md", *DOCS.glob("*.rst")]
    for page in pages:
        for line in page.read_text(encoding="utf-8").splitlines():
            assert not re.match(r" +(\$ )?(\.venv/bin/python|hw2|hw2-export) ", line), (page, line)
    for page in (ROOT / "README.md", DOCS / "index.rst"):
        assert ". .venv/bin/activate" in page.read_text(encoding="utf-8")


def test_the_picture_of_the_house_names_files_that_exist() -> None:
    texts = [node.text for node in ElementTree.parse(DOCS / "house.svg").iter() if node.text]
    names = {name for text in texts for name in re.findall(r"\b[a-z_]+\.py\b", text)}
    assert {"experiments.py", "fit.py", "convert.py", "runtime.py"} <= names
    known = {
        path.name for folder in ("hw2_keras", "export") for path in ROOT.glob(f"{folder}/**/*.py")
    }
    assert names <= known


def test_the_change_log_and_the_citation_name_this_version() -> None:
    assert f"## [{hw2.__version__}]" in (ROOT / "CHANGELOG.md").read_text()
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"version: {hw2.__version__}\n" in citation
    date = re.search(r"## \[[\d.]+\] - (\d{4}-\d\d-\d\d)", (ROOT / "CHANGELOG.md").read_text())[1]
    assert f"date-released: {date}\n" in citation or f'date-released: "{date}"\n' in citation
