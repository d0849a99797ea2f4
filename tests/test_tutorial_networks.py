"""The tutorials' small networks on tiny pictures whose class only a translation-tolerant net finds.

The functions are those of the scripts, which stand alone: their imports and definitions are run
here without the rest.
"""

import ast
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from hw2_keras.theory.convolution import receptive_fields

TUTORIALS = Path(__file__).parents[1] / "tutorials"


def functions_of(script):
    """What a tutorial imports and defines."""
    kept = (ast.Import, ast.ImportFrom, ast.FunctionDef)
    body = [
        node for node in ast.parse((TUTORIALS / script).read_text()).body if isinstance(node, kept)
    ]
    names = {}
    exec(compile(ast.Module(body, []), script, "exec"), names)
    return SimpleNamespace(**names)


fashion = functions_of("2021_22/q2_fashion_cnn.py")
kuzushiji = functions_of("2022_23/q2_kuzushiji_cnn.py")
landscapes = functions_of("2024_25/q2_intel_cnn.py")


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
    return image, label


TRAIN, TEST = draw(800, 0), draw(200, 2)
FEW = tuple(part[:64] for part in TRAIN)


def test_cnn_has_fewer_parameters_and_wins_until_the_pixels_are_permuted():
    found = {}
    for change in (np.asarray, kuzushiji.permute_pixels):
        for build in (kuzushiji.cnn, kuzushiji.mlp):
            model = kuzushiji.train(build, change(TRAIN[0]), TRAIN[1], epochs=8)
            right = kuzushiji.accuracy(model, change(TEST[0]), TEST[1])
            found[model.name, change] = model.count_params(), right
    (cnn, mlp), (cnn_permuted, mlp_permuted) = (
        [found[name, change] for name in ("cnn", "mlp")]
        for change in (np.asarray, kuzushiji.permute_pixels)
    )
    assert cnn[0] < mlp[0]
    assert cnn[0] == cnn_permuted[0]
    advantage = cnn[1] - mlp[1]
    assert advantage > 0.3
    assert cnn_permuted[1] - mlp_permuted[1] < advantage / 2


def test_the_same_seed_gives_the_same_network():
    def small():
        return landscapes.after_one_pool((3, 3, 3), (12, 12, 1), 4)

    first, second, other = (
        landscapes.train(small, *FEW, epochs=1, seed=seed).get_weights()[0] for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, second)
    assert np.abs(first - other).max() > 0.01


def test_permutation_is_fixed_and_loses_no_pixel():
    order = np.random.default_rng(3).permutation(144)
    for image, _ in (TEST, TRAIN):
        permuted = kuzushiji.permute_pixels(image, seed=3)
        before, after = (x.reshape(len(image), -1) for x in (image, permuted))
        np.testing.assert_array_equal(after, before[:, order])


@pytest.mark.parametrize("script", [fashion, landscapes])
def test_shift_moves_images_and_black_moves_in(script):
    image = TEST[0]
    shifted = script.shifted(image, 2)
    np.testing.assert_array_equal(shifted[:, 2:, 2:], image[:, :-2, :-2])
    assert shifted[:, :2].max() == shifted[:, :, :2].max() == 0
    np.testing.assert_array_equal(script.shifted(image, 0), image)


@pytest.mark.parametrize("script", [fashion, kuzushiji, landscapes])
def test_accuracy_is_the_share_of_images_whose_class_is_named(script):
    pixels = keras.Input((12, 12, 1))
    blind = keras.Model(pixels, keras.layers.Dense(4)(keras.layers.Flatten()(pixels)))
    blind.set_weights([np.zeros((144, 4)), np.array([0.0, 1.0, 0.0, 0.0])])
    assert script.accuracy(blind, *TEST) == pytest.approx(np.mean(TEST[1] == 1))


def test_pooling_is_compared_with_the_same_convolutions():
    pooled, plain = (landscapes.cnn(pooling, (12, 12, 1), 4) for pooling in (True, False))
    # 3*3*32 against 12*12*32 inputs of the linear layer; the convolutions are the same.
    assert plain.count_params() - pooled.count_params() == 4 * 32 * (144 - 9)


def test_kernel_networks_have_one_receptive_field():
    nets = [landscapes.after_one_pool(kernels, (12, 12, 1), 4) for kernels in ((3, 3, 3), (7,))]
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
