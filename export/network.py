"""An encoder and a step of Keras as the network of a search (``export.search.Network``).

Both are traced, checked, converted by tf2onnx and cleaned. What a step computes from fixed values
alone leaves the loop; what it computes from the token alone becomes a table.
"""

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import keras
import numpy as np
import onnx
import tensorflow as tf
from onnx import helper

from export import fold, passes
from export.functions import convert_function
from export.fuse import fuse
from export.layers import one_node_each
from export.rows import compute_on_rows
from export.runtime import ModelError
from export.search import Network, State

# How ONNX's text says the dtypes that a state may have.
KINDS = {
    "float32": "float",
    "float64": "double",
    "float16": "float16",
    "int8": "int8",
    "uint8": "uint8",
    "int32": "int32",
    "int64": "int64",
    "bool": "bool",
}
LEFT_IN_TRAINING = re.compile(r"Random|Multinomial|^Assign")


class Traced(NamedTuple):
    """An encoder and a step with what is known of their tensors.

    Attributes:
        encoder: from ``source`` to a dict of tensors.
        step: from a dict of tensors, ``token`` among them, to a dict of tensors.
        source: what the encoder takes.
        given: what the step takes besides ``token``, by name: all that the encoder gives.
        found: what the step gives, by name.
        taken: names of what the step reads of ``given``.
        weights: of both, by their names.
        names: of encoder and step.
        size: of the vocabulary.
    """

    encoder: Callable
    step: Callable
    source: tf.TensorSpec
    given: dict[str, tf.TensorSpec]
    found: dict[str, tf.TensorSpec]
    taken: list[str]
    weights: dict[str, np.ndarray]
    names: tuple[str, str]
    size: int


def trace(encoder: Callable, step: Callable, source: tf.TensorSpec, size: int) -> Traced:
    """Traces and checks an encoder and a step.

    Args:
        encoder, step: see ``export.generator``.
        source: what the encoder takes, its first axis free.
        size: of the vocabulary.

    Raises:
        ModelError: they break the contract; the message names the tensor or the layer.
    """
    encode, advance = named_outputs(encoder, "memory"), named_outputs(step, "logits")

    def first(source):
        return encode({"source": source}, alone=True)

    outputs, weights = specifications(first, source, "encoder")
    if not outputs:
        raise ModelError("the encoder returns nothing: expected a dict of tensors by name")
    for name, value in outputs.items():
        check_batch_axis("encoder", name, value)
    token = tf.TensorSpec((None,), tf.int32, "token")
    taken = names_taken(step, ("token", *outputs))
    if taken is None:
        taken = list(outputs)
    if missing := [name for name in taken if name not in ("token", *outputs)]:
        raise ModelError(
            f"the step takes {missing[0]!r}, which the encoder does not return (it returns "
            f"{', '.join(outputs)})"
        )
    given, found, of_step = grown_to_rest(advance, token, outputs, size)
    if not any(name in found or name in taken for name in given):
        raise ModelError(
            f"the step uses nothing of what the encoder returns ({', '.join(given)}): expected a "
            "state or a fixed value"
        )
    return Traced(
        encoder=first,
        step=advance,
        source=source,
        given=given,
        found=found,
        taken=taken,
        weights=weights | of_step,
        names=(name_of(encoder, "encoder"), name_of(step, "step")),
        size=size,
    )


