"""
Question 3: a sentence for an aerial image
==========================================

Edition 2021-22. A network looks at a picture taken from the air and writes a sentence about it,
word by word. The question asks for two of them, without and with *attention*, for their training
loss and validation BLEU-4 after each epoch, for the BLEU-4 of the test images, and for the captions
of the images 219, 357 and 540. Reports 000 and 001 answered it.

.. code-block:: bash

    python tutorials/2021_22/q3_captioning.py                  # scenes painted in code
    python tutorials/2021_22/q3_captioning.py --source real    # Sydney-Captions

With ``--source real`` the finished run without attention is opened from ``results``; the one with
attention, whose weights are not kept there, is trained, and so are both with a new folder as
``--out``. Figures are saved under ``runs/tutorials/q3_captioning``.
"""

# %%
# Setup
# -----
# The painted scenes are simple: three *epochs*, passes over the training captions, show everything.
# With ``--source real`` the homework's six are run.

from hw2_keras import tutorial

options = tutorial.arguments(epochs=3)  # before Keras, which it starts

import math
from collections import Counter

import keras
import numpy as np
from keras import Model, layers, ops

import export
import hw2_keras as hw2
from export.runtime import load
from hw2_keras import metrics
from hw2_keras.plots import curves, of_images, of_runs
from hw2_keras.report import tables
from hw2_keras.training import captioning, sequences

data = hw2.load_data("caption", source=options.source)
experiment = hw2.experiments["caption"]

# %%
# Images and captions
# -------------------
# Five people described each image (for the painted scenes, five rules of a small grammar). One
# training example is one image with one of its captions, so each image is seen five times in an
# epoch. A *vocabulary* numbers the words; ``<start_seq>`` and ``<end_seq>`` mark a caption's ends.

tutorial.section("Images and captions")
shown = [0, 1]
captions = [data.train.target[i] for i in shown]
images = [data.train.image[i] for i in shown]
figure = of_images.captioned_images(images, [c[0] for c in captions], [c[1:] for c in captions])
tutorial.show(figure, "data")
print(f"{len(data.train.image)} images, {len(data.pairs):,} training examples")
vocabulary = data.target_vocabulary
print(f"{len(vocabulary)} words, such as {', '.join(vocabulary.tokens[:8])}")

# %%
# How good is a caption? BLEU-4
# -----------------------------
# There is no single right caption, so letters or words cannot be counted off against one. An
# **n-gram** is a run of ``n`` words. BLEU asks which share of the caption's n-grams occurs in one
# of the five captions written by people, the *references*. An n-gram counts at most as often as it
# occurs in the reference that has most of it; otherwise "the the the the" would be perfect.


tutorial.section("How good is a caption? BLEU-4")


def precision(caption, references, n):
    """Return how many n-grams of the caption are found in the references, and how many it has."""

    def ngrams(text):
        words = text.split()
        return Counter(zip(*(words[i:] for i in range(n)), strict=False))

    allowed = Counter()
    for reference in references:
        allowed |= ngrams(reference)  # the larger count of each n-gram
    found = ngrams(caption)
    return (found & allowed).total(), found.total()  # & takes the smaller count


# %%
# **BLEU-4** is the geometric mean of these shares for ``n`` = 1, 2, 3 and 4. A very short caption
# would have an easy time, so there is a *brevity penalty*: with ``c`` words in the caption and
# ``r`` in the reference nearest in length, a factor ``exp(1 - r/c)`` where ``c < r``.


def bleu4(caption, references):
    shares = [precision(caption, references, n) for n in (1, 2, 3, 4)]
    print("found of all, n = 1 to 4:", *(f"{found}/{every}" for found, every in shares))
    c = len(caption.split())
    r = min((len(text.split()) for text in references), key=lambda words: abs(words - c))
    mean = math.prod(found / every for found, every in shares) ** 0.25
    return mean * math.exp(min(0, 1 - r / c))


references = (
    "a river flows from top to bottom with many trees",
    "a river goes through the meadow beside the trees",
)
for caption in (
    "a river flows from top to bottom beside trees",
    "a river flows through the meadow with many trees",
):
    print(caption)
    by_hand, by_package = bleu4(caption, references), metrics.sentence_bleu(caption, references)
    print(f"by hand {by_hand:.4f}, by package {by_package:.4f}")

