"""Sphinx configuration; ``make docs`` builds into ``_build/html``, without a network."""

import os
import sys
from pathlib import Path

import hw2_keras  # before Keras, whose backend it sets

sys.path.insert(0, str(Path(__file__).parent))  # for sphinx-gallery's workers too
import building

project = "hw2_keras"
author = "the hw2_keras authors"
copyright = "2026, the hw2_keras authors. MIT licence"
release = hw2_keras.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
exclude_patterns = ["_build"]
default_role = "code"
highlight_language = "none"  # of literal blocks in docstrings
add_module_names = False

autosummary_generate = True
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_attr_annotations = False  # types are in the signature

suppress_warnings = ["ref.python"]  # "experiment" is an attribute of several classes

copybutton_prompt_text = "$ "

# A downloaded notebook stands alone: it needs the package and nothing beside it.
INSTALL = """\
# This cell installs hw2_keras where this notebook's Python does not have it yet. The package comes
# from a copy of its repository; say where yours is, as a path or as an address that pip knows.
COPY = "path/to/hw2_keras"

import importlib.util

if importlib.util.find_spec("hw2_keras"):
    print("hw2_keras is installed")
else:
    print(f"installing hw2_keras and Keras from {COPY}, which takes some minutes")
    %pip install --quiet {COPY}[train]
"""

sphinx_gallery_conf = {
    "examples_dirs": ["../tutorials"],
    "gallery_dirs": ["gallery"],
    "filename_pattern": r"\.py",  # all of them are executed
    "parallel": os.cpu_count(),
    "reset_modules": ("matplotlib", "seaborn", "building.each"),
    "reset_modules_order": "both",
    "reset_argv": "building.arguments",
    "ignore_pattern": r"[\\/]runs[\\/]",
    "first_notebook_cell": INSTALL,
    "within_subsection_order": "FileNameSortKey",  # by edition and question
    "min_reported_time": 1,
    "show_signature": False,
    "show_memory": False,
    "write_computation_times": False,  # those pages load scripts from elsewhere
    "download_all_examples": False,
    "remove_config_comments": True,
    "plot_gallery": os.environ.get("GALLERY", "1") == "1",
    "abort_on_example_error": True,
}

html_theme = "furo"
html_title = f"hw2_keras {release}"
html_static_path = ["_static"]
html_css_files = ["extra.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": True}


def skip_fields(app, what, name, member, skip, options):
    """Leaves out the fields of named tuples, whose only text is "Alias for field number 0"."""
    return True if type(member).__name__ == "_tuplegetter" else None


def setup(app):
    app.connect("autodoc-skip-member", skip_fields)
    app.connect("builder-inited", building.forget_what_changed, priority=100)
