"""Search over an encoder/step pair: greedy, beam and nucleus, each one graph with one loop.

Every search starts from SOS and ends a sequence at EOS or after ``max_length`` tokens; the loop
stops as soon as all sequences have ended. The score of a sequence is the sum of the
log-probabilities of its tokens divided by (number of its tokens) ** length_penalty, EOS counted in
both. Ties go to the lower token id, among beams to the hypothesis ranked higher before the step.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from hw2_keras.data.vocabulary import EOS, PAD, SOS
from hw2_keras.errors import UsageError
from hw2_keras.models.encoder_decoder import EncoderDecoder

MAX_BEAMS = 1_000  # as in export.runtime


class Decoded(NamedTuple):
    """What a search found for N sources; T is the number of steps it took.

    Attributes:
        tokens: int32 (N, K, T), best first, EOS included, PAD after it; K = 1 except for beams.
        scores: float32 (N, K).
        attention: float32 (N, T, S), weights of the best, 0 after its end; None for a model
            without attention.
    """

    tokens: tf.Tensor
    scores: tf.Tensor
    attention: tf.Tensor | None


def greedy(models: EncoderDecoder, source, max_length: int, length_penalty: float = 1.0) -> Decoded:
    """Take the most probable token at every step.

    Args:
        models: encoder and step model.
        source: int32 (N, S), zero-padded; for a captioner features (N, P, C) or images.
        max_length: longest output in tokens, EOS included.
        length_penalty: the exponent of the score, which is all that it changes here.

    Raises:
        UsageError: ``max_length`` < 1.
    """
    _check(max_length)
    exponent = tf.constant(length_penalty, tf.float32)  # as a number it would make another graph
    return _greedy(models, tf.convert_to_tensor(source), tf.constant(max_length), exponent)


def nucleus(
    models: EncoderDecoder, source, top_p: float, uniforms, length_penalty: float = 1.0
) -> Decoded:
    """Sample every token from the nucleus (Holtzman et al., 2020; 2024-25 Q3).

    The nucleus is the smallest set of most probable tokens whose mass reaches ``top_p``,
    renormalised. Step t of example n takes the first token, in order of falling probability,
    at which the cumulative mass exceeds ``uniforms[n, t]``: the same numbers give the same text.

    Args:
        models, source, length_penalty: as for `greedy`; scores use the model's own
            probabilities, not the renormalised ones.
        top_p: mass of the nucleus, in (0, 1].
        uniforms: float32 (N, max_length), in [0, 1).

    Raises:
        UsageError: ``top_p`` or ``uniforms`` out of range or of another shape.
    """
    source, uniforms = tf.convert_to_tensor(source), np.asarray(uniforms, "float32")
    check_mass(top_p)
    if uniforms.ndim != 2 or len(uniforms) != len(source) or uniforms.shape[1] < 1:
        raise UsageError(
            f"uniforms has shape {uniforms.shape}: expected ({len(source)}, max_length), a row "
            "per source and a number per step"
        )
    if uniforms.size and not (uniforms.min() >= 0 and uniforms.max() < 1):
        raise UsageError("uniforms holds numbers outside [0, 1): draw them with rng.random()")
    exponent = tf.constant(length_penalty, tf.float32)  # as a number it would make another graph
    return _nucleus(models, source, tf.constant(top_p, tf.float32), uniforms, exponent)


def beam(
    models: EncoderDecoder,
    source,
    max_length: int,
    num_beams: int,
    length_penalty: float = 1.0,
) -> Decoded:
    """Keep the ``num_beams`` hypotheses of the highest score at every step.

    A hypothesis that has ended is frozen: it keeps its score and its place among the others for
    as long as fewer than ``num_beams`` candidates score higher. Hypotheses are compared by the
    length-normalised score throughout, so that ended and growing ones compete on equal terms.

    Args:
        models, source, max_length: as for `greedy`.
        num_beams: K, the width, at most 1,000; 1 is greedy search. Where fewer than K sequences
            exist, the surplus rows have score -inf.
        length_penalty: exponent of the score; 0 compares plain sums of log-probabilities.

    Raises:
        UsageError: ``num_beams`` out of range or ``max_length`` < 1.
    """
    _check(max_length)
    check_width(num_beams)
    source = tf.convert_to_tensor(source)
    exponent = tf.constant(length_penalty, tf.float32)  # as a number it would make another graph
    return _beam(models, source, tf.constant(max_length), num_beams, exponent)


def check_width(num_beams: int) -> None:
    """Refuses, with a `UsageError`, a beam that costs without limit, or none."""
    if not 1 <= num_beams <= MAX_BEAMS:
        raise UsageError(
            f"num_beams is {num_beams}: expected 1 (greedy search) to {MAX_BEAMS:,}, the largest"
        )


def check_mass(top_p: float) -> None:
    """Refuses, with a `UsageError`, a mass that no nucleus has, also in float32."""
    if not np.finfo(np.float32).tiny <= top_p <= 1:
        raise UsageError(f"top_p is {top_p}: expected a mass in (0, 1], for example 0.8")


def _check(max_length: int) -> None:
    if max_length < 1:
        raise UsageError(f"max_length is {max_length}: expected at least 1 token")


@tf.function(reduce_retracing=True)
def _greedy(models, source, max_length, length_penalty):
    def most_probable(log_probabilities, _):
        return tf.math.top_k(log_probabilities, 1).indices[:, 0]

    return _one_sequence(models, source, max_length, length_penalty, most_probable)


@tf.function(reduce_retracing=True)
def _nucleus(models, source, top_p, uniforms, length_penalty):
    def sample(log_probabilities, t):
        size = tf.shape(log_probabilities)[1]
        probabilities, order = tf.math.top_k(tf.exp(log_probabilities), size)
        inside = tf.cumsum(probabilities, 1, exclusive=True) < top_p
        cumulative = tf.cumsum(tf.where(inside, probabilities, 0.0), 1)
        passed = cumulative <= uniforms[:, t, None] * cumulative[:, -1:]
        # Rounding can make a number just below 1 pass the whole nucleus: stay on its last token.
        rank = tf.minimum(_count(passed), _count(inside) - 1)
        return tf.gather(order, rank, batch_dims=1)

    return _one_sequence(models, source, tf.shape(uniforms)[1], length_penalty, sample)


def _count(flags):
    return tf.reduce_sum(tf.cast(flags, tf.int32), -1)


def _start(models: EncoderDecoder, source):
    """Return h, c and the step's inputs that stay the same, by name."""
    memory, h, c = models.encoder(source, training=False)
    fixed = {"memory": memory}
    if any(tensor.name == "mask" for tensor in models.step.inputs):
        fixed["mask"] = source != PAD
    return h, c, fixed