# %%
# Without a single 4-gram in common BLEU-4 is 0, however good the words are: there is no *smoothing*
# here. The course computes it for each image and **averages over images**. Usually all n-grams of
# the test set are counted together (*corpus BLEU*), where no single caption can become 0. The two
# are different figures; compare like with like.
#
# The image as a list of features
# -------------------------------
# The **encoder** turns an image into a grid of 16x16 positions. Each has a *feature*, a vector that
# describes what is there. For the homework's images the encoder is a ResNet-18 that learned to see
# on ImageNet and is *frozen*: it is not trained any further, so its features are computed once and
# kept. For the painted scenes it is a small convolutional network that learns together with the
# rest.

tutorial.section("The image as a list of features")
prepared = captioning.prepare(data, options.out or tutorial.RUNS)
print("one test image, as the captioner gets it:", prepared.test[0].shape, prepared.test.dtype)

if options.source == "real":
    sizes = {"vocabulary_size": len(data.target_vocabulary), "features": prepared.test.shape[1:]}
    picture = features = keras.Input(sizes["features"], name="picture")  # (B, 256, 512)
else:
    sizes = {"vocabulary_size": len(data.target_vocabulary), "features": None}
    picture = keras.Input((64, 64, 3), dtype="uint8", name="picture")
    x = ops.cast(picture, "float32") / 127.5 - 1  # (B, 64, 64, 3), from -1 to 1
    x = layers.Conv2D(32, 3, strides=2, padding="same", activation="relu")(x)  # (B, 32, 32, 32)
    x = layers.Conv2D(64, 3, strides=2, padding="same", activation="relu")(x)  # (B, 16, 16, 64)
    x = layers.Conv2D(64, 3, padding="same", activation="relu")(x)  # (B, 16, 16, 64)
    features = layers.Reshape((256, 64))(x)  # (B, 256, 64)

# %%
# Question 3.1: without attention
# -------------------------------
# The **decoder** writes the caption. It is an *LSTM*: it reads one word per step and carries a
# *state* from step to step, two vectors ``h`` and ``c``. A word is read as a vector of 100 numbers
# from a learned table, the *embedding*. The first state comes from the image, two linear maps of
# the mean of all features. A linear layer makes a score for each word of the vocabulary from ``h``.
# In training the decoder always reads the true word before (*teacher forcing*); when it writes a
# caption it reads its own, always the most probable word (*greedy search*), up to 22 words.
# *Dropout* sets a random half of ``h`` to 0 while training, so that no number can be relied on
# alone. Beside each line stands the shape of what it gives, for ``B`` captions of ``T`` words.

tutorial.section("Question 3.1: without attention")
mean = layers.GlobalAveragePooling1D()(features)  # (B, channels)
target_in = keras.Input((None,), dtype="int32", name="target_in")  # (B, T), one word behind
embedding = layers.Embedding(sizes["vocabulary_size"], 100)
words = embedding(target_in)  # (B, T, 100)
h, c = layers.Dense(256)(mean), layers.Dense(256)(mean)  # (B, 256) each
seen = layers.LSTM(256, return_sequences=True)(words, initial_state=[h, c])  # (B, T, 256)
dropout, last = layers.Dropout(0.5), layers.Dense(sizes["vocabulary_size"])
logits = last(dropout(seen))  # (B, T, words): a score for each word
network = Model([picture, target_in], logits, name="without_attention")

# %%
# ``hw2.build`` makes the same network: as many parameters, and with the same weights the same
# scores. The weights are the package's, which start as in the course's framework. To compare, we
# need captions as numbers: 1 starts a caption, 2 ends it, 0 fills it up.


def arrays(pairs):
    """(image, caption) numbers -> pictures, target_in and target_out (N, T) of the training set."""
    texts = [data.train.target[image][caption] for image, caption in pairs]
    ids = data.target_vocabulary.encode_batch(texts)
    target_in = np.pad(ids, ((0, 0), (1, 0)), constant_values=1)
    target_out = np.pad(ids, ((0, 0), (0, 1)))
    target_out[np.arange(len(ids)), np.count_nonzero(ids, axis=1)] = 2
    return prepared.train[pairs[:, 0]], target_in, target_out


def check(network, name):
    """Start a network with the package's weights and compare the two."""
    of_package = hw2.build(name, **sizes)
    network.set_weights(of_package.get_weights())
    some = arrays(data.pairs[:8])[:2]
    gap = np.abs(network(some) - of_package(some)).max()
    print(f"{name}: {network.count_params():,} parameters; largest difference: {gap:.1e}")
    assert gap < 1e-4 and network.count_params() == of_package.count_params()


check(network, "caption")

