"""
Question 3: from phonemes to spelling
=====================================

Edition 2024-25. A dictionary says how a word sounds, one symbol per sound. Which letters write
it? The question asks for a network that reads the sounds and writes the letters, first without and
then with *attention*, and for two ways of letting it write: always the most probable letter, or a
letter drawn at random from the probable ones. Report 004 answered it; its figures stand beside
those printed here.

.. code-block:: bash

    python tutorials/2024_25/q3_phonemes_to_spelling.py                  # made-up words
    python tutorials/2024_25/q3_phonemes_to_spelling.py --source real    # the homework's words

With ``--source real`` the finished runs in ``results`` are opened. With a new folder as ``--out``
they are trained. Figures are saved under ``runs/tutorials/q3_phonemes_to_spelling``.
"""

# %%
# Setup
# -----
# The made-up words are spelled by rules, so a few epochs are enough to learn them; one *epoch* is
# one pass over all training words. With ``--source real`` the homework's own number is used.

from hw2_keras import tutorial

options = tutorial.arguments(epochs=12)  # before Keras, which it starts

import keras
import numpy as np
from keras import Model, layers, ops

import export
import hw2_keras as hw2
from export.runtime import load
from hw2_keras import decoding, metrics
from hw2_keras.plots import curves, of_runs, of_texts
from hw2_keras.report import tables
from hw2_keras.training import sequences

data = hw2.load_data("p2g", source=options.source)
experiment = hw2.experiments["p2g"]

# %%
# The words
# ---------
# The source is a list of *phonemes*, the sounds of a language, written in the International
# Phonetic Alphabet with spaces between them. ``t͡ʃ`` is one symbol: the arc ties the two letters
# together. The target is the spelling, one character after the other. A *vocabulary* numbers the
# symbols of the training words; the numbers 0 to 3 are kept for padding, start, end and unknown.

tutorial.section("The words")
for source, target in zip(data.train.source[:4], data.train.target[:4], strict=True):
    print(f"{source:25} {target}")
print(f"{len(data.train.source):,} training words, {len(data.test.source):,} test words")
print(f"{len(data.source_vocabulary)} source and {len(data.target_vocabulary)} target symbols")
print("ids of the first word:", data.source_vocabulary.encode(data.train.source[0]))

# %%
# The same sound is written in several ways. Which one is right depends on its neighbours, so the
# network cannot go symbol by symbol: it has to look around.
#
# How wrong is a word?
# --------------------
# The *edit distance* between two words is the smallest number of letters to insert, delete or
# replace that turns one into the other. The **character error rate** (CER) divides all edits of the
# test set by all letters of the truth. The **word error rate** (WER) is the share of words that are
# not exactly right. One wrong letter in each word is a small CER and a WER of 1.

tutorial.section("How wrong is a word?")
written, truth = ["nite", "rough", "cat"], ["night", "rough", "cats"]
print(f"CER {metrics.cer(written, truth):.3f}: 3 + 0 + 1 edits, 5 + 5 + 4 letters")
print(f"WER {metrics.wer(written, truth):.3f}: 2 of 3 words")

# %%
# Question 3.1: without attention
# -------------------------------
# The network has two halves. The **encoder** reads the phonemes with a *bidirectional LSTM*: one
# LSTM from the left, one from the right. An *LSTM* reads a sequence step by step and carries a
# *state*, two vectors ``h`` (what it shows) and ``c`` (what it keeps), from each step to the next.
# The **decoder** is another LSTM. It starts from the encoder's last state and writes one letter per
# step, reading the letter before. Everything that it knows about the word has to pass through those
# 2 x 128 numbers. An *embedding* is a table with one learned vector per symbol. *Dropout* sets a
# random 30 % of the numbers to 0 while training, so that no unit can be relied on alone. Beside
# each line stands the shape of what it gives, for ``B`` words of ``S`` phonemes and ``T`` letters.

tutorial.section("Question 3.1: without attention")
sizes = {"source_size": len(data.source_vocabulary), "target_size": len(data.target_vocabulary)}
sounds = keras.Input((None,), dtype="int32", name="sounds")  # (B, S)
is_sound = ops.not_equal(sounds, 0)  # (B, S), False at padding
x = layers.Embedding(sizes["source_size"], 128)(sounds)  # (B, S, 128)
x = layers.Dropout(0.3)(x)
both_ways = layers.Bidirectional(layers.LSTM(64, return_sequences=True, return_state=True))
memory, *states = both_ways(x, mask=is_sound)  # (B, S, 128), and four states (B, 64)
memory = layers.Dropout(0.3)(memory)
h_0, c_0 = ops.concatenate(states[::2], -1), ops.concatenate(states[1::2], -1)  # (B, 128) each

