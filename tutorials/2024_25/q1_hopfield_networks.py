"""
Question 1: Hopfield networks, a memory that attends
====================================================

Edition 2024-25, a paper question. A *Hopfield network* stores patterns, pictures for instance, and
finds the whole pattern again when it is shown a damaged one. It does so by rolling downhill on an
*energy*, a landscape with a valley around each pattern. The question shows that the modern version
of it takes steps that are exactly *attention*, the operation inside every Transformer. Each
statement is computed here and checked against automatic differentiation or a Keras layer.

.. code-block:: bash

    python tutorials/2024_25/q1_hopfield_networks.py                  # drawn Greek letters
    python tutorials/2024_25/q1_hopfield_networks.py --source real    # Kuzushiji-MNIST

As a script it saves its figures under ``runs/tutorials/q1_hopfield_networks``.
"""

# %%
# Setup
# -----
# Nothing is trained here: a Hopfield network does not learn its patterns, it holds them. So the
# number of ``--epochs``, which every tutorial takes, changes nothing.

from hw2_keras import tutorial

options = tutorial.arguments(epochs=1)  # before Keras, which it starts

from dataclasses import replace

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import hw2_keras as hw2
from export import convert, runtime, verify
from hw2_keras.data.image_files import ImageSplit
from hw2_keras.plots import of_theory
from hw2_keras.theory import hopfield
from hw2_keras.theory.attention import softmax

rng = np.random.default_rng(42)

# %%
# The energy
# ----------
# The memory is a matrix ``X`` with ``N`` rows, one *pattern* of ``D`` numbers each. The *state* of
# the network is a vector ``q`` of ``D`` numbers: the damaged pattern to begin with. ``X q`` holds
# one number per pattern, the larger the more alike it is to ``q``. ``β``, in the code ``beta``,
# says how sharply the most alike is preferred. It enters by the **log-sum-exp**, ``lse(β, z) =
# log(Σ exp(β z)) / β``, a smooth version of the largest element of ``z``: never below it, and above
# it by ``log(N)/β`` at most.

tutorial.section("The energy")
N, D, beta = 5, 8, 2.0
X, q = rng.normal(size=(N, D)), rng.normal(size=D)
z = X @ q
print("the largest of z <= lse <= the largest of z + log(N)/beta:")
for b in (0.5, 2.0, 8.0):
    lse = hopfield.log_sum_exp(b, z)
    print(f"beta {b:3}: {z.max():.3f} <= {lse:.3f} <= {z.max() + np.log(N) / b:.3f}")

# %%
# The energy is ``E(q) = -lse(β, X q) + log(N)/β + ½ qᵀq + ½ M²``, with ``M`` the length of the
# longest pattern. The first term pulls ``q`` towards the patterns that it resembles, the third
# keeps it from growing without end, the others are constants that keep the energy from going below
# 0. The homework splits it in two: ``E₁ = ½ qᵀq + log(N)/β + ½ M²`` and ``E₂ = -lse(β, X q)``.

print("the two parts sum to the energy:")
E1, E2 = hopfield.energy_convex(q, X, beta), hopfield.energy_concave(q, X, beta)
print(f"E1 {E1:.4f} + E2 {E2:.4f} = {E1 + E2:.4f}; E {hopfield.energy(q, X, beta):.4f}")

# %%
# Question 1.1: gradients and Hessians
# ------------------------------------
# The *gradient* of a function points uphill. Differentiating by hand, ``∇E₁ = q`` and
# ``∇(-E₂) = Xᵀ p`` with ``p = softmax(β X q)``: positive weights with sum 1, so the second gradient
# is a weighted mean of the patterns. The *Hessian*, the matrix of second derivatives, says how a
# function bends: ``I`` for ``E₁``, and ``β Xᵀ (diag(p) - p pᵀ) X`` for ``-E₂``. TensorFlow
# differentiates the same functions without being told the result.

tutorial.section("Question 1.1: gradients and Hessians")
variable = tf.Variable(q)
with tf.GradientTape() as second, tf.GradientTape() as first:
    minus_E2 = tf.reduce_logsumexp(beta * tf.linalg.matvec(X, variable)) / beta
    slope = first.gradient(minus_E2, variable)
