"""Vocabularies and pre-processing as ONNX: what lies between an application and a network.

A reader is a small model that ``convert`` puts in front of a search: ``text`` or ``codepoints``
-> ``source`` of ids, or ``image`` -> ``source`` of the size that the encoder takes.
"""

from typing import NamedTuple

import numpy as np
from onnx import ModelProto, helper

from export.passes import parse_model
from export.runtime import ModelError
from export.sources import PAD, Characters, Target, Text

# An encoder needs at least one column; a batch of blank texts has none.
AT_LEAST_ONE_COLUMN = """
    columns = Shape <start = 1, end = 2> (found_ids)
    columns_or_least = Min (columns, least_columns)
    missing_columns = Sub (least_columns, columns_or_least)
    padding = Concat <axis = 0> (no_padding_before, missing_columns)
    ids = Pad (found_ids, padding, pad_id)
    source = Cast <to = 6> (ids)
"""

SYMBOLS = """
    symbols, symbol_counts = StringSplit (text)
    found_ids = ai.onnx.ml.LabelEncoder (symbols)
"""

CODEPOINTS = """
    points = Cast <to = 7> (codepoints)
    found_ids = ai.onnx.ml.LabelEncoder (points)
"""

RESIZE = """
    source = Resize <axes = [1, 2], mode = "linear", antialias = 1> (image, , , size)
"""

WEIGHTS = {
    "least_columns": np.array([1]),
    "no_padding_before": np.array([0, 0, 0]),
    "pad_id": np.int64(PAD),
    "column_0": np.int32(0),
    "column_1": np.int32(1),
}

IDS = """
    columns = Shape <start = 1, end = 2> (ids)
    column_count = Squeeze (columns)
    last_column = Cast <to = 6> (column_count)
    column_numbers = Range (column_0, last_column, column_1)
    length_column = Unsqueeze (lengths, least_columns)
    is_symbol = Less (column_numbers, length_column)
    source = Where (is_symbol, ids, column_0)
"""

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


def reader(source: Text) -> ModelProto:
    """``text`` string (N,), or ``codepoints`` int32 (N, T_in) -> ``source`` int32 (N, T_in).

    Raises:
        ModelError: a character is more than one code point.
    """
    spelled = source.spelled
    if not isinstance(source, Characters):
        keys = {"keys_strings": ["", *spelled]}
        return with_encoder("string[N] text", SYMBOLS, keys, source)
    if long := [token for token in spelled if len(token) > 1]:
        raise ModelError(
            f"the source vocabulary has tokens of several code points, the first {long[0]!r}: "
            "expected characters that Unicode composes to one (NFC)"
        )
    keys = {"keys_int64s": [0, *map(ord, spelled)]}
    return with_encoder("int32[N, T_in] codepoints", CODEPOINTS, keys, source)


def ids_reader() -> ModelProto:
    """``ids`` int32 (N, T_in) and ``lengths`` int32 (N,) -> ``source``, 0 after each length."""
    inputs = ["int32[N, T_in] ids", "int32[N] lengths"]
    return parse_model(inputs, ["int32[N, T_in] source"], IDS, WEIGHTS)


def with_encoder(
    declaration: str, statements: str, keys: dict[str, list], source: Text
) -> ModelProto:
    """A reader whose ``LabelEncoder`` gives its keys PAD and the ids of the source."""
    model = parse_model(
        [declaration],
        ["int32[N, T_in] source"],
        statements + AT_LEAST_ONE_COLUMN,
        WEIGHTS,
    )
    unknown = PAD if source.unknown is None else source.unknown
    ids = [PAD, *source.spelled.values()]
    attributes = keys | {"values_int64s": ids, "default_int64": unknown}
    encoder = next(node for node in model.graph.node if node.op_type == "LabelEncoder")
    encoder.attribute.extend(helper.make_attribute(*item) for item in attributes.items())
    return model


def image_reader(height: int, width: int) -> ModelProto:
    """``image`` uint8 (N, H, W, 3) of any size -> ``source`` uint8 (N, height, width, 3)."""
    return parse_model(
        ["uint8[N, H, W, 3] image"],
        [f"uint8[N, {height}, {width}, 3] source"],
        RESIZE,
        {"size": np.array([height, width])},
    )


class Spelling(NamedTuple):
    """How a search keeps what it has written: texts, or ids for runtimes without strings.

    Attributes:
        output: the name of the output.
        kind: declaration of the texts of so many {rows} under a {name}.
        found: that of the output for so many {beams}.
        first: statements from ``rows`` to ``first_text``.
        step: statements from ``text_before`` and ``next_token`` to ``next_text``.
        last: statements from ``text_found`` of a search with beams to ``beam_text_out``.
        weights: the constants that the statements name.
    """

    output: str
    kind: str
    found: str
    first: str
    step: str
    last: str
    weights: dict[str, np.ndarray]


def spelling(target: Target) -> Spelling:
    """The search writes texts. Padding, start and end are not spelled."""
    spelled = ["" if i in target.silent else token for i, token in enumerate(target.tokens)]
    step = TOKEN + APPEND
    if target.separator:
        spelled += [token and target.separator + token for token in spelled]
        step = WORD + APPEND
    return Spelling(
        output="text_out",
        kind="string[{rows}] {name}",
        found="string[N{beams}]",
        first="first_text = Expand (no_text, rows)",
        step=step,
        last="beam_text_out = Reshape (text_found, beams_of_source)",
        weights={"token_text": np.array(spelled, object)},
    )


def spelling_ids() -> Spelling:
    """The search writes ids int64, the end included, padding after it."""
    return Spelling(
        output="tokens",
        kind="int64[{rows}, {name}_length] {name}",
        found="int64[N{beams}, T_out]",
        first="""
    no_tokens = Concat <axis = 0> (rows, no_columns)
    first_text = Expand (number_0, no_tokens)
    """,
        step="""
    token_column = Unsqueeze (next_token, axis_1)
    next_text = Concat <axis = 1> (text_before, token_column)
    """,
        last="""
    beams_and_tokens = Concat <axis = 0> (beams_of_source, as_row)
    beam_text_out = Reshape (text_found, beams_and_tokens)
    """,
        weights={"no_columns": np.array([0])},
    )