letters = keras.Input((None,), dtype="int32", name="letters")  # (B, T), one letter behind
embedding = layers.ReversibleEmbedding(sizes["target_size"], 128)
x = layers.Dropout(0.3)(embedding(letters))  # (B, T, 128)
s = layers.LSTM(128, return_sequences=True)(x, initial_state=[h_0, c_0])  # (B, T, 128)

# %%
# The last layer turns 128 numbers into a *logit*, a score, for each letter; softmax makes
# probabilities of them. It has no table of its own but uses the embedding's, in reverse. Only a
# bias is added.


class Bias(layers.Layer):
    """Adds one learned number per letter to (B, T, symbols)."""

    def build(self, shape):
        self.bias = self.add_weight(shape=shape[-1:])

    def call(self, x):
        return x + self.bias


dropout, bias = layers.Dropout(0.3), Bias()
logits = bias(embedding(dropout(s), reverse=True))  # (B, T, symbols)
network = Model([sounds, letters], logits, name="without_attention")

# %%
# ``hw2.build`` makes the same network: as many parameters, and with the same weights the same
# logits. The weights are the package's, which start as in the course's framework. To compare, we
# need words as numbers. The decoder reads the word one letter behind: it begins with the 1 and ends
# by predicting the 2.


def arrays(pairs, number):
    """The first pairs as source (N, S), target_in and target_out (N, T), filled up with 0."""
    source = data.source_vocabulary.encode_batch(pairs.source[:number])
    ids = data.target_vocabulary.encode_batch(pairs.target[:number])
    target_in = np.pad(ids, ((0, 0), (1, 0)), constant_values=1)
    target_out = np.pad(ids, ((0, 0), (0, 1)))
    target_out[np.arange(len(ids)), np.count_nonzero(ids, axis=1)] = 2
    return source, target_in, target_out


def check(network, name):
    """Start a network with the package's weights and compare the two."""
    of_package = hw2.build(name, **sizes)
    network.set_weights(of_package.get_weights())
    gap = np.abs(network([source, target_in]) - of_package([source, target_in])).max()
    print(f"{name}: {network.count_params():,} parameters; largest difference: {gap:.1e}")
    assert gap < 1e-4 and network.count_params() == of_package.count_params()


source, target_in, _ = arrays(data.test, 64)
is_symbol, is_letter = source != 0, target_in != 0
check(network, "p2g")

# %%
# One epoch, by hand
# ------------------
# ``compile`` says what to minimise and how. The loss is the mean negative logarithm of the
# probability of the right letter, padding left out; the rule is *Adam*. ``fit`` goes through the
# words in *batches* of 64 and changes the weights after each; here through the first 1,280.

tutorial.section("One epoch, by hand")
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=0)
network.compile(keras.optimizers.Adam(experiment.best_rate), loss)
*inputs, outputs = arrays(data.train, 1280)
network.fit(inputs, outputs, batch_size=experiment.batch_size, epochs=1, verbose=2)
chance = np.log(sizes["target_size"])
print(f"all {sizes['target_size']} symbols alike would have a loss of {chance:.2f}")

# %%
# The package follows the protocol: all words, all epochs, and after each the CER of the validation
# words. ``tutorial.train`` is ``hw2.train`` but for a finished run, which it opens.

print(f"{experiment.optimizer}, rate {experiment.best_rate:g}, {experiment.epochs} epochs,")
print(f"batches of {experiment.batch_size}, dropout {experiment.dropout}")
without = tutorial.train("p2g", options)

# %%
# After each epoch the network spells the validation words, and the epoch with the lowest CER there
# is the one that is tested. The test words have no part in the choice; otherwise their CER would be
# too good.

cer_of_epoch = dict(zip(without.history["epoch"], without.history["val_cer"], strict=True))
print(f"lowest CER after epoch {min(cer_of_epoch, key=cer_of_epoch.get):.0f}")
print(f"tested epoch:          {without.record['tested_epoch']}")

# %%
# Question 3.2: Bahdanau's attention
# ----------------------------------
# With attention the decoder may look back at *all* outputs of the encoder, the **memory** ``h[1]
# ... h[n]``, one vector per phoneme. At each step ``t`` its own output ``s[t]`` asks, and every
# phoneme ``i`` gets a score, a number that says how much it matters now:
#
# .. code-block:: text
#
#     e[t, i]     = v . tanh(W_s s[t] + W_h h[i])     the score
#     alpha[t, i] = exp(e[t, i]) / sum over i         the weights: positive, together 1
#     c[t]        = sum over i of alpha[t, i] h[i]    the context
#
# The letter is then predicted from ``tanh(W_out [c[t]; s[t]])``. ``W_s``, ``W_h`` and ``v`` are
# learned with the rest.
#
# The words of a batch have different lengths and are filled up with zeros, the *padding*;
# ``is_symbol`` says where the real symbols are. At padding the score becomes ``padding``, a number
# far below any other, whose exponential is exactly 0.

