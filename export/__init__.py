"""Keras model -> one self-contained ``.onnx`` file -> any application.

``to_onnx`` converts a trained run of this package, ``classifier`` and ``generator`` any model of
yours (all need Keras); ``export.runtime.load`` runs a file and needs numpy and onnxruntime alone.
Nothing heavy is imported here.
"""

import importlib

HOMES = {
    "to_onnx": "export.convert",
    "classifier": "export.any_model",
    "generator": "export.any_model",
    "Symbols": "export.sources",
    "Characters": "export.sources",
    "Words": "export.sources",
    "Image": "export.sources",
    "Array": "export.sources",
}
__all__ = list(HOMES)


def __getattr__(name: str):
    if name not in HOMES:
        raise AttributeError(f"module 'export' has no attribute {name!r}")
    return getattr(importlib.import_module(HOMES[name]), name)
