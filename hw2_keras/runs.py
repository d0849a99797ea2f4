"""What a finished run is on disk, and how to open it again.

A run is one folder::

    run.json            experiment, protocol, data, versions, timings, final metrics
    history.csv         one row per epoch
    model.weights.h5    the tested model
    checkpoint.npz      only while the run is unfinished: everything needed to resume
    vocabulary.*.json   for text models
    plots/, tensorboard/

Every file but TensorBoard's is written beside its final name and renamed, so a reader never sees
half of one.
"""

import csv
import hashlib
import io
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hw2_keras.errors import UsageError
from hw2_keras.experiments import RECIPE, Experiment, experiments
from hw2_keras.files import first_line, write_atomically
from hw2_keras.records import read_history, read_run_record

RECORD = "run.json"
HISTORY = "history.csv"
WEIGHTS = "model.weights.h5"
CHECKPOINT = "checkpoint.npz"
VOCABULARY = "vocabulary.{}.json"
ENCODER = "resnet_18_imagenet"  # of the homework's images: how the names of its presets begin
MOST_BYTES = 10**9  # of weights; the largest of the five reports have 22 MB


@dataclass(frozen=True)
class Run:
    """One finished training run.

    Attributes:
        path: the run's folder.
        record: the content of ``run.json``.
        best: True when a sweep chose this run by its final validation metric.
    """

    path: Path
    record: dict[str, Any] = field(repr=False)
    best: bool = False

    @property
    def experiment(self) -> Experiment:
        """The record in the registry that this run reproduces."""
        return experiments[self.record["experiment"]]

    @property
    def learning_rate(self) -> float:
        """The learning rate it was trained with."""
        return self.record["protocol"]["learning_rate"]

    @property
    def metrics(self) -> dict[str, float]:
        """Final figures, e.g. ``{"val_accuracy": ..., "test_accuracy": ...}``."""
        return self.record["metrics"]

    @property
    def history(self) -> dict[str, list[float]]:
        """The rows of ``history.csv`` as columns; ``history["epoch"]`` counts from 1."""
        return read_history(self.path / HISTORY, self.experiment.metric)

    @property
    def departures(self) -> list[str]:
        """What sets this run apart from the protocol of the reports' figures, in words.

        Empty for a run of the homework's protocol on real data, whatever its seed.
        """
        protocol, found = self.record["protocol"], []
        if self.record["source"] != "real":
            found.append("real data")
        if self.learning_rate not in self.experiment.learning_rates:
            found.append(f"rate {self.experiment.best_rate:g}")
        for name in ("epochs", "optimizer", "batch_size", "dropout", "selection", *RECIPE):
            expected = getattr(self.experiment, name)
            if protocol.get(name, getattr(Experiment, name, None)) != expected:
                words = f"{expected} epochs" if name == "epochs" else f"{name} {expected}"
                found.append(words.replace("_", " "))
        encoder = self.record.get("encoder") or ENCODER  # older records do not name it
        if not Path(encoder).name.startswith(ENCODER):
            found.append(f"image encoder {ENCODER}")
        return found

    @property
    def sweep_folder(self) -> str:
        """What the folder is called that compares the rates of this run's sweep."""
        protocol = self.record["protocol"]
        place = f"{self.record['experiment']}-{self.record['source']}"
        return f"{place}-epochs{protocol['epochs']}-seed{protocol['seed']}-sweep"

    def data(self):
        """The data set of this run, loaded again and checked against its fingerprint.

        Raises:
            UsageError: the data is missing or is not what the run was trained on.
        """
        from hw2_keras.data import load_data
        from hw2_keras.data.vocabulary import Vocabulary

        data = load_data(self.experiment.data, source=self.record["source"])
        if data.fingerprint != self.record["fingerprint"]:
            raise UsageError(
                f"{self.path} was trained on other {data.name} data (fingerprint "
                f"{self.record['fingerprint'][:12]}, found {data.fingerprint[:12]}): "
                "put the original files back or train again"
            )
        for name, digest in self.record["vocabularies"].items():
            file = self.path / VOCABULARY.format(name)
            if Vocabulary.load(file).fingerprint != digest:
                raise UsageError(
                    f"{file} was changed since the run was trained: put the original file back "
                    "or train again"
                )
        return data

    def prepared(self):
        """The run's data as training read them: sources encoded, see ``hw2_keras.training.Task``.

        Errors: see ``data``; also where a captioner's image encoder cannot be had.
        """
        from hw2_keras.training import TASKS

        task = TASKS[self.experiment.task]
        return task.prepare(self.data(), self.path.parent, self.record.get("encoder"))

    def models(self):
        """The trained networks: a ``keras.Model`` for a classifier, else an ``EncoderDecoder``.

        Raises:
            UsageError: the weights are missing, are not those that were trained, or belong to
                another network.
        """
        import numpy as np

        from hw2_keras.models import build_models

        weights = self.path / WEIGHTS
        if not weights.is_file() or weights.stat().st_size > MOST_BYTES:  # a pipe is waited for
            raise UsageError(
                f"{weights} is missing, no file or over {MOST_BYTES:,} bytes: train again into "
                "another folder"
            )
        with weights.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if self.record.get("weights", digest) != digest:  # older records do not say
            raise UsageError(
                f"{weights} was changed since the run was trained: put the original file back or "
                "train again into another folder"
            )
        try:
            models = build_models(self.experiment, **self.record["sizes"])
            with warnings.catch_warnings():  # Keras leaves layers untrained that the file lacks
                warnings.filterwarnings("error", message="Skipping nested container")
                getattr(models, "training", models).load_weights(weights)
        except Exception as error:  # damage, and sizes of another network, show as many types
            raise UsageError(
                f"{weights} does not hold the weights of {self.experiment.name} "
                f"({first_line(error)}): train again into another folder"
            ) from error
        sound = all(np.isfinite(w).all() for w in getattr(models, "training", models).get_weights())
        if not sound and not self.record["divergence"]:
            raise UsageError(
                f"{weights} holds weights that are no finite numbers, and the run did not diverge: "
                "train again into another folder"
            )
        return models

    def model(self):
        """The trained functional ``keras.Model``, as ``hw2_keras.build`` makes it.

        For an encoder-decoder that is the teacher-forced training model. Errors: see ``models``.
        """
        models = self.models()
        return getattr(models, "training", models)