tutorial.section("Question 3.2: Bahdanau's attention")
W_s, W_h = (layers.Dense(128, use_bias=False, name=name) for name in ("W_s", "W_h"))
v = layers.Dense(1, use_bias=False, name="v")


def bahdanau(s, h, is_symbol, padding=-1e9):
    """s (B, T, 128), h (B, S, 128), is_symbol (B, S) -> c (B, T, 128), alpha (B, T, S)."""
    e = v(ops.tanh(W_s(s)[:, :, None] + W_h(h)[:, None]))[..., 0]  # (B, T, S)
    alpha = ops.softmax(ops.where(is_symbol[:, None], e, padding))
    return ops.matmul(alpha, h), alpha


c, alpha = bahdanau(s, memory, is_sound)
o = layers.Dense(128, activation="tanh", name="W_out")(ops.concatenate([s, c], -1))  # (B, T, 128)
logits = bias(embedding(dropout(o), reverse=True))  # (B, T, symbols)
attending = Model([sounds, letters], logits, name="with_attention")
attending.summary()
check(attending, "p2g_attention")

# %%
# The encoder and the decoder's LSTM are the layers from above. One epoch as before, then the
# protocol. The trained weights fit into our network, too, and then it answers the same.

attending.compile(keras.optimizers.Adam(experiment.best_rate), loss)
attending.fit(inputs, outputs, batch_size=experiment.batch_size, epochs=1, verbose=2)

with_attention = tutorial.train("p2g_attention", options, weights=True)
models = with_attention.models()
trained = models.training.get_weights()
attending.set_weights(trained)
ours, theirs = (model([source, target_in]) for model in (attending, models.training))
print(f"largest difference of a logit after training: {np.abs(ours - theirs).max():.1e}")

# %%
# The mistake in report 004
# -------------------------
# Report 004 gives padding the score 0. But ``exp(0)`` is 1, not 0, so padding keeps a weight. How
# much depends on the scores of the real phonemes, and nothing else in the formula ties those to 0.
# In a fresh network all scores are near 0, and padding weighs about as much as phonemes.

tutorial.section("The mistake in report 004")
fresh = hw2.build("p2g_attention", **sizes).get_weights()
inside = Model(attending.input, [s, memory])  # what attention gets
print(f"{1 - is_symbol.mean():.2f} of this batch is padding; weight on it:")
for name, weights in (("before training", fresh), ("after training", trained)):
    attending.set_weights(weights)
    s, h = inside([source, target_in])
    for padding in (0.0, -1e9):
        alpha = bahdanau(s, h, is_symbol, padding)[1]
        on_padding = np.sum(np.where(is_symbol[:, None], 0, alpha), -1)[is_letter]
        print(
            f"  {name + ',':16} score {padding:6.0g}: {on_padding.mean():.3f} on average, "
            f"up to {on_padding.max():.3f}"
        )

# %%
# Training then has to push the scores of real phonemes above 0 before attention can work, and even
# afterwards it does not hold at every step. Worse, how much padding a word gets depends on the
# longest word beside it. With the score 0 the same word has one context in this batch and another
# one alone, so its spelling may change with its company. With the right mask it cannot.

row = np.argmin(is_symbol.sum(1))
one, length = slice(row, row + 1), is_symbol[row].sum()
for padding in (0.0, -1e9):
    in_batch, _ = bahdanau(s[one], h[one], is_symbol[one], padding)
    alone, _ = bahdanau(s[one], h[one, :length], is_symbol[one, :length], padding)
    change = np.abs(in_batch - alone)[0, is_letter[row]].max()
    print(f"score {padding:6.0g}: the shortest word's context changes by up to {change:.4f}")

# %%
# What attention is worth
# -----------------------
# The homework asks for the validation CER per epoch of both networks in one figure.

tutorial.section("What attention is worth")
histories = {run.experiment.name: run.history for run in (without, with_attention)}
tutorial.show(curves.metric_curves(histories, "val_cer"), "curves")

# %%
# And this is where it looks. Each row is a letter being written, each column a phoneme; dark means
# a weight near 1. In a trained network the dark cells run down the diagonal because spelling
# follows the sounds in order. Where a neighbour decides how a sound is written, the weight spreads
# to that neighbour.

word = max(data.test.source[:50], key=len)
ids = data.source_vocabulary.encode_batch([word])
found = decoding.greedy(models, ids, experiment.max_length)
written = [data.target_vocabulary.tokens[i] for i in found.tokens[0, 0].numpy()]
look = found.attention[0].numpy()
tutorial.show(
    of_texts.attention_map(look, data.source_vocabulary.split(word), written), "attention"
)

# %%
# The best, the median and the worst test words show what is left to learn.

