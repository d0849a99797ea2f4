"""Output sizes and parameter counts from first principles, with the arithmetic written out.

Question 1 of the 2021-22 and 2022-23 editions counts the parameters of small networks by hand.
Each function here is one such count: it returns a :class:`Count`, the number together with the
line of arithmetic that gives it, so what is printed is what was computed. :func:`derive` does the
same for a whole functional Keras model without asking a layer how many parameters it has.

>>> conv_parameters(8, (5, 5), 3).formula
'8 x (5*5*3 + 1) = 608'
>>> output_size(28, 5).formula
'(28 - 5)/1 + 1 = 24'
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

Shape = tuple[int | None, ...]


class Count(NamedTuple):
    """A number and the arithmetic behind it, such as ``Count(608, "8 x (5*5*3 + 1) = 608")``."""

    value: int
    formula: str


@dataclass(frozen=True)
class LayerDerivation:
    """What one layer does to the shape, and its parameters, with the arithmetic.

    Attributes:
        name: the layer's name; layers of a nested model are written ``model/layer``.
        kind: the layer's class, such as ``"Conv2D"``.
        output_shape: shape of the (first) output without the batch axis; None is a free length.
        shape_formula: how that shape follows from the input's, such as ``"(28 - 5)/1 + 1 = 24"``.
        parameters: all parameters of the layer, trainable or not. A weight that belongs to two
            layers (tied weights) is counted in the first one only.
        non_trainable: how many of ``parameters`` are not trained.
        parameter_formula: such as ``"8 x (5*5*3 + 1) = 608"``; empty for a layer without any.
    """

    name: str
    kind: str
    output_shape: Shape
    shape_formula: str
    parameters: int
    non_trainable: int
    parameter_formula: str


def counted(value: int, arithmetic: str) -> Count:
    return Count(value, f"{arithmetic} = {value:,}")


def _require_positive(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} is {size}; expected a whole number of 1 or more")


def output_size(
    size: int,
    window: int,
    stride: int = 1,
    padding: str | int = "valid",
    dilation: int = 1,
) -> Count:
    """Length of one axis after a convolution or a pooling (2021-22 Q1, 2022-23 Q1).

    With p pixels of padding on each side and a window of k pixels (k -> dilation·(k−1) + 1 when
    dilated), a window fits ⌊(size + 2p − k)/stride⌋ + 1 times; ``"valid"`` is p = 0. ``"same"``
    pads, possibly by one pixel more at the end, until ⌈size/stride⌉ windows fit.

    Args:
        size: pixels along the axis.
        window: filter or pool size along the axis.
        stride: step of the window.
        padding: ``"valid"``, ``"same"`` or pixels added on each side.
        dilation: distance between neighbouring elements of the window.

    Raises:
        ValueError: a size below 1, an unknown padding, or a window larger than the padded axis.
    """
    _require_positive(size=size, window=window, stride=stride, dilation=dilation)
    if padding == "same":
        return counted(-(-size // stride), f"ceil({size}/{stride})")
    if padding == "valid":
        padding = 0
    if not isinstance(padding, int) or padding < 0:
        raise ValueError(f"padding is {padding!r}; expected 'valid', 'same' or a count of pixels")
    reach = dilation * (window - 1) + 1
    room = size + 2 * padding - reach
    if room < 0:
        raise ValueError(
            f"a window of {reach} pixels does not fit in {size} + 2*{padding}; make it smaller "
            "or pad more"
        )
    span = f"{size} + 2*{padding}" if padding else f"{size}"
    taken = f"{window}" if dilation == 1 else f"({dilation}*({window} - 1) + 1)"
    steps = f"({span} - {taken})/{stride}"
    if room % stride:
        steps = f"floor({steps})"
    return counted(room // stride + 1, f"{steps} + 1")


def flat_size(shape: Sequence[int]) -> Count:
    """Number of elements of a feature map: the product of its axes (2021-22 Q1: 11*11*8 = 968)."""
    return counted(math.prod(shape), "*".join(map(str, shape)))


def conv_parameters(
    filters: int,
    kernel_size: Sequence[int],
    channels: int,
    bias: bool = True,
    groups: int = 1,
) -> Count:
    """Filters x (window x input channels + 1 bias); the image size does not enter (2021-22 Q1).

    Args:
        filters: output channels.
        kernel_size: window, (height, width) for an image.
        channels: input channels.
        bias: one bias per filter (default), or none.
        groups: the filters are split into so many groups, each seeing channels/groups channels.

    Raises:
        ValueError: sizes below 1, or groups that do not divide filters and channels.
    """
    _require_positive(filters=filters, channels=channels, groups=groups)
    if filters % groups or channels % groups:
        raise ValueError(f"{groups} groups must divide {filters} filters and {channels} channels")
    seen = channels // groups
    window = "*".join(map(str, [*kernel_size, seen]))
    each = math.prod(kernel_size) * seen
    if bias:
        return counted(filters * (each + 1), f"{filters} x ({window} + 1)")
    return counted(filters * each, f"{filters} x {window}")


def dense_parameters(inputs: int, outputs: int, bias: bool = True) -> Count:
    """Outputs x (inputs + 1 bias): every output sees every input (2021-22 Q1)."""
    _require_positive(inputs=inputs, outputs=outputs)
    if bias:
        return counted(outputs * (inputs + 1), f"{outputs} x ({inputs} + 1)")
    return counted(outputs * inputs, f"{outputs} x {inputs}")


def embedding_parameters(tokens: int, size: int) -> Count:
    """One vector of ``size`` numbers per token of the vocabulary (Q3 of all editions)."""
    _require_positive(tokens=tokens, size=size)
    return counted(tokens * size, f"{tokens} x {size}")


def lstm_parameters(inputs: int, units: int, bias: bool = True, directions: int = 1) -> Count:
    """Four gates (i, f, c, o), each a dense layer from [input; h] to ``units`` (Q3).

    directions x 4 x units x (inputs + units + 1). Keras keeps one bias per gate; PyTorch, which
    the reports used, keeps two that are added, hence 4·units more per direction there.
    """
    _require_positive(inputs=inputs, units=units, directions=directions)
    each = inputs + units + bias
    inner = f"{inputs} + {units} + 1" if bias else f"{inputs} + {units}"
    ways = "" if directions == 1 else f"{directions} x "
    return counted(directions * 4 * units * each, f"{ways}4 x {units} x ({inner})")


def batch_norm_parameters(channels: int, trained: int = 2) -> Count:
    """Per channel a scale and a shift that are trained, a mean and a variance that are not.

    Args:
        channels: size of the normalised axis (2024-25 Q2).
        trained: 2 with scale and shift, 1 with one of them, 0 with neither. The running mean and
            variance are always there: 2·channels parameters that no gradient changes.
    """
    _require_positive(channels=channels)
    return counted((trained + 2) * channels, f"{trained + 2} x {channels}")


def parameter_cnn() -> tuple[LayerDerivation, ...]:
    """2021-22 Q1: 28x28x3 -> conv 8 5x5 -> max-pool 4x4 stride 2 -> linear 10; 10,298 in all."""
    conv, pool = output_size(28, 5), output_size(24, 4, 2)
    flat = flat_size((pool.value, pool.value, 8))
    conv_count = conv_parameters(8, (5, 5), 3)
    dense_count = dense_parameters(flat.value, 10)
    side, half = conv.value, pool.value
    return (
        LayerDerivation("conv", "Conv2D", (side, side, 8), conv.formula, *_trained(conv_count)),
        LayerDerivation("pool", "MaxPooling2D", (half, half, 8), pool.formula, 0, 0, ""),
        LayerDerivation("flatten", "Flatten", (flat.value,), flat.formula, 0, 0, ""),
        LayerDerivation("linear", "Dense", (10,), "10 units", *_trained(dense_count)),
    )


def parameter_mlp() -> tuple[LayerDerivation, ...]:
    """2021-22 Q1: the same 28x28x3 image, flattened -> linear 100 -> linear 10; 236,310 in all."""
    flat = flat_size((28, 28, 3))
    hidden, output = dense_parameters(flat.value, 100), dense_parameters(100, 10)
    return (
        LayerDerivation("flatten", "Flatten", (flat.value,), flat.formula, 0, 0, ""),
        LayerDerivation("hidden", "Dense", (100,), "100 units", *_trained(hidden)),
        LayerDerivation("linear", "Dense", (10,), "10 units", *_trained(output)),
    )


def _trained(count: Count) -> tuple[int, int, str]:
    return count.value, 0, count.formula


HIDDEN_UNITS = "floor((H - M + 1)/2) * floor((W - N + 1)/2)"


CNN_PARAMETERS = "M*N + 3*h"


DENSE_PARAMETERS = "H*W*h + 3*h"


class CnnAgainstDense(NamedTuple):
    """2022-23 Q1 in numbers: hidden units h, and the two networks' parameters."""

    hidden: Count
    cnn: Count
    dense: Count


