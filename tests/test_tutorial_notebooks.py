"""The tutorials as the notebooks that a reader downloads: each stands alone."""

import ast
import functools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted((ROOT / "tutorials").glob("*/*.py"))
# In a process of its own: where the gallery is loaded, tutorials show their plots in its pages.
CONVERTER = """
import json, pathlib, runpy, sys
from sphinx_gallery.gen_gallery import DEFAULT_GALLERY_CONF
from sphinx_gallery.notebook import jupyter_notebook
from sphinx_gallery.py_source_parser import split_code_and_text_blocks

gallery = DEFAULT_GALLERY_CONF | runpy.run_path("docs/conf.py")["sphinx_gallery_conf"]
blocks = {script: split_code_and_text_blocks(script)[1] for script in sys.argv[1:]}
folder = lambda script: str(pathlib.Path(script).parent)
print(json.dumps({s: jupyter_notebook(blocks[s], gallery, folder(s)) for s in blocks}))
"""


@functools.cache
def notebooks():
    """The notebook that the gallery makes of each script, as JSON."""
    command = [sys.executable, "-c", CONVERTER, *map(str, SCRIPTS)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return {script: json.dumps(made) for script, made in json.loads(done.stdout).items()}


def notebook(script):
    return nbformat.reads(notebooks()[str(script)], as_version=4)


def code_of(book):
    return [cell.source for cell in book.cells if cell.cell_type == "code"]


def run(book, folder, monkeypatch):
    """Run a notebook in a kernel of its own in a folder; the package is found, not installed."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    client = NotebookClient(book, timeout=280, resources={"metadata": {"path": str(folder)}})
    return client.execute()


def test_the_gallery_has_a_script_for_every_question():
    assert len(SCRIPTS) >= 10


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_needs_nothing_beside_it(script):
    install, *cells = code_of(notebook(script))
    assert "pip install" in install and 'find_spec("hw2_keras")' in install
    known = {"hw2_keras", "export", "keras", "numpy", "matplotlib", "tensorflow", "onnx"}
    known |= {"onnxruntime", "math", "collections", "dataclasses", "statistics", "subprocess"}
    known |= {"sys", "time", "warnings", "itertools", "json", "pathlib", "urllib", "struct"}
    for cell in cells:
        for node in ast.walk(ast.parse(cell)):
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0 and node.module.split(".")[0] in known
            elif isinstance(node, ast.Import):
                assert {alias.name.split(".")[0] for alias in node.names} <= known
        assert "sys.path" not in cell and "__file__" not in cell


def test_a_notebook_runs_in_an_empty_folder(tmp_path, monkeypatch):
    script = ROOT / "tutorials/2024_25/q1_hopfield_networks.py"
    book = run(notebook(script), tmp_path, monkeypatch)
    printed = [output for cell in book.cells for output in cell.get("outputs", [])]
    text = "".join(output.text for output in printed if output.get("name") == "stdout")
    assert text.startswith("hw2_keras is installed\n")
    assert "verdict          passed" in text
    assert re.search(r"^ONNX recalls (\w+), the truth is \1$", text, re.MULTILINE)
    assert "\n---" not in text and "figure:" not in text  # titles and plots are in the page
    pictures = [output for output in printed if "image/png" in output.get("data", {})]
    assert len(pictures) == 3
    assert not [output for output in printed if output.get("name") == "stderr"]
    assert {path.name for path in tmp_path.iterdir()} == {"runs"}


def test_the_first_cell_names_where_it_looks_for_the_package(tmp_path, monkeypatch):
    book = notebook(SCRIPTS[0])
    missing = book.cells[0].source.replace('find_spec("hw2_keras")', 'find_spec("nowhere_keras")')
    book.cells = book.cells[:1]
    book.cells[0].source = missing
    try:
        book = run(book, tmp_path, monkeypatch)
    except CellExecutionError as error:
        assert "path/to/hw2_keras" in str(error)
    text = "".join(output.get("text", "") for output in book.cells[0].outputs)
    assert "installing hw2_keras and Keras from path/to/hw2_keras" in text
