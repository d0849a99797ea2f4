"""
Question 3: Spanish to English, character by character
======================================================

Edition 2022-23. A network reads a short Spanish sentence, one character after the other, and
writes the English one, also by characters. The question asks for the network without and with
*attention*, for the curve of its validation error, and for a way to better results that needs no
new model. Report 003 answered it and named beam search for the last part; here it is measured.

.. code-block:: bash

    python tutorials/2022_23/q3_translation.py                  # number words, made in code
    python tutorials/2022_23/q3_translation.py --source real    # the homework's sentences

With ``--source real`` the finished run with attention is opened from ``results``; the one without,
which keeps its figures there but not its weights, is trained, and so are both with a new folder as
``--out``. Figures are saved under ``runs/tutorials/q3_translation``.
"""

# %%
# Setup
# -----
# Without ``--source real`` the sentences are Spanish number words, from *cero* to *novecientos
# noventa y nueve mil ...*. The rules of both languages are strict, so a few *epochs* (passes over
# the training sentences) are enough, and no test number was seen in training.

from hw2_keras import tutorial

options = tutorial.arguments(epochs=6)  # before Keras, which it starts

import keras
import numpy as np
from keras import Model, layers, ops

import export
import hw2_keras as hw2
from export.runtime import load
from hw2_keras import decoding, metrics
from hw2_keras.plots import curves, of_texts
from hw2_keras.report import beams, tables
from hw2_keras.training import sequences

data = hw2.load_data("translate", source=options.source)
experiment = hw2.experiments["translate"]

# %%
# The sentences
# -------------
# A *vocabulary* numbers the characters of the training sentences. Four numbers are kept free: 0
# pads the shorter sentences of a batch to the length of the longest, 1 starts a sentence, 2 ends
# it, and 3 stands for any character that training has not seen.

tutorial.section("The sentences")
for source, target in zip(data.train.source[:3], data.train.target[:3], strict=True):
    print(f"{source}\n  {target}")
print(f"{len(data.train.source):,} training and {len(data.test.source):,} test pairs")
print(f"{len(data.source_vocabulary)} Spanish and {len(data.target_vocabulary)} English symbols")

# %%
# The network that writes reads its own sentence too, one character behind: it begins with the 1 and
# ends by predicting the 2.


def arrays(pairs, number):
    """The first pairs as source (N, S), target_in and target_out (N, T), filled up with 0."""
    source = data.source_vocabulary.encode_batch(pairs.source[:number])
    ids = data.target_vocabulary.encode_batch(pairs.target[:number])
    target_in = np.pad(ids, ((0, 0), (1, 0)), constant_values=1)
    target_out = np.pad(ids, ((0, 0), (0, 1)))
    target_out[np.arange(len(ids)), np.count_nonzero(ids, axis=1)] = 2
    return source, target_in, target_out


source, target_in, target_out = arrays(data.test, 32)
print("the decoder reads: ", target_in[0])
print("and should predict:", target_out[0])

# %%
# Two ways to count errors
# ------------------------
# The *edit distance* between two texts is the smallest number of characters to insert, delete or
# replace that turns one into the other. The homework divides it by the length of the true sentence
# and takes the **mean over sentences**. Edition 2024-25 divides all edits by all characters of the
# truth, the character error rate (CER). Both are called "error rate", and they are not the same: in
# the mean a short sentence counts as much as a long one.

tutorial.section("Two ways to count errors")
written, truth = ["no", "i am very tired ."], ["go", "i am very tired ."]
print(f"mean over sentences: (1/2 + 0/17) / 2  = {metrics.error_rate(written, truth):.3f}")
print(f"all edits together:  (1 + 0) / (2 + 17) = {metrics.cer(written, truth):.3f}")

# %%
# Question 3.1: encoder and decoder
# ---------------------------------
# An *LSTM* reads a sequence step by step. From each step to the next it carries a *state*, two
# vectors: ``h``, its output, and ``c``, its memory. The **encoder** is *bidirectional*, one LSTM
# reads from the left and one from the right, 64 numbers each; their last states together, 128
# numbers, are all that the **decoder** gets. The decoder is an LSTM too: it starts in that state,
# reads the character before and predicts the next one. An *embedding* is a table with one learned
# vector for each symbol. *Dropout* sets a random 30 % of the numbers to 0 while training, so that
# no unit can be relied on alone. Beside each line stands the shape of what it gives, for ``B``
# sentences of ``S`` Spanish and ``T`` English characters.

