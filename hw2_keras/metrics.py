"""How near generated texts come to the true ones: BLEU, error rates, CER, WER.

Every function takes whole sets of strings and returns a fraction (a CER of 0.24 is 24 %). Lengths
and edits count Unicode code points. An empty prediction is an ordinary, bad answer: BLEU 0, every
character of the truth missing. An empty truth counts as one character long, so that a wrong
answer to it costs one per character and the right answer, an empty one, costs nothing.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from hw2_keras.errors import UsageError

ORDERS = (1, 2, 3, 4)


def sentence_bleu(prediction: str, references: Sequence[str]) -> float:
    """Return the BLEU-4 of one sentence: uniform weights, no smoothing.

    The geometric mean of the modified n-gram precisions, n = 1 to 4, times the brevity penalty
    exp(min(0, 1 - r/c)), with c the length of the prediction in words and r the reference length
    nearest to it (the shorter of two equally near). Zero when any precision is zero, so always
    for fewer than four words and for an empty prediction.

    Source: Papineni et al., 2002, on one sentence, as in edition 2021-22, Q3.

    Raises:
        UsageError: no references.
    """
    return corpus_bleu([prediction], [references])


def mean_bleu4(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Return the sentence BLEU-4 averaged over the set, as the course reports it.

    Args:
        predictions: N sentences, words separated by spaces.
        references: N groups of true sentences.

    Raises:
        UsageError: no sentences, unequal numbers, or a sentence without references.
    """
    _check(predictions, references)
    return sum(map(sentence_bleu, predictions, references)) / len(predictions)


