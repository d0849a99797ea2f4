"""The attention layers of ``hw2_keras.models`` as oracles, on random inputs."""

from typing import NamedTuple

import numpy as np


class Looked(NamedTuple):
    """Random inputs of an attention layer, its weights by name, and what it answers.

    Attributes:
        query: (B, T, Q).
        memory: (B, S, M).
        mask: bool (B, S), False at padding.
        weights: the layer's variables by name.
        context: (B, T, M).
        attention: (B, T, S).
    """

    query: np.ndarray
    memory: np.ndarray
    mask: np.ndarray
    weights: dict[str, np.ndarray]
    context: np.ndarray
    attention: np.ndarray


def look(kind: str, padded: bool = True, seed: int = 42) -> Looked:
    """Asks a layer where it looks.

    Args:
        kind: "bilinear", "bahdanau" (tanh, no bias) or "additive" (ReLU and a bias).
        padded: whether the shorter sources end in padding.
        seed: of inputs and weights.
    """
    from hw2_keras.models.attention import AdditiveAttention, BilinearAttention

    layer = {
        "bilinear": BilinearAttention,
        "bahdanau": lambda: AdditiveAttention(7),
        "additive": lambda: AdditiveAttention(7, activation="relu", use_bias=True),
    }[kind]()
    rng = np.random.default_rng(seed)
    query = rng.normal(size=(2, 3, 5)).astype(np.float32)
    memory = rng.normal(size=(2, 4, 6)).astype(np.float32)
    mask = np.arange(4) < np.array([[2], [4]]) if padded else np.ones((2, 4), bool)
    layer.build(query.shape, memory.shape)
    for variable in layer.weights:  # larger than at the start, so that the weights are not even
        variable.assign(rng.normal(size=variable.shape).astype(np.float32))
    context, attention = layer(query, memory, mask=mask)
    weights = {variable.name: variable.numpy() for variable in layer.weights}
    return Looked(query, memory, mask, weights, context.numpy(), attention.numpy())
