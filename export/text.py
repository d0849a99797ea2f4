"""Vocabularies and pre-processing as ONNX: what lies between an application and a network.

A reader is a small model that ``convert`` puts in front of a search: ``text`` or ``codepoints``
-> ``ids`` and ``lengths``, or ``image`` -> ``pixels`` of the size that the image encoder takes.
"""

import numpy as np
from onnx import ModelProto, helper

from export.passes import parse_model
from export.runtime import ModelError
from hw2_keras.data.vocabulary import EOS, PAD, SOS, SPECIALS, UNK, Vocabulary

# The LSTM needs at least one column; a batch of blank texts has none.
AT_LEAST_ONE_COLUMN = """
    columns = Shape <start = 1, end = 2> (found_ids)
    columns_or_least = Min (columns, least_columns)
    missing_columns = Sub (least_columns, columns_or_least)
    padding = Concat <axis = 0> (no_padding_before, missing_columns)
    ids = Pad (found_ids, padding, pad_id)
"""

SYMBOLS = """
    symbols, symbol_counts = StringSplit (text)
    found_ids = ai.onnx.ml.LabelEncoder (symbols)
    lengths = Cast <to = 6> (symbol_counts)
"""

CODEPOINTS = """
    points = Cast <to = 7> (codepoints)
    found_ids = ai.onnx.ml.LabelEncoder (points)
    is_character = Greater (found_ids, pad_id)
    characters = Cast <to = 6> (is_character)
    lengths = ReduceSum <keepdims = 0> (characters, columns_axis)
"""

RESIZE = """
    pixels = Resize <axes = [1, 2], mode = "linear", antialias = 1> (image, , , size)
"""

WEIGHTS = {
    "least_columns": np.array([1]),
    "columns_axis": np.array([1]),
    "no_padding_before": np.array([0, 0, 0]),
    "pad_id": np.int64(PAD),
}

TOKEN = """
    token_spelled = Gather (token_text, next_token)
"""

# A word that is not the first has a space before it: the second half of the table.
WORD = """
    is_first_word = Equal (text_before, no_text)
    spaced_token = Add (next_token, vocabulary_size)
    spelling_number = Where (is_first_word, next_token, spaced_token)
    token_spelled = Gather (token_text, spelling_number)
"""

APPEND = """
    next_text = StringConcat (text_before, token_spelled)
"""


def text_reader(vocabulary: Vocabulary) -> ModelProto:
    """``text`` string (N,), symbols between spaces -> ``ids`` int64 (N, T_in), ``lengths``."""
    known = {"keys_strings": ["", *vocabulary.tokens[len(SPECIALS) :]]}
    return reader("string[N] text", SYMBOLS, known)


def codepoint_reader(vocabulary: Vocabulary) -> ModelProto:
    """``codepoints`` int32 (N, T_in), zero-padded -> ``ids`` int64 (N, T_in), ``lengths``.

    Raises:
        ModelError: a token of the vocabulary is more than one code point.
    """
    tokens = vocabulary.tokens[len(SPECIALS) :]
    if long := [token for token in tokens if len(token) > 1]:
        raise ModelError(
            f"the source vocabulary has tokens of several code points, the first {long[0]!r}: "
            "expected characters that Unicode composes to one (NFC)"
        )
    return reader("int32[N, T_in] codepoints", CODEPOINTS, {"keys_int64s": [0, *map(ord, tokens)]})


def reader(source: str, statements: str, keys: dict[str, list]) -> ModelProto:
    """A reader whose ``LabelEncoder`` gives its keys the ids PAD, 4, 5, ... and others UNK."""
    model = parse_model(
        [source],
        ["int64[N, T_in] ids", "int32[N] lengths"],
        statements + AT_LEAST_ONE_COLUMN,
        WEIGHTS,
    )
    (count,) = map(len, keys.values())
    ids = [PAD, *range(len(SPECIALS), len(SPECIALS) + count - 1)]
    attributes = keys | {"values_int64s": ids, "default_int64": UNK}
    encoder = next(node for node in model.graph.node if node.op_type == "LabelEncoder")
    encoder.attribute.extend(helper.make_attribute(*item) for item in attributes.items())
    return model


def image_reader(height: int, width: int) -> ModelProto:
    """``image`` uint8 (N, H, W, 3) of any size -> ``pixels`` uint8 (N, height, width, 3)."""
    return parse_model(
        ["uint8[N, H, W, 3] image"],
        [f"uint8[N, {height}, {width}, 3] pixels"],
        RESIZE,
        {"size": np.array([height, width])},
    )


def spelling(vocabulary: Vocabulary) -> tuple[str, dict[str, np.ndarray]]:
    """Statements from ``text_before`` and ``next_token`` to ``next_text``, and their weights.

    Specials other than UNK are not spelled, as in ``Vocabulary.decode``.
    """
    spelled = ["" if i in (PAD, SOS, EOS) else token for i, token in enumerate(vocabulary.tokens)]
    if not vocabulary.separator:
        return TOKEN + APPEND, {"token_text": np.array(spelled, object)}
    spaced = [token and vocabulary.separator + token for token in spelled]
    return WORD + APPEND, {"token_text": np.array(spelled + spaced, object)}
