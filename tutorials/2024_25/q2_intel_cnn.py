"""
Question 2: landscapes, and where the parameters go
===================================================

Edition 2024-25. A *convolutional network* (CNN) tells six kinds of landscape apart, from colour
photographs of 48x48 pixels. A second network does better with a seventh of the parameters. The
question asks why: where the parameters are, and what small filters and pooling do. Report 004
answered it; its figures stand beside ours.

.. code-block:: bash

    python tutorials/2024_25/q2_intel_cnn.py                  # painted landscapes
    python tutorials/2024_25/q2_intel_cnn.py --source real    # the homework's photographs

With ``--source real`` the finished runs in ``results`` are opened. With a new folder as ``--out``
they are trained: a quarter to half an hour each on two cores, and there are four. Figures are saved
under ``runs/tutorials/q2_intel_cnn``.
"""

# %%
# Setup
# -----
# ``options`` holds what was given on the command line: where the data come from, how many *epochs*
# (passes over the training images) to train, and where the runs are kept.

from hw2_keras import tutorial

options = tutorial.arguments(epochs=2)  # before Keras, which it starts

import keras
import numpy as np
from keras import layers
from matplotlib.figure import Figure

import export
import hw2_keras as hw2
from export import runtime
from hw2_keras.plots import curves, of_runs, of_theory, style
from hw2_keras.report import tables
from hw2_keras.theory import convolution, derivation

plain, slim = hw2.experiments["intel_cnn"], hw2.experiments["intel_cnn_bn"]
data = hw2.load_data("intel", source=options.source)

# %%
# Question 2.1: the first network
# -------------------------------
# Three blocks of a *convolution* (a window of 3x3 pixels that slides over the image), ReLU
# (``max(0, x)``), *max-pooling* (the largest of 2x2 numbers) and *dropout* (a random 10 % of the
# numbers set to 0 while training). Then the 6x6 maps of 128 channels are laid out as 4,608 numbers,
# and three *dense* layers, in which every output sees every input, lead to six scores. Beside each
# layer stands the shape of what it gives.

tutorial.section("Question 2.1: the first network")
keras.utils.set_random_seed(42)
x = pixels = keras.Input((48, 48, 3))
for filters in (32, 64, 128):
    x = layers.Conv2D(filters, 3, padding="same")(x)  # 48x48x32, 24x24x64, 12x12x128
    x = layers.ReLU()(x)
    x = layers.MaxPooling2D(2)(x)  # 24x24x32, 12x12x64, 6x6x128
    x = layers.Dropout(0.1)(x)
x = layers.Flatten()(x)  # 4,608
x = layers.Dense(1024, activation="relu")(x)  # 1,024
x = layers.Dropout(0.1)(x)
x = layers.Dense(512, activation="relu")(x)  # 512
network = keras.Model(pixels, layers.Dense(6)(x), name="by_hand")  # 6 scores, one per class
network.summary()

# %%
# ``hw2.build`` makes the same network: as many parameters, and with the same weights the same
# scores.


def check(network, name):
    """Compare a network with the package's of this name."""
    of_package = hw2.build(name)
    of_package.set_weights(network.get_weights())
    some = data.val.image[:32] / 256
    gap = np.abs(network(some) - of_package(some)).max()
    print(f"largest difference from hw2.build({name!r}): {gap:.1e}")
    assert gap < 1e-5 and network.count_params() == of_package.count_params()


check(network, "intel_cnn")

# %%
# One epoch through the first 500 images. ``compile`` says what to minimise and how. The loss is the
# negative logarithm of the probability of the right class. *Stochastic gradient descent* (SGD)
# takes a batch of 8 images and moves all weights a little in the direction in which their loss
# falls; the **learning rate** says how little.

loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
network.compile(keras.optimizers.SGD(0.01), loss, metrics=["accuracy"])
image, label = data.train.image[:500] / 256, data.train.label[:500]
validation = (data.val.image / 256, data.val.label)
network.fit(image, label, batch_size=8, epochs=1, validation_data=validation, verbose=2)
print("1 of 6 would be right by chance (accuracy 0.17); one epoch is only the beginning")

# %%
# Three learning rates
# --------------------
# The package does the same for all images and epochs, once per rate. ``tutorial.sweep`` is
# ``hw2.sweep`` but for finished runs, which it opens. The best rate is the one with the best
# accuracy on the *validation* images, which are not trained on. ``running loss`` is the course's
# training loss, the mean over all batches since epoch 1.

