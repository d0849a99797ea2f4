"""The parity report: does the file answer exactly as Keras does?"""

import json
import logging
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from export.runtime import Found, Generator, Model, ModelError, Progress, Sampler, load
from hw2_keras.errors import UsageError
from hw2_keras.files import new_file
from hw2_keras.records import read_parity_record

if TYPE_CHECKING:
    import keras

    from hw2_keras.data.captions import CaptionData
    from hw2_keras.data.images import ImageData
    from hw2_keras.data.pairs import PairData
    from hw2_keras.models.encoder_decoder import EncoderDecoder
    from hw2_keras.runs import Run
    from hw2_keras.training.sequences import Prepared

log = logging.getLogger(__name__)

BATCH_SIZES = (1, 7, 64)
TOLERANCE = 1e-5  # largest accepted difference of a probability or an attention weight
SCORE_TOLERANCE = 1e-4  # of a score, the mean of up to 50 log-probabilities
COMPARED = 448  # images compared at every batch size: a multiple of 7 and of 64, and over 256
TIMED = 64  # examples that are answered one at a time for the time of an answer
NUM_BEAMS = 5
TOP_P = 0.8
SEED = 42


@dataclass(frozen=True)
class Parity:
    """What a verification found.

    Attributes:
        experiment, source: whose model, and which data it was compared on.
        examples: number of test examples compared at each batch size; of a reader's own
            encoder-decoder all of them at once, and two batches of each smaller size.
        batch_sizes: the batch sizes.
        different_answers: how many labels (or strings) differ, over all batch sizes.
        max_difference: largest absolute difference of a probability (or a score).
        metric: the figure computed on the whole test split, e.g. "test_accuracy"; None where
            there is no test split.
        keras, onnx: that figure in both runtimes.
        bytes: size of the file.
        tolerance: what ``max_difference`` must stay below.
        attention_difference: largest absolute difference of an attention weight; None for a
            model without attention.
        more: further figures by name, each in (Keras, ONNX).
        milliseconds: of an answer to one test example, see ``time_of_answer``; None for a model of
            a reader's own.
    """

    experiment: str
    source: str
    examples: int
    batch_sizes: tuple[int, ...]
    different_answers: int
    max_difference: float
    metric: str | None
    keras: float | None
    onnx: float | None
    bytes: int
    tolerance: float = TOLERANCE
    attention_difference: float | None = None
    more: dict[str, tuple[float, float]] = field(default_factory=dict)
    milliseconds: float | None = None

    @property
    def passed(self) -> bool:
        """True when answers and figures are identical and differences below their tolerance."""
        return (
            self.different_answers == 0
            and self.max_difference < self.tolerance
            and (self.attention_difference is None or self.attention_difference < TOLERANCE)
            and all(keras == onnx for keras, onnx in self.figures.values())
        )

    @property
    def figures(self) -> dict[str, tuple[float, float]]:
        """All figures by name, each in (Keras, ONNX)."""
        if self.metric is None:
            return {}
        return {self.metric: (self.keras, self.onnx)} | self.more

    def check(self) -> None:
        """Raises ``ModelError`` with the largest difference unless the file passed."""
        if not self.passed:
            raise ModelError(
                f"the ONNX file disagrees with Keras: {self.different_answers} different answers, "
                f"largest difference {self.max_difference:.2g} (allowed {self.tolerance:g}), "
                f"{self._attention()}{self._metric()}no file was written"
            )

    def _metric(self) -> str:
        if self.metric is None:
            return ""
        return f"{self.metric} {self.onnx} instead of {self.keras}; "

    def _attention(self) -> str:
        if self.attention_difference is None:
            return ""
        return f"of attention {self.attention_difference:.2g} (allowed {TOLERANCE:g}), "

    def with_time_beside(self, model_path: Path) -> "Parity":
        """The same with the time of an answer that the stored report has, if it has one."""
        try:
            stored = read_parity_record(model_path.with_suffix(".parity.json"))["milliseconds"]
        except (UsageError, KeyError):
            return self
        return self if stored is None else replace(self, milliseconds=stored)

    def save(self, model_path: Path) -> Path:
        """Writes the report beside the model as ``NAME.parity.json``."""
        path = model_path.with_suffix(".parity.json")
        with new_file(path, ModelError) as partial:
            partial.write_text(json.dumps(asdict(self) | {"passed": self.passed}, indent=2) + "\n")
        return path

    def __str__(self) -> str:
        sizes = ", ".join(map(str, self.batch_sizes))
        attention, seconds = [], []
        if self.attention_difference is not None:
            attention = [f"{self.attention_difference:.2e} (allowed {TOLERANCE:g})"]
        if self.milliseconds is not None:
            seconds = [f"{self.milliseconds:.3g} ms an answer, one at a time"]
        rows = [
            ("compared", f"{self.examples} {self._examples()} at batch sizes {sizes}"),
            ("different", f"{self.different_answers} answers"),
            ("max difference", f"{self.max_difference:.2e} (allowed {self.tolerance:g})"),
            *(("of attention", text) for text in attention),
            *((n, f"Keras {k:.4f}, ONNX {o:.4f}") for n, (k, o) in self.figures.items()),
            *(("time", text) for text in seconds),
            ("file", f"{self.bytes / 1e6:.2f} MB"),
            ("verdict", "passed" if self.passed else "FAILED"),
        ]
        lines = [f"  {name:<16} {text}" for name, text in rows]
        return "\n".join([f"parity of {self.experiment} ({self.source} data)", *lines])

    def _examples(self) -> str:
        if self.metric is None:
            repeated = (
                ", repeated to fill a batch," if self.examples < max(self.batch_sizes) else ""
            )
            return f"{self.source} examples{repeated}"
        if self.metric == "test_accuracy" and self.examples == COMPARED:
            return "test examples (a multiple of 7 and of 64; the accuracy is on all)"
        return "test examples"