def grown_to_rest(
    advance: Callable, token: tf.TensorSpec, given: dict[str, tf.TensorSpec], size: int
) -> tuple[dict[str, tf.TensorSpec], dict[str, tf.TensorSpec], dict[str, np.ndarray]]:
    """Frees the axes along which states grow, until a step gives what it takes.

    Args:
        advance: the step.
        token: its token.
        given: what the encoder returns.
        size: of the vocabulary.

    Returns:
        What the step takes, what it returns, and its weights.

    Raises:
        ModelError: a state changes along two axes, or in another way than growing.
    """
    grown: dict[str, int] = {}
    while True:
        found, weights = specifications(advance, {"token": token, **given}, "step")
        check_found(found, given, size)
        changed = {
            name: axis
            for name in given
            if name in found and (axis := grown_axis(name, given[name], found[name])) is not None
        }
        if not changed:
            return given, found, weights
        for name, axis in changed.items():
            if name in grown:
                raise ModelError(
                    f"the state {name!r} changes along two axes, {grown[name]} and {axis}: "
                    "expected one at most"
                )
            shape = [None if i == axis else n for i, n in enumerate(given[name].shape)]
            given = given | {name: tf.TensorSpec(shape, given[name].dtype)}
        grown |= changed


def name_of(function: Callable, otherwise: str) -> str:
    """What a model or function is called."""
    return getattr(function, "name", getattr(function, "__name__", otherwise))


def named_outputs(function: Callable, lone: str) -> Callable:
    """A model or function as one from a dict to a dict; a lone tensor gets the name ``lone``."""

    def call(values: Mapping[str, tf.Tensor], alone: bool = False) -> dict[str, tf.Tensor]:
        arguments, keywords = arguments_for(function, values, alone)
        found = function(*arguments, **keywords)
        if tf.is_tensor(found):
            found = {lone: found}
        if not isinstance(found, Mapping):
            raise ModelError(
                f"{getattr(function, 'name', function)!r} returns a {type(found).__name__}: "
                "expected a dict of tensors by name"
            )
        return {name: tf.convert_to_tensor(value) for name, value in found.items()}

    return call


def arguments_for(function: Callable, values: Mapping, alone: bool) -> tuple[tuple, dict]:
    """How a function takes named tensors: positional arguments and keywords."""
    keywords = {}
    if isinstance(function, keras.layers.Layer):
        if "training" in inspect.signature(function.call).parameters:
            keywords["training"] = False
        structure = inputs_of(function)
        if structure is not None:
            return (fill(structure, values, alone),), keywords
    if alone:
        return tuple(values.values()), keywords
    taken = names_taken(function, values)
    if taken is None:
        return (dict(values),), keywords
    return (), keywords | {name: values[name] for name in taken if name in values}


def inputs_of(model: keras.layers.Layer):
    """The nested inputs of a functional or built sequential model; None for others."""
    is_functional = isinstance(model, keras.models.Model) and getattr(model, "inputs", None)
    return model.input if is_functional else None


def fill(structure, values: Mapping, alone: bool):
    """The values in the structure of a model's inputs."""
    if isinstance(structure, Mapping):
        names = {key: next(iter(values)) if alone else key for key in structure}
        return {key: values[name] for key, name in names.items()}
    if isinstance(structure, list | tuple):
        if alone and len(structure) == 1:
            return list(values.values())
        return [values[tensor.name] for tensor in structure]
    return next(iter(values.values())) if alone or len(values) == 1 else values[structure.name]


def names_taken(function: Callable, offered: Iterable[str]) -> list[str] | None:
    """Names of the tensors that a step takes; None where it takes them all as one dict."""
    if isinstance(function, keras.layers.Layer):
        structure = inputs_of(function)
        if structure is not None:
            if isinstance(structure, Mapping):
                return list(structure)
            flat = structure if isinstance(structure, list | tuple) else [structure]
            return [tensor.name for tensor in flat]
        function = function.call
    parameters = inspect.signature(function).parameters
    if "token" not in parameters:
        return None
    if any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        return list(offered)
    return [
        name
        for name, each in parameters.items()
        if name in offered or (each.default is each.empty and name != "training")
    ]


