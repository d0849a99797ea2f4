"""Exercises as text for a terminal."""

import textwrap
from collections.abc import Callable, Sequence

from hw2_keras.exercises import exercises_of
from hw2_keras.exercises.exercise import Exercise

WIDTH = 96


def listing(editions: Sequence[str]) -> str:
    """The exercises of editions, numbered, and how to open one."""
    lines = []
    for edition in editions:
        lines.append(edition)
        for number, found in enumerate(exercises_of(edition), 1):
            lines.append(f"  {number}  {found.question}  {found.title}")
    return "\n".join([*lines, f"open one: python -m hw2_keras exercise {editions[-1]} 1"])


def task(exercise: Exercise, command: str) -> str:
    """What is asked, and how to answer."""
    answer = f"{exercise.function}.py" if exercise.function else "ANSWER"
    wanted = [f"write {exercise.function}() into a file, then"] if exercise.function else []
    return "\n".join(
        [
            f"{exercise.question}: {exercise.title}",
            "",
            wrap(exercise.task),
            "",
            *wanted,
            f"answer:   {command} --answer {answer}",
            f"hints:    {command} --hint",
            f"solution: {command} --solution",
        ]
    )


def hints(exercise: Exercise, command: str) -> str:
    """The hints, numbered."""
    return "\n".join(wrap(f"{i}. {hint}") for i, hint in enumerate(exercise.hints, 1))


def solution(exercise: Exercise, command: str) -> str:
    """An answer that is right, and why."""
    return f"{exercise.solution.rstrip()}\n\n{wrap(exercise.because)}"


PARTS: dict[str, Callable[[Exercise, str], str]] = {
    "task": task,
    "hints": hints,
    "solution": solution,
}


def wrap(text: str) -> str:
    """Wraps long lines; the short ones of a program stay as they are."""
    lines = [
        line if len(line) <= WIDTH else textwrap.fill(line, WIDTH, break_on_hyphens=False)
        for line in text.split("\n")
    ]
    return "\n".join(lines)
