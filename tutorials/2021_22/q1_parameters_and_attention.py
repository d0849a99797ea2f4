"""
Question 1: counting parameters, and what attention cannot tell apart
=====================================================================

Edition 2021-22, a paper question in two halves. How many numbers does a small *convolutional
network* (CNN) learn, and how many does a network without convolutions learn for the same task? And
how does *self-attention*, the operation inside every Transformer, turn a sequence into
probabilities? Here each answer is computed twice, by the formula and by Keras.

.. code-block:: bash

    python tutorials/2021_22/q1_parameters_and_attention.py                  # drawn letters
    python tutorials/2021_22/q1_parameters_and_attention.py --source real    # Fashion-MNIST

As a script it saves its figures under ``runs/tutorials/q1_parameters_and_attention``.
"""

# %%
# Setup
# -----
# Only the second part of the first half trains anything, for a few seconds. An *epoch* is one pass
# over all training images; ``--epochs`` changes their number.

from hw2_keras import tutorial

options = tutorial.arguments(epochs=8)  # before Keras, which it starts

from dataclasses import replace

import keras
import numpy as np
from keras import layers, ops
from matplotlib.figure import Figure

import hw2_keras as hw2
from export import convert, runtime, verify
from hw2_keras.plots import of_theory, style
from hw2_keras.theory import attention, derivation, parameters

# %%
# Question 1.1: the shapes in the CNN
# -----------------------------------
# The image has 28x28 pixels and 3 colour channels. A **convolution** slides a small window, the
# *filter*, over it. A filter of 5x5 pixels fits on a side of 28 pixels at 28 - 5 + 1 = 24 places,
# so each of the 8 filters gives a map of 24x24 numbers. **Max-pooling** slides a window of 4x4 over
# each map, two pixels at a time (its *stride*), and keeps the largest number in it. The last layer
# is **linear**: each of its 10 outputs is a weighted sum of all 11*11*8 = 968 numbers left.

tutorial.section("Question 1.1: the shapes in the CNN")
conv, pool = parameters.output_size(28, window=5), parameters.output_size(24, window=4, stride=2)
print("convolution:", conv.formula)
print("pooling:    ", pool.formula)
print("flattened:  ", parameters.flat_size((pool.value, pool.value, 8)).formula)

# %%
# Question 1.2: its parameters
# ----------------------------
# A filter has one weight per pixel and channel of its window and one *bias*, a number that is
# added. It is the same filter at every place, so the size of the image does not enter. Pooling
# learns nothing.

tutorial.section("Question 1.2: its parameters")
by_hand = parameters.parameter_cnn()
print(derivation.format_derivation(by_hand))

# %%
# The same number must come from Keras, which counts the arrays that it really holds.

keras.utils.set_random_seed(42)
cnn = hw2.build("parameter_cnn")
print(f"by hand {sum(layer.parameters for layer in by_hand):,}")
print(f"Keras   {cnn.count_params():,}")
print(f"answer  {hw2.experiments['parameter_cnn'].parameters:,}")

# %%
# Question 1.3: the network without convolutions
# ----------------------------------------------
# A **multi-layer perceptron** (MLP) lays the pixels side by side and connects every one of the
# 28*28*3 = 2,352 numbers to each of 100 hidden units. Every connection has a weight of its own.

tutorial.section("Question 1.3: the network without convolutions")
print(derivation.format_derivation(parameters.parameter_mlp()))
mlp = hw2.build("parameter_mlp")
print(f"Keras {mlp.count_params():,}, answer {hw2.experiments['parameter_mlp'].parameters:,}")
print(f"{mlp.count_params() / cnn.count_params():.1f} times as many as the CNN")

# %%
# Where do they sit? Nearly all weights of the MLP are in its first layer, the one that sees the
# pixels. The convolution does that job with 608.

figure = Figure(figsize=(6.3, 2.2), layout="constrained")
axes = figure.subplots()
for row, model in enumerate((mlp, cnn)):
    left = 0
    for layer in derivation.derive(model):
        if layer.parameters:
            colour = style.OKABE_ITO[len(axes.patches)]
            label = f"{model.name}, {layer.name}: {layer.parameters:,}"
            axes.barh(row, layer.parameters, left=left, color=colour, label=label)
            left += layer.parameters
axes.set_yticks([0, 1], ["MLP", "CNN"])
axes.set_xticks(range(0, 250_000, 50_000), [f"{tick:,}" for tick in range(0, 250_000, 50_000)])
axes.set_xlabel("parameters")
axes.legend(frameon=False, fontsize=8, loc="center right", bbox_to_anchor=(1, 0.75))
tutorial.show(figure, "parameters_by_layer")

# %%
# Do 23 times as many help?
# -------------------------
# The homework only counts, but it is quick to try. The images are grey, so the three colour
# channels hold the same picture. Both networks are trained alike and tested on images that they
# have never seen.

