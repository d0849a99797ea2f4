"""The searches of ``export.search`` by stepping a Keras model: what a file is compared with.

The step is one compiled call, all else is numpy: no loop in a graph, nothing folded, no table.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from export.network import Traced
from export.runtime import Found
from export.sources import Target


class Model(NamedTuple):
    """A traced encoder and step, to be called with arrays.

    Attributes:
        encoder: ``source`` -> values by name.
        step: values by name, ``token`` among them -> ``logits``, new states, ``attention``.
        states: the names of what a step changes.
    """

    encoder: Callable[[np.ndarray], dict[str, np.ndarray]]
    step: Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]
    states: tuple[str, ...]


def model_of(traced: Traced) -> Model:
    """Compiles the two calls."""
    encoder = tf.function(traced.encoder, input_signature=[traced.source])
    given = {"token": tf.TensorSpec((None,), tf.int32), **traced.given}
    step = tf.function(traced.step, input_signature=[given])

    def arrays(found: Mapping[str, tf.Tensor]) -> dict[str, np.ndarray]:
        return {name: value.numpy() for name, value in found.items()}

    return Model(
        lambda source: arrays(encoder(tf.convert_to_tensor(source, traced.source.dtype))),
        lambda values: arrays(step({n: tf.convert_to_tensor(v) for n, v in values.items()})),
        tuple(name for name in traced.given if name in traced.found),
    )


def one_each(
    model: Model, source: np.ndarray, target: Target, max_length: int, penalty: float, choose
) -> Found:
    """A text for each of N sources; ``choose`` takes log-probabilities (N, V) and the step."""
    values = model.encoder(source)
    rows = len(source)
    token = np.full(rows, target.start, np.int32)
    ended, totals, lengths = np.zeros(rows, bool), np.zeros(rows), np.zeros(rows)
    ids, looks = [], []
    for t in range(max_length):
        found = model.step(values | {"token": token})
        gains = log_softmax(found["logits"])
        token = np.where(ended, target.filler, choose(gains, t)).astype(np.int32)
        totals += np.where(ended, 0, gains[np.arange(rows), token])
        lengths += ~ended
        ids.append(token)
        if "attention" in found:
            looks.append(np.where(ended[:, None], 0, found["attention"]))
        ended = ended | (token == target.end)
        values |= {name: found[name] for name in model.states}
        if ended.all():
            break
    texts = np.array([[target.decode(row)] for row in np.stack(ids, 1)], object)
    scores = (totals / lengths**penalty)[:, None]
    return Found(texts, scores, list(np.stack(looks, 1)) if looks else None)


def greedy(
    model: Model, source: np.ndarray, target: Target, max_length: int, penalty: float
) -> Found:
    """The most probable token at every step."""
    return one_each(model, source, target, max_length, penalty, lambda gains, _: gains.argmax(1))


def nucleus(
    model: Model,
    source: np.ndarray,
    target: Target,
    penalty: float,
    top_p: float,
    uniforms: np.ndarray,
) -> Found:
    """A sample from the most probable tokens that together reach ``top_p``."""

    def choose(gains: np.ndarray, t: int) -> np.ndarray:
        order = np.argsort(-gains, 1, kind="stable")
        falling = np.exp(np.take_along_axis(gains, order, 1))
        inside = np.cumsum(falling, 1) - falling < top_p
        mass = np.cumsum(np.where(inside, falling, 0), 1)
        rank = (mass <= uniforms[:, t, None] * mass[:, -1:]).sum(1)
        rank = np.minimum(rank, inside.sum(1) - 1)
        return np.take_along_axis(order, rank[:, None], 1)[:, 0]

    return one_each(model, source, target, uniforms.shape[1], penalty, choose)


class Hypothesis(NamedTuple):
    """A beginning of a text: its ids, log-probability, row of the last step and attention."""

    ids: tuple[int, ...]
    total: float
    row: int
    looks: tuple[np.ndarray, ...]

    def score(self, penalty: float) -> float:
        return self.total / len(self.ids) ** penalty


def beam(
    model: Model,
    source: np.ndarray,
    target: Target,
    max_length: int,
    penalty: float,
    num_beams: int,
) -> Found:
    """The ``num_beams`` best hypotheses of every source; ended ones are frozen."""
    values = model.encoder(source)
    beams = [[Hypothesis((), 0.0, row, ())] for row in range(len(source))]
    for _ in range(max_length):
        growing = [h for each in beams for h in each if not h.ids or h.ids[-1] != target.end]
        if not growing:
            break
        last = [h.ids[-1] if h.ids else target.start for h in growing]
        rows = [h.row for h in growing]
        values = {name: value[rows] for name, value in values.items()}
        found = model.step(values | {"token": np.array(last, np.int32)})
        values |= {name: found[name] for name in model.states}
        gains = log_softmax(found["logits"])
        order = np.argsort(-gains, 1, kind="stable")[:, :num_beams].tolist()
        numbers = {id(h): number for number, h in enumerate(growing)}
        for place, each in enumerate(beams):
            candidates = []
            for h in each:
                if id(h) not in numbers:
                    candidates.append(h)
                    continue
                row = numbers[id(h)]
                look = h.looks + ((found["attention"][row],) if "attention" in found else ())
                candidates += [
                    Hypothesis((*h.ids, i), h.total + gains[row, i], row, look) for i in order[row]
                ]
            best = sorted(candidates, key=lambda h: -h.score(penalty))  # stable: ties by rank
            beams[place] = best[:num_beams]
    texts, scores = (
        np.full((len(beams), num_beams), "", object),
        np.full((len(beams), num_beams), -np.inf),
    )
    for place, each in enumerate(beams):
        for rank, h in enumerate(each):
            texts[place, rank], scores[place, rank] = target.decode(h.ids), h.score(penalty)
    looks = [np.stack(each[0].looks) for each in beams] if beams[0][0].looks else None
    return Found(texts, scores, looks)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Log-probabilities float64 (N, V)."""
    shifted = logits.astype(np.float64) - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
