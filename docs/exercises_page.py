"""Writes ``docs/exercises.rst`` from the records: ``python docs/exercises_page.py``."""

import textwrap
from html import escape
from pathlib import Path

from hw2_keras.exercises import EXERCISES
from hw2_keras.exercises.exercise import Exercise

PAGE = Path(__file__).with_name("exercises.rst")
HEAD = """\
Exercises
=========

Each of them checks itself, against the package's own formulas, layers and records: try first, ask
for the hints next, and for the solution last. A wrong answer gets a line that says what to look at.

.. code-block:: console

   $ python -m hw2_keras exercise                               # the list
   $ python -m hw2_keras exercise 2021-22 1                     # one of them
   $ python -m hw2_keras exercise 2021-22 1 --answer 12138
   not yet: 12138: the pool's windows overlap: 4x4 with stride 2 leaves 11, not 12 ...
   $ python -m hw2_keras exercise 2021-22 3 --answer mine.py    # a function, in a file of yours

Exercises of question 1 need neither Keras nor data; those that check an attention run the layer.
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for edition, found in EXERCISES.items():
        parts.append(f"{edition}\n{'-' * len(edition)}\n")
        parts += [section(edition, i, exercise) for i, exercise in enumerate(found, 1)]
    return "\n".join(parts)


def section(edition: str, number: int, exercise: Exercise) -> str:
    """One exercise, its hints and its solution folded away."""
    title = f"{number}. {exercise.question}: {exercise.title}"
    command = f"python -m hw2_keras exercise {edition} {number} --answer "
    command += f"{exercise.function}.py" if exercise.function else "ANSWER"
    language = "python" if exercise.function else "text"
    solution = [block(exercise.solution, language), paragraphs(exercise.because)]
    return "\n".join(
        [
            f"{title}\n{'~' * len(title)}\n",
            paragraphs(exercise.task),
            block(f"$ {command}", "console"),
            *(folded(f"Hint {i}", [paragraphs(h)]) for i, h in enumerate(exercise.hints, 1)),
            folded("Solution", solution),
        ]
    )


def paragraphs(text: str) -> str:
    """Plain text as reST, a program in it as code."""
    prose, found, program = text.partition("import numpy")
    lines = [
        textwrap.fill(escaped(line), 99, break_on_hyphens=False)
        for line in prose.rstrip().split("\n")
        if line
    ]
    return "\n\n".join(lines) + "\n" + ("\n" + block(found + program) if found else "")


def escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("*", "\\*").replace("|", "\\|").replace("_", "\\_")


def block(text: str, language: str = "python") -> str:
    return f".. code-block:: {language}\n\n" + textwrap.indent(text.rstrip(), "   ") + "\n"


def folded(title: str, content: list[str]) -> str:
    """Content that opens when its title is clicked."""
    start, end = f"<details><summary>{escape(title)}</summary>", "</details>"
    raw = [f".. raw:: html\n\n   {html}\n" for html in (start, end)]
    return "\n".join([raw[0], *content, raw[1]])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"written to {PAGE}")
