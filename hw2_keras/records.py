"""What is read from disk beside weights: one schema for each record, checked where it is read.

``run.json``, ``history.csv``, ``beam_search.json``, ``*.parity.json`` and ``*.quantization.json``
may come from anywhere. A record that breaks its schema is refused in one line. Optional keys that
an older record lacks get their defaults, and keys that no schema knows are kept as they are.
"""

import csv
import io
import json
import math
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from hw2_keras.errors import UsageError, printable
from hw2_keras.experiments import Experiment, experiments
from hw2_keras.files import first_line
from hw2_keras.metrics import is_share

LARGEST_FILE = 16_000_000  # bytes; the largest record of the five reports has 8 kB
LARGEST_NUMBER = 1e100  # what was computed in float32 is either smaller or not finite
MOST_EPOCHS = 10**6
LARGEST_RATE = 1e12

Name = Annotated[str, Meta(min_length=1, max_length=100)]
Count = Annotated[int, Meta(ge=0, le=10**12)]
Size = Annotated[int, Meta(ge=1, le=10**7)]
Width = Annotated[int, Meta(ge=1, le=10**5)]  # of a layer: more would not fit into memory
Seed = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Share = Annotated[float, Meta(ge=0, lt=1)]
Seconds = Annotated[float, Meta(ge=0, le=1e12)]
StandardError = Annotated[float, Meta(ge=0, le=LARGEST_NUMBER)]
# patterns rather than literals: their messages say what was expected
Source = Annotated[str, Meta(pattern="^(synthetic|real)$")]
Selection = Annotated[str, Meta(pattern="^(last|best)$")]
Schedule = Annotated[str, Meta(pattern="^one_cycle$")]
Side = Annotated[str, Meta(pattern="^(source|target)$")]


class Named(Struct):
    """Every record says whose it is; read first, so that an unknown name has its own message."""

    experiment: Name


class RunRecord(Struct):
    """``run.json``, see ``hw2_keras.runs``; an optional key without a default stays missing."""

    experiment: Name
    source: Source
    fingerprint: str
    finished: bool
    best_of_sweep: bool
    protocol: dict[str, Any]
    metrics: dict[str, Any]
    training_seconds: Seconds
    divergence: str | None = None
    origin: str = "origin not recorded"
    notes: list[str] = []
    sizes: dict[str, Width | list[Width] | None] = {}
    vocabularies: dict[Side, str] = {}
    weights: str | UnsetType = UNSET  # their sha256 (hex)
    edition: str | UnsetType = UNSET
    encoder: str | UnsetType | None = UNSET
    tested_epoch: Size | UnsetType = UNSET
    finished_at: str | UnsetType = UNSET
    versions: dict[str, str] | UnsetType = UNSET
    device: dict[str, str] | UnsetType = UNSET
    standard_errors: dict[str, StandardError] | UnsetType = UNSET


class Protocol(Struct):
    """How a run was trained, ``protocol`` in ``run.json``."""

    optimizer: Name
    learning_rate: Annotated[float, Meta(gt=0, le=LARGEST_RATE)]
    epochs: Annotated[int, Meta(ge=1, le=MOST_EPOCHS)]
    batch_size: Size
    dropout: Share
    selection: Selection
    seed: Seed
    momentum: Share | UnsetType = UNSET  # this and what follows: of rungs, see ``RECIPE``
    weight_decay: Share | UnsetType = UNSET
    schedule: Schedule | UnsetType = UNSET
    label_smoothing: Share | UnsetType = UNSET
    crop_padding: Width | UnsetType = UNSET
    cutout: Width | UnsetType = UNSET


class BeamRow(Struct):
    """One setting of a beam study; its figures are the further keys ``test_...``."""

    experiment: Name
    seed: Seed
    source: Source
    num_beams: Size
    length_normalisation: bool
    seconds: Seconds


