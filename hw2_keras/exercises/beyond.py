"""Exercises beyond the reports: a schedule, smoothed labels, crops, and when a gain is sure."""

from collections.abc import Callable

import numpy as np

from hw2_keras.exercises.exercise import Exercise, WrongAnswer, answered, is_number
from hw2_keras.experiments import KMNIST_CROPPED, KMNIST_ONE_CYCLE, KMNIST_SMOOTHED

STEPS, STEP = 1_000, 700
CLASSES = 10
GAINS = ((0.012, 0.003, 0.010), (0.004, 0.006, 0.005), (-0.002, 0.001, 0.0085))


def rate_of_the_cycle() -> float:
    from hw2_keras.training.optimizers import OneCycle

    return float(OneCycle(KMNIST_ONE_CYCLE.best_rate, STEPS)(STEP))


def best_probability() -> float:
    smoothing = KMNIST_SMOOTHED.label_smoothing
    return 1 - smoothing + smoothing / CLASSES


def number_of_crops() -> int:
    return (2 * KMNIST_CROPPED.crop_padding + 1) ** 2


def check_interval(function: Callable) -> None:
    from hw2_keras.report.verdict import half_width  # it needs a library that a base install lacks

    for gains in GAINS:
        mean, (half, _) = np.mean(gains), half_width(gains, None)
        s, n = np.std(gains, ddof=1), len(gains)
        slips = {
            "the standard deviation of one seed: that of the mean is smaller by √n": half * n**0.5,
            "1.96 is for many seeds: of three, two degrees of freedom are left": 1.96 * s / n**0.5,
            "divide the squares by n - 1: the mean was taken from the same gains": half
            * ((n - 1) / n) ** 0.5,
        }
        try:
            low, high = map(float, answered(function, gains))
        except (TypeError, ValueError) as error:
            raise WrongAnswer("it must return two numbers, the lower end first") from error
        for words, wrong in slips.items():
            if np.allclose((low, high), (mean - wrong, mean + wrong), atol=1e-6):
                raise WrongAnswer(words)
        if not np.allclose((low, high), (mean - half, mean + half), atol=5e-6):
            expected = f"{mean - half:+.5f} to {mean + half:+.5f}"
            raise WrongAnswer(
                f"of the gains {gains} it is {expected}, not {low:+.5f} to {high:+.5f}"
            )


EXERCISES = (
    Exercise(
        question="ladder",
        title="follow one cycle of the learning rate",
        task="kmnist_one_cycle rises to a rate of 0.1 over the first quarter of its steps and "
        "falls linearly to nothing at their end.\n"
        "Of 1,000 steps, what is the rate at step 700, counted from 0?",
        hints=(
            "At step 700 it falls already, from step 250 to step 1,000.",
            "300 of the 750 falling steps are left.",
        ),
        solution="0.04",
        because="0.1 * 300 / 750 = 0.04, which is still four times the homework's best rate for "
        "SGD: validation there says little about the end.",
        check=is_number(
            rate_of_the_cycle,
            {
                0.03: "the fall begins after a quarter of the steps, not at step 0",
                0.06: "this is what is lost from the top, not what is left",
                0.28: "the rate rises for 250 steps only",
            },
            "draw the two lines: 0 to 0.1 over 250 steps, then back to 0 at step 1,000",
        ),
        needs_keras=True,
    ),
    Exercise(
        question="ladder",
        title="find how sure a smoothed network should be",
        task="Label smoothing of 0.1 takes a tenth of the label from the true class and gives it "
        "to all 10 classes alike.\n"
        "Which probability of the true class makes the cross-entropy smallest?",
        hints=(
            "The cross-entropy to a distribution is smallest at that distribution.",
            "The true class is one of the ten that share the tenth.",
        ),
        solution="0.91",
        because="0.9 + 0.1/10 = 0.91 for the true class, 0.01 for each other. A plain label is "
        "reached by infinite scores alone.",
        check=is_number(
            best_probability,
            {
                0.9: "the true class gets its share of the tenth too",
                1.0: "this is where a plain label's loss is smallest",
                0.1: "this is what is taken away",
            },
            "write the smoothed label down: ten numbers that sum to 1",
        ),
    ),
    Exercise(
        question="ladder",
        title="count the crops of an image",
        task="An image of 28x28 gets a black frame of 2 pixels, and a window of 28x28 is cut out "
        "at a random place.\n"
        "How many different windows are there?",
        hints=(
            "The framed image is 32x32.",
            "How many rows can the window's upper edge lie in?",
        ),
        solution="25",
        because="5 rows times 5 columns: moved by -2 to 2 pixels each way. In 12 epochs an image "
        "is seen 12 times, seldom twice at the same place.",
        check=is_number(
            number_of_crops,
            {
                16: "the window may lie at both ends: 32 - 28 + 1 places, not 32 - 28",
                4: "the window moves in both directions",
                5: "5 rows, and for each of them the columns",
                9: "the frame has 2 pixels on every side, so it moves by -2 to 2",
            },
            "count the rows, then the columns",
        ),
    ),
    Exercise(
        question="ladder",
        title="write the interval that makes a gain sure",
        task="Write interval(gains): the two ends of the 95 % interval of the mean of three gains, "
        "by Student's t, whose 97.5 % quantile for two degrees of freedom is 4.303.\n"
        "gains is a tuple of three numbers, one for each seed; return (low, high).",
        hints=(
            "mean ± 4.303 times the standard error of the mean.",
            "The standard error is the sample standard deviation (divide by n - 1) over √n.",
        ),
        solution="""\
import statistics


def interval(gains):
    mean = statistics.fmean(gains)
    half = 4.303 * statistics.stdev(gains) / len(gains) ** 0.5
    return mean - half, mean + half
""",
        because="With three seeds the interval is 2.5 standard deviations to either side: a mean "
        "of 0.0083 can be no sure gain, one of 0.0050 can be. More seeds make it narrower, fast.",
        check=check_interval,
        function="interval",
    ),
)