bend = second.jacobian(slope, variable).numpy()

p = softmax(beta * X @ q)
print(f"gradient: differs by {np.abs(X.T @ p - slope).max():.1e}")
hessian = beta * X.T @ (np.diag(p) - np.outer(p, p)) @ X
print(f"Hessian:  differs by {np.abs(hessian - bend).max():.1e}")
print(f"package:  differs by {np.abs(hopfield.hessian_concave(q, X, beta) + hessian).max():.1e}")

# %%
# A function is **convex**, bent upwards everywhere, if the *eigenvalues* of its Hessian are never
# negative. Those of ``I`` are 1. For the other one take any vector ``v`` of ``N`` numbers:
# ``vᵀ (diag(p) - p pᵀ) v`` is the variance of ``v`` when its elements are drawn with the
# probabilities ``p``, and no variance is negative. So ``E₁`` is convex and ``E₂``, its negative
# being convex, is **concave**. A proof is better than examples, but examples can find an error.

lowest = min(
    np.linalg.eigvalsh(-hopfield.hessian_concave(state, X, b)).min()
    for state in rng.normal(size=(200, D)) * 3
    for b in (0.1, 1.0, 10.0)
)
print(f"smallest eigenvalue of 600 Hessians of -E2: {lowest:.1e} (0 but for rounding)")

# %%
# Question 1.2: downhill without a step size
# ------------------------------------------
# A concave function lies below each of its tangents. Replace ``E₂`` by its tangent at the present
# state ``a``: the sum with ``E₁`` is a bowl that lies above ``E`` and touches it at ``a``. Go to
# the bottom of the bowl. The energy there is not above the bowl, and the bowl not above where we
# started: **the energy cannot rise**. This is the *convex-concave procedure*.

tutorial.section("Question 1.2: downhill without a step size")
states = rng.normal(size=(1000, D)) * 2
above = hopfield.tangent_bound(states, q, X, beta) - hopfield.energy(states, X, beta)
print(f"bound minus energy: at least {above.min():.3f} at 1,000 states, ", end="")
print(f"{hopfield.tangent_bound(q, q, X, beta) - hopfield.energy(q, X, beta):.1e} at a itself")

# %%
# The bottom is where the gradient of the bowl is 0: ``q_new - Xᵀ softmax(β X a) = 0``. So the step
# is ``q ← Xᵀ softmax(β X q)``: weigh the patterns by how alike they are to the state, and move to
# their weighted mean.

descent = hopfield.descend(rng.normal(size=(1000, D)) * 2, X, beta, steps=10)
rises = np.diff(descent.energies, axis=0)
print(f"largest change of the energy in 10,000 steps: {rises.max():+.1e} (0 but for rounding)")

# %%
# In two dimensions one can look at it. Three patterns (stars), eight starts; to the right the
# energy along each path.

triangle = np.array([[1.0, 0.0], [-0.5, 0.87], [-0.5, -0.87]])
starts = rng.uniform(-1.2, 1.2, (8, 2))
tutorial.show(of_theory.plot_energy(4.0, triangle, starts), "energy")

# %%
# Question 1.3: the step is attention
# -----------------------------------
# *Cross-attention* takes *queries* ``Q``, *keys* ``K`` and *values* ``V`` and returns
# ``softmax(Q Kᵀ/√D) V``: every query reads a mean of the values, weighted by how well it fits the
# keys. In a Transformer they are projections, ``K = X W_K`` and ``V = X W_V``, by learned matrices.
# Choose the identity for both and ``β = 1/√D``, and let several states be the rows of ``Q``. Then
# the update of all of them at once *is* the layer. Keras's layer does not know that it is a memory:

tutorial.section("Question 1.3: the step is attention")
Q = rng.normal(size=(7, D))
attend = layers.Attention(dtype="float64")
layer_output = attend([Q[None] / np.sqrt(D), X[None]]).numpy()[0]
updated = hopfield.update(Q, X, beta=1 / np.sqrt(D))
print(f"largest difference: {np.abs(updated - layer_output).max():.1e}")

