"""Every picture can be drawn and shows the numbers it should."""

import io

import numpy as np
import pytest

from hw2_keras.plots import of_theory

RNG = np.random.default_rng(0)


def rendered(figure):
    """The picture's pixels, after checking that it is at page width."""
    assert figure.get_size_inches()[0] == of_theory.PAGE_WIDTH
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=50)
    assert len(buffer.getvalue()) > 1000
    return figure


def test_matrix_shows_one_colour_per_filter_element():
    axes = rendered(of_theory.plot_matrix((2, 3), (4, 5))).axes[0]
    shown = axes.images[0].get_array()
    assert shown.shape == (9, 20)
    assert sorted(set(np.ravel(shown))) == [0, 1, 2, 3, 4, 5, 6]
    assert "6 free parameters, 54 non-zeros of 180" in axes.get_title()
    assert len(axes.texts) == 54


def test_equivariance_reports_no_difference_for_the_shift_alone():
    image, kernel = RNG.random((32, 32, 3)), RNG.normal(size=(3, 3, 3, 1))
    axes = np.reshape(rendered(of_theory.plot_equivariance(image, kernel)).axes, (3, 4))
    labels = [axis.get_xlabel() for axis in axes[2]]
    assert labels[0] == "difference 0%"
    assert all(int(label.split()[1].rstrip("%")) > 20 for label in labels[1:])


def test_pooling_curves_start_at_zero_and_global_pooling_is_lowest():
    images, kernel = RNG.random((2, 16, 16, 1)), RNG.normal(size=(3, 3, 1, 2))
    axes = rendered(of_theory.plot_pooling(images, kernel, range(3))).axes[0]
    curves = [line.get_ydata() for line in axes.lines]
    assert [curve[0] for curve in curves] == [0, 0, 0, 0]
    assert curves[3][1] < curves[0][1]


def test_receptive_field_square_frames_the_gradient():
    plot = of_theory.plot_receptive_fields({"a": [(3, 1)] * 2, "b": [(3, 1), (2, 2)]})
    axes = rendered(plot).axes
    for axis, size in zip(axes, (5, 4), strict=True):
        square = axis.patches[0]
        seen = np.argwhere(axis.images[0].get_array() > 0)
        assert square.get_width() == size
        np.testing.assert_array_equal(seen.min(axis=0) - 0.5, square.get_xy()[::-1])
        np.testing.assert_array_equal(np.ptp(seen, axis=0) + 1, [size, size])


def test_head_difference_is_drawn_on_logarithmic_axes():
    axes = rendered(of_theory.plot_head_difference([1, 1e4, 1e8])).axes[0]
    assert axes.get_xscale() == axes.get_yscale() == "log"
    measured = axes.lines[0].get_ydata()
    assert np.all(np.diff(measured) > 0)


def test_energy_falls_along_each_descent():
    X, starts = RNG.normal(size=(3, 2)), RNG.normal(size=(4, 2))
    _, curves = rendered(of_theory.plot_energy(3.0, X, starts)).axes
    assert len(curves.lines) == 4
    for line in curves.lines:
        assert np.diff(line.get_ydata()).max() <= 1e-12


def test_storage_returns_the_stored_pictures_at_large_beta():
    patterns = RNG.choice([-1, 1], size=(4, 8, 8))
    axes = np.reshape(rendered(of_theory.plot_storage(patterns, betas=(0.001, 1.0))).axes, (5, 4))
    for stored, noisy, cold, warm in axes[:4].T:
        stored, noisy, cold, warm = (
            axis.images[0].get_array() for axis in (stored, noisy, cold, warm)
        )
        assert (stored != noisy).sum() == round(0.2 * 64)
        np.testing.assert_allclose(warm, stored, atol=1e-3)
        assert np.abs(cold - stored).max() > 0.5


@pytest.mark.parametrize("shares", [(0.1,), (0.1, 0.3)])
def test_retrieval_rises_with_beta(shares):
    patterns = RNG.choice([-1, 1], size=(4, 8, 8))
    axes = rendered(of_theory.plot_retrieval(patterns, shares)).axes[0]
    for line in axes.lines[: len(shares)]:
        assert line.get_ydata()[0] == 0
        assert line.get_ydata()[-1] == 1
