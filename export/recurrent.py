"""The encoder-decoders as ONNX statements, assembled from the weights of the Keras models.

The statements are in the textual form of ONNX that ``onnx.parser`` reads, one node per line.
What does not change from step to step is computed before the loop, and weights that meet only
weights are multiplied here: an LSTM step's input product is a lookup in ``embedding @ kernel +
bias``, and the memory's share of the layer after the attention is computed once per source.
"""

from typing import NamedTuple

import keras
import numpy as np

from hw2_keras.models.attention import MASKED_SCORE, AdditiveAttention, BilinearAttention
from hw2_keras.models.encoder_decoder import EncoderDecoder


class Network(NamedTuple):
    """An encoder-decoder for N sources with T_in positions; a step has R rows, R / N per source.

    Attributes:
        encoder: statements from ``ids`` int64 (N, T_in) and ``lengths`` int32 (N,) to ``memory``
            (N, T_in, M), ``first_h`` and ``first_c`` (N, H). A captioner has none: its image
            encoder, converted by tf2onnx, gives these three.
        before: statements from those to ``fixed``.
        fixed: declarations of what every step needs besides its state.
        step: statements from ``token`` int64 (R,), ``h`` and ``c`` (R, H) to ``logits`` (R, V),
            ``new_h``, ``new_c`` and, with attention, ``look`` (N, R / N, T_in).
        weights: the constants that the statements name.
        units: H.
        memory_size: M.
        attention: whether there is a ``look``.
    """

    encoder: str
    before: str
    fixed: tuple[str, ...]
    step: str
    weights: dict[str, np.ndarray]
    units: int
    memory_size: int
    attention: bool


TEXT_ENCODER = """
    source_vectors = Gather (source_embedding, ids)
    source_by_time = Transpose <perm = [1, 0, 2]> (source_vectors)
    encoded, last_h, last_c = LSTM <hidden_size = {half}, direction = "bidirectional">
        (source_by_time, encoder_kernel, encoder_recurrent, encoder_bias, lengths)
    encoded_by_source = Transpose <perm = [2, 0, 1, 3]> (encoded)
    memory = Reshape (encoded_by_source, join_directions)
    last_h_by_source = Transpose <perm = [1, 0, 2]> (last_h)
    first_h = Reshape (last_h_by_source, join_states)
    last_c_by_source = Transpose <perm = [1, 0, 2]> (last_c)
    first_c = Reshape (last_c_by_source, join_states)
"""

# From the inputs of the gates, (R, 4H), to the new state.
CELL = """
    gate_sums, candidate_sums = Split <axis = 1> (sums, gates_and_candidate)
    gates = Sigmoid (gate_sums)
    input_gate, forget_gate, output_gate = Split <axis = 1, num_outputs = 3> (gates)
    candidate = Tanh (candidate_sums)
    kept = Mul (forget_gate, c)
    added = Mul (input_gate, candidate)
    new_c = Add (kept, added)
    bounded_c = Tanh (new_c)
    new_h = Mul (output_gate, bounded_c)
"""

READ_TOKEN = """
    token_sums = Gather (token_table, token)
    sums = Gemm (h, recurrent_kernel, token_sums)
"""

READ_TOKEN_AND_CONTEXT = """
    token_sums = Gather (token_table, token)
    context_and_h = Concat <axis = 1> (context, h)
    sums = Gemm (context_and_h, context_recurrent_kernel, token_sums)
"""

QUERY_SHAPE = """
    sources = Shape <start = 0, end = 1> (memory)
    query_shape = Concat <axis = 0> (sources, query_axes)
"""

MASK = """
    is_symbol = Greater (ids, pad)
    mask = Unsqueeze (is_symbol, axis_1)
"""

ADDITIVE_KEYS = """
    keys_by_position = MatMul (memory, memory_kernel)
    biased_keys = Add (keys_by_position, keys_bias)
    keys = Unsqueeze (biased_keys, axis_1)
"""

