"""Files without strings: the same answers by ids, in our runtime and in one without strings."""

from pathlib import Path

import keras
import networks
import numpy as np
import onnx
import pytest
from keras import layers
from networks import LENGTH, VOCABULARY

import export
from export.runtime import load

LABELS = ["daisy", "rose", "tulip"]


@pytest.fixture(scope="module")
def classifiers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A classifier that ends in softmax, with labels and with ids."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((8, 8)),
            layers.Flatten(),
            layers.Dense(16, activation="relu"),
            layers.Dense(3, activation="softmax"),
        ],
        name="flowers",
    )
    folder = tmp_path_factory.mktemp("classifiers")
    paths = folder / "strings.onnx", folder / "ids.onnx"
    for path in paths:
        strings = path.stem == "strings"
        parity = export.classifier(model, path, labels=LABELS, scale=1 / 255, strings=strings)
        assert parity.passed and parity.source == "random" and parity.examples == 64
    return paths


@pytest.fixture(scope="module", params=["beam", "nucleus"])
def generators(request, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A network with attention, its weights enlarged so that texts differ."""
    keras.utils.set_random_seed(2)
    network = networks.gru_with_luong_attention()
    for model in network.trained:
        model.set_weights([3 * weight for weight in model.get_weights()])
    folder = tmp_path_factory.mktemp("generators")
    paths = folder / "strings.onnx", folder / "ids.onnx"
    for path in paths:
        export.generator(
            network.encoder,
            network.step,
            path,
            vocabulary=VOCABULARY,
            source=network.source,
            search=request.param,
            max_length=LENGTH,
            strings=path.stem == "strings",
        )
    return paths


def interface(path: Path) -> set[str]:
    graph = onnx.load(path).graph
    return {value.name for value in (*graph.input, *graph.output)}


def images(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 8, 8, 1), np.uint8)


def test_a_classifier_gives_the_same_labels(classifiers: tuple[Path, Path]) -> None:
    strings, ids = map(load, classifiers)
    assert interface(classifiers[1]) == {"image", "label_id", "probabilities"}
    assert strings(images(20)).tolist() == ids(images(20)).tolist()
    assert set(ids(images(64))) <= set(LABELS) == set(ids.info["labels"])
    np.testing.assert_array_equal(strings.probabilities(images(9)), ids.probabilities(images(9)))
    np.testing.assert_allclose(ids.probabilities(images(9)).sum(1), 1, atol=1e-6)


def test_a_generator_gives_the_same_texts(generators: tuple[Path, Path]) -> None:
    strings, ids = map(load, generators)
    sources = ["a b c", "j", "d d d e f", "a ☃ b"]
    with pytest.warns(UserWarning, match="☃"):
        if ids.info["kind"] == "sampler":
            assert {"ids", "lengths", "tokens", "scores"} < interface(generators[1])
            expected, found = (model.sample(sources, 0.9, seed=3) for model in (strings, ids))
        else:
            assert {"ids", "lengths", "tokens", "attention"} < interface(generators[1])
            expected, found = (model.search(sources, 4) for model in (strings, ids))
            for look, other in zip(expected.attention, found.attention, strict=True):
                np.testing.assert_array_equal(look, other)
    assert found.texts.tolist() == expected.texts.tolist() and len(set(found.texts.ravel())) > 3
    np.testing.assert_array_equal(found.scores, expected.scores)


def test_no_strings_are_left(generators: tuple[Path, Path], classifiers: tuple[Path, Path]) -> None:
    def kinds(graph: onnx.GraphProto) -> set[str]:
        found = {node.op_type for node in graph.node}
        for node in graph.node:
            found.update(*(kinds(a.g) for a in node.attribute if a.HasField("g")))
        return found

    for path in (generators[1], classifiers[1]):
        model = onnx.load(path)
        assert not kinds(model.graph) & {"StringConcat", "StringSplit", "LabelEncoder"}
        types = {i.data_type for i in model.graph.initializer}
        assert onnx.TensorProto.STRING not in types


def test_openvino_gives_the_same_labels(classifiers: tuple[Path, Path]) -> None:
    openvino = pytest.importorskip("openvino", reason="needs OpenVINO: pip install openvino")
    # Its own default is bfloat16 on processors that have it.
    float32 = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(str(classifiers[1]), "CPU", float32)
    found = compiled({"image": images(20)})
    ours = load(classifiers[1])
    np.testing.assert_allclose(found["probabilities"], ours.probabilities(images(20)), atol=1e-5)
    assert [LABELS[i] for i in found["label_id"]] == ours(images(20)).tolist()


def test_openvino_searches_source_by_source(generators: tuple[Path, Path]) -> None:
    """Of sources that are padded in one call it gives other answers: see the documentation."""
    openvino = pytest.importorskip("openvino", reason="needs OpenVINO: pip install openvino")
    float32 = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(str(generators[1]), "CPU", float32)
    ours = load(generators[1])
    uniforms = np.random.default_rng(0).random((1, LENGTH), np.float32)
    for text in ("a b c", "j", "d d d e f"):
        ids = np.array([[VOCABULARY.index(letter) for letter in text.split()]], np.int32)
        feeds = {"ids": ids, "lengths": np.array([ids.size], np.int32)}
        if ours.info["kind"] == "sampler":
            feeds |= {"top_p": np.array(0.8, np.float32), "uniforms": uniforms}
            expected = ours.sample([text], 0.8, uniforms=uniforms)
        else:
            feeds |= {"num_beams": np.array(4), "max_length": np.array(LENGTH)}
            expected = ours.search([text], 4)
        found = compiled(feeds)
        assert ours._texts(found["tokens"]).tolist() == expected.texts.tolist()
        np.testing.assert_allclose(found["scores"], expected.scores, atol=1e-4)
