"""Exercises that check themselves, four to six per edition of the homework and beyond.

Each is a record of :class:`hw2_keras.exercises.exercise.Exercise`; ``python -m hw2_keras exercise``
and the page of the docs show the same records. Nothing here imports Keras until a layer has to
check an answer.
"""

from hw2_keras.errors import UsageError
from hw2_keras.exercises import beyond, edition_2021_22, edition_2022_23, edition_2024_25
from hw2_keras.exercises.exercise import Exercise

EXERCISES: dict[str, tuple[Exercise, ...]] = {
    "2021-22": edition_2021_22.EXERCISES,
    "2022-23": edition_2022_23.EXERCISES,
    "2024-25": edition_2024_25.EXERCISES,
    "beyond": beyond.EXERCISES,
}


def exercises_of(edition: str) -> tuple[Exercise, ...]:
    """The exercises of an edition.

    Raises:
        UsageError: no such edition.
    """
    if edition not in EXERCISES:
        raise UsageError(f"no edition {edition!r}: expected one of {', '.join(EXERCISES)}")
    return EXERCISES[edition]


def find(edition: str, number: int) -> Exercise:
    """One exercise, counted from 1.

    Raises:
        UsageError: no such edition or number.
    """
    found = exercises_of(edition)
    if not 1 <= number <= len(found):
        raise UsageError(f"{edition} has no exercise {number}: expected 1 to {len(found)}")
    return found[number - 1]