# %%
# The memory at work
# ------------------
# Six pictures, one of each of six classes, turned into patterns of -1 and 1. A fifth of the pixels
# is flipped, and the network has to find the original.

tutorial.section("The memory at work")
data = hw2.load_data("kmnist", source=options.source)
first_of_class = [int(np.argmax(data.train.label == k)) for k in range(6)]
patterns = np.where(data.train.image[first_of_class, ..., 0] > 100, 1, -1)
tutorial.show(of_theory.plot_storage(patterns), "storage")

# %%
# A small ``β`` weighs all patterns alike: every state falls to their mean. A large one gives one
# pattern all the weight: it comes back whole. The last row is the classic network of 1982, whose
# valleys merge when patterns resemble each other, as letters on the same paper do.
#
# How much damage does it stand, and with which ``β``? ``1/√D`` is where attention would put it.

tutorial.show(of_theory.plot_retrieval(patterns), "retrieval")
memory = patterns.reshape(6, -1).astype(float)
betas = np.array([0.001, 0.01, 0.1, 1.0])
print("share of the patterns found at beta", betas)
for share in (0.2, 0.4):
    found = hopfield.retrieval_by_beta(memory, hopfield.corrupt(memory, share), betas)
    print(f"{share:.0%} flipped:", found.round(2))

# %%
# Take it away as one file
# ------------------------
# A step is two matrices and a softmax, so a memory is a Keras model with nothing to train: the
# weights are the patterns. After three steps the last softmax says which pattern the state has come
# to. Pictures come as pixels from 0 to 255, which the file divides by 256.

tutorial.section("Take it away as one file")
names = [data.classes[k] for k in range(6)]
beta = 0.05
similarity = layers.Dense(6, use_bias=False, name="similarity")  # q -> beta X q
weighted_mean = layers.Dense(memory.shape[1], use_bias=False, name="weighted_mean")  # p -> Xᵀ p
image = keras.Input((28, 28, 1), name="image")
state = layers.Rescaling(2 * 256 / 255, offset=-1)(layers.Flatten()(image))  # black -1, white 1
for _ in range(3):
    state = weighted_mean(layers.Softmax()(similarity(state)))
network = keras.Model(image, similarity(state), name="hopfield_memory")
similarity.set_weights([beta * memory.T])
weighted_mean.set_weights([memory])
print(f"{network.count_params():,} weights: twice 6 patterns of {memory.shape[1]} pixels")

# %%
# ``classifier_graph`` writes it in ONNX, a format that many programs can run, and ``verify``
# compares the file with Keras on a hundred damaged copies of each pattern before it is kept.
# ``load`` needs numpy and onnxruntime alone.

damaged = np.concatenate([hopfield.corrupt(memory, 0.3, seed=seed) for seed in range(100)])
pixels = np.where(damaged > 0, 255, 0).astype("uint8").reshape(-1, 28, 28, 1)
copies = ImageSplit(pixels, np.tile(np.arange(6, dtype="int32"), 100))
data = replace(data, test=copies, classes=tuple(names))

path = tutorial.file("hopfield_memory.onnx")
facts = {"kind": "classifier", "experiment": network.name, "source": data.source, "labels": names}
parity = convert.write_verified(
    convert.classifier_graph(network, names),
    facts,
    path,
    lambda written: verify.verify_classifier(written, network, data),
)
print(parity)
recall = runtime.load(path)
print(f"ONNX recalls {recall(pixels[0])[0]}, the truth is {names[0]}")

# %%
# What to try next
# ----------------
# - Store ten patterns instead of six, then twenty of the same class. When do two valleys become
#   one, and does a larger ``beta`` part them again?
# - Flip 50 % of the pixels. Why can no memory help then? And 90 %? (Look at ``-q``.)
# - Start two states on both sides of a ridge in the energy figure and follow them.
# - A Transformer's ``W_K`` and ``W_V`` are learned. What would the memory store if ``W_V`` were not
#   the identity?
# - :ref:`sphx_glr_gallery_2024_25_q3_phonemes_to_spelling.py` uses attention with learned matrices.