ADDITIVE_SCORES = """
    query_rows = MatMul ({state}, query_kernel)
    query = Reshape (query_rows, query_shape)
    compared = Add (query, keys)
    matched = {activation} (compared)
    scores = MatMul (matched, score_kernel)
"""

BILINEAR_KEYS = """
    keys_by_position = MatMul (memory, query_kernel_transposed)
    keys = Transpose <perm = [0, 2, 1]> (keys_by_position)
"""

BILINEAR_SCORES = """
    query = Reshape (new_h, query_shape)
    scores = MatMul (query, keys)
"""

# The weights of a look sum to 1, so that a bias added to all values arrives whole.
VALUES = """
    plain_values = MatMul (memory, output_kernel_of_context)
    values = Add (plain_values, output_bias)
"""

LOOK_AT_TEXT = """
    masked_scores = Where (mask, scores, masked_score)
    look = Softmax (masked_scores)
    context_by_source = MatMul (look, values)
    context = Reshape (context_by_source, context_rows)
    joined = Gemm (new_h, output_kernel_of_state, context)
    output = Tanh (joined)
"""

LOOK_AT_IMAGE = """
    look = Softmax (scores)
    context_by_source = MatMul (look, memory)
    context = Reshape (context_by_source, context_rows)
"""

TIED_LOGITS = """
    logits = Gemm <transB = 1> ({output}, target_embedding, logits_bias)
"""

LOGITS = """
    logits = Gemm (new_h, logits_kernel, logits_bias)
"""


def text_network(models: EncoderDecoder) -> Network:
    """The statements of a model of ``hw2_keras.models.encoder_decoder``."""
    layer = models.training.get_layer
    directions = layer("encoder_lstm").forward_layer, layer("encoder_lstm").backward_layer
    kernel, recurrent, bias = zip(*(lstm_weights(each.cell) for each in directions), strict=True)
    half = directions[0].units
    embedding = array(layer("target_embedding").embeddings)
    cell = layer("decoder_lstm").cell
    weights = {
        "source_embedding": array(layer("source_embedding").embeddings),
        "encoder_kernel": np.stack(kernel),
        "encoder_recurrent": np.stack(recurrent),
        "encoder_bias": np.stack(bias),
        "join_directions": np.array([0, 0, 2 * half]),
        "join_states": np.array([-1, 2 * half]),
        "target_embedding": embedding,
        "logits_bias": array(layer("logits").bias),
        "recurrent_kernel": by_gate(cell.recurrent_kernel),
        "gates_and_candidate": np.array([3 * cell.units, cell.units]),
        "token_table": embedding @ by_gate(cell.kernel) + by_gate(cell.bias),
    }
    before, fixed, look = "", (), ""
    attend = next((each for each in models.training.layers if each.name == "attention"), None)
    if attend is not None:
        keys, declared, scores, of_attention = text_attention(attend, cell.units)
        output = layer("attention_output")
        weights |= of_attention | {
            "output_kernel_of_state": array(output.kernel)[: cell.units],
            "output_kernel_of_context": array(output.kernel)[cell.units :],
            "output_bias": array(output.bias),
            "masked_score": np.float32(MASKED_SCORE),
            "context_rows": np.array([-1, cell.units]),
            "pad": np.int64(0),
            "axis_1": np.array([1]),
        }
        before = keys + MASK + VALUES + QUERY_SHAPE
        fixed = (
            declared,
            f"float[N, T_in, {cell.units}] values",
            "bool[N, 1, T_in] mask",
            "int64[query_rank] query_shape",
        )
        look = scores + LOOK_AT_TEXT
    logits = TIED_LOGITS.format(output="output" if look else "new_h")
    return Network(
        encoder=TEXT_ENCODER.format(half=half),
        before=before,
        fixed=fixed,
        step=READ_TOKEN + CELL + look + logits,
        weights=weights,
        units=cell.units,
        memory_size=2 * half,
        attention=attend is not None,
    )


