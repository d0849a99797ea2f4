"""Attention layers: where a query looks in the memory, and what it finds there.

Every layer maps ``(query (B, T, Q), memory (B, S, M), mask (B, S))`` to
``(context (B, T, M), weights (B, T, S))``: weights = softmax of the scores over the S positions,
context = weighted sum of the memory. They differ in the score only. Padding (mask False) gets
weight 0. A single query per example is T = 1.
"""

import keras
from keras import ops

# Far below any score, so that exp() of it is exactly 0 in float32; unlike -inf it cannot give NaN.
MASKED_SCORE = -1e9


def linear_uniform(seed: int) -> keras.initializers.Initializer:
    """Uniform in ±1/sqrt(fan_in): how the course's framework (PyTorch) starts linear maps."""
    return keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform", seed=seed)


class Attention(keras.layers.Layer):
    """What the layers share: the masked softmax of the scores and the weighted sum."""

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True

    def compute_mask(self, query, previous_mask=None) -> None:
        """Pass no mask on: that of the memory says nothing about the outputs."""

    def look(self, scores, memory, mask):
        """Return (context, weights) for scores (B, T, S)."""
        if mask is not None:
            scores = ops.where(ops.expand_dims(mask, 1), scores, MASKED_SCORE)
        weights = ops.softmax(scores)
        return ops.matmul(weights, memory), weights


@keras.saving.register_keras_serializable("hw2_keras")
class AdditiveAttention(Attention):
    """Additive scores: e[t, i] = v · activation(W_q query[t] + W_m memory[i] + b).

    With ``activation="tanh"`` and no bias this is Bahdanau's attention (2024-25 Q3; Bahdanau,
    Cho and Bengio, 2015); with ``"relu"`` and a bias, the captioner's (2021-22 Q3).

    Args:
        units: attention size, the length of v.
        activation: "tanh" or "relu" (any Keras activation).
        use_bias: whether b is there; it starts at 0.
        seed: of the initial weights, uniform in ±1/sqrt(fan_in).
    """

    def __init__(
        self,
        units: int,
        activation: str = "tanh",
        use_bias: bool = False,
        seed: int = 42,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.activation = keras.activations.get(activation)
        self.use_bias = use_bias
        self.seed = seed

    def build(self, query_shape, memory_shape=None, **_) -> None:
        def add(name: str, rows: int, columns: int, offset: int):
            init = linear_uniform(self.seed + offset)
            return self.add_weight(name=name, shape=(rows, columns), initializer=init)

        self.query_kernel = add("query_kernel", query_shape[-1], self.units, 0)
        self.memory_kernel = add("memory_kernel", memory_shape[-1], self.units, 1)
        self.score_kernel = add("score_kernel", self.units, 1, 2)
        if self.use_bias:
            self.bias = self.add_weight(name="bias", shape=(self.units,), initializer="zeros")

    def keys(self, memory):
        """Project the memory, (B, S, M) -> (B, S, units): the same for every query."""
        keys = ops.matmul(memory, self.memory_kernel)
        return keys + self.bias if self.use_bias else keys

    def attend(self, query, keys, memory, mask=None):
        """`call` with the memory already projected, for loops over queries."""
        query = ops.matmul(query, self.query_kernel)
        hidden = self.activation(ops.expand_dims(query, 2) + ops.expand_dims(keys, 1))
        scores = ops.squeeze(ops.matmul(hidden, self.score_kernel), -1)  # (B, T, S)
        return self.look(scores, memory, mask)

    def call(self, query, memory, mask=None):
        return self.attend(query, self.keys(memory), memory, mask)

    def get_config(self) -> dict:
        return super().get_config() | {
            "units": self.units,
            "activation": keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "seed": self.seed,
        }


@keras.saving.register_keras_serializable("hw2_keras")
class BilinearAttention(Attention):
    """Bilinear scores: s[t, i] = (W_qᵀ query[t]) · memory[i], W_q without bias (2022-23 Q3).

    Args:
        seed: of the initial weights, uniform in ±1/sqrt(fan_in).
    """

    def __init__(self, seed: int = 42, **kwargs) -> None:
        super().__init__(**kwargs)
        self.seed = seed

    def build(self, query_shape, memory_shape=None, **_) -> None:
        self.query_kernel = self.add_weight(
            name="query_kernel",
            shape=(query_shape[-1], memory_shape[-1]),
            initializer=linear_uniform(self.seed),
        )

    def call(self, query, memory, mask=None):
        query = ops.matmul(query, self.query_kernel)
        scores = ops.matmul(query, ops.transpose(memory, (0, 2, 1)))  # (B, T, S)
        return self.look(scores, memory, mask)

    def get_config(self) -> dict:
        return super().get_config() | {"seed": self.seed}
