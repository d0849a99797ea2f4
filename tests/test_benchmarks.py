"""The PyTorch rivals of the benchmarks are the same networks as ours."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import hw2_keras as hw2

if importlib.util.find_spec("torch") is None:
    pytest.skip("needs torch: pip install -r benchmarks/requirements.txt", allow_module_level=True)

import torch

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
CLASSIFIERS = ("fashion_cnn", "kmnist_cnn", "intel_cnn", "intel_cnn_bn")


@pytest.fixture
def torch_models(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("torch_models")


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_twin_is_the_same_network(name, torch_models):
    keras_model = hw2.build(name)
    rng = np.random.default_rng(0)
    weights = [value + rng.uniform(0, 0.1, value.shape) for value in keras_model.get_weights()]
    keras_model.set_weights(weights)  # biases and running statistics that are not 0 or 1
    twin = torch_models.build(name, dropout=0.5).eval()
    torch_models.load_keras_weights(twin, keras_model.get_weights())
    image = rng.random((3, *keras_model.input_shape[1:]), np.float32)

    expected = keras_model.predict_on_batch(image)
    with torch.no_grad():
        logits = twin(torch.from_numpy(image).permute(0, 3, 1, 2)).numpy()

    trainable = sum(value.numel() for value in twin.parameters() if value.requires_grad)
    assert trainable == hw2.experiments[name].parameters
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
    assert expected.std(axis=0).min() > 1e-3  # the logits depend on the image


def test_trainer_learns(torch_models):
    image = np.zeros((64, 28, 28, 1), np.uint8)
    label = np.arange(64) % 2
    image[label == 1] = 255
    torch.manual_seed(0)
    trainer = torch_models.Trainer("kmnist_cnn", 0.0, "adam", 1e-3, image, label, batch_size=16)
    first = trainer.epoch()
    last = [trainer.epoch() for _ in range(5)][-1]
    assert first > 0.5
    assert last < 0.05


@pytest.fixture
def torch_encoder_decoders(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("torch_encoder_decoders")


def same_logits(models, twin, source, target_in):
    """The largest logit, after comparing those of both networks."""
    expected = models.training([source, target_in], training=False).numpy()
    inputs = torch.from_numpy(source), torch.from_numpy(target_in).long()
    with torch.no_grad():
        logits = twin.eval()(inputs[0] if source.ndim == 3 else inputs[0].long(), inputs[1])
    np.testing.assert_allclose(logits.numpy(), expected, atol=2e-5)
    return np.abs(expected).max()


TARGET_IN = np.array([[1, 5, 6, 4], [1, 7, 0, 0], [1, 4, 6, 0]], np.int32)


@pytest.mark.parametrize("name", ["p2g_attention", "translate_attention"])
def test_text_twin_is_the_same_network(name, torch_encoder_decoders):
    models = hw2.models.build_models(hw2.experiments[name], source_size=11, target_size=9)
    layer = {each.name: each for each in models.training.layers}
    attention = {"p2g_attention": "bahdanau", "translate_attention": "bilinear"}[name]
    twin = torch_encoder_decoders.TextModel(11, 9, attention, dropout=0.3)
    names = {
        "source_embedding": "source_embedding",
        "target_embedding": "target_embedding",
        "encoder": "encoder_lstm",
        "decoder": "decoder_lstm",
        "combine": "attention_output",
        "bias": "logits",
    }
    weights = {twin_s: layer[ours].get_weights() for twin_s, ours in names.items()}
    kernels = layer["attention"].get_weights()
    weights |= {
        key: [kernels[i]] for i, key in enumerate(("query", "key", "score")[: len(kernels)])
    }
    torch_encoder_decoders.load_keras_weights(twin, weights)
    source = np.array([[4, 5, 6, 7, 8], [9, 8, 0, 0, 0], [4, 0, 0, 0, 0]], np.int32)
    assert sum(p.numel() for p in twin.parameters()) == models.training.count_params() + 4 * (
        64 + 64 + 128
    )  # PyTorch's second bias of each LSTM
    assert same_logits(models, twin, source, TARGET_IN) > 0.1


def test_captioning_twin_is_the_same_network(torch_encoder_decoders):
    models = hw2.models.build_models(
        hw2.experiments["caption_attention"], vocabulary_size=9, features=(6, 4)
    )
    layer = models.training.get_layer
    twin = torch_encoder_decoders.Captioner(9, 4, dropout=0.5)
    lstm = layer("decoder_lstm")
    query, key, score, bias = lstm.attention.get_weights()
    names = {"first_h": "h", "first_c": "c", "embedding": "word_embedding", "logits": "logits"}
    weights = {twin_s: layer(ours).get_weights() for twin_s, ours in names.items()}
    weights |= {"cell": lstm.cell.get_weights()[:3], "query": [query], "score": [score]}
    torch_encoder_decoders.load_keras_weights(twin, weights | {"key": [key, bias]})
    features = np.random.default_rng(0).random((3, 6, 4), np.float32)
    assert same_logits(models, twin, features, TARGET_IN) > 0.1


def test_a_twin_learns_what_it_is_shown(torch_encoder_decoders):
    torch.manual_seed(0)
    twin = torch_encoder_decoders.TextModel(9, 9, "bilinear", dropout=0.0, hidden=16)
    trainer = torch_encoder_decoders.Trainer(twin, 0.01)
    ids = torch.from_numpy(TARGET_IN).long()
    batches = [((ids, ids), ids.roll(-1, 1) * (ids > 0))]
    first = trainer.epoch(batches)
    last = [trainer.epoch(batches) for _ in range(60)][-1]
    assert first > 1 and last < 0.1