def specifications(
    function: Callable, values, role: str
) -> tuple[dict[str, tf.TensorSpec], dict[str, np.ndarray]]:
    """What a function gives for tensors of these specifications, and its weights.

    Raises:
        ModelError: it fails, draws random numbers, changes variables, or holds NaN.
    """
    try:
        with one_node_each():
            traced = tf.function(function).get_concrete_function(values)
    except ModelError:
        raise
    except Exception as error:  # whatever a user's model raises
        raise ModelError(
            f"the {role} cannot be traced ({type(error).__name__}: {reason(error)})"
        ) from error
    check_inference(traced.graph.as_graph_def(), role)
    weights: dict[str, np.ndarray] = {}
    for variable in traced.graph.variables:
        path = passes.unused(variable.name.split(":")[0], weights)
        weights[path] = variable.numpy()
        check_weights(path, weights[path], role)
    found = {name: tf.TensorSpec(v.shape, v.dtype) for name, v in traced.structured_outputs.items()}
    return found, weights


def check_weights(path: str, weights: np.ndarray, role: str) -> None:
    """Raises ``ModelError`` for weights that hold NaN."""
    if np.issubdtype(weights.dtype, np.floating) and np.isnan(weights).any():
        raise ModelError(f"the weights {path!r} of the {role} hold NaN: train again")


def reason(error: Exception) -> str:
    """What an error says, in one line; Keras and TensorFlow put it after where it happened."""
    plain = re.sub(r"\x1b\[\d*m", "", str(error))
    lines = [line.strip() for line in plain.splitlines() if line.strip()]
    for number, line in enumerate(lines):
        if "Exception encountered when calling" in line:
            return " ".join(lines[number : number + 2])
    of_user_code = [line for line in lines if re.match(r"\w+(Error|Exception): ", line)]
    return (of_user_code[-1:] or lines[:1] or ["no reason given"])[0]


def check_inference(graph: tf.compat.v1.GraphDef, role: str) -> None:
    """Raises ``ModelError`` where a layer draws random numbers or changes its variables."""
    functions = (node for function in graph.library.function for node in function.node_def)
    for node in (*graph.node, *functions):
        if LEFT_IN_TRAINING.search(node.op):
            layer = node.name.split("/")[-2:][0]
            layer = re.sub(r"_\d+$", "", layer)  # Keras appends _1 when a layer is called
            raise ModelError(
                f"{layer!r} of the {role} is stateful or left in training mode ({node.op}): "
                "expected training=False and stateful=False"
            )


def check_batch_axis(role: str, name: str, value: tf.TensorSpec) -> None:
    """Raises ``ModelError`` for a tensor whose first axis is not the batch."""
    if value.shape.rank is None or value.shape.rank == 0 or value.shape[0] is not None:
        raise ModelError(
            f"{name!r} of the {role} has the shape {shown(value.shape)}: expected the batch, of "
            "any size, as its first axis"
        )


def check_found(
    found: Mapping[str, tf.TensorSpec], given: Mapping[str, tf.TensorSpec], size: int
) -> None:
    """Raises ``ModelError`` where a step breaks the contract."""
    if "logits" not in found:
        raise ModelError(
            f"the step returns {', '.join(found) or 'nothing'}: expected 'logits' (N, V) among it"
        )
    if foreign := [name for name in found if name not in ("logits", "attention", *given)]:
        raise ModelError(
            f"the step returns {foreign[0]!r}, which the encoder does not: a state needs its first "
            "value from there"
        )
    for name, value in found.items():
        check_batch_axis("step", name, value)
    for name in ("logits", "attention"):
        if name in found and (found[name].dtype != tf.float32 or found[name].shape.rank != 2):
            raise ModelError(
                f"{name!r} of the step is {found[name].dtype.name} {shown(found[name].shape)}: "
                f"expected float32 {'(N, V)' if name == 'logits' else '(N, S)'}"
            )
    if found["logits"].shape[1] != size:
        raise ModelError(
            f"the vocabulary holds {size} strings, the step's logits have the shape "
            f"{shown(found['logits'].shape)}: expected a string for every id"
        )