tutorial.section("Do 23 times as many help?")
data = hw2.load_data("fashion", source=options.source)
colour = {
    name: split._replace(image=split.image.repeat(3, axis=-1))
    for name, split in (("train", data.train), ("val", data.val), ("test", data.test))
}
data = replace(data, **colour)

rounds = options.epochs or 8
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
print(f"{options.source} images, {rounds} epochs")
for model in (cnn, mlp):
    keras.utils.set_random_seed(42)  # the order of the images
    model.compile("adam", loss, metrics=["accuracy"])
    train, test = data.train, data.test
    model.fit(train.image / np.float32(256), train.label, epochs=rounds, verbose=0)
    _, accuracy = model.evaluate(test.image / np.float32(256), test.label, verbose=0)
    print(f"{model.name}: {model.count_params():7,} parameters, {accuracy:.1%} of the test images")

# %%
# Parameters that have to be learned one by one, for each place in the image, need many more
# images. Sharing them over all places builds in what we know beforehand: an edge is an edge
# wherever it lies.
#
# Question 1.4: self-attention as one formula
# -------------------------------------------
# Now the second half. A sequence of ``n`` tokens (words, say) is a matrix ``X`` with one row of
# ``D`` numbers per token. A *head* of attention multiplies it by two learned matrices, ``W_Q`` and
# ``W_K``, each of ``D`` rows and ``d`` columns:
#
# - ``Q = X W_Q``, the *queries*: row ``i`` is what token ``i`` looks for;
# - ``K = X W_K``, the *keys*: row ``j`` is what token ``j`` offers.
#
# Their product ``Q Kᵀ`` holds one *score* per pair of tokens. It is divided by ``√d``, and
# ``softmax`` makes every row positive with sum 1: row ``i`` of ``P`` says how much token ``i``
# looks at each of the others.

tutorial.section("Question 1.4: self-attention as one formula")
n, D, d = 6, 16, 4
rng = np.random.default_rng(42)
X = rng.normal(size=(n, D))
W_Q, W_K = rng.normal(size=(2, D, d)) / np.sqrt(D)

Q, K = ops.matmul(X, W_Q), ops.matmul(X, W_K)
P = ops.softmax(ops.matmul(Q, ops.transpose(K)) / np.sqrt(d))
print("P has shape", P.shape, "and its rows sum to", np.sum(P, axis=1).round(6))

# %%
# The question asks for ``P = softmax(X A Xᵀ)`` with one matrix ``A``. Putting ``Q`` and ``K`` into
# the product gives ``X W_Q W_Kᵀ Xᵀ / √d``, so ``A = W_Q W_Kᵀ / √d``. It has ``D`` rows and columns,
# but it is a product of something only ``d`` columns wide: its *rank*, the number of independent
# columns, is at most ``d``. The scores ``X A Xᵀ`` are ``n`` by ``n`` and inherit that rank,
# however long the sequence is.

A = W_Q @ W_K.T / np.sqrt(d)
print(f"largest difference from P: {np.abs(attention.softmax(X @ A @ X.T) - P).max():.1e}")
print("A", A.shape, "of rank", np.linalg.matrix_rank(A))
long = rng.normal(size=(50, D))
scores_of_50 = long @ A @ long.T
print("scores of 50 tokens", scores_of_50.shape, "of rank", np.linalg.matrix_rank(scores_of_50))

# %%
# The layer ``keras.layers.MultiHeadAttention`` with the same weights finds the same ``P``. It also
# has *values*, what is read where a token looks; they do not change ``P``.

layer = layers.MultiHeadAttention(num_heads=1, key_dim=d, use_bias=False, dtype="float64")
layer.build((1, n, D), (1, n, D))
for name, matrix in (("query", W_Q), ("key", W_K)):
    variable = next(v for v in layer.weights if f"/{name}/" in v.path)
    variable.assign(matrix[:, None])  # (D, heads, d)
_, P_of_layer = layer(X[None], X[None], return_attention_scores=True)
print(f"largest difference from Keras: {np.abs(P_of_layer[0, 0] - P).max():.1e}")

# %%
# Two mistakes of the reports
# ---------------------------
# Some reports leave out ``√d``. A score is a sum of ``d`` products, so its spread grows like
# ``√d``; without the division the softmax of a wide head puts nearly everything on one token, and
# where a softmax is that sure its gradient is nearly 0: training stalls.

tutorial.section("Two mistakes of the reports")
for width in (4, 64, 1024):
    q, k = rng.normal(size=(2, 200, width))
    raw = q @ k.T
    sure = [attention.softmax(s).max(axis=1).mean() for s in (raw, raw / np.sqrt(width))]
    print(f"d = {width:4}: largest weight of a row {sure[0]:.2f} without 1/√d, {sure[1]:.2f} with")

