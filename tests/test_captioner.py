"""The captioner: one decoder for teacher forcing and stepping, its image encoders, their cache."""

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras_nlp.models import ResNetBackbone
from PIL import Image

import hw2_keras as hw2
from hw2_keras.cli import main
from hw2_keras.errors import UsageError
from hw2_keras.models.captioner import build_captioner
from hw2_keras.models.image_encoder import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    resnet_encoder,
    resnet_features,
    scene_encoder,
)
from hw2_keras.runs import open_run
from hw2_keras.training import fit

P, C = 6, 4
TARGET_IN = np.array([[1, 5, 6, 4, 7], [1, 7, 0, 0, 0]], np.int32)


@pytest.fixture
def features():
    return np.random.default_rng(0).normal(size=(2, P, C)).astype(np.float32)


def build(attention, **sizes):
    sizes = {"hidden": 8, "word_size": 5, "attention_size": 3} | sizes
    return build_captioner(9, "additive" if attention else None, (P, C), **sizes)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def numpy_logits(models, features, target_in, attention):
    """The homework's decoder for one caption, from the layers' own weights."""
    layer = models.training.get_layer
    mean = features.mean(0)
    h, c = (mean @ w + b for w, b in (layer(name).get_weights() for name in ("h", "c")))
    words = layer("word_embedding").get_weights()[0]
    output_kernel, output_bias = layer("logits").get_weights()
    lstm = layer("decoder_lstm")
    kernel, recurrent, bias = lstm.cell.get_weights()
    logits, looks = [], []
    for token in target_in:
        x = words[token]
        if attention:
            w_h, w_f, v, b = lstm.attention.get_weights()
            scores = np.maximum(features @ w_f + h @ w_h + b, 0) @ v[:, 0]
            look = np.exp(scores) / np.exp(scores).sum()
            x = np.concatenate([x, look @ features])
            looks.append(look)
        i, f, g, o = np.split(x @ kernel + h @ recurrent + bias, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        logits.append(h @ output_kernel + output_bias)
    return np.array(logits), np.array(looks)


def step_through(models, features, target_in):
    memory, h, c = models.encoder(features)
    logits, looks = [], []
    for token in target_in.T:
        values = {"token": token, "h": h, "c": c, "memory": memory}
        output = models.step([tf.constant(values[x.name]) for x in models.step.inputs])
        h, c = output[1:3]
        logits.append(output[0])
        looks += output[3:]
    return np.stack(logits, 1), np.stack(looks, 1) if looks else None


@pytest.mark.parametrize("attention", [False, True])
def test_training_and_stepping_equal_the_formulas(attention, features):
    models = build(attention)
    if attention:  # its bias starts at 0: move it, so that the test sees it
        bias = models.training.get_layer("decoder_lstm").attention.bias
        bias.assign([0.5, -0.2, 0.1])
    logits = models.training([features, TARGET_IN])
    stepped, looks = step_through(models, features, TARGET_IN)
    assert logits.shape == (2, 5, 9)
    np.testing.assert_allclose(logits, stepped, atol=1e-6)
    for b in range(2):
        expected, attended = numpy_logits(models, features[b], TARGET_IN[b], attention)
        np.testing.assert_allclose(logits[b], expected, atol=1e-6)
        if attention:
            np.testing.assert_allclose(looks[b], attended, atol=1e-6)


def test_a_caption_of_one_word_needs_no_loop(features):
    models = build(True)
    one = models.training([features, TARGET_IN[:, :1]])
    np.testing.assert_allclose(one, models.training([features, TARGET_IN])[:, :1], atol=1e-6)
    graph = tf.function(models.step).get_concrete_function(
        [tf.TensorSpec((None, *x.shape[1:]), x.dtype) for x in models.step.inputs]
    )
    kinds = {operation.type for operation in graph.graph.get_operations()}
    assert not kinds & {"While", "StatelessWhile"}


def test_gradients_flow_through_the_loop(features):
    """The gradient of every weight against differences of the loss."""
    models = build(True, dropout=0.0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def value():
        return loss(TARGET_IN, models.training([features, TARGET_IN]))

    with tf.GradientTape() as tape:
        now = value()
    variables = models.training.trainable_variables
    gradients = tape.gradient(now, [v.value for v in variables])
    rng = np.random.default_rng(0)
    for variable, gradient in zip(variables, gradients, strict=True):
        gradient = tf.convert_to_tensor(gradient).numpy()
        direction = rng.normal(size=variable.shape).astype(np.float32)
        kept = variable.numpy()
        variable.assign(kept + 5e-3 * direction)
        above = value().numpy()
        variable.assign(kept - 5e-3 * direction)
        below = value().numpy()
        variable.assign(kept)
        slope = (above - below) / 1e-2
        assert (gradient * direction).sum() == pytest.approx(slope, abs=2e-3, rel=2e-2)


@pytest.mark.parametrize("attention", [False, True])
def test_initial_weights_are_those_of_the_homework(attention):
    models = build_captioner(190, "additive" if attention else None, (256, 256))
    for name in ("word_embedding", "logits"):
        weights = models.training.get_layer(name).get_weights()[0]
        assert 0.099 < np.abs(weights).max() <= 0.1
    assert np.all(models.training.get_layer("logits").get_weights()[1] == 0)
    lstm_input = 100 + 256 * attention
    expected = (
        190 * 100  # words
        + 2 * (256 * 256 + 256)  # h and c
        + 4 * 256 * (lstm_input + 256 + 1)
        + attention * (256 * 100 + 256 * 100 + 100 + 100)
        + 256 * 190
        + 190
    )
    assert models.training.count_params() == expected


def test_dropout_acts_on_the_output_only_while_training(features):
    models = build(True)
    inputs = [features, TARGET_IN]
    np.testing.assert_array_equal(models.training(inputs), models.training(inputs))
    assert np.abs(models.training(inputs) - models.training(inputs, training=True)).max() > 0.01


@pytest.mark.parametrize("attention", [False, True])
def test_a_saved_captioner_computes_the_same(attention, features, tmp_path):
    models = build(attention)
    models.training.save(tmp_path / "model.keras")
    opened = keras.saving.load_model(tmp_path / "model.keras")
    inputs = [features, TARGET_IN]
    np.testing.assert_array_equal(models.training(inputs), opened(inputs))


def test_the_seed_decides_the_weights():
    one, again, other = (build(True, seed=seed).training.get_weights() for seed in (1, 1, 2))
    for a, b in zip(one, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert any(np.abs(a - b).max() > 0.01 for a, b in zip(one, other, strict=True))


def test_scenes_are_encoded_by_a_cnn_that_is_trained():
    encoder = scene_encoder((16, 16, 3))
    models = build_captioner(9, "additive", encoder, hidden=8)
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)
    memory, h, _ = models.encoder(images)
    assert memory.shape == (2, 16, 64) and h.shape == (2, 8)
    before = [w.copy() for w in encoder.get_weights()]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    models.training.compile("sgd", loss, jit_compile=False)
    models.training.train_on_batch((images, TARGET_IN), TARGET_IN)
    kernels = [(a, b) for a, b in zip(before, encoder.get_weights(), strict=True) if a.ndim == 4]
    assert all(np.abs(a - b).max() > 0 for a, b in kernels)
    assert scene_encoder().output_shape == (None, 256, 64)


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    """A ResNet far smaller than the real one, whose map has an eighth of the image's side."""
    keras.utils.set_random_seed(0)
    backbone = ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 8],
        stackwise_num_blocks=[1, 1],
        stackwise_num_strides=[1, 2],
        block_type="basic_block",
        image_shape=(None, None, 3),
    )
    folder = tmp_path_factory.mktemp("preset")
    backbone.save_to_preset(folder)
    return folder


