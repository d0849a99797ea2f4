"""What an exercise is, how an answer is read, and how a function is compared with an oracle."""

import re
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hw2_keras.errors import UsageError

TOLERANCE = 1e-5  # of float32 layers


class WrongAnswer(Exception):
    """An answer that is not right yet; the message is one line that says what to look at."""


@dataclass(frozen=True)
class Exercise:
    """One exercise; its fields are what the command line and the docs show.

    Attributes:
        question: where the homework asks about it, "Q1" to "Q3".
        title: one line for lists.
        task: what to find, as a few lines of text.
        hints: the first says where to look, the last almost how.
        solution: a right answer: what to type or, with ``function``, a program that defines it.
        because: why it is right.
        check: takes what was typed or, with ``function``, the function; raises ``WrongAnswer``.
        function: name of the function to write; None: the answer is typed.
        needs_keras: whether the check runs a layer, which takes some seconds to start.
    """

    question: str
    title: str
    task: str
    hints: tuple[str, ...]
    solution: str
    because: str
    check: Callable[[Any], None]
    function: str | None = None
    needs_keras: bool = False


def judge(exercise: Exercise, answer: str) -> None:
    """Checks an answer: what was typed, or the name of a Python file.

    Raises:
        WrongAnswer: it is not right yet.
        UsageError: it cannot be read as an answer to this exercise.
    """
    if exercise.function is None:
        exercise.check(answer)
    else:
        exercise.check(read_function(answer, exercise.function))


# ----------------------------------------------------------------------- answers that are typed


def number(text: str) -> float:
    """The number that a text holds; commas between digits are left out.

    Raises:
        UsageError: it holds none, or several.
    """
    try:
        return float(re.sub(r"(?<=\d)[,_](?=\d{3})", "", text.strip()))
    except ValueError as error:
        raise UsageError(f"{text!r} is not a number: expected one such as 1,234 or 0.5") from error


def is_number(
    right: Callable[[], float], slips: Mapping[float, str], otherwise: str
) -> Callable[[str], None]:
    """A check for a number; ``slips`` says what leads to a known wrong one."""

    def check(text: str) -> None:
        found, expected = number(text), right()
        if not abs(found - expected) < 5e-5:  # four digits will do
            raise WrongAnswer(f"{text.strip()}: {slips.get(found, otherwise)}")

    return check


def is_shape(
    right: Callable[[], tuple[int, ...]], slips: Mapping[tuple[int, ...], str], otherwise: str
) -> Callable[[str], None]:
    """A check for a shape, typed as 24x24x8 or as 24, 24, 8."""

    def check(text: str) -> None:
        if not re.fullmatch(r"[\s\d x,×()*]+", text) or not re.search(r"\d", text):
            raise UsageError(f"{text!r} is not a shape: expected one such as 24x24x8")
        found = tuple(map(int, re.findall(r"\d+", text)))
        if found != right():
            raise WrongAnswer(f"{'x'.join(map(str, found))}: {slips.get(found, otherwise)}")

    return check


def is_choice(right: Callable[[], str], choices: Mapping[str, str]) -> Callable[[str], None]:
    """A check for one of several words; ``choices`` says of each why it is not the one."""

    def check(text: str) -> None:
        word = text.strip().lower()
        if word not in choices:
            raise UsageError(f"{text!r} is not among the choices: expected {', '.join(choices)}")
        if word != right():
            raise WrongAnswer(f"{word}: {choices[word]}")

    return check


# ------------------------------------------------------------------- functions that are written


def read_function(path: str, name: str) -> Callable:
    """The function of this name in a Python file, which is run.

    Raises:
        UsageError: no such file, not Python, it stops with an error, or lacks the function.
    """
    if not Path(path).is_file():
        raise UsageError(
            f"{path} is not a file: expected the name of a Python file that defines {name}()"
        )
    namespace: dict[str, Any] = {"__name__": "answer"}
    try:
        exec(compile(Path(path).read_bytes(), path, "exec"), namespace)
    except (Exception, SystemExit) as error:
        raise UsageError(f"{path} cannot be run: {described(error, path)}") from error
    if not callable(namespace.get(name)):
        raise UsageError(f"{path} defines no function {name}: expected 'def {name}(...)' in it")
    return namespace[name]


def described(error: BaseException, path: str | None = None) -> str:
    """Type, message and, where it is known, the line of the file."""
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == path]
    place = f" in line {lines[-1]}" if lines else ""
    return f"{type(error).__name__}{place}: {error}"


def answered(function: Callable, *arguments: Any) -> Any:
    """What a function gives for copies of the arguments.

    Raises:
        WrongAnswer: it stops with an error.
    """
    copies = [a.copy() if isinstance(a, np.ndarray) else a for a in arguments]
    try:
        return function(*copies)
    except (Exception, SystemExit) as error:
        path = getattr(getattr(function, "__code__", None), "co_filename", None)
        raise WrongAnswer(
            f"{getattr(function, '__name__', 'it')}() stopped with {described(error, path)}"
        ) from error


def compare(
    found: Any, expected: np.ndarray, slips: Mapping[str, np.ndarray], what: str = "the result"
) -> None:
    """Compares an array with the oracle's, and names a known slip that it equals.

    Args:
        found: what the function gave.
        expected: the oracle's answer.
        slips: by what to say, the result of a usual mistake.
        what: its name in messages.

    Raises:
        WrongAnswer: another shape, or values that differ by more than ``TOLERANCE``.
    """
    try:
        found = np.asarray(found, float)
    except (TypeError, ValueError) as error:
        raise WrongAnswer(f"{what} is {type(found).__name__}: expected an array") from error
    if found.shape != expected.shape:
        raise WrongAnswer(f"{what} has shape {found.shape}: expected {expected.shape}")
    if near(found, expected):
        return
    for line, wrong in slips.items():
        if wrong.shape == found.shape and near(found, wrong):
            raise WrongAnswer(line)
    largest = np.abs(found - expected).max()
    raise WrongAnswer(f"{what} differs by up to {largest:.3g} on random inputs")


def near(found: np.ndarray, expected: np.ndarray) -> bool:
    """Whether no value differs by more than ``TOLERANCE``; NaN is near to nothing."""
    return bool(np.allclose(found, expected, rtol=TOLERANCE, atol=TOLERANCE))
