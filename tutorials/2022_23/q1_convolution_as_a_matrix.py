"""
Question 1: a convolution is a matrix
=====================================

Edition 2022-23, a paper question in three parts. A convolution is a *linear* map, so there must be
a matrix that does the same: which one? How many parameters does a small network save by using it?
And what does *self-attention* do with an image instead? Each answer is a formula, checked against
Keras, with the reports' slips and an example that shows each of them.

.. code-block:: bash

    python tutorials/2022_23/q1_convolution_as_a_matrix.py                  # drawn letters
    python tutorials/2022_23/q1_convolution_as_a_matrix.py --source real    # Kuzushiji-MNIST

As a script it saves its figure under ``runs/tutorials/q1_convolution_as_a_matrix``.
"""

# %%
# Setup
# -----
# Only the end of the second part trains anything: a tiny network, for a few seconds. An *epoch* is
# one pass over its training images.

from hw2_keras import tutorial

options = tutorial.arguments(epochs=20)  # before Keras, which it starts

from dataclasses import replace

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

import hw2_keras as hw2
from export import convert, runtime, verify
from hw2_keras.plots import of_theory
from hw2_keras.theory import attention, convolution, parameters

rng = np.random.default_rng(42)

# %%
# Question 1.1: the size of the output
# ------------------------------------
# The image ``x`` has ``H`` rows and ``W`` columns, the filter ``w`` has ``M`` and ``N``. The filter
# is laid over the image at every place where it fits, and each time the numbers under it are
# multiplied by its own and summed. There are ``H - M + 1`` places from top to bottom and
# ``W - N + 1`` from left to right, so the output ``z`` has that many rows and columns.

tutorial.section("Question 1.1: the size of the output")
H, W, M, N = 5, 6, 3, 3
x, w = rng.normal(size=(H, W)), rng.normal(size=(M, N))
z = convolution.convolve(x, w)
print("rows of z:   ", parameters.output_size(H, M).formula)
print("columns of z:", parameters.output_size(W, N).formula)
print("z has shape  ", z.shape)

# %%
# Question 1.2: the matrix
# ------------------------
# ``vec`` lays an image out as one long vector, row after row. Since each output is a weighted sum
# of the image's pixels, there is a matrix with ``vec(z) = matrix @ vec(x)``: one row per output
# pixel, one column per input pixel. Count from 0. Row ``i`` belongs to output pixel ``(r, s)``,
# with ``i = r (W - N + 1) + s``, and column ``j`` to input pixel ``(u, v)``, with ``j = u W + v``.
# When the filter lies at ``(r, s)``, the pixel ``(u, v)`` is under its element ``w[u - r, v - s]``,
# if it has such an element. That is the entry; all others are 0.

tutorial.section("Question 1.2: the matrix")
matrix = convolution.toeplitz_matrix(w, (H, W))
print("the matrix has shape", matrix.shape)
i, j = 5, 8  # output pixel (1, 1), input pixel (1, 2): w[0, 1]
print(f"entry ({i}, {j}): {convolution.matrix_entry(w, i, j, W):.4f}, w[0, 1] is {w[0, 1]:.4f}")

# %%
# Is it right? Keras, which knows nothing of the matrix, is the judge.

by_keras = ops.conv(x[None, :, :, None], w[:, :, None, None])[0, :, :, 0]
by_matrix = (matrix @ x.reshape(-1)).reshape(z.shape)
print(f"largest difference from Keras: {np.abs(by_keras - by_matrix).max():.1e}")

# %%
# A picture shows its structure. Each colour is one element of the filter and white is 0. Inside a
# grey block every diagonal has one colour: such a matrix is called **Toeplitz**. And the blocks
# themselves are equal along every diagonal of blocks. Hence the name of the whole: **doubly blocked
# Toeplitz**.

tutorial.show(of_theory.plot_matrix((M, N), (H, W)), "matrix")
blocks = (W - N + 1, W)
print("doubly blocked Toeplitz:", convolution.is_doubly_blocked_toeplitz(matrix, blocks))

# %%
# Two reports and their slips
# ---------------------------
# Report 003 writes the entry as ``M`` with the index ``i - j``, that is: it depends on ``i - j``
# alone, and the *whole* matrix is Toeplitz. That holds for a signal in one dimension. In an image
# it breaks wherever a row of pixels ends. The smallest counter-example is an image of 3x3 and a
# filter of 2x2.

