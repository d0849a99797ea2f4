"""How far a figure would move with another test set of the same size: its standard error."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from hw2_keras.experiments import Experiment
from hw2_keras.metrics import METRICS
from hw2_keras.training import sequences

RESAMPLES = 1000


def standard_errors(
    models: Any, prepared: Any, experiment: Experiment, figures: dict[str, Any]
) -> dict[str, float]:
    """The standard errors of a run's figures on the validation and test splits, by name.

    Accuracies and WER@3, shares of the examples, are binomial. The others are bootstrapped over
    the examples.

    Args:
        models, prepared: as `training.Task` has them.
        figures: what was measured.
    """
    if experiment.task == "classification":
        sizes = {"val": len(prepared.val.label), "test": len(prepared.test.label)}
        return {
            name: binomial(figures[name], sizes[name.partition("_")[0]])
            for name in ("val_accuracy", "test_accuracy")
        }
    found = {}
    for split in ("val", "test"):
        errors = _of_search(models, prepared, experiment, split)
        found |= {f"{split}_{name}": error for name, error in errors.items()}
    if experiment.top_p:
        options = {"search": "nucleus", "top_p": experiment.top_p}
        errors = _of_search(models, prepared, experiment, "test", **options)
        found |= {f"test_nucleus_{name}": error for name, error in errors.items()}
    if "test_wer_at_3" in figures:
        found["test_wer_at_3"] = binomial(figures["test_wer_at_3"], len(prepared.test))
    return found


def binomial(share: float, n: int) -> float:
    """Standard error of a share of ``n`` examples.

    >>> binomial(0.9, 900)
    0.01
    """
    return math.sqrt(share * (1 - share) / n)


def bootstrap(values: Sequence[float], weights: Sequence[float]) -> float:
    """Standard error of a weighted mean, over `RESAMPLES` draws of the examples with a fixed seed.

    Args:
        values: the figure of each example.
        weights: what each counts.
    """
    rng, n = np.random.default_rng(0), len(values)
    values, weights = np.asarray(values, float), np.asarray(weights, float)
    drawn = (rng.integers(n, size=n) for _ in range(RESAMPLES))
    return float(np.std([np.average(values[rows], weights=weights[rows]) for rows in drawn]))


def _of_search(
    models: Any, prepared: Any, experiment: Experiment, split: str, **search: Any
) -> dict[str, float]:
    truth = getattr(prepared.data, split).target
    texts = sequences.decode_split(
        models,
        getattr(prepared, split),
        prepared.data.target_vocabulary,
        experiment.max_length,
        **search,
    )
    found = {}
    for name in experiment.measures:
        measure = METRICS[name].measure
        values = [measure([text], [true]) for text, true in zip(texts, truth, strict=True)]
        # the CER of a set is edits / characters: each word counts as long as it is
        weights = [max(1, len(true)) for true in truth] if name == "cer" else [1.0] * len(truth)
        found[name] = bootstrap(values, weights)
    return found
