"""The search inside a file: equal to the Keras loops, token for token, for every network."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf

from export import convert, network, passes, text
from export.runtime import Generator, ModelError, Sampler, load
from export.sources import Characters
from hw2_keras import decoding
from hw2_keras.data.vocabulary import EOS, SOS, SPECIALS, Vocabulary
from hw2_keras.experiments import experiments
from hw2_keras.models import build_models
from hw2_keras.models.encoder_decoder import EncoderDecoder

LETTERS = tuple("abcdefghijklmnopqrstuvwxyzə")
SYMBOLS = Vocabulary((*SPECIALS, *LETTERS), " ")
CHARACTERS = Vocabulary((*SPECIALS, *LETTERS), "")
WORDS = Vocabulary((*SPECIALS, *(a + b for a in "bdfgk" for b in "aeiou")), " ")
MAX_LENGTH = 15

# Fresh weights give one text for every source; larger ones make the texts differ in content and
# length. By how much, and from which seed, was tried.
SCALES = {
    "p2g": 3.0,
    "p2g_attention": 5.0,
    "translate": 3.0,
    "translate_attention": 3.0,
    "caption": 3.0,
    "caption_attention": 1.5,
}


class Case(NamedTuple):
    """A network with random weights, its sources for Keras and for the runtime."""

    models: EncoderDecoder
    source_vocabulary: Vocabulary | None
    vocabulary: Vocabulary
    encoded: np.ndarray
    sources: list[str] | np.ndarray


@pytest.fixture(scope="module")
def case() -> Callable[[str], Case]:
    made: dict[str, Case] = {}

    def get(name: str) -> Case:
        if name not in made:
            made[name] = make_case(name)
        return made[name]

    return get


def make_case(name: str) -> Case:
    rng = np.random.default_rng(0)
    if name.startswith("caption"):
        models = build_models(experiments[name], vocabulary_size=len(WORDS), features=None, seed=1)
        colour = rng.integers(0, 256, (64, 1, 1, 3))
        noise = rng.integers(-60, 60, (64, 64, 64, 3))
        images = (colour + noise).clip(0, 255).astype(np.uint8)
        case = Case(models, None, WORDS, images, images)
    else:
        source = SYMBOLS if name.startswith("p2g") else CHARACTERS
        models = build_models(
            experiments[name], source_size=len(source), target_size=len(CHARACTERS), seed=1
        )
        lengths = rng.integers(1, 13, 64)
        lengths[[0, 10, 63]] = 1
        ids = rng.integers(len(SPECIALS), len(source), (64, 12)) * (
            np.arange(12) < lengths[:, None]
        )
        texts = [source.decode(row) for row in ids]
        case = Case(models, source, CHARACTERS, ids.astype(np.int32), texts)
    weights = models.training.get_weights()
    models.training.set_weights([SCALES[name] * weight for weight in weights])
    return case


def save(case: Case, path: Path, **options) -> Generator | Sampler:
    """The case as a file, opened by the runtime."""
    facts = convert.generator_facts(
        case.vocabulary,
        case.source_vocabulary,
        options.get("search", "beam"),
        options.get("length_penalty", 1.0),
        MAX_LENGTH,
    )
    model = convert.generator_graph(case.models, case.vocabulary, case.source_vocabulary, **options)
    convert.add_metadata(model, facts | {"experiment": "random"})
    path.write_bytes(model.SerializeToString())
    return load(path)


@pytest.fixture(scope="module")
def file(case, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Generator]:
    folder, made = tmp_path_factory.mktemp("files"), {}

    def get(name: str) -> Generator:
        if name not in made:
            made[name] = save(case(name), folder / f"{name}.onnx")
        return made[name]

    return get


def texts_of(found: decoding.Decoded, vocabulary: Vocabulary) -> list[list[str]]:
    return [[vocabulary.decode(tokens) for tokens in row] for row in found.tokens.numpy()]


@pytest.mark.parametrize("num_beams", [1, 5])
@pytest.mark.parametrize("name", SCALES)
def test_a_file_equals_the_keras_search(name: str, num_beams: int, case, file) -> None:
    models, _, vocabulary, encoded, sources = case(name)
    if num_beams == 1:
        expected = decoding.greedy(models, encoded, MAX_LENGTH)
    else:
        expected = decoding.beam(models, encoded, MAX_LENGTH, num_beams)
    texts = texts_of(expected, vocabulary)
    ended = (expected.tokens.numpy()[:, 0] == EOS).any(1)
    assert len({row[0] for row in texts}) >= 10 and ended.any() and not ended.all()
    for size, count in ((64, 64), (7, 14), (1, 5)):
        found = file(name).search(sources[:count], num_beams, batch_size=size)
        assert found.texts.tolist() == texts[:count]
        np.testing.assert_allclose(found.scores, expected.scores[:count], atol=1e-4)
        assert (found.attention is None) == (expected.attention is None)
        if found.attention is not None:
            for look, reference in zip(found.attention, expected.attention.numpy(), strict=False):
                padded = np.zeros_like(reference)
                padded[: look.shape[0], : look.shape[1]] = look
                np.testing.assert_allclose(padded, reference, atol=3e-5)


@pytest.mark.parametrize("length_penalty", [0.0, 0.7])
def test_length_penalty(length_penalty: float, case, tmp_path: Path) -> None:
    models, _, vocabulary, encoded, sources = case("translate_attention")
    model = save(case("translate_attention"), tmp_path / "m.onnx", length_penalty=length_penalty)
    expected = decoding.beam(models, encoded, MAX_LENGTH, 4, length_penalty)
    found = model.search(sources, 4)
    assert found.texts.tolist() == texts_of(expected, vocabulary)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)


@pytest.mark.parametrize("name", ["p2g_attention", "translate", "caption"])
def test_a_sampler_equals_the_keras_sample(name: str, case, tmp_path: Path) -> None:
    models, _, vocabulary, encoded, sources = case(name)
    uniforms = np.random.default_rng(3).random((64, MAX_LENGTH), np.float32)
    model = save(case(name), tmp_path / "m.onnx", search="nucleus")
    expected = decoding.nucleus(models, encoded, 0.8, uniforms)
    found = model.sample(sources, 0.8, uniforms=uniforms, batch_size=10)
    assert [[text] for text in found.texts] == texts_of(expected, vocabulary)
    assert len(set(found.texts)) > 30
    np.testing.assert_allclose(found.scores, expected.scores[:, 0], atol=1e-4)
    other = model.sample(sources, 0.8, uniforms=1 - uniforms - 1e-6)
    assert (other.texts != found.texts).mean() > 0.5


# One search, three implementations, and an oracle that has nothing in common with them.


def keras_search(case: Case, _, num_beams: int, max_length: int) -> list[list[str]]:
    found = decoding.beam(case.models, case.encoded[:4], max_length, num_beams)
    return texts_of(found, case.vocabulary)


def file_search(case: Case, file: Generator, num_beams: int, max_length: int) -> list[list[str]]:
    return file.search(case.sources[:4], num_beams, max_length).texts.tolist()


def stepwise_search(case: Case, _, num_beams: int, max_length: int) -> list[list[str]]:
    """Greedy search in Python over the exported encoder and step."""
    traced = convert.trace_models(case.models, case.vocabulary, case.source_vocabulary)
    encoder, step = (
        onnxruntime.InferenceSession(model.SerializeToString())
        for model in network.stepwise_models(traced)
    )
    names = [value.name for value in encoder.get_outputs()]
    values = dict(zip(names, encoder.run(None, {"source": case.encoded[:4]}), strict=True))
    values = {name.removeprefix("first_"): value for name, value in values.items()}
    names = [value.name for value in step.get_outputs()]
    tokens = [np.full(4, SOS)]
    for _ in range(max_length):
        found = dict(zip(names, step.run(None, {"token": tokens[-1], **values}), strict=True))
        tokens.append(found.pop("logits").argmax(1))
        values |= {n.removeprefix("new_"): v for n, v in found.items() if n.startswith("new_")}
    return [[case.vocabulary.decode(row[1:])] for row in np.stack(tokens, 1)]


def plain_beam_search(case: Case, row: int, num_beams: int, max_length: int) -> list[str]:
    """The definition, over the teacher-forced model: no state, no batch, no frozen tensors."""
    beams: list[tuple[tuple[int, ...], float]] = [((), 0.0)]
    for _ in range(max_length):
        candidates = []
        for tokens, total in beams:
            if EOS in tokens:
                candidates.append((tokens, total))
                continue
            target_in = np.array([(SOS, *tokens)], np.int32)
            logits = case.models.training([case.encoded[row : row + 1], target_in])[0, -1]
            gains = tf.nn.log_softmax(logits).numpy().tolist()
            candidates += [((*tokens, i), total + gain) for i, gain in enumerate(gains)]
        beams = sorted(candidates, key=lambda beam: -beam[1] / len(beam[0]))[:num_beams]
    return [case.vocabulary.decode(tokens) for tokens, _ in beams]


@pytest.mark.parametrize("num_beams", [1, 3])
@pytest.mark.parametrize("search", [keras_search, file_search, stepwise_search])
def test_every_implementation_finds_what_the_definition_says(
    search: Callable, num_beams: int, case, file
) -> None:
    if search is stepwise_search and num_beams > 1:
        pytest.skip("stepping from Python is greedy here")
    name = "translate_attention"
    found = search(case(name), file(name), num_beams, 6)
    assert found == [plain_beam_search(case(name), row, num_beams, 6) for row in range(4)]


def test_ties_go_to_the_lower_token(tmp_path: Path) -> None:
    case = make_case("p2g")
    case.models.training.set_weights(
        [np.zeros_like(weight) for weight in case.models.training.get_weights()]
    )
    model = save(case, tmp_path / "m.onnx")
    assert model.search(["a"], 6, max_length=1).texts.tolist() == [["", "", "", "<unk>", "a", "b"]]
    assert model.search(["a", "b"], 1).texts.tolist() == [[""], [""]]  # PAD, all the way
    for num_beams in (2, 7):
        expected = decoding.beam(case.models, case.encoded[:2], 3, num_beams)
        found = model.search(case.sources[:2], num_beams, max_length=3)
        assert found.texts.tolist() == texts_of(expected, case.vocabulary)


def test_more_beams_than_sequences(case, file) -> None:
    size = len(case("p2g").vocabulary)
    found = file("p2g").search(["a b"], size + 5, max_length=1)
    assert np.isfinite(found.scores[0, :size]).all() and np.isneginf(found.scores[0, size:]).all()
    assert set(found.texts[0, :size]) == {"", "<unk>", *LETTERS}
    answers = file("p2g")("a b", num_beams=size + 5, n_best=size + 5, max_length=1)
    assert len(answers) == size


def test_blank_sources_do_not_crash(case, file) -> None:
    """An application without our runtime may send them; other rows are not disturbed."""
    for name, key, blank, some in (
        ("p2g_attention", "text", "", "a  b c "),
        ("translate_attention", "codepoints", (0, 0, 0), tuple(map(ord, "abc"))),
    ):
        session = file(name)._session
        numbers = {"num_beams": np.array(2), "max_length": np.array(5)}
        dtype = object if key == "text" else np.int32
        together = session.run(None, {key: np.array([blank, some], dtype), **numbers})
        alone = session.run(None, {key: np.array([some], dtype), **numbers})
        assert together[0][1].tolist() == alone[0][0].tolist()
        assert np.isfinite(together[1]).all()
        nothing = np.array([""], object) if key == "text" else np.zeros((1, 0), np.int32)
        assert session.run(None, {key: nothing, **numbers})[0].shape == (1, 2)


def test_the_loop_stops_when_all_texts_have_ended(tmp_path: Path) -> None:
    """EOS is always likely: greedy search needs one step, two more beams a second one."""
    case = make_case("p2g_attention")
    weights = case.models.training.get_weights()
    case.models.training.set_weights([np.zeros_like(weight) for weight in weights])
    case.models.training.get_layer("logits").bias.assign(5.0 * np.eye(len(CHARACTERS))[EOS])
    session = save(case, tmp_path / "m.onnx")._session
    for num_beams, steps in ((1, 1), (3, 2)):
        numbers = {"num_beams": np.array(num_beams), "max_length": np.array(200)}
        found = session.run(None, {"text": np.array(["a b", "c"], object), **numbers})
        assert found[0].tolist() == [[""] * num_beams] * 2
        assert found[2].shape == (2, steps, 2)


def loops(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    found = [node for node in graph.node if node.op_type == "Loop"]
    for node in graph.node:
        found += [loop for a in node.attribute if a.HasField("g") for loop in loops(a.g)]
    return found


@pytest.mark.parametrize(("name", "greedy", "beam"), [("p2g", 19, 40), ("p2g_attention", 31, 55)])
def test_the_loops_are_lean(name: str, greedy: int, beam: int, case) -> None:
    """Nothing invariant is carried, and no step converts types or asks for shapes."""
    known = case(name)
    model = convert.generator_graph(known.models, known.vocabulary, known.source_vocabulary)
    bodies = [loop.attribute[0].g for loop in loops(model.graph)]
    assert [body.name for body in bodies] == ["step", "step"]
    for body, most in zip(bodies, (greedy, beam), strict=True):
        assert not {node.op_type for node in body.node} & {"Cast", "Shape", "Constant", "Identity"}
        assert len(body.node) <= most
        carried = [value.name.split("/")[-1] for value in body.input[2:]]
        assert carried[0] == "token" and set(carried[1:3]) == {"state_h", "state_c"}
        assert carried[3] == "growing"
        assert set(carried[4:]) <= {"text", "text_before", "total", "length", "path"}
        assert not body.initializer
    names = {i.name for i in model.graph.initializer}
    assert names >= {"lstm_cell/Add/table", "step/decoder_lstm/lstm_cell/recurrent_kernel"}
    encoder = [node for node in model.graph.node if node.op_type == "LSTM"]
    assert len(encoder) == 1 and encoder[0].input[4]  # the fifth: sequence_lens


def test_names_are_unique_and_say_where_they_are(case) -> None:
    known = case("p2g_attention")
    model = convert.generator_graph(known.models, known.vocabulary, known.source_vocabulary)
    names: list[str] = []

    def collect(graph: onnx.GraphProto) -> None:
        for node in graph.node:
            names.extend(node.output)
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    collect(attribute.g)

    collect(model.graph)
    assert len(names) == len(set(names))
    assert {"greedy_search/step/look", "beam_search/step/look", "fixed_memory"} <= set(names)
    assert all(re.fullmatch(r"[\w/.]+", name) for name in names)


def test_a_token_of_two_code_points_is_refused() -> None:
    with pytest.raises(ModelError, match=r"tokens of several code points, the first 'x́'"):
        text.reader(Characters((*SPECIALS, "x", "x\u0301")))


def test_statements_store_only_the_weights_that_they_name() -> None:
    model = passes.parse_model(
        ["float[N] x"], ["float[N] y"], "y = Add (x, one)", {"one": np.float32(1), "two": 2}
    )
    assert [i.name for i in model.graph.initializer] == ["one"]