class ParityRecord(Struct):
    """Comparison of an exported file with Keras, see ``export.verify.Parity``."""

    experiment: Name
    source: Source
    examples: Count
    batch_sizes: list[Size]
    different_answers: Count
    max_difference: float
    metric: Name
    keras: float
    onnx: float
    bytes: Count
    passed: bool
    milliseconds: Seconds | None = None  # of one answer; older records lack it


class QuantizationRecord(Struct):
    """What int8 weights changed, see ``export.quantize.Quantization``; pairs: before, after."""

    experiment: Name
    source: Source
    examples: Count
    answers: Count
    different_answers: Count
    metrics: dict[Name, tuple[float, float]]
    bytes: tuple[Count, Count]


# Metrics that are no number: what the tested model says of a few images, and its mistakes.
STRUCTURED_METRICS = {"captions": dict[str, str], "test_confusion": list[list[Count]]}


def read_run_record(path: Path) -> dict[str, Any]:
    """Reads a ``run.json``.

    Args:
        path: the file.

    Returns:
        Its content, with the defaults of the optional keys that it lacks.

    Raises:
        UsageError: one line with the file, the key, what was expected and what to do.
    """
    remedy = "restore it, or delete it and train again"
    content = _read_json(path, remedy)
    experiment = _check_experiment(path, content, remedy)
    if experiment.task == "counting":
        raise _damaged(path, f"experiment: {experiment.name} is counted, not trained", remedy)
    checked = msgspec.structs.asdict(_check(path, content, RunRecord, remedy))
    _check(path, content["protocol"], Protocol, remedy, "protocol")
    if not checked["finished"]:  # nothing writes that: an unfinished run has no record
        raise _damaged(path, f"it is of an unfinished run of {experiment.name}", remedy)
    if unknown := checked["sizes"].keys() - dict(experiment.sizes).keys():
        raise _damaged(path, f"sizes: {sorted(unknown)[0]!r} is none of {experiment.name}", remedy)
    _check_metrics(path, content["metrics"], experiment, remedy)
    return content | {
        key: value for key, value in checked.items() if key not in content and value is not UNSET
    }


def read_history(path: Path, *needed: str) -> dict[str, list[float]]:
    """Reads a ``history.csv`` into columns; ``epoch`` counts from 1, other figures may be NaN.

    Args:
        path: the file.
        needed: columns that it must have, besides ``epoch`` and the two training losses.

    Raises:
        UsageError: one line with the file, what is wrong and what to do.
    """
    remedy = "restore it, or delete its folder and train again"
    text = _read_text(path, remedy)
    try:
        rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
        columns = {name: [float(row[name]) for row in rows] for name in rows[0]}
    except IndexError as error:
        raise _damaged(path, "no epoch", remedy) from error
    except (csv.Error, ValueError, TypeError) as error:
        raise _damaged(path, first_line(error), remedy) from error
    for name in ("epoch", "loss", "running_loss", *needed):
        if name not in columns:
            raise _damaged(path, f"no {name!r}", remedy)
    if columns["epoch"] != list(range(1, len(rows) + 1)):
        raise _damaged(path, "epoch: Expected 1, 2, 3, ...", remedy)
    for name, values in columns.items():
        if any(_too_large(value) for value in values):
            raise _damaged(path, f"{name}: Expected numbers up to {LARGEST_NUMBER:g}", remedy)
    return columns


def read_beam_rows(path: Path) -> list[dict[str, Any]]:
    """Reads the rows of a ``beam_search.json``; errors as in ``read_run_record``."""
    remedy = "delete it and repeat 'beams'"
    rows = _read_json(path, remedy)
    _check(path, rows, list[dict[str, Any]], remedy)
    for number, row in enumerate(rows, 1):
        place = f"row {number}"
        _check_experiment(path, row, remedy, place)
        _check(path, row, BeamRow, remedy, place)
        for name in (name for name in row if name.startswith("test_")):
            if not math.isfinite(_check(path, row[name], float, remedy, f"{place}.{name}")):
                raise _damaged(path, f"{place}.{name}: Expected a finite number", remedy)
    return rows


