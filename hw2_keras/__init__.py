"""Five homework reports on deep learning, rebuilt in Keras 3 and exported to ONNX.

``experiments``, ``build``, ``load_data``, ``train``, ``sweep``, ``reproduce``, ``ladder`` and
``open_run`` are the public interface. Keras and TensorFlow are imported only when a name that needs
them is used, so that ``python -m hw2_keras --help`` answers at once.
"""

import importlib
import os

# Keras reads its backend once, at its first import; a machine without a GPU needs no CUDA errors.
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from hw2_keras._version import __version__
from hw2_keras.errors import UsageError
from hw2_keras.experiments import experiments

__all__ = [
    "UsageError",
    "__version__",
    "build",
    "experiments",
    "ladder",
    "load_data",
    "open_run",
    "reproduce",
    "sweep",
    "train",
]

_LAZY = {
    "build": "hw2_keras.models",
    "ladder": "hw2_keras.report.ladder",
    "load_data": "hw2_keras.data",
    "open_run": "hw2_keras.runs",
    "reproduce": "hw2_keras.reproduction.reproduce",
    "sweep": "hw2_keras.training.fit",
    "train": "hw2_keras.training.fit",
}


def __getattr__(name: str):
    if name not in _LAZY:
        raise AttributeError(f"module 'hw2_keras' has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)
