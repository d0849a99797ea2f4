"""From data and a network to a finished run: what training needs to know of each kind of task."""

from pathlib import Path
from typing import Any, Protocol

import keras
import tensorflow as tf

from hw2_keras.data.vocabulary import Vocabulary
from hw2_keras.experiments import Experiment
from hw2_keras.training import captioning, classification, transduction


class Task(Protocol):
    """What the trainer asks of a task; every task is a module with these functions.

    ``prepared`` is what its ``prepare`` returns, ``models`` what ``build_models`` builds from the
    experiment and ``sizes``: a ``keras.Model``, or an ``EncoderDecoder`` of three.

    Attributes:
        SEARCHES: searches that `evaluate_split` knows; empty where nothing is decoded.
    """

    SEARCHES: tuple[str, ...]

    def prepare(self, data: Any, cache: Path, encoder: str | Path | None = None) -> Any:
        """A data set -> what training reads, e.g. with its sources encoded.

        ``cache`` is a folder for what is computed once, ``encoder`` a captioner's image encoder.
        """

    def sizes(self, prepared: Any) -> dict[str, Any]:
        """The builder's arguments that depend on the data; a run's record keeps them."""

    def batches(
        self, prepared: Any, experiment: Experiment, seed: int, epoch: tf.Variable
    ) -> tf.data.Dataset:
        """Training batches for ``model.fit``, in an order that ``seed`` and ``epoch`` decide."""

    def validation(self, prepared: Any, experiment: Experiment) -> tf.data.Dataset | None:
        """Validation batches for ``model.fit``; None where `callbacks` measure instead."""

    def compile_model(
        self, model: keras.Model, optimizer: keras.optimizers.Optimizer, experiment: Experiment
    ) -> None:
        """Compile with the task's loss and Keras metrics."""

    def callbacks(
        self, models: Any, prepared: Any, experiment: Experiment
    ) -> list[keras.callbacks.Callback]:
        """What ``model.fit`` needs beyond the common callbacks."""

    def measure(self, models: Any, prepared: Any, experiment: Experiment) -> dict[str, Any]:
        """The trained models' figures on the validation and test splits, by name."""

    def evaluate_split(
        self, models: Any, prepared: Any, experiment: Experiment, split: str, **search: Any
    ) -> dict[str, float]:
        """Metrics of "val" or "test" with a search of `SEARCHES` and its options."""

    def vocabularies(self, data: Any) -> dict[str, Vocabulary]:
        """The vocabularies that a run keeps, by name."""

    def divergence(self, figures: dict[str, Any]) -> str | None:
        """How a finished run failed, in words; None for a sound one."""


TASKS: dict[str, Task] = {
    "classification": classification,
    "transduction": transduction,
    "captioning": captioning,
}