tutorial.show(of_runs.pair_plots(with_attention)["examples"], "examples")

# %%
# Question 3.3: nucleus sampling
# ------------------------------
# So far each step took the most probable letter (*greedy* search). *Sampling* draws the letter at
# random, by its probability, so that asking twice may give two spellings. But the many letters that
# are nearly impossible are drawn now and then too, and one of them ruins the word. The **nucleus**
# is the smallest set of most probable letters whose probabilities reach ``p`` together; only those
# may be drawn.


tutorial.section("Question 3.3: nucleus sampling")


def nucleus(probabilities, p):
    """probabilities (V,) -> ids of the nucleus, and their probabilities made to sum to 1."""
    order = np.argsort(-probabilities)
    mass_before = np.cumsum(probabilities[order]) - probabilities[order]
    inside = order[mass_before < p]
    return inside, probabilities[inside] / probabilities[inside].sum()


# %%
# The step of the 64 words at which the network is least sure is a good place to look at. Its
# uncertainty is the *entropy* of the probabilities, minus the sum of ``q log q``: 0 where one
# letter has all of it, large where many share it.

q = ops.convert_to_numpy(ops.softmax(models.training([source, target_in])))  # (64, T, V)
entropy = np.where(target_in > 0, -np.sum(q * np.log(q + 1e-9), -1), 0)
row, step = np.unravel_index(entropy.argmax(), entropy.shape)
tokens = data.target_vocabulary.tokens
written = data.target_vocabulary.decode(target_in[row, : step + 1])
print(f"{data.test.source[row]}: after {written!r}")
inside, share = nucleus(q[row, step], 0.8)
for token in np.argsort(-q[row, step])[: len(inside) + 3]:
    drawn = f"{share[inside == token][0]:.3f}" if token in inside else "never"
    print(f"  {tokens[token]:6} probability {q[row, step, token]:.3f}, drawn {drawn}")

# %%
# The package samples with random numbers that it is given: the same seed gives the same spellings.
# The figures of question 3.3 are one sampled pass, and **WER@3**: the share of words that none of
# three further passes gets right.

sources = data.source_vocabulary.encode_batch(data.test.source)
passes = [
    sequences.decode_split(
        models, sources, data.target_vocabulary, experiment.max_length, "nucleus", seed=seed
    )
    for seed in (43, 44, 45)
]
for three, right in list(zip(zip(*passes, strict=True), data.test.target, strict=True))[:8]:
    print(f"{right:15} {', '.join(three)}")
for number in (1, 2, 3):
    print(f"WER@{number}: {metrics.wer_at_k(passes[:number], data.test.target):.4f}")

# %%
# One sample is worse than greedy search, by design: it sometimes prefers the second best letter.
# Three samples together are better than one, because their mistakes differ. That is the use of
# sampling here: three proposals for a person to choose from.
#
# Reported and reproduced
# -----------------------
# The last column is report 004's, after 20 epochs on the homework's words.

tutorial.section("Reported and reproduced")
print(f"{options.source} words, {with_attention.record['protocol']['epochs']} epochs")
if options.source == "synthetic":
    print("'reported' is the homework's words, 'this' is made-up words: do not compare")
print(tables.seeds_table([without, with_attention]))

# %%
# Without attention the whole word has to fit into the last state, and long words suffer. With
# attention each letter can look at its own sound. Two things may set our network apart from report
# 004's on the real words: the mask, and how the weights start (embeddings with a spread of 0.1).
#
# Take it away as one file
# ------------------------
# ``export.to_onnx`` writes network, vocabularies and search into one ``.onnx`` file and compares it
# with Keras on all test words before it is kept. ``load`` needs numpy and onnxruntime alone.

tutorial.section("Take it away as one file")
file = tutorial.file("spell.onnx")
print(export.to_onnx(with_attention, file))
spell = load(file)
print(f"{word} -> {spell(word)}")
for text, score in spell(word, num_beams=5, n_best=3):
    print(f"{score:8.3f}  {text}")

# %%
# What to try next
# ----------------
# - ``--epochs 3``: which of the two networks suffers more from a short training, and why?
# - Sample with another ``top_p``: ``python -m hw2_keras evaluate RUN --search nucleus --top-p
#   0.5``. Towards 0 it becomes greedy search. What happens to the CER and to WER@3?
# - ``--search beam --num-beams 5`` compares whole words instead of single letters; see
#   :ref:`sphx_glr_gallery_2022_23_q3_translation.py`.
# - Build ``attending`` with ``bahdanau(s, memory, is_sound, padding=0.0)`` and ``fit`` it for ten
#   epochs, then the right one for ten: what does report 004's mistake cost? Which words pay for it?
# - :ref:`sphx_glr_gallery_export_from_keras_to_any_app.py` goes on from the file.