tutorial.section("Question 3.1: encoder and decoder")
sizes = {"source_size": len(data.source_vocabulary), "target_size": len(data.target_vocabulary)}
spanish = keras.Input((None,), dtype="int32", name="spanish")  # (B, S)
is_character = ops.not_equal(spanish, 0)  # (B, S), False at padding
x = layers.Embedding(sizes["source_size"], 128)(spanish)  # (B, S, 128)
x = layers.Dropout(0.3)(x)
both_ways = layers.Bidirectional(layers.LSTM(64, return_sequences=True, return_state=True))
memory, *states = both_ways(x, mask=is_character)  # (B, S, 128), and four states (B, 64)
memory = layers.Dropout(0.3)(memory)
h, c = ops.concatenate(states[::2], -1), ops.concatenate(states[1::2], -1)  # (B, 128) each

english = keras.Input((None,), dtype="int32", name="english")  # (B, T), one character behind
embedding = layers.ReversibleEmbedding(sizes["target_size"], 128)
x = layers.Dropout(0.3)(embedding(english))  # (B, T, 128)
q = layers.LSTM(128, return_sequences=True)(x, initial_state=[h, c])  # (B, T, 128)

# %%
# The last layer turns 128 numbers into a score for each English symbol. It has no table of its own
# but uses the embedding's, in reverse: the weights are *tied*, see below. Only a bias is added.


class Bias(layers.Layer):
    """Adds one learned number per symbol to (B, T, symbols)."""

    def build(self, shape):
        self.bias = self.add_weight(shape=shape[-1:])

    def call(self, x):
        return x + self.bias


dropout, bias = layers.Dropout(0.3), Bias()
logits = bias(embedding(dropout(q), reverse=True))  # (B, T, symbols)
network = Model([spanish, english], logits, name="without_attention")

# %%
# ``hw2.build`` makes the same network: as many parameters, and with the same weights the same
# *logits*, the scores from which softmax makes probabilities. The weights are the package's, which
# start as in the course's framework.


def check(network, name):
    """Start a network with the package's weights and compare the two."""
    of_package = hw2.build(name, **sizes)
    network.set_weights(of_package.get_weights())
    gap = np.abs(network([source, target_in]) - of_package([source, target_in])).max()
    print(f"{name}: {network.count_params():,} parameters; largest difference: {gap:.1e}")
    assert gap < 1e-4 and network.count_params() == of_package.count_params()


check(network, "translate")

# %%
# One epoch, by hand
# ------------------
# ``compile`` says what to minimise and how. The loss is the mean negative logarithm of the
# probability of the right character, padding left out; the rule is *Adam*. ``fit`` goes through the
# sentences in *batches* of 64 and changes the weights after each; here through the first 1,280.

tutorial.section("One epoch, by hand")
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=0)
network.compile(keras.optimizers.Adam(experiment.best_rate), loss)
*inputs, outputs = arrays(data.train, 1280)
network.fit(inputs, outputs, batch_size=experiment.batch_size, epochs=1, verbose=2)
chance = np.log(sizes["target_size"])
print(f"all {sizes['target_size']} symbols alike would have a loss of {chance:.2f}")

# %%
# The package follows the protocol: all sentences, all epochs, and after each the error of the
# validation sentences. ``tutorial.train`` is ``hw2.train`` but for a finished run, which it opens.

print(f"{experiment.optimizer}, rate {experiment.best_rate:g}, {experiment.epochs} epochs,")
print(f"batches of {experiment.batch_size}, dropout {experiment.dropout}")
without = tutorial.train("translate", options, weights=True)
models = without.models()

# %%
# Teacher forcing, and stepping
# -----------------------------
# In training the decoder always reads the *true* character before, whatever it predicted itself.
# This is **teacher forcing**. All characters are known beforehand, so one call handles the whole
# sentence. To translate, nobody knows them, and the decoder goes **step by step**.
#
# The package builds two models from the same layers, ``training`` for the one and ``step`` for the
# other. If they are the same network, stepping through the true characters must give the same
# logits.

tutorial.section("Teacher forcing, and stepping")
forced = models.training([source, target_in])  # (32, T, symbols)
_, h, c = models.encoder(source)
stepped = []
for t in range(target_in.shape[1]):
    logits, h, c = models.step([ops.convert_to_tensor(target_in[:, t]), h, c])
    stepped.append(logits)
