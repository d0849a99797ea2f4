"""Spelling with one exported file: against stepping from Python, TensorFlow and PyTorch.

The network is p2g_attention with fresh weights, kept from ending a word, so that every search takes
the same steps: words of 7 symbols, 9 letters, close to the means of the real data. Ours starts from
strings and ends with strings, scores and attention; the rivals start from token ids and end with
token ids.

Functions named ``keras_...`` and ``torch_...`` run in worker processes; they import their
framework themselves so that no process holds two of them.
"""

import functools
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from cold_start import run_cold
from measure import Row, alternate, calls_per_second, worker

from hw2_keras.data.vocabulary import EOS, SOS, SPECIALS, Vocabulary

NETWORK = "p2g_attention"
VOCABULARY = Vocabulary((*SPECIALS, *map(chr, range(0x100, 0x100 + 90))), " ")
SYMBOLS, STEPS = 7, 9
RESULTS = Path(__file__).parents[1] / "results"
COMMITTED = RESULTS / "onnx" / "p2g_attention.onnx"
RUN = RESULTS / "p2g_attention-real-rate0.003-epochs20-seed42"
REAL = "p ɹ ə n ʌ n s"
PAIRS = 7  # of alternating runs
SECONDS = 0.3  # of one run

ANSWER = """
import sys
from pathlib import Path
from export.runtime import load

print(load(sys.argv[1])(sys.argv[2]))
print(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
"""


def rows() -> Iterator[Row]:
    """Search against its rivals, the encoder against tf2onnx's, and what a first answer costs."""
    with tempfile.TemporaryDirectory() as folder:
        ours = partial(searches_per_second, folder, 1)
        with worker() as keras_worker, worker() as torch_worker:
            keras_worker(keras_export, folder)
            torch_worker(torch_load, keras_worker(keras_weights))
            for what, limit, theirs in (
                ("tf.while_loop", 3.0, partial(keras_worker, keras_searches_per_second)),
                ("PyTorch loop", 5.0, partial(torch_worker, torch_searches_per_second)),
            ):
                yield row(f"batch 1, one file / {what}", alternate(ours, theirs, PAIRS), limit)
        for size in (1, 64):
            measured = alternate(
                partial(searches_per_second, folder, size),
                partial(stepwise_searches_per_second, folder, size),
                PAIRS,
            )
            yield row(f"batch {size}, one file / its step called from Python", measured, 1.0)
        measured = alternate(partial(searches_per_second, folder, 1, 5), ours, PAIRS)
        yield row("batch 1, beam 5 / greedy", measured, 1 / 3)
        yield encoder_row(folder)
        yield from general_rows(folder)
        yield from cold_rows(folder)


def row(what: str, measured: tuple[float, float, float], at_least: float) -> Row:
    """A line of this section, in searches per second."""
    return Row("spelling", what, "searches/s", *measured, at_least=at_least)


def encoder_row(folder: str) -> Row:
    """The masked bidirectional LSTM as one node against tf2onnx's conversion of the layer."""
    ids = source_ids(1)
    ours = partial(session(folder, "lstm").run, None, {"ids": ids})
    theirs = partial(session(folder, "tf2onnx_lstm").run, None, {"ids": ids})
    np.testing.assert_allclose(ours()[0], theirs()[0], atol=1e-5)
    measured = alternate(
        partial(calls_per_second, ours, SECONDS), partial(calls_per_second, theirs, SECONDS), PAIRS
    )
    return Row("spelling", "encoder, batch 1 / tf2onnx", "calls/s", *measured, at_least=5.0)


def general_rows(folder: str) -> Iterator[Row]:
    """A file of today against the committed one, whose statements were written by hand."""
    ours = str(Path(folder, "general.onnx"))
    with worker() as keras_worker:
        keras_worker(keras_export_committed, ours)
    for size in (1, 64):
        measured = alternate(
            partial(file_searches_per_second, ours, size),
            partial(file_searches_per_second, str(COMMITTED), size),
            PAIRS,
        )
        yield row(f"batch {size}, general way / hand-written statements", measured, 1 / 1.2)


def file_searches_per_second(path: str, batch_size: int) -> float:
    """Rate of greedy search in a file of real phonemes."""
    search = partial(opened(path).search, [REAL] * batch_size, 1)
    return calls_per_second(search, SECONDS)


@functools.cache
def opened(path: str):
    """A file, opened by our runtime."""
    from export.runtime import load

    return load(path)


