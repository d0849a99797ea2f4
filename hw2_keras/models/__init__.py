"""Functional-API builders, one per experiment."""

import keras

from hw2_keras.experiments import experiments
from hw2_keras.models import classifiers

BUILDERS = {
    "parameter_cnn": classifiers.parameter_cnn,
    "parameter_mlp": classifiers.parameter_mlp,
    "fashion_cnn": classifiers.fashion_cnn,
    "kmnist_cnn": classifiers.kmnist_cnn,
    "intel_cnn": classifiers.intel_cnn,
    "intel_cnn_bn": classifiers.intel_cnn_bn,
}


def build(name: str, **sizes) -> keras.Model:
    """The functional model of an experiment, with freshly initialised weights.

    Args:
        name: a name in ``hw2_keras.experiments``.
        **sizes: the keyword arguments of that experiment's builder, e.g. ``dropout=0.2``.

    Returns:
        A ``keras.Model`` from float images (N, H, W, C) in [0, 1) to logits (N, K).

    Raises:
        UnknownExperiment: no experiment has this name (a ``ValueError``).
    """
    return BUILDERS[experiments[name].name](**sizes)