print(f"largest difference: {np.abs(forced - ops.stack(stepped, 1)).max():.1e}")

# %%
# Replace the true character by the most probable one, and the same loop translates. This is
# **greedy search**. ``decoding.greedy`` is that loop, compiled by TensorFlow.

_, h, c = models.encoder(source[:1])
token, translation = np.array([1]), []  # 1 starts a sentence
while token[0] != 2 and len(translation) < experiment.max_length:  # 2 ends it
    logits, h, c = models.step([ops.convert_to_tensor(token), h, c])
    token = ops.convert_to_numpy(ops.argmax(logits, -1))
    translation.append(token[0])
by_package = decoding.greedy(models, source[:1], experiment.max_length).tokens[0, 0]
print("by hand:   ", data.target_vocabulary.decode(translation))
print("by package:", data.target_vocabulary.decode(by_package.numpy()))

# %%
# Tied output weights
# -------------------
# The decoder's embedding ``E`` (symbols x 128) turns a symbol into a vector. The last layer has to
# do the reverse, a score for each symbol from a vector ``o``. The homework uses the same table for
# both: ``logits = o Eᵀ + bias``. A symbol scores high where ``o`` points along its own vector. Our
# network, with the trained weights, shows it: here ``o`` is ``q``.

tutorial.section("Tied output weights")
network.set_weights(models.training.get_weights())
E = embedding.embeddings
o = Model(network.input, q)([source, target_in])  # (32, T, 128)
by_hand = ops.matmul(o, ops.transpose(E)) + bias.bias
print(f"largest difference from the model: {np.abs(by_hand - forced).max():.1e}")
print(f"weights saved: {E.shape[0]} x {E.shape[1]} = {E.shape[0] * E.shape[1]:,}", end=" ")
print(f"of {models.training.count_params() + E.shape[0] * E.shape[1]:,}")

# %%
# Question 3.2: bilinear attention
# --------------------------------
# With attention the decoder no longer depends on the last state alone. It keeps *all* outputs of
# the encoder, the **memory** ``h[1] ... h[n]``, one vector per Spanish character. At each step its
# LSTM output ``q`` asks, and every character ``i`` answers with a score:
#
# .. code-block:: text
#
#     s[i] = (W_qᵀ q) . h[i]                          the score
#     p[i] = exp(s[i]) / sum over all characters      the weights: positive, together 1
#     c    = sum over i of p[i] h[i]                  the context
#
# The logits are then made from ``tanh(W_oᵀ [q; c])`` instead of ``q``. ``W_q`` and ``W_o`` are
# learned. It is called *bilinear* because the score is linear in ``q`` and in ``h[i]``. The encoder
# and the decoder's LSTM are the layers from above; five lines more, and the network attends.

tutorial.section("Question 3.2: bilinear attention")
W_q = layers.Dense(128, use_bias=False)
s = ops.matmul(W_q(q), ops.transpose(memory, (0, 2, 1)))  # (B, T, S)
p = ops.softmax(ops.where(is_character[:, None], s, -1e9))  # padding: exp(-1e9) is exactly 0
context = ops.matmul(p, memory)  # (B, T, 128)
o = layers.Dense(128, activation="tanh")(ops.concatenate([q, context], -1))  # (B, T, 128)
logits = bias(embedding(dropout(o), reverse=True))  # (B, T, symbols)
attending = Model([spanish, english], logits, name="with_attention")
attending.summary()
check(attending, "translate_attention")

# %%
# One epoch as before, then the protocol. The trained weights fit into our network, too.

attending.compile(keras.optimizers.Adam(experiment.best_rate), loss)
attending.fit(inputs, outputs, batch_size=experiment.batch_size, epochs=1, verbose=2)

with_attention = tutorial.train("translate_attention", options, weights=True)
models = with_attention.models()
attending.set_weights(models.training.get_weights())
ours, theirs = (model([source, target_in]) for model in (attending, models.training))
print(f"largest difference of a logit after training: {np.abs(ours - theirs).max():.1e}")
weights = ops.convert_to_numpy(Model(attending.input, p)([source, target_in]))
at_padding = np.where(source[:, None] == 0, weights, 0).max()
print(f"the weights of a character sum to {weights.sum(-1).mean():.3f}; at padding {at_padding:g}")