def keras_export_committed(path: str) -> None:
    """Exports the committed run's network anew."""
    from export import convert
    from hw2_keras.runs import open_run

    run = open_run(RUN)
    names = ("source", "target")
    source, target = (Vocabulary.load(RUN / f"vocabulary.{name}.json") for name in names)
    model = convert.generator_graph(run.models(), target, source)
    facts = convert.generator_facts(target, source, "beam", 1.0, 50)
    convert.add_metadata(model, facts | {"experiment": NETWORK})
    Path(path).write_bytes(model.SerializeToString())


def cold_rows(folder: str) -> Iterator[Row]:
    """Seconds and peak memory of a process that loads the file and answers."""
    path = str(Path(folder, "search.onnx"))
    seconds, output = run_cold("-c", ANSWER, path, source_texts(1)[0])
    yield Row("spelling", "first answer of a new process", "s", seconds, at_most=0.5)
    megabytes = float(output.split()[-1]) * 1024 / 1e6
    yield Row("spelling", "its peak memory", "MB", megabytes, at_most=150)


def source_ids(number: int) -> np.ndarray:
    """Random symbols, int64 (number, 7)."""
    rng = np.random.default_rng(0)
    return rng.integers(len(SPECIALS), len(VOCABULARY), (number, SYMBOLS))


def source_texts(number: int) -> list[str]:
    """The same symbols as strings."""
    return [VOCABULARY.decode(row) for row in source_ids(number)]


@functools.cache
def session(folder: str, name: str):
    """An exported graph in onnxruntime."""
    import onnxruntime

    return onnxruntime.InferenceSession(Path(folder, f"{name}.onnx").read_bytes())


@functools.cache
def speller(folder: str):
    """The whole search, opened by our runtime."""
    from export.runtime import load

    return load(Path(folder, "search.onnx"))


def searches_per_second(folder: str, batch_size: int, num_beams: int = 1) -> float:
    """Rate of the whole search in one file."""
    search = partial(speller(folder).search, source_texts(batch_size), num_beams, STEPS)
    return calls_per_second(search, SECONDS)


def stepwise_searches_per_second(folder: str, batch_size: int) -> float:
    """Rate of the search that calls the exported step from Python and gives the same answer."""
    encoder, step = session(folder, "encoder"), session(folder, "step")
    texts = source_texts(batch_size)

    def search() -> tuple[list[str], np.ndarray]:
        ids, looks = stepwise(encoder, step, VOCABULARY.encode_batch(texts), STEPS)
        return [VOCABULARY.decode(row) for row in ids], looks

    return calls_per_second(search, SECONDS)


def stepwise(encoder, step, ids: np.ndarray, max_length: int) -> tuple[np.ndarray, np.ndarray]:
    """Greedy search in Python over two sessions: token ids (N, T), attention (N, T, S)."""
    names = [value.name for value in encoder.get_outputs()]
    found = encoder.run(names, {"source": ids.astype(np.int32)})
    values = {n.removeprefix("first_"): v for n, v in zip(names, found, strict=True)}
    new = [f"new_{name.removeprefix('first_')}" for name in names if "first_" in name]
    token, ended, tokens, looks = np.full(len(ids), SOS), np.zeros(len(ids), bool), [], []
    for _ in range(max_length):
        logits, look, *states = step.run(["logits", "look", *new], {"token": token, **values})
        values |= {n.removeprefix("new_"): v for n, v in zip(new, states, strict=True)}
        token = logits.argmax(1)
        tokens.append(token)
        looks.append(look.reshape(len(ids), -1))
        ended |= token == EOS
        if ended.all():
            break
    return np.stack(tokens, 1), np.stack(looks, 1)


@functools.cache
def keras_models():
    """The network, which never ends a word."""
    from hw2_keras.experiments import experiments
    from hw2_keras.models import build_models

    size = len(VOCABULARY)
    models = build_models(experiments[NETWORK], source_size=size, target_size=size)
    bias = models.training.get_layer("logits").bias
    bias.assign(bias - 1e3 * np.eye(size)[EOS])
    return models


def keras_export(folder: str) -> None:
    """Writes all graphs, and the weights for PyTorch."""
    from export import convert, network

    models = keras_models()
    search = convert.generator_graph(models, VOCABULARY, VOCABULARY)
    facts = convert.generator_facts(VOCABULARY, VOCABULARY, "beam", 1.0, STEPS)
    convert.add_metadata(search, facts | {"experiment": NETWORK})
    traced = convert.trace_models(models, VOCABULARY, VOCABULARY)
    encoder, step = network.stepwise_models(traced)
    graphs = {
        "search": search,
        "encoder": encoder,
        "step": step,
        "lstm": lstm_of(models),
        "tf2onnx_lstm": lstm_of(models, handlers={}),
    }
    for name, graph in graphs.items():
        Path(folder, f"{name}.onnx").write_bytes(graph.SerializeToString())