def text_attention(
    layer: AdditiveAttention | BilinearAttention, units: int
) -> tuple[str, str, str, dict[str, np.ndarray]]:
    """Statements for the keys, their declaration, statements for the scores, and weights."""
    if isinstance(layer, BilinearAttention):
        weights = {
            "query_kernel_transposed": array(layer.query_kernel).T.copy(),
            "query_axes": np.array([-1, units]),
        }
        return BILINEAR_KEYS, f"float[N, {units}, T_in] keys", BILINEAR_SCORES, weights
    statements, declared, weights = additive(layer, "new_h")
    return ADDITIVE_KEYS, declared, statements, weights


def additive(layer: AdditiveAttention, state: str) -> tuple[str, str, dict[str, np.ndarray]]:
    """Statements for additive scores of ``state``, the declaration of their keys, and weights."""
    units = layer.units
    weights = {
        "memory_kernel": array(layer.memory_kernel),
        "keys_bias": array(layer.bias) if layer.use_bias else np.zeros(units, np.float32),
        "query_kernel": array(layer.query_kernel),
        "score_kernel": array(layer.score_kernel)[:, 0],
        "query_axes": np.array([-1, 1, units]),
        "axis_1": np.array([1]),
    }
    operator = {"tanh": "Tanh", "relu": "Relu"}[keras.activations.serialize(layer.activation)]
    statements = ADDITIVE_SCORES.format(state=state, activation=operator)
    return statements, f"float[N, 1, T_in, {units}] keys", weights


def caption_network(models: EncoderDecoder) -> Network:
    """The statements of a model of ``hw2_keras.models.captioner``, image encoder excepted."""
    layer = models.training.get_layer
    lstm = layer("decoder_lstm")
    cell, embedding = lstm.cell, array(layer("word_embedding").embeddings)
    memory_size = models.encoder.outputs[0].shape[-1]
    kernel, recurrent = by_gate(cell.kernel), by_gate(cell.recurrent_kernel)
    of_word, of_context = np.split(kernel, [embedding.shape[1]])
    weights = {
        "token_table": embedding @ of_word + by_gate(cell.bias),
        "gates_and_candidate": np.array([3 * cell.units, cell.units]),
        "logits_kernel": array(layer("logits").kernel),
        "logits_bias": array(layer("logits").bias),
    }
    attention = hasattr(lstm, "attention")
    if not attention:
        weights["recurrent_kernel"] = recurrent
        before, fixed, step = "", (), READ_TOKEN + CELL + LOGITS
    else:
        scores, declared, of_attention = additive(lstm.attention, "h")
        weights |= of_attention | {
            "context_recurrent_kernel": np.concatenate([of_context, recurrent]),
            "context_rows": np.array([-1, memory_size]),
        }
        before = ADDITIVE_KEYS + QUERY_SHAPE
        fixed = (
            declared,
            f"float[N, T_in, {memory_size}] memory",
            "int64[query_rank] query_shape",
        )
        step = scores + LOOK_AT_IMAGE + READ_TOKEN_AND_CONTEXT + CELL + LOGITS
    return Network("", before, fixed, step, weights, cell.units, memory_size, attention)


def lstm_weights(cell: keras.layers.LSTMCell) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A Keras cell as the W (4H, I), R (4H, H) and B (8H,) of an ONNX ``LSTM`` node."""

    def gates(values) -> np.ndarray:  # i f c o -> i o f c
        i, f, c, o = np.split(array(values), 4, axis=-1)
        return np.concatenate([i, o, f, c], axis=-1)

    bias = gates(cell.bias)
    return gates(cell.kernel).T, gates(cell.recurrent_kernel).T, np.append(bias, 0 * bias)


def by_gate(values) -> np.ndarray:
    """The last axis from Keras's order i f c o to i f o c, so that the gates lie side by side."""
    i, f, c, o = np.split(array(values), 4, axis=-1)
    return np.concatenate([i, f, o, c], axis=-1)


def array(variable) -> np.ndarray:
    """The value of a Keras variable."""
    return np.asarray(variable, np.float32)
