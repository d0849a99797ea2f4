"""Functional-API builders of every network; they read their arguments from the registry."""

import inspect

import keras

from hw2_keras.experiments import Experiment, experiments, named
from hw2_keras.models import classifiers
from hw2_keras.models.captioner import build_captioner
from hw2_keras.models.encoder_decoder import EncoderDecoder, build_encoder_decoder

# What the field ``network`` of a record names.
NETWORKS = {
    "parameter_cnn": classifiers.parameter_cnn,
    "parameter_mlp": classifiers.parameter_mlp,
    "two_block_cnn": classifiers.two_block_cnn,
    "residual_cnn": classifiers.residual_cnn,
    "intel_cnn": classifiers.intel_cnn,
    "intel_cnn_bn": classifiers.intel_cnn_bn,
    "encoder_decoder": build_encoder_decoder,
    "captioner": build_captioner,
}


def build(name: str, **changes) -> keras.Model:
    """The functional model of an experiment, with freshly initialised weights.

    Args:
        name: a name in ``hw2_keras.experiments``.
        **changes: arguments of its builder that differ from the record, e.g. ``dropout=0.2``.

    Returns:
        A ``keras.Model``: for a classifier from float images (N, H, W, C) in [0, 1) to logits
        (N, K); for an encoder-decoder the teacher-forced training model, see ``EncoderDecoder``.

    Raises:
        UnknownExperiment: no experiment has this name (a ``ValueError``).
    """
    built = build_models(experiments[name], **changes)
    return built.training if isinstance(built, EncoderDecoder) else built


def build_models(experiment: Experiment, seed: int = 42, **changes) -> keras.Model | EncoderDecoder:
    """All models of an experiment: one of a classifier, else training, encoder and step model.

    Args:
        experiment: its fields are the arguments of the same names of its network's builder.
        seed: of an encoder-decoder's initial weights and dropout; a classifier has those of
            ``keras.utils.set_random_seed``.
        **changes: arguments that differ from the record, e.g. the sizes of other data.

    Raises:
        UsageError: the record names a network that is not there.
    """
    builder = named(NETWORKS, "network", experiment)
    fields = vars(experiment) | {"seed": seed}
    taken = {name: fields[name] for name in inspect.signature(builder).parameters if name in fields}
    return builder(**(taken | dict(experiment.sizes) | changes))
