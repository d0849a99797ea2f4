"""Trained run -> one self-contained ``.onnx`` file -> any application.

``to_onnx`` converts (and needs Keras); ``export.runtime.load`` runs a file and needs numpy and
onnxruntime alone. Nothing heavy is imported here.
"""

import importlib

__all__ = ["to_onnx"]


def __getattr__(name: str):
    if name != "to_onnx":
        raise AttributeError(f"module 'export' has no attribute {name!r}")
    return importlib.import_module("export.convert").to_onnx