def test_features_are_those_of_the_normalised_image_pooled_to_16x16(preset, tmp_path):
    encoder = resnet_encoder(preset, image_size=256)
    images = np.random.default_rng(0).integers(0, 256, (3, 256, 256, 3), np.uint8)
    features = resnet_features(images, encoder, tmp_path)
    assert features.shape == (3, 256, 8) and features.dtype == np.float32
    backbone = ResNetBackbone.from_preset(str(preset))
    pixels = (images / 255 - IMAGENET_MEAN) / IMAGENET_STD
    maps = backbone(pixels.astype(np.float32), training=False).numpy()
    pooled = maps.reshape(3, 16, 2, 16, 2, 8).mean((2, 4))
    np.testing.assert_allclose(features, pooled.reshape(3, 256, 8), atol=1e-5)
    assert features.std() > 0.01
    assert not any(w.trainable for w in encoder.weights)


def test_features_are_computed_once(preset, tmp_path, monkeypatch):
    encoder = resnet_encoder(preset, image_size=128)
    images = np.random.default_rng(0).integers(0, 256, (2, 128, 128, 3), np.uint8)
    first = resnet_features(images, encoder, tmp_path)
    (file,) = tmp_path.iterdir()
    monkeypatch.setattr(tf, "function", None)  # what a second computation would need
    np.testing.assert_array_equal(first, resnet_features(images, encoder, tmp_path))
    monkeypatch.undo()
    resnet_features(255 - images, encoder, tmp_path)
    kernel = encoder.weights[0]
    kernel.assign(kernel * 2)
    assert np.abs(resnet_features(images, encoder, tmp_path) - first).max() > 1e-4
    assert len(list(tmp_path.iterdir())) == 3
    kernel.assign(kernel / 2)
    file.write_bytes(b"not an array")
    with pytest.raises(UsageError, match="is damaged"):
        resnet_features(images, encoder, tmp_path)
    np.save(file, first[:1])
    with pytest.raises(UsageError, match=r"holds \(1, 256, 8\), expected \(2, 256, 8\)"):
        resnet_features(images, encoder, tmp_path)
    np.save(file, first + 1)
    with pytest.raises(UsageError, match="was altered"):
        resnet_features(images, encoder, tmp_path)


