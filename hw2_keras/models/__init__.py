"""Functional-API builders, one per experiment."""

from hw2_keras.experiments import experiments
from hw2_keras.models import classifiers, generators
from hw2_keras.models.encoder_decoder import EncoderDecoder

BUILDERS = {
    "parameter_cnn": classifiers.parameter_cnn,
    "parameter_mlp": classifiers.parameter_mlp,
    "fashion_cnn": classifiers.fashion_cnn,
    "caption": generators.caption,
    "caption_attention": generators.caption_attention,
    "kmnist_cnn": classifiers.kmnist_cnn,
    "translate": generators.translate,
    "translate_attention": generators.translate_attention,
    "intel_cnn": classifiers.intel_cnn,
    "intel_cnn_bn": classifiers.intel_cnn_bn,
    "p2g": generators.p2g,
    "p2g_attention": generators.p2g_attention,
}


def build(name: str, **sizes):
    """The functional model of an experiment, with freshly initialised weights.

    Args:
        name: a name in ``hw2_keras.experiments``.
        **sizes: the keyword arguments of that experiment's builder, e.g. ``dropout=0.2``.

    Returns:
        A ``keras.Model``: for a classifier from float images (N, H, W, C) in [0, 1) to logits
        (N, K); for an encoder-decoder the teacher-forced training model, see ``EncoderDecoder``.

    Raises:
        UnknownExperiment: no experiment has this name (a ``ValueError``).
    """
    built = BUILDERS[experiments[name].name](**sizes)
    return built.training if isinstance(built, EncoderDecoder) else built


def build_encoder_decoder(name: str, **sizes) -> EncoderDecoder:
    """The training, encoder and step model of an encoder-decoder; they share their layers.

    Arguments and errors as for ``build``.
    """
    return BUILDERS[experiments[name].name](**sizes)
