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
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any, NamedTuple

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


def _count(value: int, arithmetic: str) -> Count:
    return Count(value, f"{arithmetic} = {value:,}")


def _require_positive(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} is {size}; expected a whole number of 1 or more")


# ---------------------------------------------------------------------------------- output sizes


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
        return _count(-(-size // stride), f"ceil({size}/{stride})")
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
    return _count(room // stride + 1, f"{steps} + 1")


def flat_size(shape: Sequence[int]) -> Count:
    """Number of elements of a feature map: the product of its axes (2021-22 Q1: 11*11*8 = 968)."""
    return _count(math.prod(shape), "*".join(map(str, shape)))


# ------------------------------------------------------------------------------ parameter counts


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
        return _count(filters * (each + 1), f"{filters} x ({window} + 1)")
    return _count(filters * each, f"{filters} x {window}")


def dense_parameters(inputs: int, outputs: int, bias: bool = True) -> Count:
    """Outputs x (inputs + 1 bias): every output sees every input (2021-22 Q1)."""
    _require_positive(inputs=inputs, outputs=outputs)
    if bias:
        return _count(outputs * (inputs + 1), f"{outputs} x ({inputs} + 1)")
    return _count(outputs * inputs, f"{outputs} x {inputs}")


def embedding_parameters(tokens: int, size: int) -> Count:
    """One vector of ``size`` numbers per token of the vocabulary (Q3 of all editions)."""
    _require_positive(tokens=tokens, size=size)
    return _count(tokens * size, f"{tokens} x {size}")


def lstm_parameters(inputs: int, units: int, bias: bool = True, directions: int = 1) -> Count:
    """Four gates (i, f, c, o), each a dense layer from [input; h] to ``units`` (Q3).

    directions x 4 x units x (inputs + units + 1). Keras keeps one bias per gate; PyTorch, which
    the reports used, keeps two that are added, hence 4·units more per direction there.
    """
    _require_positive(inputs=inputs, units=units, directions=directions)
    each = inputs + units + bias
    inner = f"{inputs} + {units} + 1" if bias else f"{inputs} + {units}"
    ways = "" if directions == 1 else f"{directions} x "
    return _count(directions * 4 * units * each, f"{ways}4 x {units} x ({inner})")


def batch_norm_parameters(channels: int, trained: int = 2) -> Count:
    """Per channel a scale and a shift that are trained, a mean and a variance that are not.

    Args:
        channels: size of the normalised axis (2024-25 Q2).
        trained: 2 with scale and shift, 1 with one of them, 0 with neither. The running mean and
            variance are always there: 2·channels parameters that no gradient changes.
    """
    _require_positive(channels=channels)
    return _count((trained + 2) * channels, f"{trained + 2} x {channels}")


# ------------------------------------------------------------------- the editions' paper questions


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
        _count(hidden, _substitute(HIDDEN_UNITS, sizes)),
        _count(M * N + 3 * hidden, _substitute(CNN_PARAMETERS, sizes)),
        _count(H * W * hidden + 3 * hidden, _substitute(DENSE_PARAMETERS, sizes)),
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


# ------------------------------------------------------------------------------- any Keras model


class _Step(NamedTuple):
    """A layer's output shape, how it follows from the input, and its parameters if known."""

    output: Shape
    how: str
    count: Count | None = None
    untrained: Count | None = None


def derive(model: Any) -> list[LayerDerivation]:
    """Shapes and parameters of every layer of a functional Keras model, from first principles.

    Sizes come from the layers' settings (window, stride, units) and the shapes that enter them;
    ``layer.count_params()`` is not asked. A layer of a kind that is not known here is counted by
    the shapes of its weights and its ``parameter_formula`` says so. Nested models are opened up.

    Args:
        model: a built functional (or Sequential) ``keras.Model``.

    Returns:
        One :class:`LayerDerivation` per layer, in the order of computation.

    Raises:
        ValueError: the model has no graph of layers (subclassed, or not built yet).
    """
    return _derive(model, "", {})


def _derive(model: Any, prefix: str, owners: dict[int, str]) -> list[LayerDerivation]:
    # Keras has no public list of calls; ``layer.input`` belongs to whichever model called first.
    graph = getattr(model, "_functional", None) or model
    if not hasattr(graph, "_nodes_by_depth"):
        raise ValueError(
            f"{type(model).__name__} has no graph of layers to derive from; expected a functional "
            "keras.Model, built by calling layers on keras.Input"
        )
    calls: dict[int, list[Any]] = {}
    for depth in sorted(graph._nodes_by_depth, reverse=True):
        for node in graph._nodes_by_depth[depth]:
            calls.setdefault(id(node.operation), []).append(node)
    rows: list[LayerDerivation] = []
    for operation in graph.operations:
        name = prefix + operation.name
        if hasattr(operation, "_nodes_by_depth") or getattr(operation, "_functional", None):
            rows += _derive(operation, name + "/", owners)
            continue
        first, *later = calls[id(operation)]
        inputs, outputs = _shapes(first.input_tensors), _shapes(first.output_tensors)
        row = _derive_layer(operation, name, inputs, outputs, owners)
        for call in later:
            again = _shape_text(_shapes(call.output_tensors)[0])
            row = replace(row, shape_formula=f"{row.shape_formula}; used again for {again}")
        rows.append(row)
    return rows


def _shapes(tensors: list[Any]) -> list[Shape]:
    return [tuple(tensor.shape[1:]) for tensor in tensors]


def _derive_layer(
    layer: Any,
    name: str,
    inputs: list[Shape],
    outputs: list[Shape],
    owners: dict[int, str],
) -> LayerDerivation:
    kind = type(layer).__name__
    weights = list(getattr(layer, "weights", []))
    fresh = [weight for weight in weights if id(weight) not in owners]
    rule = _RULES.get(kind)
    step = rule(layer, inputs) if rule else None
    step = step or _Step(outputs[0], _how_unknown(inputs, outputs))
    if len(outputs) > 1:
        more = ", ".join(_shape_text(shape) for shape in outputs[1:])
        step = step._replace(how=f"{step.how}; also {more}")
    if step.count and len(fresh) == len(weights):
        total, formula = step.count
        untrained = 0 if layer.trainable else total
        if step.untrained and layer.trainable:
            untrained = step.untrained.value
            formula += f", of which {step.untrained.formula} not trained"
    else:
        total, untrained, formula = _by_shape(layer, weights, owners)
    for weight in fresh:
        owners[id(weight)] = name
    return LayerDerivation(name, kind, step.output, step.how, total, untrained, formula)


def _by_shape(layer: Any, weights: list[Any], owners: dict[int, str]) -> tuple[int, int, str]:
    """The fall-through: add up the shapes of the weights not yet counted elsewhere."""
    total = untrained = 0
    parts = []
    for weight in weights:
        label = weight.path.removeprefix(layer.name + "/")
        label = "/".join(label.split("/")[-2:])
        if id(weight) in owners:
            parts.append(f"{label} shared with {owners[id(weight)]}")
            continue
        size = math.prod(weight.shape)
        total += size
        untrained += 0 if weight.trainable and layer.trainable else size
        parts.append(f"{label} {_shape_text(tuple(weight.shape))} = {size:,}")
    if not parts:
        return 0, 0, ""
    if len(parts) > 1:
        parts.append(f"together {total:,}")
    return total, untrained, f"by the weights' shapes: {', '.join(parts)}"


def _shape_text(shape: Shape) -> str:
    return "(" + ", ".join("?" if size is None else str(size) for size in shape) + ")"


def _how_unknown(inputs: list[Shape], outputs: list[Shape]) -> str:
    if not inputs or inputs[0] == outputs[0]:
        return "same as the input" if inputs else "given"
    return f"from {', '.join(map(_shape_text, inputs))}"


def _windows(layer: Any, shape: Shape, window: Sequence[int], dilation: Sequence[int]) -> _Step:
    """Slide a window over every spatial axis; ``output`` holds the spatial axes only."""
    if layer.data_format != "channels_last":
        raise ValueError(f"{layer.name} uses {layer.data_format}; expected channels_last")
    axes = zip(shape[:-1], window, layer.strides, dilation, strict=True)
    counts = [
        None if size is None else output_size(size, k, stride, layer.padding, d)
        for size, k, stride, d in axes
    ]
    formulas = dict.fromkeys(count.formula if count else "any length" for count in counts)
    return _Step(tuple(count.value if count else None for count in counts), "; ".join(formulas))


def _conv(layer: Any, inputs: list[Shape]) -> _Step:
    step = _windows(layer, inputs[0], layer.kernel_size, layer.dilation_rate)
    count = conv_parameters(
        layer.filters, layer.kernel_size, inputs[0][-1], layer.use_bias, layer.groups
    )
    return _Step((*step.output, layer.filters), step.how, count)


def _pool(layer: Any, inputs: list[Shape]) -> _Step:
    step = _windows(layer, inputs[0], layer.pool_size, (1,) * len(layer.pool_size))
    return step._replace(output=(*step.output, inputs[0][-1]))


def _global_pool(layer: Any, inputs: list[Shape]) -> _Step:
    *positions, channels = inputs[0]
    places = " x ".join("?" if size is None else str(size) for size in positions)
    return _Step((channels,), f"one number per channel from {places} positions")


def _zero_padding(layer: Any, inputs: list[Shape]) -> _Step:
    sizes, formulas = [], {}
    for size, (before, after) in zip(inputs[0][:-1], layer.padding, strict=True):
        total = None if size is None else size + before + after
        sizes.append(total)
        formulas[f"{'?' if size is None else size} + {before} + {after}"] = total
    how = "; ".join(f"{left} = {'?' if v is None else v}" for left, v in formulas.items())
    return _Step((*sizes, inputs[0][-1]), how)


def _flatten(_: Any, inputs: list[Shape]) -> _Step:
    if None in inputs[0]:
        return _Step((None,), "product of the axes")
    flat = flat_size(inputs[0])
    return _Step((flat.value,), flat.formula)


def _dense(layer: Any, inputs: list[Shape]) -> _Step:
    count = dense_parameters(inputs[0][-1], layer.units, layer.use_bias)
    return _Step((*inputs[0][:-1], layer.units), f"{layer.units} units", count)


def _embedding(layer: Any, inputs: list[Shape]) -> _Step:
    count = embedding_parameters(layer.input_dim, layer.output_dim)
    return _Step((*inputs[0], layer.output_dim), f"{layer.output_dim} numbers per token", count)


def _reversible_embedding(layer: Any, inputs: list[Shape]) -> _Step:
    step = _embedding(layer, inputs)
    # Untied, it has a second matrix; the fall-through counts both by their shapes.
    return step if layer.tie_weights else step._replace(count=None)


def _lstm(layer: Any, inputs: list[Shape]) -> _Step:
    count = lstm_parameters(inputs[0][-1], layer.units, layer.use_bias)
    return _recurrent(layer, inputs[0], layer.units, f"{layer.units} units", count)


def _bidirectional(layer: Any, inputs: list[Shape]) -> _Step | None:
    one = layer.forward_layer
    if type(one).__name__ != "LSTM":
        return None
    count = lstm_parameters(inputs[0][-1], one.units, one.use_bias, directions=2)
    if layer.merge_mode == "concat":
        return _recurrent(one, inputs[0], 2 * one.units, f"2*{one.units} = {2 * one.units}", count)
    return _recurrent(one, inputs[0], one.units, f"{one.units} units each way", count)


def _recurrent(layer: Any, shape: Shape, size: int, how: str, count: Count) -> _Step:
    if layer.return_sequences:
        return _Step((*shape[:-1], size), f"{how} at every step", count)
    return _Step((size,), f"{how} at the last step", count)


def _batch_norm(layer: Any, inputs: list[Shape]) -> _Step:
    channels = inputs[0][layer.axis - 1 if layer.axis > 0 else layer.axis]
    count = batch_norm_parameters(channels, bool(layer.scale) + bool(layer.center))
    statistics = _count(2 * channels, f"2 x {channels}")
    return _Step(inputs[0], "same as the input", count, untrained=statistics)


def _same(_: Any, inputs: list[Shape]) -> _Step:
    return _Step(inputs[0], "same as the input")


def _add(_: Any, inputs: list[Shape]) -> _Step:
    return _Step(inputs[0], f"sum of {len(inputs)} equal shapes")


def _concatenate(layer: Any, inputs: list[Shape]) -> _Step:
    axis = layer.axis - 1 if layer.axis > 0 else layer.axis
    sizes = [shape[axis] for shape in inputs]
    shape = list(inputs[0])
    if None in sizes:
        shape[axis] = None
        return _Step(tuple(shape), f"axis {layer.axis} joined")
    shape[axis] = sum(sizes)
    return _Step(tuple(shape), f"{' + '.join(map(str, sizes))} = {shape[axis]}")


_RULES: dict[str, Callable[[Any, list[Shape]], _Step | None]] = {
    **dict.fromkeys(("Conv1D", "Conv2D"), _conv),
    **dict.fromkeys(("MaxPooling2D", "AveragePooling2D"), _pool),
    "GlobalAveragePooling1D": _global_pool,
    **dict.fromkeys(("GlobalAveragePooling2D", "GlobalMaxPooling2D"), _global_pool),
    **dict.fromkeys(("Dropout", "ReLU", "Activation", "Softmax"), _same),
    "ZeroPadding2D": _zero_padding,
    "Flatten": _flatten,
    "Dense": _dense,
    "Embedding": _embedding,
    "ReversibleEmbedding": _reversible_embedding,
    "LSTM": _lstm,
    "Bidirectional": _bidirectional,
    "BatchNormalization": _batch_norm,
    "Add": _add,
    "Concatenate": _concatenate,
}


# -------------------------------------------------------------------------------------- the table


def format_derivation(rows: Sequence[LayerDerivation]) -> str:
    """An aligned text table of :func:`derive`'s rows, with the totals below.

    Returns:
        Lines "layer, kind, output, how, parameters, how", then total, trainable and not trainable.
    """
    header = ("layer", "kind", "output", "how", "parameters", "how")
    cells = [line for row in rows for line in _wrapped(row)]
    widths = [max(len(line[column]) for line in [header, *cells]) for column in range(6)]
    rule = tuple("-" * width for width in widths)
    lines = [_table_line(line, widths) for line in [header, rule, *cells]]
    total = sum(row.parameters for row in rows)
    fixed = sum(row.non_trainable for row in rows)
    summary = f"{total:,} parameters: {total - fixed:,} trainable, {fixed:,} not trainable"
    return "\n".join([*lines, "", summary])


def _wrapped(row: LayerDerivation) -> list[tuple[str, ...]]:
    """The row's six cells, long arithmetic continued on lines below."""
    how = textwrap.wrap(row.shape_formula, 48) or [""]
    arithmetic = textwrap.wrap(row.parameter_formula, 60)
    parameters = f"{row.parameters:,}" if row.parameters else ""
    first = (row.name, row.kind, _shape_text(row.output_shape), parameters)
    lines = []
    for index, (left, right) in enumerate(zip_longest(how, arithmetic, fillvalue="")):
        name, kind, output, number = first if index == 0 else ("",) * 4
        lines.append((name, kind, output, left, number, right))
    return lines


def _table_line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [
        cell.rjust(width) if column == 4 else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "  ".join(padded).rstrip()
