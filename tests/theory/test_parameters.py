"""Sizes and parameter counts: against the reports, against Keras, and against their own text."""

import doctest
import math
import re

import keras
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

import hw2_keras
from hw2_keras.theory import parameters
from hw2_keras.theory.derivation import derive, format_derivation

FEW = settings(max_examples=25, deadline=None)


def evaluate(formula: str, **sizes: int) -> tuple[float, float]:
    """Both sides of "a = b", worked out by Python and not by the code that wrote them."""
    left, right = formula.replace(",", "").split(" = ")
    expression = re.sub(r"\bx\b", "*", left)
    names = {"floor": math.floor, "ceil": math.ceil, **sizes}
    return eval(expression, {"__builtins__": {}}, names), int(right)


@FEW
@given(
    size=st.integers(1, 40),
    window=st.integers(1, 7),
    stride=st.integers(1, 4),
    padding=st.sampled_from(["valid", "same", 0, 1, 3]),
    dilation=st.integers(1, 3),
)
def test_output_size_says_what_it_computes(size, window, stride, padding, dilation):
    extra = padding if isinstance(padding, int) else 0
    if padding != "same" and dilation * (window - 1) + 1 > size + 2 * extra:
        with pytest.raises(ValueError, match="does not fit"):
            parameters.output_size(size, window, stride, padding, dilation)
        return
    count = parameters.output_size(size, window, stride, padding, dilation)
    worked_out, printed = evaluate(count.formula)
    assert worked_out == printed == count.value
    if padding == "same":
        assert (count.value - 1) * stride < size <= count.value * stride
        return
    starts = range(0, size + 2 * extra - dilation * (window - 1), stride)
    assert count.value == len(starts)


@FEW
@given(
    a=st.integers(1, 9),
    b=st.integers(1, 50),
    c=st.integers(1, 50),
    bias=st.booleans(),
    trained=st.integers(0, 2),
)
def test_parameter_formulas_say_what_they_compute(a, b, c, bias, trained):
    for count in (
        parameters.conv_parameters(b, (a, 2), c, bias),
        parameters.conv_parameters(3 * b, (a,), 3 * c, bias, groups=3),
        parameters.dense_parameters(b, c, bias),
        parameters.embedding_parameters(b, c),
        parameters.lstm_parameters(b, c, bias),
        parameters.lstm_parameters(b, c, bias, directions=2),
        parameters.batch_norm_parameters(b, trained),
        parameters.flat_size((a, b, c)),
    ):
        worked_out, printed = evaluate(count.formula)
        assert worked_out == printed == count.value


def test_2021_22_compares_10298_with_236310():
    cnn, mlp = parameters.parameter_cnn(), parameters.parameter_mlp()
    assert [row.output_shape for row in cnn] == [(24, 24, 8), (11, 11, 8), (968,), (10,)]
    assert [row.parameters for row in cnn] == [608, 0, 0, 9_690]
    assert cnn[0].shape_formula == "(28 - 5)/1 + 1 = 24"
    assert cnn[0].parameter_formula == "8 x (5*5*3 + 1) = 608"
    assert sum(row.parameters for row in mlp) == 236_310
    ratio = sum(row.parameters for row in mlp) / sum(row.parameters for row in cnn)
    assert round(ratio, 1) == 22.9


def test_2022_23_in_symbols_in_numbers_and_in_keras():
    H, W, M, N = 28, 28, 5, 5
    counts = parameters.cnn_against_dense(H, W, M, N)
    assert (counts.hidden.value, counts.cnn.value, counts.dense.value) == (144, 457, 113_328)
    sizes = {"H": H, "W": W, "M": M, "N": N, "h": 144}
    for symbols, count in zip(
        (parameters.HIDDEN_UNITS, parameters.CNN_PARAMETERS, parameters.DENSE_PARAMETERS),
        counts,
        strict=True,
    ):
        assert evaluate(f"{symbols} = {count.value}", **sizes)[0] == count.value
        assert evaluate(count.formula)[0] == count.value
    image = keras.Input((H, W, 1))
    x = layers.MaxPooling2D(2)(layers.Conv2D(1, (M, N), use_bias=False)(image))
    logits = layers.Dense(3, use_bias=False)(layers.Flatten()(x))
    assert keras.Model(image, logits).count_params() == counts.cnn.value
    hidden = layers.Dense(144, use_bias=False)(layers.Flatten()(image))
    dense = keras.Model(image, layers.Dense(3, use_bias=False)(hidden))
    assert dense.count_params() == counts.dense.value


def test_report_003_counts_filter_elements_instead_of_pixels():
    right = parameters.cnn_against_dense(28, 28, 5, 5).dense.value
    assert parameters.dense_parameters_by_report_003(28, 28, 5, 5) == 4_032
    assert right == 113_328
    # The two agree only where a filter covers the image; then nothing is left to pool.
    with pytest.raises(ValueError, match="nothing for a 2x2 pool"):
        parameters.cnn_against_dense(5, 5, 5, 5)


