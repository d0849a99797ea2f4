"""The encoder-decoders of the three editions; the default sizes are those of the real data."""

from collections.abc import Sequence

from hw2_keras.models.captioner import build_captioner
from hw2_keras.models.encoder_decoder import EncoderDecoder, build_encoder_decoder
from hw2_keras.models.image_encoder import scene_encoder

# 16x16 positions of ResNet-18's last feature map, as in the course
FEATURES = (256, 512)


def caption(
    vocabulary_size: int = 190,
    features: Sequence[int] | None = FEATURES,
    dropout: float = 0.5,
    seed: int = 42,
) -> EncoderDecoder:
    """Q3 of 2021-22 without attention.

    Args:
        vocabulary_size: words and the four specials.
        features: (positions, channels) of precomputed image features; None for synthetic scenes,
            uint8 (N, 64, 64, 3), with a small CNN that is trained with the captioner.
        dropout: rate on the LSTM's output.
        seed: of initial weights and dropout.
    """
    return _captioner(False, vocabulary_size, features, dropout, seed)


def caption_attention(
    vocabulary_size: int = 190,
    features: Sequence[int] | None = FEATURES,
    dropout: float = 0.5,
    seed: int = 42,
) -> EncoderDecoder:
    """Q3 of 2021-22 with attention; arguments as for ``caption``."""
    return _captioner(True, vocabulary_size, features, dropout, seed)


def _captioner(
    attention: bool, size: int, features: Sequence[int] | None, dropout: float, seed: int
) -> EncoderDecoder:
    image = tuple(features) if features else scene_encoder(seed=seed)
    return build_captioner(size, attention, image, dropout=dropout, seed=seed)


def translate(
    source_size: int = 34, target_size: int = 34, dropout: float = 0.3, seed: int = 42
) -> EncoderDecoder:
    """Q3 of 2022-23 without attention.

    Args:
        source_size, target_size: vocabulary sizes, the four specials included.
        dropout: rate on embeddings and final outputs.
        seed: of initial weights and dropout.
    """
    return build_encoder_decoder(source_size, target_size, None, dropout=dropout, seed=seed)


def translate_attention(
    source_size: int = 34, target_size: int = 34, dropout: float = 0.3, seed: int = 42
) -> EncoderDecoder:
    """Q3 of 2022-23 with bilinear attention; arguments as for ``translate``."""
    return build_encoder_decoder(source_size, target_size, "bilinear", dropout=dropout, seed=seed)


def p2g(
    source_size: int = 107, target_size: int = 93, dropout: float = 0.3, seed: int = 42
) -> EncoderDecoder:
    """Q3 of 2024-25 without attention; arguments as for ``translate``."""
    return _speller(None, source_size, target_size, dropout, seed)


def p2g_attention(
    source_size: int = 107, target_size: int = 93, dropout: float = 0.3, seed: int = 42
) -> EncoderDecoder:
    """Q3 of 2024-25 with Bahdanau attention; arguments as for ``translate``."""
    return _speller("bahdanau", source_size, target_size, dropout, seed)


def _speller(
    attention: str | None, source_size: int, target_size: int, dropout: float, seed: int
) -> EncoderDecoder:
    # Unit-normal embeddings are too large for 20 epochs with many rare symbols.
    return build_encoder_decoder(
        source_size, target_size, attention, dropout=dropout, embedding_std=0.1, seed=seed
    )
