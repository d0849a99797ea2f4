"""A 2-D convolution as a matrix, and what that structure can and cannot do.

Question 1 of 2022-23 (the doubly blocked Toeplitz matrix) and question 2 of 2021-22 and 2024-25
(equivariance, pooling, small kernels). "Convolution" is the cross-correlation that every deep
learning library computes: the filter is not flipped.

Images are (H, W) or (H, W, C) and filters (M, N) or (M, N, C, F), Keras's layout. vec() is
row-major: pixel (u, v) of channel c stands at position (u·W + v)·C + c.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hw2_keras.theory.parameters import output_size

Padding = str | int
ImageMap = Callable[[np.ndarray], np.ndarray]


# ---------------------------------------------------------------------------- the matrix


@dataclass(frozen=True)
class SparseMatrix:
    """Only the entries that a filter element occupies: ``values[k]`` at (rows[k], columns[k])."""

    rows: np.ndarray
    columns: np.ndarray
    values: np.ndarray
    shape: tuple[int, int]

    def dense(self) -> np.ndarray:
        """The same matrix with its zeros, (rows, columns)."""
        matrix = np.zeros(self.shape, self.values.dtype)
        matrix[self.rows, self.columns] = self.values
        return matrix

    def dot(self, vector: np.ndarray) -> np.ndarray:
        """Matrix times ``vector`` (columns,) -> (rows,), touching the stored entries only."""
        if vector.shape != (self.shape[1],):
            raise ValueError(
                f"a {self.shape} matrix needs a vector of {self.shape[1]}, got {vector.shape}"
            )
        return np.bincount(self.rows, self.values * vector[self.columns], self.shape[0])


def sparse_matrix(
    kernel: np.ndarray, image_shape: Sequence[int], stride: int = 1, padding: Padding = "valid"
) -> SparseMatrix:
    """M with vec(conv(kernel, x)) = M·vec(x): doubly blocked Toeplitz (2022-23 Q1).

    Output pixel (r, s) of filter f and input pixel (u, v) of channel c meet in
    kernel[u − stride·r + p, v − stride·s + p, c, f], if that element exists; p is the padding above
    and to the left. Every other entry is 0.

    Args:
        kernel: (M, N), or (M, N, C, F) with channels and filters.
        image_shape: (H, W), or (H, W, C).
        stride: step of the filter, in pixels.
        padding: "valid" (none), "same" (as Keras pads), or pixels on each side.

    Returns:
        A matrix of H'·W'·F rows and H·W·C columns.

    Raises:
        ValueError: shapes that do not go together, or a filter that does not fit.
    """
    kernel, image_shape = _with_channels(kernel, image_shape)
    (M, N, C, F), (H, W, _) = kernel.shape, image_shape
    R, S = output_size(H, M, stride, padding).value, output_size(W, N, stride, padding).value
    r, s, f, m, n, c = np.indices((R, S, F, M, N, C)).reshape(6, -1)
    u = stride * r + m - pad_before(H, M, stride, padding)
    v = stride * s + n - pad_before(W, N, stride, padding)
    inside = (u >= 0) & (u < H) & (v >= 0) & (v < W)
    rows, columns = (r * S + s) * F + f, (u * W + v) * C + c
    values = kernel[m, n, c, f]
    return SparseMatrix(rows[inside], columns[inside], values[inside], (R * S * F, H * W * C))


def toeplitz_matrix(
    kernel: np.ndarray, image_shape: Sequence[int], stride: int = 1, padding: Padding = "valid"
) -> np.ndarray:
    """:func:`sparse_matrix` with its zeros, (H'·W'·F, H·W·C)."""
    return sparse_matrix(kernel, image_shape, stride, padding).dense()


def matrix_entry(kernel: np.ndarray, i: int, j: int, image_width: int) -> float:
    """The general element M[i, j] for one channel, stride 1, no padding (2022-23 Q1).

    A row of z has W−N+1 pixels and a row of x has W, so row i is output pixel
    (r, s) = divmod(i, W−N+1) and column j is input pixel (u, v) = divmod(j, W). The entry is
    kernel[u−r, v−s] when 0 ≤ u−r < M and 0 ≤ v−s < N, and 0 otherwise.

    Args:
        kernel: (M, N).
        i, j: row and column, from 0.
        image_width: W.
    """
    M, N = kernel.shape
    r, s = divmod(i, image_width - N + 1)
    u, v = divmod(j, image_width)
    inside = 0 <= u - r < M and 0 <= v - s < N
    return float(kernel[u - r, v - s]) if inside else 0.0


def matrix_entry_by_report_002(kernel: np.ndarray, i: int, j: int, image_width: int) -> float:
    """✗ Report 002, 2022-23 Q1: the row offset is wrong, as if rows of z were as long as rows of x.

    Row i is read as divmod(i, W) instead of divmod(i, W−N+1). It agrees with :func:`matrix_entry`
    over the first row of z and goes wrong at the first pixel of the second. Counter-example: a
    3x3 image and a 2x2 filter, M[2, 3]: output pixel (1, 0) meets input pixel (1, 0), so the
    entry is kernel[0, 0]; this formula says 0.
    """
    M, N = kernel.shape
    r, s = divmod(i, image_width)
    u, v = divmod(j, image_width)
    inside = 0 <= u - r < M and 0 <= v - s < N
    return float(kernel[u - r, v - s]) if inside else 0.0


def is_toeplitz(matrix: np.ndarray) -> bool:
    """Whether an entry depends on i − j alone: every diagonal is constant.

    ✗ Report 003 (2022-23 Q1) writes the entry of M as M_(i−j), which says that M is Toeplitz. The
    matrix of a 1-D convolution is; that of a 2-D one is not. Counter-example: a 3x3 image and a 2x2
    filter. M[1, 1] is kernel[0, 0] and M[2, 2] is 0, with the same i − j = 0.
    """
    return bool(np.all(matrix[1:, 1:] == matrix[:-1, :-1]))


def is_doubly_blocked_toeplitz(matrix: np.ndarray, block: tuple[int, int]) -> bool:
    """Whether equal blocks stand on every block diagonal, and each block is Toeplitz itself.

    Args:
        matrix: (rows, columns).
        block: rows and columns of one block: (W−N+1, W) for a one-channel convolution.

    Raises:
        ValueError: blocks that do not tile the matrix.
    """
    height, width = block
    if matrix.shape[0] % height or matrix.shape[1] % width:
        raise ValueError(f"blocks of {block} do not tile a matrix of {matrix.shape}")
    blocks = matrix.reshape(matrix.shape[0] // height, height, -1, width).swapaxes(1, 2)
    equal = np.all(blocks[1:, 1:] == blocks[:-1, :-1])
    return bool(equal) and all(is_toeplitz(each) for row in blocks for each in row)


def convolve(
    image: np.ndarray, kernel: np.ndarray, stride: int = 1, padding: Padding = "valid"
) -> np.ndarray:
    """conv(kernel, image), as the definition says: a sum over every window (2022-23 Q1).

    z[r, s, f] = Σ over m, n, c of kernel[m, n, c, f] · x[stride·r + m, stride·s + n, c].

    Args:
        image: (H, W) or (H, W, C).
        kernel: (M, N) or (M, N, C, F).
        stride, padding: as in :func:`sparse_matrix`.

    Returns:
        (H', W') for a one-channel filter (M, N), else (H', W', F).
    """
    plain = kernel.ndim == 2
    kernel, shape = _with_channels(kernel, image.shape)
    for axis in (0, 1):  # refuses a window that does not fit
        output_size(shape[axis], kernel.shape[axis], stride, padding)
    padded = _pad(image.reshape(shape), kernel.shape, stride, padding)
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape[:2], axis=(0, 1))
    windows = windows[::stride, ::stride]  # x[stride·r + m, stride·s + n, c] at [r, s, c, m, n]
    z = np.tensordot(windows, kernel, axes=([3, 4, 2], [0, 1, 2]))
    return z[..., 0] if plain else z


class MatrixCounts(NamedTuple):
    """Free parameters < non-zeros < entries: what weight sharing and locality save."""

    free: int
    nonzeros: int
    entries: int


def count_entries(
    kernel_shape: Sequence[int],
    image_shape: Sequence[int],
    stride: int = 1,
    padding: Padding = "valid",
) -> MatrixCounts:
    """Free parameters, non-zeros and all entries of the matrix (2022-23 Q1).

    The filter has M·N·C·F free parameters. Each filter element is repeated once per output pixel
    whose window has that element on the image: without padding, all H'·W' of them. A fully
    connected layer between the same input and output fills the H'W'F x HWC matrix freely.

    Args:
        kernel_shape: (M, N) or (M, N, C, F).
        image_shape, stride, padding: as in :func:`sparse_matrix`.
    """
    kernel, image_shape = _with_channels(np.empty(tuple(kernel_shape)), image_shape)
    per_axis = []
    sizes = []
    for axis in (0, 1):
        size, window = image_shape[axis], kernel.shape[axis]
        length = output_size(size, window, stride, padding).value
        start = np.arange(length) * stride - pad_before(size, window, stride, padding)
        taps = np.minimum(start + window, size) - np.maximum(start, 0)
        per_axis.append(int(np.maximum(taps, 0).sum()))
        sizes.append(length)
    channels, filters = kernel.shape[2:]
    return MatrixCounts(
        free=kernel.size,
        nonzeros=per_axis[0] * per_axis[1] * channels * filters,
        entries=sizes[0] * sizes[1] * filters * int(np.prod(image_shape)),
    )


def pad_before(size: int, window: int, stride: int, padding: Padding) -> int:
    """Pixels that the padding puts before the first one; "same" puts an odd pixel at the end."""
    if padding == "valid":
        return 0
    if padding == "same":
        return _same_total(size, window, stride) // 2
    return int(padding)


def _same_total(size: int, window: int, stride: int) -> int:
    length = output_size(size, window, stride, "same").value
    return max((length - 1) * stride + window - size, 0)


def _pad(
    image: np.ndarray, kernel_shape: Sequence[int], stride: int, padding: Padding
) -> np.ndarray:
    widths = []
    for axis in (0, 1):
        size, window = image.shape[axis], kernel_shape[axis]
        before = pad_before(size, window, stride, padding)
        total = _same_total(size, window, stride) if padding == "same" else 2 * before
        widths.append((before, total - before))
    return np.pad(image, [*widths, (0, 0)])


def _with_channels(
    kernel: np.ndarray, image_shape: Sequence[int]
) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Both with their channel axes: kernel (M, N, C, F) and image (H, W, C)."""
    shape = tuple(image_shape)
    if kernel.ndim == 2 and len(shape) == 2:
        return kernel[..., None, None], (*shape, 1)
    if kernel.ndim != 4 or len(shape) != 3 or kernel.shape[2] != shape[2]:
        raise ValueError(
            f"a filter of shape {kernel.shape} does not go with an image of {shape}; expected "
            "(M, N) with (H, W), or (M, N, C, F) with (H, W, C)"
        )
    return kernel, shape