def agrees(model: keras.Model) -> None:
    rows = derive(model)
    assert sum(row.parameters for row in rows) == model.count_params()
    fixed = sum(math.prod(weight.shape) for weight in model.non_trainable_weights)
    assert sum(row.non_trainable for row in rows) == fixed
    outputs = {operation.name: operation.output for operation in model.operations}
    for row in rows:
        if row.name in outputs:
            output = outputs[row.name]
            first = output[0] if isinstance(output, list | tuple) else output
            assert row.output_shape == tuple(first.shape[1:]), row


@pytest.mark.parametrize("name", list(hw2_keras.experiments))
def test_derivation_of_every_experiment_agrees_with_keras(name):
    agrees(hw2_keras.build(name))


def test_derivation_of_intel_cnn_bn_separates_the_running_statistics():
    rows = derive(hw2_keras.build("intel_cnn_bn"))
    assert sum(row.parameters - row.non_trainable for row in rows) == 756_742
    fixed = {row.kind: 0 for row in rows}
    for row in rows:
        fixed[row.kind] += row.non_trainable
    assert fixed["BatchNormalization"] == 2 * (32 + 64 + 128 + 1024 + 512)
    assert fixed["Dense"] == fixed["Conv2D"] == 0


convolutions = st.lists(
    st.tuples(
        st.sampled_from([4, 8, 12]),  # filters
        st.integers(1, 3),  # window
        st.integers(1, 2),  # stride
        st.sampled_from(["valid", "same"]),
        st.booleans(),  # bias
        st.booleans(),  # batch norm
        st.sampled_from([None, "max", "average"]),
    ),
    min_size=1,
    max_size=3,
)


@settings(max_examples=8, deadline=None)
@given(
    shape=st.tuples(st.integers(20, 32), st.integers(20, 32), st.integers(1, 3)),
    blocks=convolutions,
    flat=st.booleans(),
    frozen=st.booleans(),
)
def test_derivation_of_random_architectures_agrees_with_keras(shape, blocks, flat, frozen):
    image = x = keras.Input(shape)
    for filters, window, stride, padding, bias, norm, pool in blocks:
        if min(x.shape[1:3]) < window:
            break
        x = layers.Conv2D(filters, window, stride, padding, use_bias=bias)(x)
        if norm:
            x = layers.BatchNormalization(scale=bias)(x)
        x = layers.ReLU()(x)
        if pool and min(x.shape[1:3]) > 1:
            kind = layers.MaxPooling2D if pool == "max" else layers.AveragePooling2D
            x = kind(2, padding=padding)(x)
        x = layers.Add()([x, layers.Dropout(0.1)(x)])
    x = layers.Flatten()(x) if flat else layers.GlobalAveragePooling2D()(x)
    x = layers.Concatenate()([x, layers.Dense(5, use_bias=False)(x)])
    model = keras.Model(image, layers.Dense(10)(x))
    model.layers[1].trainable = not frozen
    agrees(model)


@settings(max_examples=8, deadline=None)
@given(
    size=st.integers(1, 20),
    units=st.integers(1, 20),
    ways=st.sampled_from([1, None, "concat", "sum"]),
    sequences=st.booleans(),
    bias=st.booleans(),
)
def test_derivation_of_random_recurrent_networks_agrees_with_keras(
    size, units, ways, sequences, bias
):
    tokens = keras.Input((None,))
    cell = layers.LSTM(units, return_sequences=sequences, return_state=True, use_bias=bias)
    layer = cell if ways == 1 else layers.Bidirectional(cell, merge_mode=ways)
    x = layer(layers.Embedding(30, size)(tokens))
    model = keras.Model(tokens, layers.Dense(7)(x[0]))
    agrees(model)


class TiedOutput(keras.layers.Layer):
    """Logits from another layer's embedding: a weight that belongs to two layers."""

    def __init__(self, embedding, **kwargs):
        super().__init__(**kwargs)
        self.embedding = embedding
        self.bias = self.add_weight(shape=(30,), name="bias")

    def call(self, x):
        return x @ keras.ops.transpose(self.embedding.embeddings) + self.bias


def test_unknown_layers_are_counted_by_shape_and_say_so():
    tokens = keras.Input((None,))
    embedding = layers.Embedding(30, 6, name="embedding")
    x = layers.GRU(6, return_sequences=True, name="gru")(embedding(tokens))
    model = keras.Model(tokens, TiedOutput(embedding, name="tied")(x))
    agrees(model)
    rows = {row.name: row for row in derive(model)}
    assert rows["tied"].parameters == 30
    assert rows["tied"].parameter_formula == (
        "by the weights' shapes: bias (30) = 30, embedding/embeddings shared with embedding, "
        "together 30"
    )
    assert "by the weights' shapes" in rows["gru"].parameter_formula
    assert rows["tied"].output_shape == (None, 30)