tutorial.section("Three learning rates")
runs = tutorial.sweep("intel_cnn", options)
print(tables.heading(runs[0]))
if options.source == "synthetic":
    print("report rows are photographs, 40 epochs; 'this run' is painted scenes: do not compare")
print(tables.sweep_table(runs))
best = next(run for run in runs if run.best)
print(f"best rate {best.learning_rate:g}, the report's best {plain.best_rate:g}")

# %%
# In two epochs, the default here, the smallest rate hardly moves. The homework's 40 epochs give
# every rate time; on the photographs the largest learns too, but stays behind: its steps are too
# long to settle.

histories = {run.learning_rate: run.history for run in runs}
reported = plain.reported if options.source == "real" else ()
tutorial.show(curves.sweep_curves(histories, best.learning_rate, reported), "curves_all_rates")

# %%
# Question 2.2: the second network
# --------------------------------
# It differs in two ways. **Batch normalisation** brings every channel to mean 0 and spread 1 over
# the batch, then scales and shifts it by two learned numbers; so a layer need not follow every
# change of the layer before. And **global average pooling** replaces the laying out: of each of the
# 128 maps only the mean is kept. (The two numbers of the normalisation are those of the course's
# framework.)

tutorial.section("Question 2.2: the second network")


def normalise(x):
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)


x = pixels = keras.Input((48, 48, 3))
for filters in (32, 64, 128):
    x = layers.Conv2D(filters, 3, padding="same")(x)  # 48x48x32, 24x24x64, 12x12x128
    x = layers.ReLU()(normalise(x))
    x = layers.MaxPooling2D(2)(x)  # 24x24x32, 12x12x64, 6x6x128
    x = layers.Dropout(0.1)(x)
x = layers.GlobalAveragePooling2D()(x)  # 128
x = layers.ReLU()(normalise(layers.Dense(1024)(x)))  # 1,024
x = layers.Dropout(0.1)(x)
x = layers.ReLU()(normalise(layers.Dense(512)(x)))  # 512
check(keras.Model(pixels, layers.Dense(6)(x), name="by_hand_slim"), "intel_cnn_bn")

# %%
# The homework trains it at the best rate of the first.

second = tutorial.train("intel_cnn_bn", options, weights=True)
if options.source == "synthetic":
    print("reported figures are of photographs, 40 epochs; ours are of painted scenes")
print(tables.run_table(second))
print(tables.seeds_table([best, second]))
title = of_runs.title(second)
of_report = of_runs.reported_at(second) if options.source == "real" else ()
tutorial.show(curves.curves(second.history, title, of_report), "curves_batch_norm")

# %%
# The first table has all figures of the second network, the other one those of both networks on
# images that they have never seen; the last column is report 004's, with accuracies as fractions.
# It found the second network better by five points, though it is so much smaller.
#
# One reason shows in the losses of a long training. With millions of weights the first network can
# learn its training images by heart: their loss goes towards 0, while the validation loss falls
# and then rises again, which is called *overfitting*.

if len(best.history["epoch"]) < 10:
    print("too few epochs to see it; train longer (--epochs 20), or --source real")
for run in (best, second):
    validation = run.history["val_loss"]
    print(
        f"{run.experiment.name:12} training loss {run.metrics['loss']:.4f}, "
        f"validation loss {validation[-1]:.4f}, {min(validation):.4f} at its lowest"
    )

# %%
# Question 2.3: the parameters, layer by layer
# --------------------------------------------
# The blocks are the same in both, and small. The difference is one layer: the first dense layer of
# the first network has a weight for each of 4,608 numbers and each of its 1,024 units. After global
# average pooling there are 128 numbers instead.

tutorial.section("Question 2.3: the parameters, layer by layer")
trained = {}
for name, experiment in (("intel_cnn", plain), ("intel_cnn_bn", slim)):
    rows = derivation.derive(hw2.build(name))
    print(name)
    for row in rows:
        if row.parameters:
            print(f"  {row.name:8} {row.parameter_formula}")
    trained[name] = sum(row.parameters - row.non_trainable for row in rows)
    print(f"  trainable: {trained[name]:,}, in the homework: {experiment.parameters:,}")

# %%
# Batch normalisation holds four numbers per channel, but two of them, the mean and the spread of
# the images seen so far, are measured rather than trained.