# %%
# One epoch, by hand
# ------------------
# ``compile`` says what to minimise and how. The loss is the mean negative logarithm of the
# probability of the right word, padding left out; the rule is *Adam*. *Gradients*, which say how to
# change each weight, are clipped to ±5, so that one odd batch cannot throw the weights off. ``fit``
# goes through the captions in *batches* of 8 and changes the weights after each; here through 320.

tutorial.section("One epoch, by hand")
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=0)
network.compile(keras.optimizers.Adam(experiment.best_rate, clipvalue=5), loss)
*inputs, outputs = arrays(np.random.default_rng(42).permutation(data.pairs)[:320])
network.fit(inputs, outputs, batch_size=experiment.batch_size, epochs=1, verbose=2)
chance = np.log(sizes["vocabulary_size"])
print(f"all {sizes['vocabulary_size']} words alike would have a loss of {chance:.2f}")

# %%
# The package follows the protocol: all captions, all epochs, and after each the BLEU-4 of the
# validation images. ``tutorial.train`` is ``hw2.train`` but for a finished run, which it opens.

print(f"{experiment.optimizer}, rate {experiment.best_rate:g}, {experiment.epochs} epochs,")
print(f"batches of {experiment.batch_size}, dropout {experiment.dropout}")
without = tutorial.train("caption", options)

# %%
# The mean of all features forgets *where* things are. And the decoder sees it only once, at the
# beginning.
#
# Question 3.2: attention, before every word
# ------------------------------------------
# With attention the decoder looks at the grid again before each word. Every position ``i`` gets a
# score from its feature and the state ``h`` after the word before:
#
# .. code-block:: text
#
#     e[i]       = v . ReLU(W_1 feature[i] + W_2 h + b)     the score
#     weights[i] = exp(e[i]) / sum over all positions       positive, together 1
#     context    = sum over i of weights[i] feature[i]      what it sees
#
# ``W_1``, ``W_2``, ``b`` and ``v`` are learned. Scores made from a *sum* of two maps are called
# *additive*. ReLU sets negative numbers to 0.

tutorial.section("Question 3.2: attention, before every word")


def additive(h, features, W_1, W_2, b, v):
    """h (B, 256), features (B, 256 positions, C) -> context (B, C), weights (B, 256)."""
    hidden = ops.relu(ops.matmul(features, W_1) + ops.matmul(h, W_2)[:, None] + b)
    weights = ops.softmax(ops.matmul(hidden, v)[..., 0])
    return ops.sum(weights[..., None] * features, 1), weights


# %%
# There is no mask, unlike for texts: every image has the same 256 positions, none of them padding.
#
# Where the context goes matters. The text models of the other editions look *after* the LSTM, to
# correct its output. Here the context is part of the LSTM's *input*, beside the word, so what was
# seen is remembered for the rest of the sentence. An LSTM *cell* is one step of an LSTM; ours looks
# before it steps, and carries the features along as a part of its state that never changes.


class LookingCell(layers.LSTMCell):
    """word (B, 100), state h, c (B, 256) and features (B, 256 positions, C) -> h, next state."""

    def __init__(self, units, features_shape):
        super().__init__(units)
        self.state_size = [units, units, tuple(features_shape)]

    def build(self, shape):
        channels = self.state_size[-1][-1]
        super().build((None, shape[-1] + channels))  # it reads word and context
        shapes = ((self.units, 100), (channels, 100), (100, 1), (100,))
        self.W_2, self.W_1, self.v, self.b = (self.add_weight(shape=shape) for shape in shapes)

    def call(self, word, state, training=False):
        h, c, features = state
        context, _ = additive(h, features, self.W_1, self.W_2, self.b, self.v)
        h, (h, c) = super().call(ops.concatenate([word, context], -1), [h, c])
        return h, [h, c, features]


# %%
# ``RNN`` runs it along the words. All other layers are those from above.

cell = LookingCell(256, features.shape[1:])
looking = layers.RNN(cell, return_sequences=True, name="looking")
seen = looking(words, initial_state=[h, c, features])  # (B, T, 256)
attending = Model([picture, target_in], last(dropout(seen)), name="with_attention")
attending.summary()
check(attending, "caption_attention")

# %%
# One epoch as before, then the protocol. The trained weights fit into our network, too: one step of
# it, and of the package's step model.

attending.compile(keras.optimizers.Adam(experiment.best_rate, clipvalue=5), loss)
attending.fit(inputs, outputs, batch_size=experiment.batch_size, epochs=1, verbose=2)