tutorial.section("Two reports and their slips")
small = np.array([[1.0, 2.0], [3.0, 4.0]])
small_matrix = convolution.toeplitz_matrix(small, (3, 3))
print(small_matrix.astype(int))
print("Toeplitz:", convolution.is_toeplitz(small_matrix))
print(f"entry (1, 1) is {small_matrix[1, 1]:.0f} and entry (2, 2) is {small_matrix[2, 2]:.0f}")

# %%
# Report 002 gets the offset of the rows wrong. As we read its formula, it splits ``i`` as if a row
# of ``z`` were as long as a row of ``x``: ``W`` pixels instead of ``W - N + 1``. In the first row
# of ``z`` one cannot tell; from the second on the filter stands in the wrong place.

wrong = convolution.matrix_entry_by_report_002(small, 2, 3, image_width=3)
right = convolution.matrix_entry(small, 2, 3, image_width=3)
print(f"entry (2, 3): right {right:.0f}, by report 002 {wrong:.0f}")

# %%
# What the structure is worth
# ---------------------------
# A *fully connected* layer, in which every output sees every pixel with a weight of its own, may
# fill the whole matrix. The convolution leaves most entries at 0 (a pixel sees its neighbourhood
# only) and repeats the few others (the same filter everywhere).

tutorial.section("What the structure is worth")
for side, window in ((6, 3), (28, 5), (224, 3)):
    counts = convolution.count_entries((window, window), (side, side))
    print(
        f"{window}x{window} filter on {side}x{side}: {counts.free} free parameters, "
        f"{counts.nonzeros:,} non-zeros, {counts.entries:,} entries"
    )

# %%
# The matrix also explains training. The gradient of a loss by the image is the *transposed* matrix
# times the gradient by the output: each output pixel sends its share back to the pixels that it
# saw. TensorFlow's automatic differentiation agrees.

image = tf.constant(x[None, :, :, None])
with tf.GradientTape() as tape:
    tape.watch(image)
    loss = tf.reduce_sum(ops.conv(image, w[:, :, None, None]) ** 2)
gradient = tape.gradient(loss, image).numpy()[0, :, :, 0]
by_transpose = (matrix.T @ (2 * z.reshape(-1))).reshape(H, W)  # the loss is the sum of z²
print(f"largest difference from the tape: {np.abs(gradient - by_transpose).max():.1e}")

# %%
# Question 1.3: how many parameters
# ---------------------------------
# Put 2x2 max-pooling (keep the largest of four numbers) after the convolution, and a *linear layer*
# with 3 outputs after that. No biases. Pooling halves each side, rounding down, so that ``h``
# numbers are left; the linear layer has ``3 h`` weights. In the rival network one fully connected
# layer leads from all ``H W`` pixels to the same ``h`` numbers.

tutorial.section("Question 1.3: how many parameters")
print("h               =", parameters.HIDDEN_UNITS)
print("convolution     =", parameters.CNN_PARAMETERS)
print("fully connected =", parameters.DENSE_PARAMETERS)
counted = parameters.cnn_against_dense(H=28, W=28, M=5, N=5)
print("for 28x28 pixels and a 5x5 filter:")
for count in counted:
    print("   ", count.formula)

# %%
# Report 003 counts ``M N h + 3 h`` for the second network: one weight per hidden number and element
# of a *filter*, but that network has no filter. Keras counts with us.

h = counted.hidden.value
layer = layers.Dense(h, use_bias=False)
layer.build((None, 28 * 28))
print(f"fully connected + linear by Keras: {layer.count_params() + 3 * h:,}")
print(f"by report 003: {parameters.dense_parameters_by_report_003(28, 28, 5, 5):,}")

# %%
# The network of the question
# ---------------------------
# It is so small that it trains while you wait. Three classes of letters are enough for its three
# outputs.

tutorial.section("The network of the question")
everything = hw2.load_data("kmnist", source=options.source)


def three_classes(split):
    """The images of a split whose label is 0, 1 or 2."""
    chosen = split.label < 3
    return split._replace(image=split.image[chosen], label=split.label[chosen])


splits = {name: three_classes(getattr(everything, name)) for name in ("train", "val", "test")}
data = replace(everything, **splits, classes=everything.classes[:3])


keras.utils.set_random_seed(42)
pixels = keras.Input((28, 28, 1), name="image")
x = layers.Conv2D(1, 5, use_bias=False, name="conv")(pixels)  # 24x24x1
x = layers.Flatten()(layers.MaxPooling2D(2)(x))  # 12*12 = 144 = h
cnn = keras.Model(pixels, layers.Dense(3, use_bias=False)(x), name="question_cnn")

x = layers.Dense(h, use_bias=False)(layers.Flatten()(pixels))  # 784 -> h
mlp = keras.Model(pixels, layers.Dense(3, use_bias=False)(x), name="question_mlp")