counts = [{row.name: row.parameters for row in derivation.derive(hw2.build(n))} for n in trained]
print("layer        intel_cnn  intel_cnn_bn  difference")
for layer in dict.fromkeys([*counts[0], *counts[1]]):
    first, other = (count.get(layer, 0) for count in counts)
    if first or other:
        print(f"{layer:8}  {first:>12,}  {other:>12,}  {other - first:>+10,}")
print(f"trainable parameters: {trained['intel_cnn_bn'] / trained['intel_cnn'] - 1:+.1%}")

# %%
# Question 2.4: what a small filter sees
# --------------------------------------
# The **receptive field** of a unit is the patch of the image that can influence it. One convolution
# of 3x3 sees 3x3 pixels; a second on top of it sees 5x5, a third 7x7. A pooling of 2x2 makes every
# later step count double. So the three blocks see this much:

tutorial.section("Question 2.4: what a small filter sees")
stack = [(3, 1), (2, 2)] * 3  # (window, stride) of convolution and pooling, three times
kinds = ["convolution", "pooling"] * 3
for kind, field in zip(kinds, convolution.receptive_fields(stack), strict=True):
    print(f"after a {kind:11}: {field.size:2}x{field.size:<2} pixels, steps of {field.step}")

# %%
# The formula can be checked: the pixels at which the output has a gradient are the ones that it
# sees. The white square is the formula, the colours are the gradient. They also show that the
# middle counts more than the border, since more paths lead through it.

stacks = {"two 3x3": [(3, 1)] * 2, "three 3x3": [(3, 1)] * 3, "three blocks": stack}
tutorial.show(of_theory.plot_receptive_fields(stacks), "receptive_fields")

# %%
# Why not one large filter at once? For ``C`` channels in and out, three convolutions of 3x3 have
# ``3 * 9 * C²`` weights and one of 7x7, which sees as much, has ``49 * C²``. The small ones also
# apply a ReLU after each step. Whether that makes them *better* has to be tried. Both networks
# below have the same receptive field; the images are grey and 28x28, which is quicker.

for depth in (2, 3, 4):
    few = convolution.small_against_large(depth, channels=64)
    print(
        f"{depth} filters of 3x3: {few.small:,} weights; "
        f"one of {few.field}x{few.field}: {few.large:,}"
    )

# %%
# .. note::
#    These two comparisons use the images of Kuzushiji-MNIST, or the drawn letters in their place.
#    The networks are small and quick, so they get three times as many epochs, up to 8.


def after_one_pool(kernels, shape=(28, 28, 1), classes=10):
    """Conv 3x3 and pool, then convolutions with these kernels, pool and a linear layer."""
    pixels = keras.Input(shape)
    x = layers.Conv2D(16, 3, padding="same", activation="relu")(pixels)  # 28x28x16
    x = layers.MaxPooling2D(2)(x)  # 14x14x16
    for kernel in kernels:
        x = layers.Conv2D(16, kernel, padding="same", activation="relu")(x)  # 14x14x16
    x = layers.MaxPooling2D(2)(x)  # 7x7x16
    return keras.Model(pixels, layers.Dense(classes)(layers.Flatten()(x)))  # 784 -> 10


def train(build, image, label, epochs, seed=42):
    """Build a network and train it on images (N, H, W, C) uint8; the seed decides all chance."""
    keras.utils.set_random_seed(seed)
    model = build()
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(image / np.float32(256), label, batch_size=32, epochs=epochs, verbose=0)
    return model


def accuracy(model, image, label):
    """The share of the images (N, H, W, C) uint8 whose class the network names."""
    scores = model.predict(image / np.float32(256), batch_size=256, verbose=0)
    return float(np.mean(scores.argmax(axis=1) == label))


# %%
# The same training for both, then the test images:

letters = hw2.load_data("kmnist", source=options.source)
rounds = min(8, 3 * (options.epochs or 2))
print(f"{letters.source} data, {rounds} epochs")
print("network        parameters  test accuracy")
parameters, right = {}, {}
for name, kernels in (("small_kernels", (3, 3, 3)), ("large_kernel", (7,))):
    model = train(lambda k=kernels: after_one_pool(k), *letters.train, rounds)
    parameters[name], right[name] = model.count_params(), accuracy(model, *letters.test)
    print(f"{name:13}  {parameters[name]:10,}  {right[name]:13.1%}")
print(f"parameters {parameters['small_kernels'] / parameters['large_kernel'] - 1:+.0%}, ", end="")
print(f"accuracy {100 * (right['small_kernels'] - right['large_kernel']):+.1f} points")