# --------------------------------------------------------- equivariance, and what pooling adds


def relative_gap(
    features: ImageMap,
    image: np.ndarray,
    before: ImageMap,
    after: ImageMap | None = None,
    margin: int = 0,
) -> float:
    """‖f(Tx) − T'f(x)‖ / ‖T'f(x)‖: 0 when f is equivariant (2021-22 Q2).

    ``before`` is T, on images; ``after`` is T', on feature maps. With T' = T this measures
    equivariance; without ``after``, T' is the identity and it measures invariance.

    ✗ Report 000 calls convolution translation *invariant*. Counter-example: any shift; with T' = T
    the gap is 0, without T' it is not: the response moves along, it does not stay.

    Args:
        features: from an image (H, W, C) to a feature map (H', W', F) or a vector.
        image: (H, W, C).
        before, after: the transformation of the image and of the feature map.
        margin: border pixels of the feature map to leave out, where padding shows.

    Raises:
        ValueError: the two feature maps differ in shape, or nothing is left inside the margin.
    """
    moved = features(before(image))
    expected = features(image) if after is None else after(features(image))
    if moved.shape != expected.shape:
        raise ValueError(
            f"f(Tx) has shape {moved.shape} and T'f(x) {expected.shape}; expected the same: "
            "choose a transformation that keeps the size"
        )
    if margin:
        inner = (slice(margin, -margin),) * 2
        moved, expected = moved[inner], expected[inner]
    norm = float(np.linalg.norm(expected))
    if norm == 0:
        raise ValueError("T'f(x) is 0 everywhere inside the margin; use another image or filter")
    return float(np.linalg.norm(moved - expected)) / norm