def test_nested_and_frozen_models_are_opened_up():
    inner_image = keras.Input((9, 9, 2))
    inner = keras.Model(inner_image, layers.Conv2D(4, 3, name="conv")(inner_image), name="encoder")
    inner.trainable = False
    image = keras.Input((9, 9, 2))
    model = keras.Model(image, layers.Dense(3)(layers.Flatten()(inner(image))))
    agrees(model)
    conv = next(row for row in derive(model) if row.name == "encoder/conv")
    assert (conv.parameters, conv.non_trainable) == (76, 76)


def test_shared_layers_and_several_outputs_are_walked_by_call():
    tokens = keras.Input((None,))
    embedding = layers.Embedding(9, 4, name="embedding")
    lstm = layers.LSTM(5, return_state=True, return_sequences=True, name="lstm")
    steps, state, cell = lstm(embedding(tokens))
    again, _, _ = lstm(embedding(tokens * 2))
    dense = layers.Dense(3, name="dense")
    small = keras.Sequential([keras.Input((5,)), layers.Dense(2, name="dense")], name="small")
    outputs = [dense(steps), dense(state), dense(again), small(state), small(cell)]
    model = keras.Model(tokens, outputs)
    model.compile(loss=lambda truth, found: 0.0)  # nothing that could be cloned
    rows = {row.name: row for row in derive(model)}
    assert (
        rows["lstm"].shape_formula == "5 units at every step; also (5), (5); used again for (?, 5)"
    )
    assert rows["dense"].shape_formula == "3 units; used again for (3); used again for (?, 3)"
    assert rows["small/dense"].output_shape == (2,)
    assert sum(row.parameters for row in rows.values()) == model.count_params()
    # Two models share the layers: each tells of its own calls, and is left as it was.
    half = keras.Model(tokens, dense(state))
    rows = {row.name: row for row in derive(half)}
    assert rows["lstm"].shape_formula == "5 units at every step; also (5), (5)"
    assert rows["dense"].shape_formula == "3 units"
    assert small.get_layer("dense").output.shape == (None, 2)


def test_table_prints_the_derivation_and_its_totals():
    model = keras.Sequential([keras.Input((28, 28, 3)), layers.Conv2D(8, 5, name="conv"),
                              layers.BatchNormalization(name="norm")])  # fmt: skip
    lines = format_derivation(derive(model)).splitlines()
    conv = next(line for line in lines if line.startswith("conv"))
    assert re.split(r"  +", conv) == [
        "conv", "Conv2D", "(24, 24, 8)", "(28 - 5)/1 + 1 = 24", "608", "8 x (5*5*3 + 1) = 608"
    ]  # fmt: skip
    assert lines[-1] == "640 parameters: 624 trainable, 16 not trainable"
    end = lines[0].index("parameters") + len("parameters")
    assert conv[end - 6 : end] == "   608"


def test_table_names_each_column_once_and_writes_the_sum_out():
    lines = format_derivation(parameters.parameter_cnn()).splitlines()
    names = re.split(r"  +", lines[0])
    assert len(names) == len(set(names)) == 6
    assert lines[-2:] == [
        "608 + 9,690 = 10,298",
        "10,298 parameters: 10,298 trainable, 0 not trainable",
    ]
    one_layer = format_derivation(parameters.parameter_cnn()[:1])
    assert " + " not in one_layer.splitlines()[-2]


def test_table_says_what_padding_same_is():
    image = keras.Input((28, 28, 1))
    padded = keras.Model(image, layers.Conv2D(4, 3, 2, padding="same")(image))
    text = format_derivation(derive(padded))
    assert 'ceil(28/2) = 14, padding "same"' in text
    assert 'padding "same" puts zeros around the image' in text
    bare = keras.Model(image, layers.Conv2D(4, 3)(image))
    assert "padding" not in format_derivation(derive(bare))


def test_examples_in_the_docstrings_hold():
    assert doctest.testmod(parameters) == (0, 2)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="stride is 0"):
        parameters.output_size(28, 5, stride=0)
    with pytest.raises(ValueError, match="'valid', 'same'"):
        parameters.output_size(28, 5, padding="full")
    with pytest.raises(ValueError, match="must divide"):
        parameters.conv_parameters(8, (3, 3), 3, groups=2)
    with pytest.raises(ValueError, match="units is 0"):
        parameters.lstm_parameters(3, 0)

    class Subclassed(keras.Model):
        pass

    with pytest.raises(ValueError, match="no graph of layers"):
        derive(Subclassed())
