"""The exercises: each solution passes its own check, and a usual mistake is told apart."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from hw2_keras import build
from hw2_keras.cli import main
from hw2_keras.errors import UsageError
from hw2_keras.exercises import EXERCISES
from hw2_keras.exercises.exercise import Exercise, WrongAnswer, judge
from hw2_keras.experiments import experiments
from hw2_keras.theory.derivation import derive

ALL = [(edition, i) for edition, found in EXERCISES.items() for i in range(1, len(found) + 1)]

ATTEND = """
import numpy as np
def softmax(s):
    e = np.exp(s - s.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)
"""
MEAN = "from statistics import fmean as m, stdev as s, pstdev as p\n"
# A usual wrong answer to each, and what the check says of it.
WRONG = {
    ("2021-22", 1): [
        ("10280", "the biases are missing"),
        ("12,138", "the pool's windows overlap"),
        ("9898", "all three channels"),
        ("7", "the shape after every layer"),
    ],
    ("2021-22", 2): [("7x7x32", "second convolution has no padding"), ("3, 3, 3", "layer by")],
    ("2021-22", 3): [
        (ATTEND + "def probabilities(X, q, k): return softmax(X @ q @ (X @ k).T)", "head size"),
        (
            ATTEND + "def probabilities(X, q, k): return softmax(X @ q @ (X @ k).T / len(X)**0.5)",
            "number of tokens; d is the head size",
        ),
        (
            ATTEND + "def probabilities(X, q, k): return softmax((X @ q @ (X @ k).T).T / 3**.5).T",
            "each row, one token's looks, must sum to 1",
        ),
        ("def probabilities(X, q, k): return X", "P has shape (5, 6): expected (5, 5)"),
        ("def probabilities(X, q, k): return None", "P has shape (): expected (5, 5)"),
        ("def probabilities(X, q, k): return 'x'", "P is str: expected an array"),
        ("def probabilities(X): return X", "stopped with TypeError"),
        ("def probabilities(X, q, k):\n    return X @ q @ k", "stopped with ValueError in line 2"),
    ],
    ("2021-22", 4): [
        ("def other_key(W, B): return W @ B", "only if B is orthogonal"),
        (ATTEND + "def other_key(W, B): return W @ np.linalg.inv(B)", "lacks a transpose"),
    ],
    ("2021-22", 5): [
        (
            ATTEND + "def attend(q, m, a, b, c, v): return softmax("
            "np.tanh((q @ a)[:, :, None] + (m @ b)[:, None] + c) @ v) @ m",
            "tanh is Bahdanau's",
        ),
        (
            ATTEND + "def attend(q, m, a, b, c, v): return softmax("
            "np.maximum((q @ a)[:, :, None] + (m @ b)[:, None], 0) @ v) @ m",
            "the bias b belongs inside",
        ),
    ],
    ("2021-22", 6): [("0.1", "lowest running loss"), ("0.001", "too small")],
    ("2022-23", 1): [("784x576", "its columns are the pixels of x"), ("784 x 784", "smaller")],
    ("2022-23", 2): [
        (
            "def entry(kernel, i, j, W):\n"
            "    (r, s), (u, v) = divmod(i, W), divmod(j, W)\n"
            "    inside = 0 <= u - r < len(kernel) and 0 <= v - s < kernel.shape[1]\n"
            "    return kernel[u - r, v - s] if inside else 0.0\n",
            "has W - N + 1 pixels, not W",
        ),
        ("def entry(kernel, i, j, W): pass", "M[0, 0] of a 2x3 kernel and a 4x5 image is 1"),
    ],
    ("2022-23", 3): [("4,032", "this is report 003's"), ("457", "the CNN's own count")],
    ("2022-23", 4): [("1e-05", "slow and steady"), ("0.0005", "the best one")],
    ("2022-23", 5): [
        (
            ATTEND + "def attend(q, m, mask, w): return softmax(q @ w @ m.transpose(0, 2, 1)) @ m",
            "the padding gets weight",
        ),
        (
            ATTEND + "def attend(q, m, mask, w): "
            "return softmax((q @ w @ m.transpose(0, 2, 1)) * mask[:, None]) @ m",
            "scores of 0 leave weight on the padding",
        ),
    ],
    ("2022-23", 6): [("0.125", "the CER of 2024-25"), ("0.5", "divide in each")],
    ("2024-25", 1): [
        (ATTEND + "def update(q, X, beta): return softmax(X @ q) @ X", "β is missing"),
        (ATTEND + "def update(q, X, beta): return -softmax(beta * X @ q) @ X", "negative"),
    ],
    ("2024-25", 2): [("-25", "last two terms"), ("-12.5", "½M² is missing")],
    ("2024-25", 3): [("4,718,592", "the biases"), ("132096", "global average pooling")],
    ("2024-25", 4): [("7", "the pools double"), ("18", "before the third pool")],
    ("2024-25", 5): [
        (
            ATTEND + "def attend(q, m, mask, a, b, v): return mask[:, None] * "
            "softmax(np.tanh((q @ a)[:, :, None] + (m @ b)[:, None]) @ v)",
            "no longer sum to 1: mask before the softmax",
        ),
    ],
    ("2024-25", 6): [("greedy", "one try only"), ("nucleus", "a single sample")],
    ("beyond", 1): [("0.03", "after a quarter"), ("0.06", "what is lost"), ("0.1", "two lines")],
    ("beyond", 2): [("0.9", "its share of the tenth"), ("1", "a plain label's")],
    ("beyond", 3): [("16", "at both ends"), ("5", "for each of them the columns"), ("36", "rows")],
    ("beyond", 4): [
        (MEAN + "def interval(g): return m(g) - 4.303 * s(g), m(g) + 4.303 * s(g)", "by √n"),
        (
            MEAN + "def interval(g): return [m(g) + i * 1.96 * s(g) / 3**.5 for i in (-1, 1)]",
            "1.96",
        ),
        (
            MEAN + "def interval(g): return [m(g) + i * 4.303 * p(g) / 3**.5 for i in (-1, 1)]",
            "by n - 1",
        ),
        (MEAN + "def interval(g): return min(g), max(g)", "not +0.00300 to +0.01200"),
        (MEAN + "def interval(g): return m(g)", "two numbers"),
    ],
}


def of(edition: str, number: int) -> Exercise:
    return EXERCISES[edition][number - 1]


def typed(found: Exercise, answer: str, folder: Path) -> str:
    """The answer as it is given on the command line: itself, or the file that holds it."""
    if found.function is None:
        return answer
    path = folder / "answer.py"
    path.write_text(answer, encoding="utf-8")
    return str(path)


def test_each_edition_has_four_to_six_and_every_one_a_usual_mistake() -> None:
    assert list(EXERCISES) == sorted({e.edition for e in experiments.values()})
    assert all(4 <= len(found) <= 6 for found in EXERCISES.values())
    assert set(WRONG) == set(ALL)
    assert all(len(of(*place).hints) >= 2 for place in ALL)


@pytest.mark.parametrize(("edition", "number"), ALL)
def test_its_own_solution_passes_the_check(edition: str, number: int, tmp_path: Path) -> None:
    found = of(edition, number)
    judge(found, typed(found, found.solution, tmp_path))


@pytest.mark.parametrize(("edition", "number"), ALL)
def test_a_usual_mistake_fails_with_a_line_that_names_it(
    edition: str, number: int, tmp_path: Path
) -> None:
    found = of(edition, number)
    for answer, message in WRONG[edition, number]:
        with pytest.raises(WrongAnswer) as wrong:
            judge(found, typed(found, answer, tmp_path))
        assert message in str(wrong.value)
        assert "\n" not in str(wrong.value)


def test_report_004s_padding_fails_as_it_stands_in_the_task(tmp_path: Path) -> None:
    found = of("2024-25", 5)
    program = found.task[found.task.index("import numpy") :]
    with pytest.raises(WrongAnswer, match=r"up to 0\.\d+ of the weight still lies on the padding"):
        judge(found, typed(found, program, tmp_path))


def test_the_oracles_agree_with_the_networks_of_keras() -> None:
    rows = {row.name: row for row in derive(build("fashion_cnn"))}
    shape = next(r for r in rows.values() if r.kind == "Flatten").output_shape
    assert shape == (6 * 6 * 32,)
    dense = max(derive(build("intel_cnn")), key=lambda row: row.parameters)
    assert dense.parameters == int(of("2024-25", 3).solution)
    assert build("parameter_cnn").count_params() == int(of("2021-22", 1).solution)


@pytest.mark.parametrize(
    ("place", "answer", "message"),
    [
        (("2021-22", 1), "many", "'many' is not a number"),
        (("2021-22", 2), "six", "'six' is not a shape"),
        (("2021-22", 6), "0.5", "expected 0.001, 0.01, 0.1"),
        (("2021-22", 3), "10298", "10298 is not a file"),
    ],
)
def test_what_is_no_answer_at_all_is_bad_input(
    place: tuple[str, int], answer: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        judge(of(*place), answer)


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("def wrong(): pass", "defines no function update"),
        ("import nothing_of_this_name", "ModuleNotFoundError in line 1"),
        ("def update(:", "SyntaxError"),
        ("raise SystemExit", "SystemExit in line 1"),
    ],
)
def test_a_file_without_the_function_is_bad_input(
    program: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    path = tmp_path / "answer.py"
    path.write_text(program)
    assert main(["exercise", "2024-25", "1", "--answer", str(path)]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_the_command_lists_shows_hints_checks_and_solves(capsys: pytest.CaptureFixture) -> None:
    assert main(["exercise"]) == 0
    assert capsys.readouterr().out.count("\n  1  ") == 4
    assert main(["exercise", "2022-23"]) == 0
    assert "2021-22" not in capsys.readouterr().out
    assert main(["exercise", "2022-23", "3"]) == 0
    shown = capsys.readouterr().out
    assert "5x5 filter on 28x28" in shown and "--hint" in shown and "113" not in shown
    assert main(["exercise", "2022-23", "3", "--hint"]) == 0
    assert capsys.readouterr().out.startswith("1. ")
    assert main(["exercise", "2022-23", "3", "--answer", "4032"]) == 1
    assert capsys.readouterr().out.startswith("not yet: 4032: this is report 003's")
    assert main(["exercise", "2022-23", "3", "--answer", "113,328"]) == 0
    assert capsys.readouterr().out.startswith("right: ")
    assert main(["exercise", "2022-23", "3", "--solution"]) == 0
    assert "113328" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["2023-24"], "no edition '2023-24': expected one of 2021-22, 2022-23, 2024-25"),
        (["2024-25", "9"], "2024-25 has no exercise 9: expected 1 to 6"),
        (["2024-25", "--hint"], "which exercise?"),
    ],
)
def test_an_exercise_that_is_not_there_is_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture
) -> None:
    assert main(["exercise", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_the_paper_questions_need_no_keras() -> None:
    program = (
        "import sys; from hw2_keras.cli import main\n"
        "assert main(['exercise', '2024-25', '4', '--answer', '22']) == 0\n"
        "print(sorted({'keras', 'tensorflow', 'rapidfuzz'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1] == "[]"


def test_the_page_of_the_docs_holds_the_records() -> None:
    docs = Path(__file__).parents[1] / "docs"
    page = runpy.run_path(str(docs / "exercises_page.py"))["page"]()
    written = (docs / "exercises.rst").read_text(encoding="utf-8")
    assert written == page, "run: python docs/exercises_page.py"
    assert written.count("<summary>Solution") == len(ALL)
