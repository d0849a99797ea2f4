"""The tutorials' experiments on tiny pictures whose class only a translation-tolerant net finds."""

import importlib.util
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np
import pytest

from hw2_keras.data.image_files import ImageSplit
from hw2_keras.theory.convolution import receptive_fields

PATH = Path(__file__).parents[2] / "tutorials" / "helpers.py"
SPEC = importlib.util.spec_from_file_location("helpers", PATH)
helpers = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(helpers)


@dataclass(frozen=True)
class Pictures:
    """The fields of ``ImageData`` that the experiments read."""

    train: ImageSplit
    val: ImageSplit
    test: ImageSplit
    classes: tuple[str, ...] = ("across", "down", "corner", "cross")
    notes: tuple[str, ...] = ()


def draw(count, seed):
    """A bar across, a bar down, a corner or a cross of 4 pixels, anywhere on 12x12, with noise."""
    rng = np.random.default_rng(seed)
    shapes = np.zeros((4, 4, 4))
    shapes[0, 1] = shapes[1, :, 1] = shapes[2, 0] = shapes[2, :, 0] = 1
    shapes[3, 1] = shapes[3, :, 1] = 1
    label = rng.integers(4, size=count).astype("int32")
    image = rng.integers(0, 30, size=(count, 12, 12, 1)).astype("uint8")
    for picture, kind, (row, column) in zip(
        image, label, rng.integers(0, 9, size=(count, 2)), strict=True
    ):
        picture[row : row + 4, column : column + 4, 0] += (180 * shapes[kind]).astype("uint8")
    return ImageSplit(image, label)


@pytest.fixture(scope="module")
def pictures():
    return Pictures(draw(800, 0), draw(10, 1), draw(200, 2))


def few(pictures):
    """The same pictures with 64 of them to train on."""
    return replace(pictures, train=ImageSplit(*(part[:64] for part in pictures.train)))


def test_cnn_has_fewer_parameters_and_wins_until_the_pixels_are_permuted(pictures):
    cnn, mlp, cnn_permuted, mlp_permuted = helpers.cnn_against_mlp(pictures, epochs=8)
    assert [cnn.name, mlp_permuted.name] == ["cnn", "mlp, permuted"]
    assert cnn.parameters < mlp.parameters
    assert cnn.parameters == cnn_permuted.parameters
    advantage = cnn.accuracy - mlp.accuracy
    assert advantage > 0.3
    assert cnn_permuted.accuracy - mlp_permuted.accuracy < advantage / 2


def test_the_same_seed_gives_the_same_network(pictures):
    small = few(pictures)
    first, second, other = (
        helpers.fit(helpers.small_kernels, small, epochs=1, seed=seed).get_weights()[0]
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, second)
    assert np.abs(first - other).max() > 0.01


def test_permutation_is_fixed_and_loses_no_pixel(pictures):
    permuted = helpers.permute_pixels(pictures, seed=3)
    before, after = (x.test.image.reshape(200, -1) for x in (pictures, permuted))
    order = np.random.default_rng(3).permutation(144)
    np.testing.assert_array_equal(after, before[:, order])
    np.testing.assert_array_equal(
        permuted.train.image.reshape(800, -1), pictures.train.image.reshape(800, -1)[:, order]
    )
    assert permuted.notes == ("pixels permuted",)
    np.testing.assert_array_equal(permuted.test.label, pictures.test.label)


def test_shift_moves_test_images_only(pictures):
    shifted = helpers.shift_test(pictures, 2)
    np.testing.assert_array_equal(shifted.test.image[:, 2:, 2:], pictures.test.image[:, :-2, :-2])
    assert shifted.test.image[:, :2].max() == shifted.test.image[:, :, :2].max() == 0
    assert shifted.train is pictures.train
    np.testing.assert_array_equal(helpers.shift_test(pictures, 0).test.image, pictures.test.image)


def test_pooling_is_compared_on_plain_and_shifted_images(pictures):
    scores = helpers.with_and_without_pooling(few(pictures), epochs=1, shift=1)
    assert [score.name for score in scores] == [
        "cnn",
        "cnn, shifted by 1",
        "without_pooling",
        "without_pooling, shifted by 1",
    ]
    # 3*3*32 against 12*12*32 inputs of the linear layer; the convolutions are the same.
    assert scores[2].parameters - scores[0].parameters == 4 * 32 * (144 - 9)
    assert all(0 <= score.accuracy <= 1 for score in scores)


def test_kernel_networks_have_one_receptive_field():
    nets = [build((12, 12, 1), 4) for build in (helpers.small_kernels, helpers.large_kernel)]
    fields = []
    for net in nets:
        stack = [
            (layer.kernel_size[0], 1) if isinstance(layer, keras.layers.Conv2D) else (2, 2)
            for layer in net.layers
            if isinstance(layer, keras.layers.Conv2D | keras.layers.MaxPooling2D)
        ]
        fields.append(receptive_fields(stack)[-1])
    assert fields[0] == fields[1]
    small, large = (net.count_params() for net in nets)
    assert large - small == (49 - 27) * 16 * 16 - 2 * 16


def test_table_is_aligned():
    table = helpers.format_scores(
        [helpers.Score("cnn", 20_490, 0.9), helpers.Score("mlp, permuted", 101_770, 0.8123)]
    )
    header, first, second = table.splitlines()
    assert len(header) == len(first) == len(second)
    assert first.split() == ["cnn", "20,490", "90.0%"]