def test_a_preset_with_other_layers_is_refused(preset, tmp_path):
    shutil.copytree(preset, tmp_path / "other")
    config = json.loads((preset / "config.json").read_text())
    config["config"]["stackwise_num_filters"] = [64, 16]
    (tmp_path / "other" / "config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match="cannot be read"):
        resnet_encoder(tmp_path / "other", image_size=256)


@pytest.mark.parametrize("damage", ["config.json", "model.weights.h5"])
def test_a_damaged_preset_is_refused(preset, tmp_path, damage):
    shutil.copytree(preset, tmp_path / "damaged")
    (tmp_path / "damaged" / damage).write_bytes(b"{}")
    with pytest.raises(UsageError, match="cannot be read") as error:
        resnet_encoder(tmp_path / "damaged", image_size=256)
    assert "\n" not in str(error.value)


def test_a_missing_preset_is_refused(tmp_path):
    with pytest.raises(UsageError, match="expected the name or the complete folder"):
        resnet_encoder(tmp_path / "nowhere")


def test_a_map_that_is_not_16x16_is_refused(preset):
    with pytest.raises(UsageError, match="gives 9x9 positions"):
        resnet_encoder(preset, image_size=72)


@pytest.mark.real
def test_the_real_preset_gives_the_course_s_positions():
    encoder = resnet_encoder(Path(os.environ["HW2_DATA_DIR"]) / "resnet_18_imagenet_stage3")
    assert encoder.output_shape == (None, 256, 256)


# The image encoder of a run


@pytest.fixture
def aerial(tmp_path, monkeypatch, preset):
    """A tiny Sydney-Captions under HW2_DATA_DIR, with the small ResNet beside it."""
    monkeypatch.setenv("HW2_DATA_DIR", str(tmp_path / "data"))
    folder = tmp_path / "data" / "sydney"
    (folder / "images").mkdir(parents=True)
    numbers = ("1", "2", "219", "357", "540")
    for number in numbers:
        pixels = np.random.default_rng(int(number)).integers(0, 256, (128, 128, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.jpg")
    train = {"images_names": ["1", "2"], "captions_tokens": [["a", "sea"], ["a", "bay"]]}
    refs = {number: [["a", "sea"]] for number in numbers}
    references = {"images_names": list(numbers), "all_refs": refs}
    for split, content in (("train", train), ("val", references), ("test", references)):
        (folder / f"{split}.json").write_text(json.dumps(content))
    shutil.copytree(preset, tmp_path / "data" / "resnet_18_imagenet_small")
    return tmp_path / "data"


def test_the_encoder_of_a_run_is_recorded_and_used_again(aerial, preset, tmp_path):
    named = hw2.train("caption", epochs=1, source="real", out=tmp_path / "a")
    assert named.record["encoder"] == "resnet_18_imagenet_small"  # no path: found by its name
    again = hw2.train(
        "caption", epochs=1, source="real", out=tmp_path / "a", encoder="resnet_18_imagenet_small"
    )
    assert again.record == named.record
    given = hw2.train("caption", epochs=1, source="real", out=tmp_path / "b", encoder=preset)
    assert given.record["encoder"] == str(preset)
    assert given.metrics["loss"] == named.metrics["loss"]  # the same weights in both places
    shutil.rmtree(aerial / "resnet_18_imagenet_small")
    assert fit.evaluate(given).metrics == given.metrics
    with pytest.raises(UsageError, match="'resnet_18_imagenet_small' cannot be read"):
        fit.evaluate(named)
    with pytest.raises(UsageError, match=r"holds another run \(different encoder\)"):
        hw2.train("caption", epochs=1, source="real", out=tmp_path / "a", encoder=preset)


def test_runs_without_a_recorded_encoder_still_serve(aerial, tmp_path):
    run = hw2.train("caption", epochs=1, source="real", out=tmp_path)
    older = {key: value for key, value in run.record.items() if key != "encoder"}
    (run.path / "run.json").write_text(json.dumps(older))
    opened = hw2.train("caption", epochs=1, source="real", out=tmp_path)
    assert opened.record == older
    assert fit.evaluate(opened).metrics == run.metrics


@pytest.mark.parametrize(
    ("name", "source", "message"),
    [
        ("p2g", "real", "p2g has no image encoder: .* for caption and caption_attention"),
        ("kmnist_cnn", "synthetic", "kmnist_cnn has no image encoder"),
        ("caption", "synthetic", "synthetic scenes have a small CNN .* add --source real"),
    ],
)
def test_an_encoder_needs_real_images_to_caption(
    name, source, message, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(fit, "set_threads", lambda name: None)  # of the tests' process
    arguments = ["train", name, "--source", source, "--encoder", "x", "--out", str(tmp_path)]
    assert main(arguments) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not list(tmp_path.iterdir())


def test_an_encoder_with_other_layers_leaves_no_run_behind(aerial, tmp_path):
    path = aerial / "resnet_18_imagenet_small" / "config.json"
    config = json.loads(path.read_text())
    config["config"]["stackwise_num_filters"] = [64, 16]
    path.write_text(json.dumps(config))
    with pytest.raises(UsageError, match=r"resnet_18_imagenet_small' cannot be read"):
        hw2.train("caption", epochs=1, source="real", out=tmp_path / "runs")
    assert not list((tmp_path / "runs").iterdir())


@pytest.mark.parametrize(
    ("encoder", "departures"),
    [
        (None, []),
        ("resnet_18_imagenet", []),
        ("resnet_18_imagenet_stage3", []),
        ("presets/resnet_18_imagenet", []),
        ("resnet_50_imagenet", ["image encoder resnet_18_imagenet"]),
    ],
)
def test_a_run_with_another_image_encoder_departs_from_the_reports(encoder, departures):
    run = open_run(Path(__file__).parents[1] / "results/caption-real-rate0.0004-epochs6-seed42")
    assert run.departures == []
    assert replace(run, record=run.record | {"encoder": encoder}).departures == departures