def grown_axis(name: str, before: tf.TensorSpec, after: tf.TensorSpec) -> int | None:
    """The axis along which a state changes its size, None for none.

    Raises:
        ModelError: it changes its dtype, its rank or the sizes of several axes.
    """
    changed = None
    if before.dtype == after.dtype and before.shape.rank == after.shape.rank:
        pairs = list(zip(before.shape, after.shape, strict=True))
        changed = [i for i, (old, new) in enumerate(pairs) if old is not None and old != new]
    if changed is None or len(changed) > 1:
        raise ModelError(
            f"the state {name!r} goes from {before.dtype.name} {shown(before.shape)} to "
            f"{after.dtype.name} {shown(after.shape)}: expected the same dtype and shape, one axis "
            "excepted that may grow"
        )
    return changed[0] if changed else None


def shown(shape: tf.TensorShape) -> str:
    """A shape with N for the batch and ? for what is free."""
    if shape.rank is None:
        return "of any rank"
    sizes = ["?" if size is None else str(size) for size in shape]
    if sizes and shape[0] is None:
        sizes[0] = "N"
    return f"({', '.join(sizes)}{',' if len(sizes) == 1 else ''})"


def network_of(traced: Traced) -> tuple[onnx.ModelProto, Network]:
    """The encoder's graph, from ``source`` to first states and fixed values, and the network."""
    used = [n for n in traced.given if n in traced.found or n in traced.taken]
    states = [name for name in used if name in traced.found]
    fixed = [name for name in used if name not in states]
    names = identifiers(fixed, "fixed") | identifiers(states, "state")
    used = list(names)
    first = {name: f"first_{names[name]}" if name in states else names[name] for name in used}

    def encode(source):
        outputs = traced.encoder(source)
        return [tf.identity(outputs[name]) for name in used]

    source = tf.TensorSpec(traced.source.shape, traced.source.dtype, "source")
    encoder = convert_function(encode, [source], list(first.values()))
    clean(encoder, traced.weights, "encoder", traced.names[0])

    returned = ["logits", *states, *(["attention"] if "attention" in traced.found else [])]
    outputs = ["logits", *(f"new_{names[name]}" for name in states)]
    outputs += ["look"] * ("attention" in traced.found)

    def advance(token, *values):
        found = traced.step({"token": token, **dict(zip(used, values, strict=True))})
        return [tf.identity(found[name]) for name in returned]

    signature = [tf.TensorSpec((None,), tf.int32, "token")]
    signature += [tf.TensorSpec.from_spec(traced.given[n], names[n]) for n in used]
    step = convert_function(advance, signature, outputs)
    clean(step, traced.weights, "step", traced.names[1])
    return encoder, network(step, traced, names)


def identifiers(names: Iterable[str], prefix: str) -> dict[str, str]:
    """Names that ONNX's text can spell, by the user's names."""
    found: dict[str, str] = {}
    for name in names:
        plain = f"{prefix}_{re.sub(r'[^0-9A-Za-z_]', '_', name)}"
        found[name] = passes.unused(plain, found.values())
    return found


def clean(model: onnx.ModelProto, weights: dict[str, np.ndarray], role: str, name: str) -> None:
    """Gives a converted graph readable names; those of its constants start with the role."""
    graph = model.graph
    passes.clean_names(graph, name)
    passes.name_weights(graph, weights)
    kept = {value.name for value in (*graph.input, *graph.output)}
    inner = [name for node in graph.node for name in node.output if name not in kept]
    new = {name: f"{role}/{name}" for name in inner if role == "encoder" or "/" not in name}
    for stored in graph.initializer:
        new[stored.name] = f"{role}/{stored.name}"
        stored.name = new[stored.name]
    for node in graph.node:
        passes.rename(node, new)


