"""The convolution's matrix against Keras, its symmetries measured, receptive fields by gradient."""

from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

import hw2_keras
from hw2_keras.theory import convolution as conv

RNG = np.random.default_rng(7)

cases = st.fixed_dictionaries(
    {
        "image": st.tuples(st.integers(3, 9), st.integers(3, 9), st.integers(1, 3)),
        "kernel": st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3)),
        "stride": st.integers(1, 3),
        "padding": st.sampled_from(["valid", "same", 1, 2]),
        "seed": st.integers(0, 99),
    }
)


def draw(case):
    """Image (H, W, C), kernel (M, N, C, F), stride, padding."""
    rng = np.random.default_rng(case["seed"])
    (H, W, C), (M, N, F) = case["image"], case["kernel"]
    assume(M <= H and N <= W)
    return (
        rng.normal(size=(H, W, C)),
        rng.normal(size=(M, N, C, F)),
        case["stride"],
        case["padding"],
    )


def keras_conv(image, kernel, stride, padding):
    if isinstance(padding, int):
        image = np.pad(image, [(padding, padding), (padding, padding), (0, 0)])
        padding = "valid"
    return keras.ops.conv(image[None], kernel, strides=stride, padding=padding).numpy()[0]


@settings(max_examples=40, deadline=None)
@given(cases)
def test_matrix_times_image_is_the_convolution_of_keras(case):
    image, kernel, stride, padding = draw(case)
    expected = keras_conv(image, kernel, stride, padding)
    sparse = conv.sparse_matrix(kernel, image.shape, stride, padding)
    dense = conv.toeplitz_matrix(kernel, image.shape, stride, padding)
    np.testing.assert_allclose(dense @ image.ravel(), expected.ravel(), atol=1e-12)
    np.testing.assert_allclose(sparse.dot(image.ravel()), expected.ravel(), atol=1e-12)
    np.testing.assert_allclose(conv.convolve(image, kernel, stride, padding), expected, atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(cases)
def test_transpose_is_the_gradient(case):
    image, kernel, stride, padding = draw(case)
    pixels = tf.constant(image[None])
    with tf.GradientTape() as tape:
        tape.watch(pixels)
        padded = pixels
        if isinstance(padding, int):
            padded = tf.pad(pixels, [(0, 0), (padding, padding), (padding, padding), (0, 0)])
        mode = padding if isinstance(padding, str) else "valid"
        output = keras.ops.conv(padded, kernel, strides=stride, padding=mode)
        upstream = np.random.default_rng(1).normal(size=output.shape)
        loss = tf.reduce_sum(output * upstream)
    expected = tape.gradient(loss, pixels).numpy()[0]
    matrix = conv.toeplitz_matrix(kernel, image.shape, stride, padding)
    got = (matrix.T @ upstream[0].ravel()).reshape(image.shape)
    np.testing.assert_allclose(got, expected, atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(cases)
@example({"image": (3, 3, 1), "kernel": (1, 1, 1), "stride": 1, "padding": 2, "seed": 0})
def test_counts_of_free_parameters_nonzeros_and_entries(case):
    image, kernel, stride, padding = draw(case)
    counts = conv.count_entries(kernel.shape, image.shape, stride, padding)
    matrix = conv.toeplitz_matrix(np.ones_like(kernel), image.shape, stride, padding)
    assert counts.free == kernel.size
    assert counts.nonzeros == np.count_nonzero(matrix)
    assert counts.entries == matrix.size


def test_counts_of_the_paper_question_without_padding():
    H, W, M, N = 28, 20, 5, 3
    counts = conv.count_entries((M, N), (H, W))
    outputs = (H - M + 1) * (W - N + 1)
    assert counts == (M * N, outputs * M * N, outputs * H * W)


@pytest.mark.parametrize(("H", "W", "M", "N"), [(3, 3, 2, 2), (5, 4, 2, 3), (4, 6, 3, 1)])
def test_general_element_gives_every_entry(H, W, M, N):
    kernel = np.arange(1.0, M * N + 1).reshape(M, N)
    matrix = conv.toeplitz_matrix(kernel, (H, W))
    assert matrix.shape == ((H - M + 1) * (W - N + 1), H * W)
    for (i, j), value in np.ndenumerate(matrix):
        assert conv.matrix_entry(kernel, i, j, W) == value


def test_report_002_has_the_wrong_row_offset():
    kernel = np.array([[1.0, 2.0], [3.0, 4.0]])
    matrix = conv.toeplitz_matrix(kernel, (3, 3))
    by_report = np.array(
        [[conv.matrix_entry_by_report_002(kernel, i, j, 3) for j in range(9)] for i in range(4)]
    )
    np.testing.assert_array_equal(by_report[:2], matrix[:2])
    assert matrix[2, 3] == 1 and by_report[2, 3] == 0


def test_report_003_describes_a_one_dimensional_convolution():
    kernel = np.array([[1.0, 2.0], [3.0, 4.0]])
    matrix = conv.toeplitz_matrix(kernel, (3, 3))
    assert not conv.is_toeplitz(matrix)
    assert matrix[1, 1] == 1 and matrix[2, 2] == 0
    assert conv.is_doubly_blocked_toeplitz(matrix, (2, 3))
    assert conv.is_toeplitz(conv.toeplitz_matrix(kernel[:1], (1, 6)))
    spoilt = matrix.copy()
    spoilt[3, 4] = 9
    assert not conv.is_doubly_blocked_toeplitz(spoilt, (2, 3))
    assert not conv.is_doubly_blocked_toeplitz(np.kron(np.eye(2), [[1, 2], [3, 4]]), (2, 2))
    assert not conv.is_doubly_blocked_toeplitz(np.kron(np.diag([1, 2]), np.eye(2)), (2, 2))


# --------------------------------------------------------------------------------- symmetries


@pytest.fixture(scope="module")
def scene():
    """A smooth random colour image, (32, 32, 3)."""
    noise = np.random.default_rng(0).random((32, 32, 3))
    blur = np.zeros((5, 5, 3, 3))
    blur[..., range(3), range(3)] = 1 / 25
    return conv.convolve(noise, blur, padding="same")


def edges():
    """A horizontal-edge filter on red minus a vertical one on green, (3, 3, 3, 1)."""
    kernel = np.zeros((3, 3, 3, 1))
    kernel[:, :, 0, 0] = [[-1, -2, -1], [0, 0, 0], [1, 2, 1]]
    kernel[:, :, 1, 0] = -kernel[:, :, 0, 0].T
    return kernel


def test_convolution_is_equivariant_to_translation_and_not_invariant(scene):
    features = partial(conv.convolve, kernel=edges(), padding="same")
    shift = partial(conv.translate, rows=3, columns=-2)
    assert conv.relative_gap(features, scene, shift, shift, margin=5) == 0
    # Report 000 says "invariant": the response to a shifted image is another one.
    assert conv.relative_gap(features, scene, shift, margin=5) > 0.5


@pytest.mark.parametrize("change", [conv.rotate, conv.zoom])
def test_convolution_is_not_equivariant_to_rotation_or_scale(scene, change):
    features = partial(conv.convolve, kernel=edges(), padding="same")
    assert conv.relative_gap(features, scene, change, change, margin=3) > 0.3


def test_convolution_is_not_invariant_to_hue(scene):
    features = partial(conv.convolve, kernel=edges(), padding="same")
    assert conv.relative_gap(features, scene, conv.turn_hue, margin=3) > 0.3


def test_a_symmetric_filter_is_the_exception(scene):
    """The measure is 0 where a symmetry was built in, so it measures the filter's symmetry."""
    ring = np.ones((3, 3, 3, 1)) * np.array([[1, 2, 1], [2, 5, 2], [1, 2, 1]])[..., None, None]
    features = partial(conv.convolve, kernel=ring, padding="same")
    assert conv.relative_gap(features, scene, conv.rotate, conv.rotate) < 1e-12
    assert conv.relative_gap(features, scene, conv.turn_hue) < 1e-12


def test_pooling_adds_tolerance_to_small_shifts(scene):
    def gap(pool):
        def features(image):
            response = np.maximum(conv.convolve(image, edges(), padding="same"), 0)
            return conv.max_pool(response, pool)

        return conv.relative_gap(features, scene, partial(conv.translate, rows=0, columns=1))

    gaps = [gap(pool) for pool in (1, 2, 4, 32)]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[2] < 0.7 * gaps[0]
    assert gaps[3] < 0.3 * gaps[0]


def test_max_pool_agrees_with_keras():
    image = RNG.normal(size=(7, 9, 2))
    expected = keras.ops.max_pool(image[None], 2, strides=2).numpy()[0]
    np.testing.assert_allclose(conv.max_pool(image, 2), expected, rtol=1e-6)


@pytest.mark.parametrize("source", ["synthetic", pytest.param("real", marks=pytest.mark.real)])
def test_symmetries_on_landscapes(source):
    features = partial(conv.convolve, kernel=edges(), padding="same")
    shift = partial(conv.translate, rows=2, columns=3)
    for image in hw2_keras.load_data("intel", source=source).val.image[:3] / 256:
        assert conv.relative_gap(features, image, shift, shift, margin=4) < 1e-12
        assert conv.relative_gap(features, image, conv.rotate, conv.rotate, margin=3) > 0.3
        assert conv.relative_gap(features, image, conv.zoom, conv.zoom, margin=3) > 0.3
        assert conv.relative_gap(features, image, conv.turn_hue, margin=3) > 0.3


# --------------------------------------------------------------------------- receptive fields


def test_receptive_fields_by_formula():
    assert [field.size for field in conv.receptive_fields([(3, 1)] * 3)] == [3, 5, 7]
    assert conv.receptive_fields([(3, 1), (2, 2)] * 3)[-1] == (22, 8)


@pytest.mark.parametrize(
    "stack", [[(3, 1)] * 3, [(3, 1), (2, 2)] * 2, [(5, 2), (3, 1), (2, 2)], [(7, 1)]]
)
def test_receptive_fields_by_gradient(stack):
    gradient = conv.receptive_gradient(stack, 40)
    size = conv.receptive_fields(stack)[-1].size
    for axis in (0, 1):
        seen = np.flatnonzero(gradient.any(axis=axis))
        assert len(seen) == seen[-1] - seen[0] + 1 == size
    assert gradient.sum() == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(gradient, gradient_by_keras(stack, 40), atol=1e-8)


def gradient_by_keras(stack, size):
    """The same by automatic differentiation of average pools."""
    image = x = keras.Input((size, size, 1))
    for window, stride in stack:
        x = keras.layers.AveragePooling2D(window, strides=stride)(x)
    model = keras.Model(image, x)
    pixels = tf.zeros((1, size, size, 1))
    with tf.GradientTape() as tape:
        tape.watch(pixels)
        output = model(pixels)
        centre = output[0, output.shape[1] // 2, output.shape[2] // 2, 0]
    return tape.gradient(centre, pixels).numpy()[0, :, :, 0]


def test_receptive_field_of_the_intel_network_by_gradient():
    """Random filters and max-pools this time, over several images: the union of what is seen."""
    keras.utils.set_random_seed(0)
    trained = hw2_keras.build("intel_cnn")
    model = keras.Model(trained.input, trained.get_layer("pool3").output)
    images = tf.constant(np.random.default_rng(0).random((64, 48, 48, 3)), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(images)
        centre = tf.reduce_sum(model(images)[:, 3, 3, :])
    seen = np.abs(tape.gradient(centre, images).numpy()).sum(axis=(0, 3))
    rows = np.flatnonzero(seen.any(axis=1))
    assert rows[-1] - rows[0] + 1 == conv.receptive_fields([(3, 1), (2, 2)] * 3)[-1].size


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_small_kernels_against_one_large_in_keras(depth):
    counts = conv.small_against_large(depth, channels=6)
    image = x = keras.Input((12, 12, 6))
    for _ in range(depth):
        x = keras.layers.Conv2D(6, 3, use_bias=False)(x)
    stack = keras.Model(image, x)
    large = keras.layers.Conv2D(6, counts.field, use_bias=False)
    assert large(image).shape == stack.output.shape
    assert counts.small == stack.count_params()
    assert counts.large == large.count_params()
    assert (counts.small < counts.large) == (depth > 1)


def test_bad_input_is_refused():
    image = np.zeros((5, 5))
    with pytest.raises(ValueError, match="does not go with an image"):
        conv.sparse_matrix(np.zeros((2, 2, 3, 1)), image.shape)
    with pytest.raises(ValueError, match="does not fit"):
        conv.toeplitz_matrix(np.zeros((6, 2)), image.shape)
    with pytest.raises(ValueError, match="needs a vector of 25"):
        conv.sparse_matrix(np.zeros((2, 2)), image.shape).dot(np.zeros(24))
    with pytest.raises(ValueError, match="do not tile"):
        conv.is_doubly_blocked_toeplitz(np.zeros((4, 9)), (3, 3))
    with pytest.raises(ValueError, match="keeps the size"):
        conv.relative_gap(lambda x: x, np.ones((4, 6)), conv.rotate)
    with pytest.raises(ValueError, match="is 0 everywhere"):
        conv.relative_gap(lambda x: x, np.zeros((4, 4)), conv.rotate)
    with pytest.raises(ValueError, match="3 colour channels"):
        conv.turn_hue(np.zeros((4, 4, 1)))
    with pytest.raises(ValueError, match="pool does not fit"):
        conv.max_pool(np.zeros((4, 4, 1)), 5)
    with pytest.raises(ValueError, match="1 or more"):
        conv.receptive_fields([(3, 0)])