def lstm_of(models, **options):
    """Embedding and masked bidirectional LSTM of the encoder as Keras's layers, converted."""
    import keras
    import tensorflow as tf

    from export.convert import convert_function

    embedding, ours = (
        models.training.get_layer(f"{n}") for n in ("source_embedding", "encoder_lstm")
    )
    lstm = keras.layers.LSTM(ours.forward_layer.units, return_sequences=True, use_cudnn=False)
    both = keras.layers.Bidirectional(lstm)

    def encode(ids):
        return both(embedding(ids), mask=ids != 0, training=False)

    encode(tf.ones((1, 1), tf.int64))
    both.set_weights(ours.get_weights())
    signature = tf.TensorSpec((None, None), tf.int64, name="ids")
    return convert_function(encode, [signature], ["memory"], **options)


def keras_searches_per_second() -> float:
    """Rate of ``hw2_keras.decoding.greedy`` at batch 1."""
    search = partial(keras_search, source_ids(1).astype(np.int32))
    return calls_per_second(search, SECONDS)


def keras_search(ids: np.ndarray) -> np.ndarray:
    """Token ids (N, T) of the ``tf.while_loop`` search."""
    from hw2_keras import decoding

    return decoding.greedy(keras_models(), ids, STEPS).tokens.numpy()[:, 0]


def keras_weights() -> dict[str, list[np.ndarray]]:
    """The network's weights by the names of ``torch_encoder_decoders.TextModel``."""
    layer = keras_models().training.get_layer
    attention = layer("attention")
    return {
        "source_embedding": layer("source_embedding").get_weights(),
        "target_embedding": layer("target_embedding").get_weights(),
        "encoder": layer("encoder_lstm").get_weights(),
        "decoder": layer("decoder_lstm").get_weights(),
        "query": [attention.query_kernel.numpy()],
        "key": [attention.memory_kernel.numpy()],
        "score": [attention.score_kernel.numpy()],
        "combine": layer("attention_output").get_weights(),
        "bias": layer("logits").get_weights(),
    }


@functools.cache
def torch_network():
    """The PyTorch twin, without weights."""
    from torch_encoder_decoders import TextModel

    size = len(VOCABULARY)
    return TextModel(size, size, "bahdanau", dropout=0.0).eval()


def torch_load(weights: dict[str, list[np.ndarray]]) -> None:
    """Gives the twin the network's weights."""
    from torch_encoder_decoders import load_keras_weights

    load_keras_weights(torch_network(), weights)


def torch_searches_per_second() -> float:
    """Rate of the PyTorch loop at batch 1."""
    search = partial(torch_search, source_ids(1))
    return calls_per_second(search, SECONDS)


def torch_search(ids: np.ndarray) -> np.ndarray:
    """Greedy search as one writes it in PyTorch: token ids (N, T)."""
    import torch
    from torch.nn import functional

    net = torch_network()
    with torch.inference_mode():
        source = torch.from_numpy(ids)
        mask = source != 0
        packed = torch.nn.utils.rnn.pack_padded_sequence(
            net.source_embedding(source), mask.sum(1), batch_first=True, enforce_sorted=False
        )
        memory, (h, c) = net.encoder(packed)
        memory, _ = torch.nn.utils.rnn.pad_packed_sequence(memory, batch_first=True)
        state = tuple(x.transpose(0, 1).reshape(1, len(source), -1) for x in (h, c))
        keys = net.key(memory)
        token, ended, tokens = torch.full((len(source),), SOS), torch.zeros(len(source)), []
        for _ in range(STEPS):
            output, state = net.decoder(net.target_embedding(token)[:, None], state)
            scores = net.score(torch.tanh(net.query(output) + keys)).squeeze(-1)
            look = scores.masked_fill(~mask, -torch.inf).softmax(-1)
            joined = torch.cat([output[:, 0], (look[:, None] @ memory)[:, 0]], -1)
            output = torch.tanh(net.combine(joined))
            token = functional.linear(output, net.target_embedding.weight, net.bias).argmax(-1)
            tokens.append(token)
            ended = ended.logical_or(token == EOS)
            if ended.all():
                break
        return torch.stack(tokens, 1).numpy()
