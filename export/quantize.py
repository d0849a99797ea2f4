"""int8 weights: a file of about a quarter of the size, and what that changes.

Weights alone are rounded, symmetrically, with one scale per channel; a ``DequantizeLinear`` in
front of the network turns them back into floats. ``export.runtime`` lets onnxruntime do that once,
while it loads the file, so that an answer takes as long as before. Integer arithmetic
(``DynamicQuantizeLinear``, ``MatMulInteger``) was tried: it makes dense layers faster and steps of
a search slower, and an answer then depends on what else is in its batch.
"""

import json
import logging
import statistics
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import checker, helper, numpy_helper, shape_inference

from export import card, verify
from export.passes import subgraphs
from export.runtime import Classifier, Model, ModelError, Progress, load
from hw2_keras.files import new_file
from hw2_keras.metrics import metric

log = logging.getLogger(__name__)

SCHEME = "int8 weights, symmetric, one scale per channel"
LEAST_VALUES = 2048  # in less, the names and scales weigh as much as what is saved
SECONDS, LEAST_TURNS = 4.0, 10  # of the measurement of latency
EXAMPLES = 100  # of the test split, answered in turn meanwhile

# What a recommendation allows: half a point of the metric, a tenth of the time; and what it asks
# for, a tenth of the size.
METRIC_LOSS, MORE_TIME, LEAST_SAVED = 0.005, 1.1, 0.1


@dataclass(frozen=True)
class Quantization:
    """What int8 weights changed; pairs are (before, after).

    Attributes:
        experiment, source: whose model, and which data it was measured on.
        tensors: how many weights were rounded.
        examples: size of the test split.
        answers: answers compared: one per example and search.
        different_answers: how many of them changed.
        metrics: figures of the test split by name, the data set's own first.
        bytes: sizes of the files.
        milliseconds: median time of one answer at batch 1, greedy for a search.
    """

    experiment: str
    source: str
    tensors: int
    examples: int
    answers: int
    different_answers: int
    metrics: dict[str, tuple[float, float]]
    bytes: tuple[int, int]
    milliseconds: tuple[float, float]

    @property
    def objections(self) -> list[str]:
        """What speaks against the rounded file, measured."""
        found = []
        before, after = self.bytes
        if after > (1 - LEAST_SAVED) * before:
            found.append(f"the file is {after / before:.0%} of its size")
        for name, (before, after) in self.metrics.items():
            worse = before - after if metric(name).higher_is_better else after - before
            if worse > METRIC_LOSS:
                found.append(f"{name} goes from {before:.4f} to {after:.4f}")
        before, after = self.milliseconds
        if after > MORE_TIME * before:
            found.append(f"an answer takes {after / before:.1f} times as long")
        return found

    @property
    def recommendation(self) -> str:
        """One line: which file to use, and why."""
        if self.objections:
            return f"keep the original: {', '.join(self.objections)}"
        before, after = self.bytes
        return (
            f"use the int8 file: {before / after:.1f} times smaller, no metric worse by more than "
            f"{METRIC_LOSS:g}, no slower"
        )

    def save(self, model_path: Path) -> Path:
        """Writes the report beside the model as ``NAME.quantization.json``."""
        path = model_path.with_suffix(".quantization.json")
        content = asdict(self) | {
            "recommended": not self.objections,
            "recommendation": self.recommendation,
        }
        with new_file(path, ModelError) as partial:
            partial.write_text(json.dumps(content, indent=2) + "\n")
        return path

    def __str__(self) -> str:
        megabytes = [f"{size / 1e6:.2f} MB" for size in self.bytes]
        times = [f"{milliseconds:.3g} ms" for milliseconds in self.milliseconds]
        rows = [
            ("", "before", "after"),
            ("file", *megabytes),
            *((n, f"{before:.4f}", f"{after:.4f}") for n, (before, after) in self.metrics.items()),
            ("one answer", *times),
        ]
        lines = [f"  {name:<22} {before:>10} {after:>10}" for name, before, after in rows]
        changed = f"{self.different_answers} of {self.answers}"
        return "\n".join(
            [
                f"int8 weights of {self.experiment} ({self.source} data, {self.examples} test "
                "examples)",
                *lines,
                f"  {'answers changed':<22} {changed:>21}",
                f"  {self.recommendation}",
            ]
        )


def quantize(
    path: Path, output: Path, data: object = None, progress: Progress | None = None
) -> Quantization:
    """Writes a file with int8 weights and its card, and measures both on the same test split.

    Args:
        path: a file made by ``to_onnx``, of any kind.
        output: the ``.onnx`` file to write; the report goes beside it, with the ending
            ``.quantization.json``.
        data: the data set to measure on. Default: the one that the file names, loaded again.
        progress: called with (examples done, examples in all) for each file and search.

    Raises:
        ModelError: ``path`` is no such file, ``output`` cannot be written or is ``path``.
        UsageError: the data set is missing or is not what the file's network was trained on.
    """
    before = load(path)
    if output.suffix != ".onnx" or not output.parent.is_dir() or output.resolve() == path.resolve():
        raise ModelError(
            f"{output}: expected the name of another file that ends in .onnx, in a folder that "
            "exists"
        )
    card.check_place(output)
    data = data_of(path, before.info) if data is None else data
    model = onnx.load(path)
    tensors = quantize_weights(model)
    if tensors:
        facts = json.dumps({"scheme": SCHEME, "tensors": tensors})
        model.metadata_props.add(key="hw2.quantization", value=facts)
    model = shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    checker.check_model(model, full_check=True)
    with new_file(output, ModelError) as partial:
        partial.write_bytes(model.SerializeToString())
        report = compare((before, load(partial)), (path, partial), tensors, data, progress)
    report.save(output)
    card.write(output)
    return report


