"""The parity report: does the file answer exactly as Keras does?"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from export.runtime import ModelError, load

if TYPE_CHECKING:
    import keras

    from hw2_keras.data.images import ImageData
    from hw2_keras.runs import Run

BATCH_SIZES = (1, 7, 64)
TOLERANCE = 1e-5  # largest accepted difference of a probability
COMPARED = 448  # images compared at every batch size: a multiple of 7 and of 64, and over 256


@dataclass(frozen=True)
class Parity:
    """What a verification found.

    Attributes:
        experiment, source: whose model, and which data it was compared on.
        examples: number of test examples compared at each batch size.
        batch_sizes: the batch sizes.
        different_answers: how many labels (or strings) differ, over all batch sizes.
        max_difference: largest absolute difference of a probability.
        metric: the figure computed on the whole test split, e.g. "test_accuracy".
        keras, onnx: that figure in both runtimes.
        bytes: size of the file.
    """

    experiment: str
    source: str
    examples: int
    batch_sizes: tuple[int, ...]
    different_answers: int
    max_difference: float
    metric: str
    keras: float
    onnx: float
    bytes: int

    @property
    def passed(self) -> bool:
        """True when answers and metric are identical and differences below 1e-5."""
        return (
            self.different_answers == 0
            and self.max_difference < TOLERANCE
            and self.keras == self.onnx
        )

    def check(self) -> None:
        """Raises ``ModelError`` with the largest difference unless the file passed."""
        if not self.passed:
            raise ModelError(
                f"the ONNX file disagrees with Keras: {self.different_answers} different answers, "
                f"largest difference {self.max_difference:.2g} (allowed {TOLERANCE:g}), "
                f"{self.metric} {self.onnx} instead of {self.keras}; no file was written"
            )

    def save(self, model_path: Path) -> Path:
        """Writes the report beside the model as ``NAME.parity.json``."""
        path = model_path.with_suffix(".parity.json")
        partial = path.with_name(f".new-{path.name}")
        partial.write_text(json.dumps(asdict(self) | {"passed": self.passed}, indent=2) + "\n")
        os.replace(partial, path)
        return path

    def __str__(self) -> str:
        sizes = ", ".join(map(str, self.batch_sizes))
        return "\n".join(
            (
                f"parity of {self.experiment} ({self.source} data)",
                f"  compared         {self.examples} test examples at batch sizes {sizes}",
                f"  different        {self.different_answers} answers",
                f"  max difference   {self.max_difference:.2e} (allowed {TOLERANCE:g})",
                f"  {self.metric:<16} Keras {self.keras:.4f}, ONNX {self.onnx:.4f}",
                f"  file             {self.bytes / 1e6:.2f} MB",
                f"  verdict          {'passed' if self.passed else 'FAILED'}",
            )
        )


def verify_run(path: Path, run: "Run") -> Parity:
    """Compares a file with the finished run that it was made from; see ``verify_classifier``.

    Raises:
        ModelError: the file holds another experiment than the run.
    """
    info = load(path).info
    if info["experiment"] != run.experiment.name:
        raise ModelError(
            f"{path} holds {info['experiment']} and {run.path} is {run.experiment.name}: "
            "give the run that the file was made from"
        )
    return verify_classifier(path, run.model(), run.data())


def verify_classifier(path: Path, network: "keras.Model", data: "ImageData") -> Parity:
    """Compares a classifier's file with the Keras network on the test split.

    Args:
        path: the file.
        network: scaled images (N, H, W, C) -> logits (N, K).
        data: the data set; its whole test split gives the accuracies, its first 448 images are
            compared one by one at batch sizes 1, 7 and 64.
    """
    from hw2_keras.classification import predict_logits

    model = load(path)
    image, label = data.test
    logits = predict_logits(network, data.test)
    expected = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
    classes = np.array(data.classes)
    examples = min(COMPARED, len(image))
    different, largest = 0, 0.0
    for size in BATCH_SIZES:
        found = model.probabilities(image[:examples], batch_size=size)
        labels = model(image[:examples], batch_size=size)
        different += int((labels != classes[expected[:examples].argmax(1)]).sum())
        largest = max(largest, float(np.abs(found - expected[:examples]).max()))
    everything = model(image, batch_size=256)
    different += int((everything != classes[expected.argmax(1)]).sum())
    return Parity(
        experiment=network.name,
        source=data.source,
        examples=examples,
        batch_sizes=BATCH_SIZES,
        different_answers=different,
        max_difference=largest,
        metric="test_accuracy",
        keras=float((expected.argmax(1) == label).mean()),
        onnx=float((everything == classes[label]).mean()),
        bytes=path.stat().st_size,
    )