with_attention = tutorial.train("caption_attention", options, weights=True)
models = with_attention.models()
attending.set_weights(models.training.get_weights())
memory, h, c = models.encoder(prepared.test[:8])
start = ops.full((8,), 1)  # <start_seq>
by_hand = last(cell(embedding(start), [h, c, memory])[0])  # (8, words)
_, look = additive(h, memory, cell.W_1, cell.W_2, cell.b, cell.v)
by_package, *_, look_of_package = models.step([start, h, c, memory])
print(f"largest difference of a word's score: {np.abs(by_hand - by_package).max():.1e}")
print(f"largest difference of a weight:       {np.abs(look - look_of_package).max():.1e}")

# %%
# Curves
# ------
# Training loss of each network (the course plots the running mean since the first epoch; the mean
# of each epoch is beside it), then the validation BLEU-4 of both in one figure. The network of the
# last epoch is tested.

tutorial.section("Curves")
for run in (without, with_attention):
    figure = curves.curves(run.history, of_runs.title(run))
    tutorial.show(figure, f"curves_{run.experiment.name}")
histories = {run.experiment.name: run.history for run in (without, with_attention)}
tutorial.show(curves.metric_curves(histories, "val_bleu4"), "bleu")

# %%
# Question 3.3: three captions
# ----------------------------
# In real data the images 219, 357 and 540, as the homework asks; else the first three test scenes.
# The generated caption is in bold, the references are below. Report 000's network wrote
#
# - for 219: a residential area with houses arranged neatly while many plants on the roadside,
# - for 357: a meadow with some green bushes and white bunkers on it,
# - for 540: an industrial area with many white buildings and some roads go through this area.
#
# The second is the report's mistake: the picture shows boats on a river. A caption can be fluent
# and false, and BLEU-4, an average over images, does not tell.

tutorial.section("Question 3.3: three captions")
figures = of_runs.caption_plots(with_attention)
tutorial.show(figures.pop("captions"), "captions")
for image, text in without.metrics["captions"].items():
    print(f"without attention, image {image}: {text}")

# %%
# Where the network with attention looked for each word of the first of them. Each small picture has
# its own scale; under it stands its largest weight. Looking everywhere alike would be 1/256 =
# 0.004.

name, figure = next(iter(figures.items()))
tutorial.show(figure, name)

# %%
# Do not expect a picture of each noun. The weights are whatever helped to predict the next word,
# and a feature already describes a wide part of the image around its position.
#
# Reported and reproduced
# -----------------------
# The last column is that of reports 000 and 001, after 6 epochs on Sydney-Captions.

tutorial.section("Reported and reproduced")
print(f"{options.source} images, {with_attention.record['protocol']['epochs']} epochs")
if options.source == "synthetic":
    print("'reported' is Sydney-Captions, 'this' is painted scenes: do not compare")
print(tables.seeds_table([without, with_attention]))

# %%
# The same captions of the test images, counted in both ways:

written = sequences.decode_split(models, prepared.test, vocabulary, experiment.max_length)
print(f"mean over images {metrics.mean_bleu4(written, data.test.target):.4f}")
print(f"corpus BLEU-4    {metrics.corpus_bleu(written, data.test.target):.4f}")

# %%
# Take it away as one file
# ------------------------
# ``export.to_onnx`` writes image encoder, decoder, words and search into one ``.onnx`` file and
# compares it with Keras on all test images before it is kept. ``load`` needs numpy and onnxruntime
# alone; an image is plain pixels, of any size.

tutorial.section("Take it away as one file")
file = tutorial.file("caption.onnx")
print(export.to_onnx(with_attention, file))
describe = load(file)
print(describe(data.test.image[0]))
for text, score in describe(data.test.image[0], num_beams=5, n_best=3):
    print(f"{score:8.3f}  {text}")

# %%
# What to try next
# ----------------
# - ``python -m hw2_keras evaluate RUN --search beam --num-beams 5``: instead of always taking the
#   most probable word, *beam search* compares whole captions. Is the BLEU-4 better? Are the
#   captions?
# - The painted scenes say how many ships or trees there are and where. Which of the two networks
#   gets numbers right, and which gets sides right? Count them in ``written``.
# - Caption a scene turned upside down (``data.test.image[0][::-1]``).
# - ``--epochs 12``: when does the validation BLEU-4 stop to rise while the loss still falls?
# - :ref:`sphx_glr_gallery_export_from_keras_to_any_app.py` goes on from the file.