def _step(models: EncoderDecoder, token, h, c, fixed):
    """Return log-probabilities (B, V), h, c and the attention (B, S), S = 0 without one."""
    values = {"token": token, "h": h, "c": c, **fixed}
    logits, h, c, *attention = models.step(
        [values[tensor.name] for tensor in models.step.inputs], training=False
    )
    attention = attention[0] if attention else tf.zeros((tf.shape(token)[0], 0))
    return tf.nn.log_softmax(logits), h, c, attention


def has_attention(models: EncoderDecoder) -> bool:
    """Tell whether the step model returns attention weights."""
    return len(models.step.outputs) == 4


def _one_sequence(models, source, max_length, length_penalty, choose: Callable) -> Decoded:
    h, c, fixed = _start(models, source)
    n = tf.shape(h)[0]

    def go_on(t, token, h, c, ended, *_):
        return (t < max_length) & ~tf.reduce_all(ended)

    def advance(t, token, h, c, ended, total, tokens, looks):
        log_probabilities, h, c, look = _step(models, token, h, c, fixed)
        token = tf.where(ended, PAD, choose(log_probabilities, t))
        gained = tf.gather(log_probabilities, token, batch_dims=1)
        total += tf.where(ended, 0.0, gained)
        tokens = tokens.write(t, token)
        looks = looks.write(t, tf.where(ended[:, None], 0.0, look))
        return t + 1, token, h, c, ended | (token == EOS), total, tokens, looks

    tokens = tf.TensorArray(tf.int32, 0, dynamic_size=True, element_shape=(None,))
    looks = tf.TensorArray(tf.float32, 0, dynamic_size=True, element_shape=(None, None))
    steps, _, _, _, _, total, tokens, looks = tf.while_loop(
        go_on,
        advance,
        (0, tf.fill((n,), SOS), h, c, tf.zeros((n,), tf.bool), tf.zeros((n,)), tokens, looks),
    )
    tokens, looks = tf.transpose(tokens.stack()), tf.transpose(looks.stack(), (1, 0, 2))
    end = tf.reduce_min(tf.where(tokens == EOS, tf.range(1, steps + 1), steps), 1)
    scores = total / tf.cast(end, tf.float32) ** length_penalty
    return Decoded(tokens[:, None], scores[:, None], looks if has_attention(models) else None)


class _Beams(NamedTuple):
    """Carried from step to step: N examples with K hypotheses each."""

    token: tf.Tensor  # (N, K), the last one
    h: tf.Tensor  # (N*K, H)
    c: tf.Tensor  # (N*K, H)
    ended: tf.Tensor  # (N, K)
    total: tf.Tensor  # (N, K), sum of log-probabilities
    length: tf.Tensor  # (N, K), tokens so far
    score: tf.Tensor  # (N, K), total / length ** length_penalty


