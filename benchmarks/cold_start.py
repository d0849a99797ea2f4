"""What a user waits for: the help text, and the first answer of an exported file.

Times are of whole processes, from start to end, with the files already in the disk cache.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from classifiers import keras_export
from measure import Row, worker

NETWORK = "intel_cnn"  # the largest of the classifiers' files, 21 MB
RUNS = 5

PREDICT = """
import sys
import numpy as np
from export.runtime import load

model = load(sys.argv[1])
model(np.zeros(model.image_shape, np.uint8))
heavy = [name for name in sys.modules if name.partition(".")[0] in ("tensorflow", "keras")]
print(len(heavy))
"""


def rows() -> Iterator[Row]:
    """Help text, first prediction, and what that process has imported."""
    seconds, _ = run_cold("-m", "hw2_keras", "--help")
    yield Row("cold start", "python -m hw2_keras --help", "s", seconds, at_most=0.5)
    with tempfile.TemporaryDirectory() as folder, worker() as keras_worker:
        path = str(Path(folder, f"{NETWORK}.onnx"))
        keras_worker(keras_export, NETWORK, path)
        seconds, output = run_cold("-c", PREDICT, path)
    what = f"first prediction of {NETWORK}.onnx"
    yield Row("cold start", what, "s", seconds, at_most=1.0)
    modules = float(output.split()[-1])
    yield Row("cold start", "Keras and TensorFlow in that process", "modules", modules, at_most=0)


def run_cold(*arguments: str) -> tuple[float, str]:
    """Median seconds of ``python ARGUMENTS`` in a new process, and what its last run printed."""
    seconds, output = [], ""
    for _ in range(RUNS):
        started = time.perf_counter()
        output = subprocess.check_output([sys.executable, *arguments], text=True)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds), output