def translate(image: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Shift down and right by whole pixels; what leaves on one side enters on the other."""
    return np.roll(image, (rows, columns), axis=(0, 1))


def rotate(image: np.ndarray) -> np.ndarray:
    """A quarter turn against the clock, exact on the pixel grid."""
    return np.rot90(image)


def zoom(image: np.ndarray) -> np.ndarray:
    """Twice as large around the centre, each pixel repeated 2x2; the size is kept."""
    height, width = image.shape[:2]
    big = image.repeat(2, axis=0).repeat(2, axis=1)
    top, left = height // 2, width // 2
    return big[top : top + height, left : left + width]


def turn_hue(image: np.ndarray) -> np.ndarray:
    """A third of the colour circle: red -> green -> blue -> red; (H, W, 3)."""
    if image.shape[-1] != 3:
        raise ValueError(f"hue needs 3 colour channels, got an image of shape {image.shape}")
    return np.roll(image, 1, axis=-1)


def max_pool(image: np.ndarray, size: int) -> np.ndarray:
    """Largest value of each ``size`` x ``size`` tile; an incomplete last tile is dropped (Q2).

    Args:
        image: (H, W, C).
        size: pixels per tile and axis.

    Returns:
        (⌊H/size⌋, ⌊W/size⌋, C).
    """
    height, width = image.shape[0] // size, image.shape[1] // size
    if not height or not width:
        raise ValueError(f"a {size}x{size} pool does not fit in an image of {image.shape}")
    tiles = image[: height * size, : width * size].reshape(height, size, width, size, -1)
    return tiles.max(axis=(1, 3))


# ------------------------------------------------------------------------- receptive fields


class ReceptiveField(NamedTuple):
    """Input pixels that one unit sees along an axis, and pixels between neighbouring units."""

    size: int
    step: int


def receptive_fields(layers: Sequence[tuple[int, int]]) -> list[ReceptiveField]:
    """Receptive field after each layer of a stack (2024-25 Q2).

    From one pixel (size 1, step 1), a window k with stride s adds (k − 1)·step pixels, then
    multiplies the step by s. Two 3x3 convolutions see 5x5, three see 7x7; a 2x2 pool between them
    doubles what every later window adds.

    Args:
        layers: (window, stride) of each convolution or pooling, input first.

    Returns:
        One :class:`ReceptiveField` per layer.
    """
    size = step = 1
    fields = []
    for window, stride in layers:
        if window < 1 or stride < 1:
            raise ValueError(f"window and stride are {(window, stride)}; expected 1 or more")
        size += (window - 1) * step
        step *= stride
        fields.append(ReceptiveField(size, step))
    return fields


def receptive_gradient(layers: Sequence[tuple[int, int]], image_size: int) -> np.ndarray:
    """∂(centre output)/∂(pixel) of the stack, by the chain rule from the last layer to the first.

    Every filter and pool is a mean over its window, so that no path cancels another: the pixels
    with a gradient are the receptive field, and its fading towards the edge is the *effective* one.
    Both axes are alike and independent: the gradient is the outer product of one axis with itself.

    Args:
        layers: (window, stride) of each layer, input first; no padding.
        image_size: pixels along each axis of the one-channel image.

    Returns:
        (image_size, image_size), summing to 1.
    """
    sizes = [image_size]
    for window, stride in layers:
        sizes.append(output_size(sizes[-1], window, stride).value)
    gradient = np.zeros(sizes[-1])
    gradient[len(gradient) // 2] = 1
    for size, (window, stride) in zip(sizes[-2::-1], layers[::-1], strict=True):
        before = np.zeros(size)
        for place, value in enumerate(gradient):
            before[place * stride : place * stride + window] += value / window
        gradient = before
    return np.outer(gradient, gradient)


class KernelCounts(NamedTuple):
    """Parameters of two ways to the same receptive field."""

    field: int
    small: int
    large: int


def small_against_large(depth: int, channels: int) -> KernelCounts:
    """``depth`` 3x3 convolutions against one of the same receptive field (2024-25 Q2).

    The stack sees (2·depth + 1)² pixels with depth·9·C² weights, one large kernel with
    (2·depth + 1)²·C²; C channels in and out everywhere, no biases. From depth 2 on the stack is
    smaller (18 against 25 C²), and it has a non-linearity after each step.
    """
    field = receptive_fields([(3, 1)] * depth)[-1].size
    return KernelCounts(field, depth * 9 * channels**2, field**2 * channels**2)