def cnn_against_dense(H: int, W: int, M: int, N: int) -> CnnAgainstDense:
    """2022-23 Q1: the parameters of conv -> 2x2 max-pool -> linear to 3 classes, no biases.

    The pooled map has h = ⌊(H−M+1)/2⌋·⌊(W−N+1)/2⌋ units (``HIDDEN_UNITS``). The CNN needs MN + 3h
    parameters (``CNN_PARAMETERS``); with a fully connected layer from the H·W pixels to the same h
    units in place of conv and pool, HW·h + 3h (``DENSE_PARAMETERS``).

    Args:
        H, W: height and width of the one-channel image.
        M, N: height and width of the one filter.

    Raises:
        ValueError: the filter does not fit, or leaves nothing to pool.
    """
    rows, columns = output_size(H, M).value, output_size(W, N).value
    hidden = (rows // 2) * (columns // 2)
    if hidden < 1:
        raise ValueError(
            f"a {M}x{N} filter leaves {rows}x{columns} of a {H}x{W} image: nothing for a 2x2 pool; "
            "use a larger image or a smaller filter"
        )
    sizes = {"H": H, "W": W, "M": M, "N": N, "h": hidden}
    return CnnAgainstDense(
        counted(hidden, _substitute(HIDDEN_UNITS, sizes)),
        counted(M * N + 3 * hidden, _substitute(CNN_PARAMETERS, sizes)),
        counted(H * W * hidden + 3 * hidden, _substitute(DENSE_PARAMETERS, sizes)),
    )


def dense_parameters_by_report_003(H: int, W: int, M: int, N: int) -> int:
    """✗ Report 003, 2022-23 Q1: counts the fully connected layer as MN·h + 3h.

    That is one weight per hidden unit and *filter* element; a fully connected unit has one per
    *pixel*. Counter-example: H = W = 28, M = N = 5 gives 4,032 here and 113,328 in truth, which
    is what a Keras ``Dense`` of the same sizes holds.
    """
    hidden = cnn_against_dense(H, W, M, N).hidden.value
    return M * N * hidden + 3 * hidden


def _substitute(expression: str, sizes: dict[str, int]) -> str:
    return re.sub(r"\b[HWMNh]\b", lambda name: str(sizes[name[0]]), expression)