def verify_run(path: Path, run: "Run") -> Parity:
    """Compares a file with the finished run that it was made from.

    See ``verify_classifier`` and ``verify_generator``. The time of an answer stays the one of the
    report beside the file, if that has one: the rest of a report repeats to the byte.

    Raises:
        ModelError: the file holds another experiment than the run, or rounded weights.
    """
    info = load(path).info
    if "quantization" in info:
        raise ModelError(
            f"{path} holds rounded weights: 'quantize' reports what they change, verify the file "
            "that it was made from"
        )
    if info["experiment"] != run.experiment.name:
        raise ModelError(
            f"{path} holds {info['experiment']} and {run.path} is {run.experiment.name}: "
            "give the run that the file was made from"
        )
    if info["kind"] == "classifier":
        parity = verify_classifier(path, run.model(), run.data())
    else:
        parity = verify_generator(path, run.models(), run.prepared())
    return parity.with_time_beside(path)


def verify_classifier(path: Path, network: "keras.Model", data: "ImageData") -> Parity:
    """Compares a classifier's file with the Keras network on the test split.

    Args:
        path: the file.
        network: scaled images (N, H, W, C) -> logits (N, K).
        data: the data set; its whole test split gives the accuracies, its first 448 images are
            compared one by one at batch sizes 1, 7 and 64.
    """
    from hw2_keras.training.classification import predict_logits

    image, label = data.test
    log.info("Keras answers %s test images", f"{len(image):,}")
    logits = predict_logits(network, data.test)
    expected = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
    examples = min(COMPARED, len(image))
    parity = compare_probabilities(
        path, network.name, data.source, image[:examples], expected[:examples]
    )
    log.info("the file answers all %s, for the accuracy", f"{len(image):,}")
    model = load(path)
    everything = model(image, batch_size=256)
    classes = np.array(data.classes)
    different = int((everything != classes[expected.argmax(1)]).sum())
    return replace(
        parity,
        different_answers=parity.different_answers + different,
        metric="test_accuracy",
        keras=float((expected.argmax(1) == label).mean()),
        onnx=float((everything == classes[label]).mean()),
        milliseconds=time_of_answer(model, image),
    )


def compare_probabilities(
    path: Path, name: str, source: str, images: np.ndarray, expected: np.ndarray
) -> Parity:
    """Compares a classifier's file with probabilities (N, K) of images (N, H, W, C)."""
    model = load(path)
    labels = np.array(model.labels, object)[expected.argmax(1)]
    different, largest = 0, 0.0
    for size in BATCH_SIZES:
        log.info("the file answers %d of them, batch size %d of %s", len(images), size, BATCH_SIZES)
        found = model.probabilities(images, batch_size=size)
        different += int((model(images, batch_size=size) != labels).sum())
        largest = max(largest, largest_difference(found, expected))
    return Parity(
        experiment=name,
        source=source,
        examples=len(images),
        batch_sizes=BATCH_SIZES,
        different_answers=different,
        max_difference=largest,
        metric=None,
        keras=None,
        onnx=None,
        bytes=path.stat().st_size,
    )


def verify_generator(path: Path, models: "EncoderDecoder", prepared: "Prepared") -> Parity:
    """Compares an encoder-decoder's file with ``hw2_keras.decoding`` on the whole test split.

    Every text of greedy search and of a beam of 5 must be the same at batch sizes 1, 7 and 64,
    for a sampler every sample with the same random numbers; scores, the attention of the best
    and the data set's figures are compared too.

    Args:
        path: the file.
        models: the Keras models.
        prepared: the data set with its encoded sources.
    """
    model, data = load(path), prepared.data
    sources = sources_of(model, data)
    different, largest, looks, pairs = 0, 0.0, [], {}
    for name, search in searches(model).items():
        words = f"{'sampling' if search is None else f'beam {search}'}, {len(sources):,} examples"
        log.info("%s: Keras answers", words)
        expected = decode(models, prepared, model.info, search)
        for size in BATCH_SIZES:
            log.info("%s: the file answers, batch size %d of %s", words, size, BATCH_SIZES)
            found = answer(model, sources, search, size)
            different += int((found.texts != expected.texts).sum())
            largest = max(largest, largest_difference(found.scores, expected.scores))
            if found.attention is not None:
                looks.append(attention_difference(found, expected))
        of_keras, of_onnx = (
            figures(model.info["experiment"], name, each.texts[:, 0].tolist(), data)
            for each in (expected, found)
        )
        pairs |= {metric: (value, of_onnx[metric]) for metric, value in of_keras.items()}
    metric, (keras, onnx) = next(iter(pairs.items()))
    return Parity(
        experiment=model.info["experiment"],
        source=data.source,
        examples=len(sources),
        batch_sizes=BATCH_SIZES,
        different_answers=different,
        max_difference=largest,
        metric=metric,
        keras=keras,
        onnx=onnx,
        bytes=path.stat().st_size,
        tolerance=SCORE_TOLERANCE,
        attention_difference=max(looks) if looks else None,
        more={name: pair for name, pair in pairs.items() if name != metric},
        milliseconds=time_of_answer(model, sources),
    )