# %%
# What attention is worth
# -----------------------
# The validation error per epoch, as the homework asks. The last epoch's network is tested.

tutorial.section("What attention is worth")
histories = {run.experiment.name: run.history for run in (without, with_attention)}
tutorial.show(curves.metric_curves(histories, "val_error_rate"), "curves")

# %%
# Each row of the next picture is an English character being written, each column a Spanish one;
# dark means a weight near 1.

sentence = next(text for text in data.test.source if 12 <= len(text) <= 24)
ids = data.source_vocabulary.encode_batch([sentence])
found = decoding.greedy(models, ids, experiment.max_length)
characters = [data.target_vocabulary.tokens[i] for i in found.tokens[0, 0].numpy()]
look = found.attention[0].numpy()
tutorial.show(
    of_texts.attention_map(look, data.source_vocabulary.split(sentence), characters), "attention"
)

# %%
# Question 3.3: better without a new model
# ----------------------------------------
# Greedy search never takes back a character, even when it leads to a sentence that is improbable as
# a whole. **Beam search** keeps the ``K`` best beginnings at every step, extends each by every
# character, and again keeps the best ``K``; at the end it has whole sentences to choose from. With
# ``K = 1`` it is greedy search.
#
# A sentence's *log-probability* is the sum of those of its characters. Every further character
# makes it smaller. *Length normalisation* divides it by the number of characters. The report
# suggested beam search and did not measure it:

tutorial.section("Question 3.3: better without a new model")
rows = beams.study(without) + beams.study(with_attention)
print(beams.table(rows))
drawn = [
    curves.BeamRow(
        row["experiment"],
        "test_error_rate",
        row["num_beams"],
        row["length_normalisation"],
        row["test_error_rate"],
    )
    for row in rows
]
tutorial.show(curves.beam_plot(drawn), "beams")

# %%
# *length* is the number of characters written for each one of the truth. Beam search can only
# choose among what the network finds probable: a wider beam finds sentences that the network scores
# higher, and whether these are also more *right* depends on how well it judges whole sentences. The
# normalised score is a mean, which further characters raise when the network is sure of them. The
# plain sum prefers short sentences, and for an error rate that is the safe side: a character too
# many costs as much as a wrong one. BLEU, which punishes short texts, decides otherwise.
#
# Reported and reproduced
# -----------------------
# The last column is report 003's, after 50 epochs on the homework's sentences.

tutorial.section("Reported and reproduced")
print(f"{options.source} sentences, {with_attention.record['protocol']['epochs']} epochs")
if options.source == "synthetic":
    print("'reported' is the homework's sentences, 'this' is number words: do not compare")
print(tables.seeds_table([without, with_attention]))

# %%
# The same translations, counted in the other way:

sources = data.source_vocabulary.encode_batch(data.test.source)
written = sequences.decode_split(models, sources, data.target_vocabulary, experiment.max_length)
print(f"mean over sentences {metrics.error_rate(written, data.test.target):.4f}")
print(f"all edits together  {metrics.cer(written, data.test.target):.4f}")

# %%
# Take it away as one file
# ------------------------
# ``export.to_onnx`` writes network, vocabularies and beam search into one ``.onnx`` file and
# compares it with Keras on all test sentences before it is kept. ``load`` needs numpy and
# onnxruntime alone.

tutorial.section("Take it away as one file")
file = tutorial.file("translate.onnx")
print(export.to_onnx(with_attention, file))
translate = load(file)
print(f"{sentence} -> {translate(sentence)}")
for text, score in translate(sentence, num_beams=5, n_best=3):
    print(f"{score:8.3f}  {text}")

# %%
# What to try next
# ----------------
# - ``--epochs 20``: does the network without attention catch up?
# - Translate a sentence twice as long as any in training. Which of the two networks breaks first?
# - The first embeddings are drawn with a spread of 1, and through the tied weights so are the first
#   logits. Multiply ``embedding.embeddings`` by 0.1 before ``fit``: what does the loss do?
# - Reverse every Spanish sentence in ``arrays`` (``text[::-1]``) and ``fit`` the network without
#   attention for ten epochs. Why did this help such networks?
# - :ref:`sphx_glr_gallery_export_from_keras_to_any_app.py` goes on from the file.