def read_parity_record(path: Path) -> dict[str, Any]:
    """Reads a ``*.parity.json``; errors as in ``read_run_record``."""
    remedy = "repeat 'export verify'"
    content = _read_json(path, remedy)
    _check_experiment(path, content, remedy)
    checked = _check(path, content, ParityRecord, remedy)
    for name in ("max_difference", "keras", "onnx"):
        _check(path, getattr(checked, name), float, remedy, name)
    return content


def read_quantization_record(path: Path) -> dict[str, Any]:
    """Reads a ``*.quantization.json``; errors as in ``read_run_record``."""
    remedy = "repeat 'export quantize'"
    content = _read_json(path, remedy)
    _check_experiment(path, content, remedy)
    checked = _check(path, content, QuantizationRecord, remedy)
    for name, pair in checked.metrics.items():
        for value in pair:
            _check(path, value, float, remedy, f"metrics.{name}")
    return content


def _read_json(path: Path, remedy: str) -> Any:
    try:
        content = json.loads(_read_text(path, remedy))
        json.dumps(content, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except UsageError:
        raise
    except RecursionError as error:
        raise _damaged(path, "nested too deeply", remedy) from error
    except ValueError as error:
        raise _damaged(path, first_line(error), remedy) from error
    return content


def _read_text(path: Path, remedy: str) -> str:
    try:
        if not path.is_file():
            raise _damaged(path, "it is no file", remedy)
        if path.stat().st_size > LARGEST_FILE:
            raise _damaged(path, f"larger than {LARGEST_FILE:,} bytes", remedy)
        return path.read_bytes().decode()
    except OSError as error:
        reason = error.strerror or first_line(error)
        raise UsageError(printable(f"cannot read {path} ({reason}): make it readable")) from error
    except UnicodeDecodeError as error:
        raise _damaged(path, f"no UTF-8 at byte {error.start}", remedy) from error


def _check_experiment(path: Path, content: Any, remedy: str, place: str = "") -> Experiment:
    name = _check(path, content, Named, remedy, place).experiment
    try:
        return experiments[name]
    except UsageError as error:
        raise UsageError(printable(f"{path}: {error}")) from error


def _check_metrics(path: Path, found: dict[str, Any], experiment: Experiment, remedy: str) -> None:
    for name in ("loss", "running_loss", experiment.metric):
        if name not in found:
            raise _damaged(path, f"metrics: no {name!r}", remedy)
    for name, value in found.items():
        place = f"metrics.{name}"
        _check(path, value, STRUCTURED_METRICS.get(name, float), remedy, place)
        if is_share(name) and (value < 0 or value > 1):  # of a diverged run it may be NaN
            raise _damaged(path, f"{place}: Expected a share, 0 to 1", remedy)
        if name == "test_confusion" and not _is_confusion(value):
            raise _damaged(path, f"{place}: Expected counts of classes by classes", remedy)


def _is_confusion(rows: list[list[int]]) -> bool:
    return all(len(row) == len(rows) for row in rows) and sum(map(sum, rows)) > 0


def _check(path: Path, content: Any, schema: Any, remedy: str, place: str = "") -> Any:
    """The content as the schema's type; ``place`` says where in the file it stands."""
    try:
        value = msgspec.convert(content, schema)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$")
        what = what.replace("Object missing required field ", "no ").replace("`", "'")
        where = (place + where.rstrip("`")).lstrip(".")
        raise _damaged(path, f"{where}: {what}" if where else what, remedy) from error
    if schema is float and _too_large(value):
        raise _damaged(path, f"{place}: Expected a number up to {LARGEST_NUMBER:g}", remedy)
    return value


def _too_large(value: float) -> bool:
    return math.isfinite(value) and abs(value) > LARGEST_NUMBER


def _damaged(path: Path, reason: str, remedy: str) -> UsageError:
    return UsageError(printable(f"{path} is damaged ({reason[:300]}): {remedy}"))
