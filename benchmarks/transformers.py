"""A Transformer with a key/value cache as one file, against stepping it in Keras.

The network is a pre-norm encoder-decoder of one layer, 128 units and 4 heads, written with Keras's
layers and fresh weights, kept from ending a text. The rival calls its step, compiled by
``tf.function`` with a free cache length, once a token from Python, as one does without an export.
"""

import functools
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from measure import Row, alternate, calls_per_second, worker

LETTERS = [chr(0x100 + i) for i in range(60)]
VOCABULARY = ["<pad>", "<start>", "<end>", "<unknown>", *LETTERS]
UNITS, HEADS, SYMBOLS = 128, 4, 20
LENGTHS = (10, 20, 40, 80, 160, 320)
JUDGED = 40  # tokens
PAIRS, SECONDS = 5, 0.5


def rows() -> Iterator[Row]:
    """The export, the judged length against its rival, milliseconds a token for every length."""
    with tempfile.TemporaryDirectory() as folder, worker() as keras_worker:
        path = str(Path(folder, "transformer.onnx"))
        seconds = keras_worker(keras_export, path)
        what = "export, with the comparison with Keras"
        yield Row("transformer", what, "s", seconds, at_most=60)
        ours = partial(texts_per_second, path, JUDGED)
        theirs = partial(keras_worker, keras_texts_per_second, JUDGED)
        what = f"batch 1, {JUDGED} tokens, one file / tf.function called from Python"
        yield Row("transformer", what, "texts/s", *alternate(ours, theirs, PAIRS), at_least=5.0)
        per_token = {}
        for length in LENGTHS:
            per_token[length] = 1000 / (length * texts_per_second(path, length))
            yield Row("transformer", f"a token of {length}", "ms", per_token[length])
        growth = per_token[LENGTHS[-1]] / per_token[LENGTHS[0]]
        # Quadratic in length, a token of 320 would cost 32 times one of 10.
        what = f"a token of {LENGTHS[-1]} / of {LENGTHS[0]}"
        yield Row("transformer", what, "times", growth, at_most=4.0)


def source() -> str:
    return " ".join(LETTERS[i] for i in np.random.default_rng(0).integers(0, 60, SYMBOLS))


def texts_per_second(path: str, length: int) -> float:
    """Rate of greedy search in the file."""
    return calls_per_second(partial(model(path).search, [source()], 1, length), SECONDS)


@functools.cache
def model(path: str):
    """The file, opened by our runtime."""
    from export.runtime import load

    return load(path)


@functools.cache
def keras_network():
    """Encoder and step."""
    import keras
    from keras import layers, ops

    keras.utils.set_random_seed(0)
    size, head = len(VOCABULARY), UNITS // HEADS
    of_source, of_token = layers.Embedding(size, UNITS), layers.Embedding(size, UNITS)
    position_of = layers.Embedding(1 + max(LENGTHS), UNITS)
    read = layers.MultiHeadAttention(HEADS, head)
    query, key, value, out, to_memory, memory_key, memory_value, back, narrow = (
        layers.Dense(UNITS) for _ in range(9)
    )
    wide, logits = layers.Dense(4 * UNITS, activation="relu"), layers.Dense(size)
    norms = [layers.LayerNormalization() for _ in range(5)]

    def heads(x):
        return ops.transpose(ops.reshape(x, (-1, ops.shape(x)[1], HEADS, head)), (0, 2, 1, 3))

    def attend(query, keys, values):
        scores = ops.matmul(heads(query), ops.transpose(keys, (0, 1, 3, 2))) / head**0.5
        found = ops.transpose(ops.matmul(ops.softmax(scores), values), (0, 2, 1, 3))
        return ops.reshape(found, (-1, 1, UNITS))

    def encoder(source):
        x = of_source(source)
        normal = norms[0](x)
        memory = norms[1](x + read(normal, normal))
        empty = ops.zeros((ops.shape(source)[0], HEADS, 0, head))
        position = ops.zeros_like(source[:, 0])
        return {"memory": memory, "k": empty, "v": empty, "position": position}

    def step(token, memory, k, v, position):
        x = (of_token(token) + position_of(position))[:, None]
        normal = norms[2](x)
        k = ops.concatenate([k, heads(key(normal))], 2)
        v = ops.concatenate([v, heads(value(normal))], 2)
        x = x + out(attend(query(normal), k, v))
        keys, values = heads(memory_key(memory)), heads(memory_value(memory))
        x = x + back(attend(to_memory(norms[3](x)), keys, values))
        x = x + narrow(wide(norms[4](x)))
        never_ends = -1e3 * ops.one_hot(2, size)
        return {"logits": logits(x)[:, 0] + never_ends, "k": k, "v": v, "position": position + 1}

    return encoder, step


def keras_export(path: str) -> float:
    """Writes the file and returns the seconds that it took, the comparison with Keras included."""
    import export

    encoder, step = keras_network()
    started = time.perf_counter()
    symbols = export.Symbols(VOCABULARY)
    export.generator(encoder, step, path, VOCABULARY, symbols, max_length=10)
    return time.perf_counter() - started


def keras_texts_per_second(length: int) -> float:
    """Rate of the compiled step called from Python."""
    return calls_per_second(partial(keras_search, length), SECONDS)


@functools.cache
def keras_calls():
    """The compiled encoder and step."""
    from export import stepping
    from export.any_model import network
    from export.convert import source_spec
    from export.sources import Symbols

    encoder, step = keras_network()
    symbols = Symbols(VOCABULARY)
    traced = network.trace(encoder, step, source_spec(symbols), len(VOCABULARY))
    return stepping.model_of(traced), symbols


def keras_search(length: int) -> np.ndarray:
    """Token ids (length,) of the greedy text."""
    compiled, symbols = keras_calls()
    values = compiled.encoder(symbols.encode([source()]))
    token, tokens = np.array([1], np.int32), []
    for _ in range(length):
        found = compiled.step(values | {"token": token})
        token = found["logits"].argmax(1).astype(np.int32)
        tokens.append(token[0])
        values |= {name: found[name] for name in compiled.states}
    return np.array(tokens)