def quantize_weights(model: onnx.ModelProto) -> int:
    """Rounds the weights of a model to int8 in place, those of its subgraphs too.

    A weight is a float initializer with two axes or more and at least ``LEAST_VALUES`` values.

    Returns:
        How many there were.
    """
    return sum(map(quantize_graph, graphs(model.graph)))


def graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph and all graphs inside of it."""
    yield graph
    for node in graph.node:
        for inner in subgraphs(node):
            yield from graphs(inner)


def quantize_graph(graph: onnx.GraphProto) -> int:
    """``quantize_weights`` for one graph alone."""
    inputs = {value.name for value in graph.input}  # a default that a caller may replace
    kept, dequantize = [], []
    for stored in graph.initializer:
        weight = numpy_helper.to_array(stored)
        is_large = weight.ndim > 1 and weight.size >= LEAST_VALUES
        if weight.dtype != np.float32 or not is_large or stored.name in inputs:
            kept.append(stored)
            continue
        axis = min(range(weight.ndim), key=lambda axis: rounding_error(weight, axis))
        rounded, scale = round_weight(weight, axis)
        names = [f"{stored.name}_int8", f"{stored.name}_scale"]
        kept += map(numpy_helper.from_array, (rounded, scale), names)
        dequantize.append(
            helper.make_node(
                "DequantizeLinear",
                names,
                [stored.name],
                name=f"{stored.name}/DequantizeLinear",
                axis=axis,
            )
        )
    nodes = [*dequantize, *graph.node]
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(kept)
    graph.node.extend(nodes)
    return len(dequantize)


def round_weight(weight: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns int8 of the weight's shape and float32 scales, one per index of ``axis``.

    int8 * scale is the weight but for half a scale.
    """
    others = tuple(i for i in range(weight.ndim) if i != axis)
    largest = np.abs(weight).max(others, keepdims=True)
    scale = np.where(largest > 0, largest / 127, 1).astype(np.float32)
    return np.rint(weight / scale).astype(np.int8), scale.reshape(-1)


def rounding_error(weight: np.ndarray, axis: int) -> float:
    """Sum of squares of what rounding with scales along an axis changes."""
    rounded, scale = round_weight(weight, axis)
    shape = [-1 if i == axis else 1 for i in range(weight.ndim)]
    return float(np.square(rounded * scale.reshape(shape) - weight, dtype=np.float64).sum())


def data_of(path: Path, info: dict) -> object:
    """Loads the data set that a file's network was trained on.

    Raises:
        UsageError: it is missing or another version of it was found.
    """
    from hw2_keras.data import load_data
    from hw2_keras.errors import UsageError

    if not all(isinstance(info.get(name), str) for name in ("source", "fingerprint")):
        raise UsageError(
            f"{path} does not say which data it was trained on: expected a file that 'export "
            "convert' made of a run"
        )
    data = load_data(info["experiment"], source=info["source"])
    if data.fingerprint != info["fingerprint"]:
        raise UsageError(
            f"{path} was trained on other {data.name} data (fingerprint "
            f"{info['fingerprint'][:12]}, found {data.fingerprint[:12]}): put the original files "
            "back"
        )
    return data


def compare(
    models: Sequence[Model],
    paths: Sequence[Path],
    tensors: int,
    data: object,
    progress: Progress | None = None,
) -> Quantization:
    """Measures two files, before and after, on the test split of a data set."""
    info = models[0].info
    sources = verify.sources_of(models[0], data)
    answered = []
    for model, which in zip(models, ("original", "rounded"), strict=True):
        log.info("the %s file answers %s test examples", which, f"{len(sources):,}")
        answered.append(answers_and_figures(model, data, progress))
    (expected, figures), (found, new_figures) = answered
    log.info("both files take turns for %.0f s, for the time of an answer", SECONDS)
    return Quantization(
        experiment=info["experiment"],
        source=data.source,
        tensors=tensors,
        examples=len(sources),
        answers=expected.size,
        different_answers=int((expected != found).sum()),
        metrics={name: (value, new_figures[name]) for name, value in figures.items()},
        bytes=tuple(path.stat().st_size for path in paths),
        milliseconds=latencies(models, sources),
    )


def answers_and_figures(
    model: Model, data: object, progress: Progress | None = None
) -> tuple[np.ndarray, dict[str, float]]:
    """What a file answers to the test split, (N, searches), and the figures of that.

    The searches are those of ``verify``: greedy and a beam of 5, or a sample.
    """
    sources = verify.sources_of(model, data)
    if isinstance(model, Classifier):
        labels = model(sources, progress=progress)
        right = labels == np.array(data.classes)[data.test.label]
        return labels[:, np.newaxis], {"test_accuracy": float(right.mean())}
    columns, figures = [], {}
    for name, search in verify.searches(model).items():
        found = verify.answer(model, sources, search, 64, progress)
        columns.append(found.texts[:, 0])
        figures |= verify.figures(model.info["experiment"], name, columns[-1].tolist(), data)
    return np.stack(columns, 1), figures


def latencies(models: Sequence[Model], sources: Sequence) -> tuple[float, ...]:
    """Median milliseconds that each file needs for one answer at batch 1; they take turns."""
    times: list[list[float]] = [[] for _ in models]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # unknown symbols are part of the test split
        started, turn = time.perf_counter(), 0
        while turn < LEAST_TURNS or time.perf_counter() - started < SECONDS:
            source = sources[turn % min(EXAMPLES, len(sources))]
            for model, taken in zip(models, times, strict=True):
                before = time.perf_counter()
                model(source)
                taken.append(time.perf_counter() - before)
            turn += 1
    return tuple(1000 * statistics.median(taken) for taken in times)