# %%
# What is certain is the saving. The accuracy depends on the data and on the length of the training:
# the deeper stack needs more steps to get going. "Small filters are better" is not a law.
#
# Question 2.5: what pooling does
# -------------------------------
# Pooling does three things. It quarters the numbers that the next layer sees, and with them the
# weights of the first dense layer. It doubles how fast the receptive field grows. And it forgives
# small shifts, because the largest of 2x2 numbers often stays the same when the image moves by one
# pixel. The figure shows how much the features of a filter change when the image is moved.

tutorial.section("Question 2.5: what pooling does")
edge = np.array([[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]])[..., None, None]
tutorial.show(of_theory.plot_pooling(letters.train.image[:4] / 256, edge), "pooling")
with_pools = convolution.receptive_fields(stack)[-1].size
without_pools = convolution.receptive_fields([(3, 1)] * 3)[-1].size
print(f"receptive field of the three blocks: {with_pools} pixels, without pooling {without_pools}")

# %%
# Now the same network with and without its pools, tested on the test images and on the same images
# moved to the right and down, black moving in.


def cnn(pooling, shape=(28, 28, 1), classes=10):
    x = pixels = keras.Input(shape)
    for filters in (16, 32):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)  # 28x28x16, 14x14x32
        if pooling:
            x = layers.MaxPooling2D(2)(x)  # 14x14x16, 7x7x32
    return keras.Model(pixels, layers.Dense(classes)(layers.Flatten()(x)))  # 1,568 or 25,088 -> 10


def shifted(image, pixels):
    """(N, H, W, C) -> the same, moved by so many pixels."""
    height, width = image.shape[1:3]
    moved = np.zeros_like(image)
    moved[:, pixels:, pixels:] = image[:, : height - pixels, : width - pixels]
    return moved


# %%
# The accuracy over the shift, of both networks:

figure = Figure(figsize=(6.3, 2.6), layout="constrained")
axes = figure.subplots()
test, shifts = letters.test, range(7)
colours = {"with pooling": style.OKABE_ITO[0], "without pooling": style.OKABE_ITO[1]}
for name, pooling in (("with pooling", True), ("without pooling", False)):
    model = train(lambda p=pooling: cnn(p), *letters.train, rounds)
    parameters[name] = model.count_params()
    found = [accuracy(model, shifted(test.image, pixels), test.label) for pixels in shifts]
    axes.plot(shifts, found, "o-", color=colours[name], label=name)
    print(f"{name:15}  {parameters[name]:7,} parameters;", end=" ")
    print(f"{found[0]:.3f} right, {found[2]:.3f} moved by 2 pixels, {found[4]:.3f} by 4")
ratio = parameters["without pooling"] / parameters["with pooling"]
print(f"without pooling: {ratio:.1f} times the parameters")
axes.axhline(0.1, linestyle=":", color=style.GREY, label="chance")
axes.set(xlabel="shift to the right and down, in pixels", ylabel="test accuracy", ylim=(0, 1))
axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False)
tutorial.show(figure, "shift")

# %%
# Pooling forgives, it does not make invariant: the last layer still has a weight for each place, so
# a shift costs both networks a lot. Global average pooling goes all the way and forgets the place.
#
# Take it away as one file
# ------------------------
# ``export.to_onnx`` writes the second network in ONNX, a format that many programs can run, with
# the division of the pixels by 256 and the names of the classes inside. It compares the file with
# Keras on the test images before it is kept. ``load`` needs numpy and onnxruntime alone.

tutorial.section("Take it away as one file")
path = tutorial.file("intel_cnn_bn.onnx")
print(export.to_onnx(second, path))
classify = runtime.load(path)
sure = classify.probabilities(data.test.image[0]).max()
print(f"ONNX says {classify(data.test.image[0])[0]} ({sure:.0%} sure), ", end="")
print(f"the truth is {data.classes[data.test.label[0]]}")

# %%
# What to try next
# ----------------
# - Which matters more in the second network, batch normalisation or global average pooling? Build
#   one with only one of them from the lines above.
# - Add a fourth block. How large is its receptive field, compared with the image of 48 pixels?
# - Replace the first pooling by a convolution with stride 2. What happens to the parameters?
# - ``--epochs 5``: does the first network catch up?
# - ``cnn`` with a ``GlobalAveragePooling2D`` in place of ``Flatten``: what does its curve over the
#   shift look like, and what does it cost at shift 0?
# - :ref:`sphx_glr_gallery_2024_25_q1_hopfield_networks.py` is the edition's paper question.