def corpus_bleu(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Return the BLEU-4 of the whole set: n-gram counts and lengths are summed before dividing.

    A sentence of fewer than n words adds no n-gram to either (NLTK counts one that is wrong).

    Source: Papineni et al., 2002. Arguments and errors as for `mean_bleu4`.
    """
    _check(predictions, references)
    matches, totals = Counter(), Counter()
    length = reference_length = 0
    for prediction, group in zip(predictions, references, strict=True):
        if not group or isinstance(group, str):
            raise UsageError(f"references {group!r} of {prediction!r}: expected a list, not empty")
        words, truths = prediction.split(), [reference.split() for reference in group]
        length += len(words)
        reference_length += min(map(len, truths), key=lambda n: (abs(n - len(words)), n))
        for n in ORDERS:
            counts = _ngrams(words, n)
            allowed = Counter()
            for truth in truths:
                allowed |= _ngrams(truth, n)
            matches[n] += (counts & allowed).total()
            totals[n] += counts.total()
    if not all(matches[n] for n in ORDERS):
        return 0.0
    log_precision = sum(math.log(matches[n] / totals[n]) for n in ORDERS) / len(ORDERS)
    return math.exp(min(0.0, 1 - reference_length / length) + log_precision)


def error_rate(predictions: Sequence[str], references: Sequence[str]) -> float:
    """Return Levenshtein(prediction, truth) / length(truth), averaged over sentences.

    Source: edition 2022-23, Q3.

    Raises:
        UsageError: no sentences, or unequal numbers of predictions and references.
    """
    from rapidfuzz.distance import Levenshtein  # labels are read on a base install too

    _check(predictions, references)
    pairs = zip(predictions, references, strict=True)
    return sum(Levenshtein.distance(p, t) / max(1, len(t)) for p, t in pairs) / len(predictions)


def cer(predictions: Sequence[str], references: Sequence[str]) -> float:
    """Return the character error rate of the set: the sum of all edits / of all true lengths.

    Source: edition 2024-25, Q3.

    Raises:
        UsageError: no words, or unequal numbers of predictions and references.
    """
    from rapidfuzz.distance import Levenshtein

    _check(predictions, references)
    edits = sum(map(Levenshtein.distance, predictions, references))
    return edits / sum(max(1, len(truth)) for truth in references)


def wer(predictions: Sequence[str], references: Sequence[str]) -> float:
    """Return the share of words that are not exactly right.

    Source: edition 2024-25, Q3.

    Raises:
        UsageError: no words, or unequal numbers of predictions and references.
    """
    return wer_at_k([predictions], references)


def wer_at_k(passes: Sequence[Sequence[str]], references: Sequence[str]) -> float:
    """Return the share of words that none of the k passes gets exactly right.

    Args:
        passes: k sets of N predictions each.
        references: N true words.

    Source: edition 2024-25, Q3 (WER@3).

    Raises:
        UsageError: no passes, no words, or a pass of another length than the references.
    """
    if not passes:
        raise UsageError("no passes: expected at least one set of predictions")
    for predictions in passes:
        _check(predictions, references)
    attempts = zip(*passes, strict=True)
    wrong = sum(truth not in words for words, truth in zip(attempts, references, strict=True))
    return wrong / len(references)


class Metric(NamedTuple):
    """What is known of a metric, whatever the split it is measured on.

    Attributes:
        label: for tables and axes.
        higher_is_better: None for losses, which are no aim as such.
        measure: the function of predictions and references; None for what Keras measures.
        title: of the training losses, which have no split: what they are the mean of.
        share: whether it goes from 0 to 1.
    """

    label: str
    higher_is_better: bool | None
    measure: Callable[[Sequence, Sequence], float] | None = None
    title: str = ""
    share: bool = False


METRICS = {
    "loss": Metric("loss", None, title="training loss, mean of the epoch"),
    "running_loss": Metric("running loss", None, title="training loss, running mean since epoch 1"),
    "accuracy": Metric("accuracy", True, share=True),
    "bleu4": Metric("BLEU-4", True, mean_bleu4, share=True),
    "error_rate": Metric("error rate", False, error_rate),
    "cer": Metric("CER", False, cer),
    "wer": Metric("WER", False, wer, share=True),
    "nucleus_cer": Metric("CER, nucleus", False),
    "nucleus_wer": Metric("WER, nucleus", False, share=True),
    "wer_at_3": Metric("WER@3, nucleus", False, share=True),
}
SPLITS = {"val": "validation", "test": "test"}


def metric(figure: str) -> Metric:
    """The metric of a figure of a run, e.g. CER for "test_cer" and "val_beam5_cer".

    Raises:
        UsageError: the figure belongs to no metric.
    """
    for start in (0, *(i + 1 for i, letter in enumerate(figure) if letter == "_")):
        if figure[start:] in METRICS:
            return METRICS[figure[start:]]
    raise UsageError(f"unknown figure {figure!r}: expected a split and one of {', '.join(METRICS)}")


def is_share(figure: str) -> bool:
    """Whether a figure of a run goes from 0 to 1; False also for what is no metric."""
    try:
        return metric(figure).share
    except UsageError:
        return False


def label(figure: str) -> str:
    """What a figure is called: "test CER" for "test_cer", "test CER, 5 beams" for "test_beam5_cer".

    ``loss`` without a split is the training loss, the mean of the epoch. What is no metric keeps
    its name.
    """
    split, _, name = figure.partition("_")
    if figure == "loss":
        return "epoch loss"
    if split in SPLITS and name in METRICS:
        return f"{SPLITS[split]} {METRICS[name].label}"
    if split in SPLITS and (beams := re.fullmatch(r"beam(\d+)_(\w+)", name)):
        return f"{label(f'{split}_{beams[2]}')}, {beams[1]} beams"
    return METRICS[figure].label if figure in METRICS else figure


def best(values: Sequence[float], figure: str) -> int:
    """The index of the best value of a figure, the first of equal ones; NaN is never best.

    Raises:
        UsageError: the figure is one of those that have no better or worse.
    """
    higher = metric(figure).higher_is_better
    if higher is None:
        raise UsageError(f"{figure} has no best value: a loss is no aim as such")
    worst = -math.inf if higher else math.inf
    sound = [worst if math.isnan(value) else value for value in values]
    return sound.index(max(sound) if higher else min(sound))


def _ngrams(words: list[str], n: int) -> Counter:
    return Counter(zip(*(words[i:] for i in range(n)), strict=False))


def _check(predictions: Sequence, references: Sequence) -> None:
    if isinstance(predictions, str) or isinstance(references, str):
        raise UsageError("a single string: expected a list of predictions and one of references")
    if not predictions or len(predictions) != len(references):
        raise UsageError(
            f"{len(predictions)} predictions and {len(references)} references: "
            "expected equally many, at least one"
        )