def time_of_answer(model: Callable[[Sequence], object], sources: Sequence) -> float:
    """Milliseconds of one answer: the median over the first 64 sources, each asked alone.

    With the threads that onnxruntime takes by default, one for each physical core; of a generator
    greedy search, of a sampler one sample.
    """
    seconds = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # unknown symbols are part of the test split
        for place in range(min(TIMED, len(sources))):
            started = time.perf_counter()
            model(sources[place : place + 1])
            seconds.append(time.perf_counter() - started)
    return round(1000 * statistics.median(seconds), 4)


def searches(model: Generator | Sampler) -> dict[str, int | None]:
    """What is compared, by the prefix of its figures: widths of the beam; None for a sample."""
    if isinstance(model, Sampler):
        return {"nucleus_": None}
    return {"": 1, f"beam{NUM_BEAMS}_": NUM_BEAMS}


def sources_of(model: Model, data: "ImageData | PairData | CaptionData") -> Sequence:
    """The test split in the form that a file takes."""
    is_text = getattr(model, "source_kind", "image") in ("speller", "translator")
    return data.test.source if is_text else data.test.image


def figures(
    experiment: str, search: str, texts: list[str], data: "PairData | CaptionData"
) -> dict[str, float]:
    """The data set's figures of texts for its test split, e.g. ``test_beam5_cer``."""
    from hw2_keras.experiments import experiments
    from hw2_keras.training import sequences

    found = sequences.figures(experiments[experiment].measures, texts, data.test.target)
    return {f"test_{search}{metric}": value for metric, value in found.items()}


def answer(
    model: Generator | Sampler,
    sources: Sequence,
    search: int | None,
    size: int,
    progress: Progress | None = None,
) -> Found:
    """What the file answers, as arrays (N, K)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # unknown symbols are part of the test split
        if search is not None:
            return model.search(sources, search, batch_size=size, progress=progress)
        found = model.sample(sources, TOP_P, SEED, batch_size=size, progress=progress)
    return Found(found.texts[:, None], found.scores[:, None], None)


def decode(models: "EncoderDecoder", prepared: "Prepared", info: dict, search: int | None) -> Found:
    """What Keras answers on the test split, in the form of the runtime."""
    from hw2_keras import decoding

    source, vocabulary = prepared.test, prepared.data.target_vocabulary
    max_length, penalty = info["max_length"], info["length_penalty"]
    uniforms = np.random.default_rng(SEED).random((len(source), max_length), np.float32)
    texts, scores, attention = [], [], []
    for start in range(0, len(source), max(BATCH_SIZES)):
        rows = slice(start, start + max(BATCH_SIZES))
        batch = source[rows]
        if search is None:
            found = decoding.nucleus(models, batch, TOP_P, uniforms[rows], penalty)
        elif search == 1:
            found = decoding.greedy(models, batch, max_length, penalty)
        else:
            found = decoding.beam(models, batch, max_length, search, penalty)
        texts += [[vocabulary.decode(tokens) for tokens in row] for row in found.tokens.numpy()]
        scores.append(found.scores.numpy())
        if found.attention is not None:
            attention += list(found.attention.numpy())
    return Found(np.array(texts, object), np.concatenate(scores), attention or None)


def largest_difference(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest absolute difference; infinities must be at the same places, NaN equals nothing."""
    finite = np.isfinite(expected)
    if not np.array_equal(np.isfinite(found), finite) or np.isnan(found + expected).any():
        return np.inf
    return float(np.abs(found[finite] - expected[finite]).max())


def attention_difference(found: Found, expected: Found) -> float:
    """Largest absolute difference of a weight; the weights left out of ``found`` are zero."""
    largest = 0.0
    for look, reference in zip(found.attention, expected.attention, strict=True):
        padded = np.zeros((max(len(look), len(reference)), reference.shape[1]), np.float32)
        padded[: look.shape[0], : look.shape[1]] = look
        padded[: reference.shape[0]] -= reference
        if np.isnan(padded).any():
            return np.inf
        largest = max(largest, float(np.abs(padded).max()))
    return largest