# %%
# Others do divide, but call ``d`` "the number of rows of ``K``". The rows of ``K`` are the tokens,
# ``n`` of them; ``d`` is the number of its columns, the size of the head. The counter-example:
# append a seventh token. How much token 0 prefers token 1 to itself, ``P[0, 1] / P[0, 0]``, is none
# of the new token's business.

longer = np.vstack([X, rng.normal(size=D)])
print("P[0, 1] / P[0, 0], scaled by")
for name, head in (
    ("columns of K, √d", lambda x: attention.probabilities(x, A)),
    ("rows of K, √n   ", lambda x: attention.probabilities_scaled_by_tokens(x, W_Q, W_K)),
):
    before, after = (p[0, 1] / p[0, 0] for p in (head(X), head(longer)))
    print(f"{name}: {before:.4f} with 6 tokens, {after:.4f} with 7")

# %%
# Question 1.5: two heads with the same probabilities
# ---------------------------------------------------
# Take any invertible matrix ``B`` of ``d`` rows and columns. The head with ``W_Q B`` and
# ``W_K B⁻ᵀ`` (the transpose of the inverse) has other weights, but ``B`` and its inverse meet in
# the middle of ``A`` and cancel: ``W_Q B (W_K B⁻ᵀ)ᵀ = W_Q B B⁻¹ W_Kᵀ = W_Q W_Kᵀ``. From ``P``
# alone nobody can tell which of the two heads was at work.

tutorial.section("Question 1.5: two heads with the same probabilities")
B = rng.normal(size=(d, d))
W_Q2, W_K2 = attention.equivalent_head(W_Q, W_K, B)
P2 = attention.probabilities(X, attention.score_matrix(W_Q2, W_K2))
print(f"weights differ by up to {np.abs(W_Q2 - W_Q).max():.2f}")
print(f"probabilities by up to  {np.abs(P2 - P).max():.1e}")

figure = Figure(figsize=(6.3, 2.6), layout="constrained")
panels = figure.subplots(1, 4, width_ratios=[1, 1, 2, 2])
pictures = {"W_Q": W_Q, "W_Q B": W_Q2, "P of W_Q, W_K": P, "P of W_Q B, W_K B⁻ᵀ": P2}
for axes, (title, matrix) in zip(panels, pictures.items(), strict=True):
    axes.imshow(matrix, cmap="Blues" if title.startswith("P") else "RdBu_r")
    axes.set_title(title, fontsize=9)
    axes.set_xticks([])
    axes.set_yticks([])
tutorial.show(figure, "two_heads")

# %%
# A computer rounds, and dividing by a nearly singular ``B`` makes the rounding visible. The
# *condition number* of ``B`` is the ratio of how much it stretches the direction that it stretches
# most to the one that it stretches least. The difference grows in proportion to it. A ``B`` that is
# not invertible loses a direction for good, and there is no second head.

tutorial.show(of_theory.plot_head_difference(np.geomspace(1, 1e14, 15)), "condition")
try:
    attention.equivalent_head(W_Q, W_K, np.ones((d, d)))
except ValueError as error:
    print("refused:", error)

# %%
# Take it away as one file
# ------------------------
# The CNN with the few parameters was trained above. ``classifier_graph`` writes it in ONNX, a
# format that many programs can run: the division of the pixels by 256 and the names of the classes
# are inside. ``verify`` compares the file with Keras on the test images before it is kept, and
# ``load`` needs numpy and onnxruntime alone.

tutorial.section("Take it away as one file")
path = tutorial.file("parameter_cnn.onnx")
facts = {
    "kind": "classifier",
    "experiment": cnn.name,
    "source": data.source,
    "labels": list(data.classes),
}
parity = convert.write_verified(
    convert.classifier_graph(cnn, data.classes),
    facts,
    path,
    lambda written: verify.verify_classifier(written, cnn, data),
)
print(parity)
classify = runtime.load(path)
image, label = data.test.image[0], data.classes[data.test.label[0]]
print(f"ONNX says {classify(image)[0]}, the truth is {label}")

# %%
# What to try next
# ----------------
# - Which single change of the CNN comes nearest to half its parameters: a stride of 3 in the
#   pooling, 4 filters, or filters of 3x3? Guess, then compute it with
#   ``parameters.conv_parameters`` and ``output_size``.
# - Make the MLP as small as the CNN: how many hidden units may it have? Train it and compare.
# - ``B`` has ``d²`` numbers that change nothing, so not all ``2*D*d`` weights of a head are free.
#   Find the ``B`` with which the first ``d`` rows of ``W_Q B`` become the identity matrix.
# - :ref:`sphx_glr_gallery_2022_23_q1_convolution_as_a_matrix.py` looks at what a convolution is.
