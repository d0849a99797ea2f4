"""The synthetic images: the same from the same seed, and learnable for the right reason."""

import time

import keras
import numpy as np
import pytest
from keras import layers

from hw2_keras.data import load_data
from hw2_keras.data.image_files import ImageSplit
from hw2_keras.data.images import ImageData, made

NAMES = ("fashion", "kmnist", "intel")


@pytest.fixture(scope="module")
def sets() -> dict[str, ImageData]:
    return {name: load_data(name) for name in NAMES}


def test_glyphs_differ_between_the_two_sets(sets):
    assert sets["fashion"].classes == tuple("ABEGHKMRST")
    assert sets["kmnist"].classes[:3] == ("Gamma", "Delta", "Theta")
    assert sets["fashion"].fingerprint != sets["kmnist"].fingerprint


@pytest.mark.parametrize("name", NAMES)
def test_shapes_and_balance(sets, name):
    data = sets[name]
    shape = (48, 48, 3) if name == "intel" else (28, 28, 1)
    for split, size in ((data.train, 2000), (data.val, 500), (data.test, 500)):
        assert split.image.shape == (size, *shape) and split.image.dtype == np.uint8
        assert split.label.shape == (size,) and split.label.dtype == np.int32
        counts = np.bincount(split.label)
        assert len(counts) == len(data.classes) and counts.max() - counts.min() <= 1
    assert data.source == "synthetic" and "seed 42" in data.origin
    images = np.concatenate([data.train.image, data.val.image, data.test.image])
    assert len(np.unique(images.reshape(3000, -1), axis=0)) == 3000


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_decides_every_pixel_and_it_is_quick(sets, name):
    start = time.process_time()
    again = load_data(name, seed=42)
    assert time.process_time() - start < 3
    assert again.fingerprint == sets[name].fingerprint
    np.testing.assert_array_equal(again.test.image, sets[name].test.image)
    assert load_data(name, seed=43).fingerprint != again.fingerprint


@pytest.mark.parametrize("name", NAMES)
def test_what_is_painted_again_is_the_same(sets, name):
    made.cache_clear()
    again = load_data(name)
    np.testing.assert_array_equal(again.train.image, sets[name].train.image)
    again.train.image[:] = 0  # a copy: it changes nobody else's
    assert load_data(name).fingerprint == sets[name].fingerprint


def accuracy(data: ImageData, inner: list[keras.Layer], epochs: int) -> float:
    """Test accuracy after training with Adam at 1e-3."""
    keras.utils.set_random_seed(42)

    def scaled(split: ImageSplit) -> tuple[np.ndarray, np.ndarray]:
        return split.image / np.float32(256), split.label

    shape = data.train.image.shape[1:]
    head = [layers.Flatten(), layers.Dense(len(data.classes))]
    model = keras.Sequential([layers.Input(shape), *inner, *head])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss, metrics=["accuracy"], steps_per_execution=25)
    model.fit(*scaled(data.train), batch_size=16, epochs=epochs, verbose=0)
    return model.evaluate(*scaled(data.test), verbose=0)[1]


@pytest.mark.parametrize("name", NAMES)
def test_a_small_cnn_leaves_a_linear_model_behind(sets, name):
    linear = accuracy(sets[name], [], epochs=8)
    blocks = [
        layer
        for channels in (12, 24, 48)
        for layer in (
            layers.Conv2D(channels, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
        )
    ]
    convolutional = accuracy(sets[name], blocks, epochs=5)
    print(f"{name}: linear {linear:.3f}, convolutional {convolutional:.3f}")
    assert convolutional > 0.8
    assert linear < convolutional - 0.15


def test_mean_colour_does_not_tell_the_landscapes(sets):
    data = sets["intel"]

    def colours(split: ImageSplit) -> ImageSplit:
        pixels = split.image.reshape(len(split.image), -1, 3)
        return ImageSplit(np.concatenate([pixels.mean(1), pixels.std(1)], axis=1), split.label)

    known, asked = colours(data.train), colours(data.test)
    distance = np.linalg.norm(asked.image[:, np.newaxis] - known.image, axis=2)
    nearest = known.label[np.argsort(distance, axis=1)[:, :15]]
    votes = np.array([np.bincount(row, minlength=6).argmax() for row in nearest])
    share = (votes == asked.label).mean()
    print(f"15 nearest neighbours in mean and spread of colour: {share:.3f}")
    assert share < 0.6