rounds = options.epochs or 20
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
print(f"{options.source} images of {', '.join(data.classes)}; {rounds} epochs")
for model in (cnn, mlp):
    model.compile("adam", loss, metrics=["accuracy"])
    train, test = data.train, data.test
    model.fit(train.image / np.float32(256), train.label, epochs=rounds, verbose=0)
    _, accuracy = model.evaluate(test.image / np.float32(256), test.label, verbose=0)
    print(f"{model.name}: {model.count_params():7,} parameters, {accuracy:.1%} of the test images")

# %%
# One filter is little to tell letters apart with, and the second network has far more to work with;
# weigh the difference in accuracy against the ratio of the parameters. And whatever it has learned,
# the filter still is a matrix, with as many rows as outputs and as many columns as pixels:

print(f"{mlp.count_params() / cnn.count_params():.0f} times as many parameters")
trained = cnn.get_layer("conv").kernel.numpy()  # (5, 5, 1, 1)
pixels = data.test.image[:1].astype("float32") / 256
sparse = convolution.sparse_matrix(trained, (28, 28, 1))
by_layer = np.asarray(cnn.get_layer("conv")(pixels)).reshape(-1)
print("shape", sparse.shape, "with", f"{len(sparse.values):,}", "non-zeros")
gap = np.abs(sparse.dot(pixels.reshape(-1)) - by_layer).max()
print(f"largest difference between matrix and layer: {gap:.1e}")

# %%
# Question 1.4: self-attention on an image
# ----------------------------------------
# A convolution looks at the neighbours, with weights that are the same for every image.
# **Self-attention** looks at all pixels, with weights that the image itself decides. Flatten the
# image to a sequence ``x'`` of one row per pixel, each row that pixel's channels. The *score* of
# two pixels is the product of their rows: large where they are alike. ``softmax`` makes each row of
# scores positive with sum 1. That is ``P = softmax(x' x'ᵀ)``, and the output ``P x'`` gives every
# pixel a weighted mean of all pixels.

tutorial.section("Question 1.4: self-attention on an image")
colours = rng.uniform(size=(4, 4, 3))
output, P = attention.image_attention(colours)
print("P has shape", P.shape, "and rows that sum to", np.unique(P.sum(axis=1).round(9)))

# %%
# In general query, key and value are *1x1 convolutions*: filters of a single pixel, which multiply
# each pixel's channels by one matrix. The question's three are the identity. Keras's attention
# layer, with neither scale nor weights, is the same thing.

sequence = colours.reshape(1, 16, 3)
by_keras = layers.Attention(dtype="float64")([sequence, sequence])
print(f"largest difference from Keras: {np.abs(by_keras - output.reshape(1, 16, 3)).max():.1e}")

# %%
# Report 002 leaves the softmax out: ``(x' x'ᵀ) x'``. Then nothing is a mean any more. Make the
# image twice as bright: no weighted mean can exceed the brightest pixel, but this output grows
# eightfold.

for name, attend in (
    ("with softmax", lambda image: attention.image_attention(image)[0]),
    ("report 002  ", attention.image_attention_by_report_002),
):
    once, twice = attend(colours).max(), attend(2 * colours).max()
    print(f"{name}: largest output {once:.2f}, of the image doubled {twice:.2f}")
print(f"brightest pixel {colours.max():.2f}, doubled {2 * colours.max():.2f}")

# %%
# Take it away as one file
# ------------------------
# ``classifier_graph`` writes the trained network in ONNX, a format that many programs can run: the
# division of the pixels by 256 and the names of the classes are inside. ``verify`` compares the
# file with Keras on the test images before it is kept, and ``load`` needs numpy and onnxruntime
# alone.

tutorial.section("Take it away as one file")
path = tutorial.file("question_cnn.onnx")
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
picture, truth = data.test.image[0], data.classes[data.test.label[0]]
print(f"ONNX says {classify(picture)[0]}, the truth is {truth}")

# %%
# What to try next
# ----------------
# - Draw the matrix with ``stride=2`` or ``padding=1`` (``of_theory.plot_matrix`` takes both). Is it
#   still doubly blocked Toeplitz?
# - Multiply the matrices of two 3x3 filters. Which single filter has their product, and how large
#   is it?
# - Give the convolution four filters. By how many parameters does it grow, and what does the
#   accuracy do?
# - Shuffle the pixels of ``colours`` and attend again: the output is shuffled alike. Self-attention
#   does not know where a pixel is. Does a convolution?
# - :ref:`sphx_glr_gallery_2022_23_q2_kuzushiji_cnn.py` shows what that knowledge is worth.