def network(step: onnx.ModelProto, traced: Traced, names: dict[str, str]) -> Network:
    """The network of a converted step.

    Args:
        step: from ``token`` and all of ``names`` to ``logits``, new states and ``look``.
        traced: what it was converted from.
        names: identifiers by the user's names, those that the step does not use left out.
    """
    states = [State(names[n], *declared(traced.given[n])) for n in names if n in traced.found]
    of_states = {state.name for state in states}
    fixed = [identifier for identifier in names.values() if identifier not in of_states]
    # A state of fixed size has the shape of its first value.
    steady = [state.name for state in states if None not in state.axes]
    fold.name_axes(step.graph)
    fold.products_without_reshapes(step)
    fold.indices_as_they_are(step.graph)
    compute_on_rows(step)
    shape_sources = {name: name for name in fixed} | {name: f"first_{name}" for name in steady}
    fold.shapes_from_inputs(step, shape_sources)
    fold.sums_from_tokens(step.graph)
    fold.tables_of_tokens(step.graph, traced.size)
    fold.read_int64_tokens(step.graph)
    invariant = [*fixed, *(f"first_{name}" for name in steady)]
    fuse(step, invariant)
    half = fold.halves(step.graph, invariant)
    rows = [f"row_{name}" for name in fixed] + [f"rows_{name}" for name in steady]
    kept = [f"kept_{i}" for i in range(len(half.kept))]
    new = [f"new_{state.name}" for state in states]
    looks = [value for value in step.graph.output if value.name == "look"]
    look = [value.name for value in looks]
    inputs = ["token", *(state.name for state in states), *kept]
    declarations = [
        *(
            State(names[n], *declared(traced.given[n])).declare("N")
            for n in names
            if names[n] in fixed
        ),
        *(state.declare("N", "first_") for state in states),
    ]
    return Network(
        inputs=tuple(declarations),
        encoder="",
        repeated=tuple(fixed),
        prepare=f"{', '.join(kept)} = part.Once ({', '.join(rows)})" if kept else "",
        step=f"{', '.join(['logits', *new, *look])} = part.Step ({', '.join(inputs)})",
        states=tuple(states),
        look="".join(map(declared_look, looks)),
        weights={},
        parts={"Once": half.once, "Step": half.step},
    )


def stepwise_models(traced: Traced) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """An encoder and a step for a search outside of ONNX.

    Returns:
        ``source`` -> ``first_x`` for each state x, and ``kept_0``, ... ; and ``token`` int64 (N,),
        the states and the kept values -> ``logits``, ``new_x`` and, with attention, ``look``.
    """
    encoder, steps = network_of(traced)
    once, step = steps.parts["Once"], steps.parts["Step"]
    states = [state.name for state in steps.states]
    new = {name: f"first_{name}" for name in states}
    kept = [value.name for value in once.output]
    graph = helper.make_graph(
        [*encoder.graph.node, *once.node],
        "encoder",
        encoder.graph.input,
        [v for v in encoder.graph.output if v.name in new.values()]
        + [onnx.ValueInfoProto(name=name) for name in kept],
        [*encoder.graph.initializer, *once.initializer, *step.initializer],
    )
    first = helper.make_model(
        graph, opset_imports=encoder.opset_import, ir_version=encoder.ir_version
    )
    passes.remove_unused(first.graph)
    first = onnx.shape_inference.infer_shapes(first)
    types = {value.name: value for value in first.graph.output}
    second = helper.make_model(
        step, opset_imports=encoder.opset_import, ir_version=encoder.ir_version
    )
    passes.remove_unused(second.graph)
    for value in second.graph.input:
        value.CopyFrom(types.get(value.name, value))
        if value.name == "token":
            value.type.tensor_type.elem_type = onnx.TensorProto.INT64
    return first, second


def declared_look(look: onnx.ValueInfoProto) -> str:
    """The declaration of the attention, with as many axes as the step gives it."""
    between = len(look.type.tensor_type.shape.dim) - 2
    return f"float[R, {'1, ' * between}T_in] look"


def declared(spec: tf.TensorSpec) -> tuple[str, tuple[int | None, ...]]:
    """Kind and sizes of a state."""
    return KINDS[spec.dtype.name], tuple(spec.shape[1:])
