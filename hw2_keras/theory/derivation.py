"""Shapes and parameters of any functional Keras model, layer by layer, with the arithmetic."""

import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import Any, NamedTuple

from hw2_keras.theory.parameters import (
    Count,
    LayerDerivation,
    Shape,
    batch_norm_parameters,
    conv_parameters,
    counted,
    dense_parameters,
    embedding_parameters,
    flat_size,
    lstm_parameters,
    output_size,
)

# The shapes that enter a layer, and those that leave it.
_Call = tuple[list[Shape], list[Shape]]


COLUMNS = ("layer", "kind", "output", "where the shape comes from", "parameters", "counted as")
PADDED = ', padding "same"'
PADDING_NOTE = (
    'padding "same" puts zeros around the image until a window fits ceil(size/stride) times; '
    "it adds no parameters"
)


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
    if not _has_graph(model):
        raise ValueError(
            f"{type(model).__name__} has no graph of layers to derive from; expected a functional "
            "keras.Model, built by calling layers on keras.Input"
        )
    rows: list[LayerDerivation] = []
    for layer, calls in _calls(model):
        name = prefix + layer.name
        if _has_graph(layer):
            rows += _derive(layer, name + "/", owners)
            continue
        (inputs, outputs), *later = calls
        row = _derive_layer(layer, name, inputs, outputs, owners)
        for _, again in later:
            formula = f"{row.shape_formula}; used again for {_shape_text(again[0])}"
            row = replace(row, shape_formula=formula)
        rows.append(row)
    return rows


def _has_graph(layer: Any) -> bool:
    # The inputs of a Sequential that is not built yet raise AttributeError, too.
    return hasattr(layer, "get_layer") and getattr(layer, "inputs", None) is not None


def _calls(model: Any) -> list[tuple[Any, list[_Call]]]:
    """Every layer of a model with its calls there, in the order of computation.

    ``layer.input`` knows no shared layers, so the calls are those of a clone of the model in
    which a layer's place is taken by an operation that passes shapes on and notes them.
    """
    import keras  # here, so that formulas and tables need NumPy alone

    calls: dict[int, list[_Call]] = {}

    def shapes(tensors: Any) -> list[Shape]:
        flat = keras.tree.flatten(tensors)
        return [tuple(x.shape[1:]) for x in flat if isinstance(x, keras.KerasTensor)]

    class Noted(keras.Operation):
        def __init__(self, layer: Any) -> None:
            super().__init__(name=layer.name)
            self.layer = layer

        def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
            outputs = self.layer.compute_output_spec(*args, **kwargs)
            calls.setdefault(id(self.layer), []).append((shapes((args, kwargs)), shapes(outputs)))
            return outputs

    # A Sequential becomes functional, and what a model was compiled with stays behind.
    graph = keras.Model(model.inputs, model.outputs, name=model.name)
    keras.models.clone_model(graph, clone_function=Noted)
    # What is not called by the clone is an input.
    return [
        (layer, calls.get(id(layer)) or [([], shapes(layer.output))]) for layer in graph.operations
    ]


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
    how = "; ".join(formulas) + (PADDED if layer.padding == "same" else "")
    return _Step(tuple(count.value if count else None for count in counts), how)


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
    statistics = counted(2 * channels, f"2 x {channels}")
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


def format_derivation(rows: Sequence[LayerDerivation]) -> str:
    """An aligned text table of :func:`derive`'s rows, with the sum written out and totals below.

    Returns:
        Lines of :data:`COLUMNS`; what padding "same" means where a row has it; the layers' counts
        added up; then total, trainable and not trainable.
    """
    cells = [line for row in rows for line in _wrapped(row)]
    widths = [max(len(line[column]) for line in [COLUMNS, *cells]) for column in range(6)]
    rule = tuple("-" * width for width in widths)
    lines = [_table_line(line, widths) for line in [COLUMNS, rule, *cells]]
    total = sum(row.parameters for row in rows)
    fixed = sum(row.non_trainable for row in rows)
    summary = f"{total:,} parameters: {total - fixed:,} trainable, {fixed:,} not trainable"
    note = [PADDING_NOTE] if any(PADDED in row.shape_formula for row in rows) else []
    return "\n".join([*lines, "", *note, *_sum([row.parameters for row in rows]), summary])


def _sum(parameters: Sequence[int]) -> list[str]:
    """The layers' counts added up, as lines; none where there is nothing to add."""
    terms = [f"{count:,}" for count in parameters if count]
    if len(terms) < 2:
        return []
    return textwrap.wrap(f"{' + '.join(terms)} = {sum(parameters):,}", 100)


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