@tf.function(reduce_retracing=True)
def _beam(models, source, max_length, num_beams, length_penalty) -> Decoded:
    h, c, fixed = _start(models, source)
    n = tf.shape(h)[0]
    fixed = {name: tf.repeat(value, num_beams, 0) for name, value in fixed.items()}
    shape = (n, num_beams)
    # All hypotheses of an example start equal: only the first may be extended.
    alone = tf.tile([[0.0] + [-np.inf] * (num_beams - 1)], (n, 1))
    first = _Beams(
        token=tf.fill(shape, SOS),
        h=tf.repeat(h, num_beams, 0),
        c=tf.repeat(c, num_beams, 0),
        ended=tf.zeros(shape, tf.bool),
        total=alone,
        length=tf.zeros(shape),
        score=alone,
    )

    def advance(t, beams, tokens, parents, looks):
        beams, parent, look = _extend(models, beams, fixed, num_beams, length_penalty)
        tokens, parents = tokens.write(t, beams.token), parents.write(t, parent)
        return t + 1, beams, tokens, parents, looks.write(t, look)

    def array(dtype, rank):
        shape = (None,) * rank
        return tf.TensorArray(dtype, 0, dynamic_size=True, element_shape=shape)

    steps, beams, tokens, parents, looks = tf.while_loop(
        lambda t, beams, *_: (t < max_length) & ~tf.reduce_all(beams.ended),
        advance,
        (0, first, array(tf.int32, 2), array(tf.int32, 2), array(tf.float32, 3)),
    )
    tokens, looks = _trace_back(steps, tokens.stack(), parents.stack(), looks.stack())
    return Decoded(tokens, beams.score, looks if has_attention(models) else None)


def _extend(models, beams: _Beams, fixed, num_beams: int, length_penalty):
    """One step: return the new beams, their parents (N, K) and their attention (N, K, S)."""
    log_probabilities, h, c, look = _step(
        models, tf.reshape(beams.token, (-1,)), beams.h, beams.c, fixed
    )
    n = tf.shape(beams.token)[0]
    # Each hypothesis first ranks its own tokens: rounding in the scores cannot reorder them.
    best = min(num_beams, log_probabilities.shape[1])
    gained, token = tf.math.top_k(tf.reshape(log_probabilities, (n, num_beams, -1)), best)
    frozen = tf.constant([0.0] + [-np.inf] * (best - 1))  # an ended one goes on with PAD only
    gained = tf.where(beams.ended[..., None], frozen, gained)
    token = tf.where(beams.ended[..., None], PAD, token)
    total = beams.total[..., None] + gained  # (N, K, best)
    length = beams.length + tf.where(beams.ended, 0.0, 1.0)
    score = total / length[..., None] ** length_penalty

    score, chosen = tf.math.top_k(tf.reshape(score, (n, num_beams * best)), num_beams)
    parent = chosen // best

    def of_candidate(values):
        return tf.gather(tf.reshape(values, (n, num_beams * best)), chosen, batch_dims=1)

    def of_parent(values):
        return tf.gather(values, parent, batch_dims=1)

    token, was_ended = of_candidate(token), of_parent(beams.ended)
    flat = tf.reshape(parent + num_beams * tf.range(n)[:, None], (-1,))
    look = tf.reshape(tf.gather(look, flat), (n, num_beams, tf.shape(look)[1]))
    beams = _Beams(
        token=token,
        h=tf.gather(h, flat),
        c=tf.gather(c, flat),
        ended=was_ended | (token == EOS),
        total=of_candidate(total),
        length=of_parent(length),
        score=score,
    )
    return beams, parent, tf.where(was_ended[..., None], 0.0, look)


def _trace_back(steps, tokens, parents, looks):
    """Follow parents from the last step: (T, N, K) -> tokens (N, K, T), best looks (N, T, S)."""
    hypothesis = tf.zeros_like(parents[0]) + tf.range(tf.shape(parents)[2])

    def back(t, hypothesis, paths, best):
        paths = paths.write(t, tf.gather(tokens[t], hypothesis, batch_dims=1))
        best = best.write(t, tf.gather(looks[t], hypothesis[:, 0], batch_dims=1))
        return t - 1, tf.gather(parents[t], hypothesis, batch_dims=1), paths, best

    paths, best = tf.TensorArray(tf.int32, steps), tf.TensorArray(tf.float32, steps)
    _, _, paths, best = tf.while_loop(
        lambda t, *_: t >= 0, back, (steps - 1, hypothesis, paths, best)
    )
    return tf.transpose(paths.stack(), (1, 2, 0)), tf.transpose(best.stack(), (1, 0, 2))