def folder_name(name: str, source: str, learning_rate: float, epochs: int, seed: int) -> str:
    """What a run's folder is called."""
    return f"{name}-{source}-rate{learning_rate:g}-epochs{epochs}-seed{seed}"


def by_seeds(found: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs that differ in their seed alone, by what tells them from the others.

    That is the experiment's name, and of data, rate and epochs whatever differs between its runs.
    """
    settings = [(run.experiment.name, *_setting(run)) for run in found]
    groups: dict[str, list[Run]] = {}
    for run, (name, *words) in zip(found, settings, strict=True):
        others = [other for other in settings if other[0] == name]
        told = [word for i, word in enumerate(words, 1) if any(o[i] != word for o in others)]
        groups.setdefault(", ".join([name, *told]), []).append(run)
    return groups


def _setting(run: Run) -> tuple[str, ...]:
    data = f"{run.record['source']} data {run.record['fingerprint'][:8]}"
    return data, f"rate {run.learning_rate:g}", f"{run.record['protocol']['epochs']} epochs"


def open_run(path: str | os.PathLike) -> Run:
    """Opens a finished run from its folder.

    Args:
        path: the folder that ``train`` wrote.

    Raises:
        UsageError: no such folder, or no readable ``run.json`` (see ``records``).
    """
    path = Path(path)
    file = path / RECORD
    if not os.path.isfile(file):  # false also where the path cannot even be looked at
        raise UsageError(f"{path} is not a run: expected a folder with {RECORD}, made by 'train'")
    record = read_run_record(file)
    return Run(path, record, record["best_of_sweep"])


def write_history(path: Path, rows: Sequence[Mapping[str, float]]) -> None:
    """Writes one CSV row per epoch, floats in full precision, atomically."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, lambda file: file.write(text.getvalue().encode()))
