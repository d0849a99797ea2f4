"""Networks that this package does not have, each one file, compared with the plainest loop."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import keras
import networks
import numpy as np
import pytest
import tensorflow as tf
from networks import LENGTH, LETTERS, VOCABULARY, Network, compiled

import export
from export.runtime import Found, load

pytestmark = pytest.mark.timeout(900)  # the first test of a network trains and exports it
PAD, START, END = 0, 1, 2
COUNT = 64


class Case(NamedTuple):
    """A trained network, its compiled step, its sources for the file and for Keras, its files."""

    network: Network
    step: Callable
    sources: list[str] | np.ndarray
    encoded: np.ndarray
    path: Path
    parity: object


@pytest.fixture(scope="module", params=networks.ALL)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    keras.utils.set_random_seed(3)
    network = networks.ALL[request.param]()
    rng = np.random.default_rng(0)
    letters, lengths = rng.integers(4, len(VOCABULARY), (COUNT, 4)), rng.integers(1, 5, COUNT)
    lengths[:2] = 4, 1
    ids = np.where(np.arange(4) < lengths[:, None], letters, PAD).astype(np.int32)
    target = np.zeros((COUNT, 5), np.int32)
    for row, found, length in zip(target, ids, lengths, strict=True):
        row[:length], row[length] = found[:length][::-1], END
    sources = [[VOCABULARY[i] for i in row if i] for row in ids]
    match network.source:
        case export.Image():
            stripes = np.where(ids, 18 * ids, 0)[:, :, None, None].astype(np.uint8)
            sources = encoded = stripes.repeat(4, 1).repeat(16, 2).repeat(3, 3)
        case export.Array():
            sources = encoded = letters.astype(np.int32)
        case _:
            joined = "" if isinstance(network.source, export.Characters) else " "
            sources, encoded = [joined.join(source) for source in sources], ids
    networks.train(network, encoded, target)
    path = tmp_path_factory.mktemp("any") / f"{request.param}.onnx"
    parity = export.generator(
        network.encoder,
        network.step,
        path,
        vocabulary=VOCABULARY,
        source=network.source,
        sources=sources,
        max_length=LENGTH,
    )
    return Case(network, compiled(network.step), sources, encoded, path, parity)


class Stepper:
    """One source at a time, one hypothesis at a time."""

    def __init__(self, case: Case, source: np.ndarray) -> None:
        self.first = dict(case.network.encoder(source[None]))
        self.step = case.step

    def __call__(self, values: dict, token: int) -> tuple[np.ndarray, dict]:
        found = dict(self.step(values | {"token": tf.constant([token])}))
        gains = tf.nn.log_softmax(found.pop("logits"))[0].numpy()
        found.pop("attention", None)
        return gains, values | found


def plain_beam(stepper: Stepper, num_beams: int) -> tuple[list[str], list[float]]:
    beams = [((), 0.0, stepper.first)]
    for _ in range(LENGTH):
        candidates = []
        for ids, total, values in beams:
            if ids and ids[-1] == END:
                candidates.append((ids, total, values))
                continue
            gains, after = stepper(values, ids[-1] if ids else START)
            candidates += [((*ids, i), total + gain, after) for i, gain in enumerate(gains)]
        beams = sorted(candidates, key=lambda beam: -beam[1] / len(beam[0]))[:num_beams]
    return [text(ids) for ids, _, _ in beams], [total / len(ids) for ids, total, _ in beams]


def plain_sample(stepper: Stepper, uniforms: np.ndarray, top_p: float) -> tuple[str, float]:
    ids, total, values = [], 0.0, stepper.first
    for uniform in uniforms:
        gains, values = stepper(values, ids[-1] if ids else START)
        nucleus, mass = [], 0.0
        for i in np.argsort(-gains, kind="stable"):
            nucleus.append(i)
            mass += np.exp(gains[i])
            if mass >= top_p:
                break
        left = uniform * mass
        for i in nucleus:
            left -= np.exp(gains[i])
            if left < 0:
                break
        ids.append(i)
        total += gains[i]
        if i == END:
            break
    return text(ids), total / len(ids)


def text(ids) -> str:
    return "".join(VOCABULARY[i] for i in ids if i not in (PAD, START, END))


@pytest.mark.parametrize("num_beams", [1, 5])
def test_a_file_finds_what_the_plainest_loop_finds(case: Case, num_beams: int) -> None:
    model, counts = load(case.path), {1: 4, 7: 14, COUNT: COUNT}
    plain = [
        plain_beam(Stepper(case, source), num_beams)
        for source in case.encoded[: COUNT if num_beams == 1 else 20]
    ]
    texts = [texts for texts, _ in plain]
    assert len({row[0] for row in texts}) > 3
    for size, count in counts.items():
        found: Found = model.search(case.sources[:count], num_beams, batch_size=size)
        known = min(count, len(texts))
        assert found.texts.tolist()[:known] == texts[:known]
        scores = [scores for _, scores in plain[:known]]
        np.testing.assert_allclose(found.scores[:known], scores, atol=1e-4)


def test_a_sampler_draws_what_the_plainest_loop_draws(case: Case, tmp_path: Path) -> None:
    network, path = case.network, tmp_path / "sample.onnx"
    parity = export.generator(
        network.encoder,
        network.step,
        path,
        vocabulary=VOCABULARY,
        source=network.source,
        search="nucleus",
        max_length=LENGTH,
    )
    assert parity.passed and parity.source == "random"
    model = load(path)
    for source in case.sources[:5]:
        assert "".join(model.stream(source, 0.9, seed=7)) == model(source, 0.9, seed=7)
    uniforms = np.random.default_rng(5).random((COUNT, LENGTH), np.float32)
    plain = [
        plain_sample(Stepper(case, source), row, 0.8)
        for source, row in zip(case.encoded[:20], uniforms, strict=False)
    ]
    for size in (1, 7, COUNT):
        found = model.sample(case.sources, 0.8, uniforms=uniforms, batch_size=size)
        assert found.texts.tolist()[:20] == [text for text, _ in plain]
        np.testing.assert_allclose(found.scores[:20], [score for _, score in plain], atol=1e-4)


def test_a_stream_is_the_text_of_the_call(case: Case) -> None:
    model = load(case.path)
    for source in case.sources[:5]:
        pieces = list(model.stream(source))
        assert "".join(pieces) == model(source) and len(pieces) == len(model(source))


def test_the_report(case: Case) -> None:
    parity = case.parity
    assert parity.passed and parity.source == "given" and parity.metric is None
    assert parity.examples == COUNT and parity.batch_sizes == (1, 7, COUNT)
    assert 0 < parity.max_difference < 1e-4
    assert "64 given examples" in str(parity) and "None" not in str(parity)
    assert case.path.with_suffix(".parity.json").is_file()


def test_letters() -> None:
    assert all(len(letter) == 1 for letter in LETTERS)
