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
