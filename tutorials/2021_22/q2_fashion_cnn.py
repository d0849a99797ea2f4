"""
Question 2: a CNN on clothes, and what convolution respects
===========================================================

Edition 2021-22. Two tasks: say which changes of an image a convolution respects, and train a small
*convolutional network* (CNN) that tells ten kinds of clothes apart, with three learning rates.
Reports 000 and 001 did it; their figures stand beside the ones printed here.

.. code-block:: bash

    python tutorials/2021_22/q2_fashion_cnn.py                  # drawn letters, no download
    python tutorials/2021_22/q2_fashion_cnn.py --source real    # Fashion-MNIST

With ``--source real`` the finished runs in ``results`` are opened. With a new folder as ``--out``
they are trained: four to six minutes per learning rate on two cores. Figures are saved under
``runs/tutorials/q2_fashion_cnn``.
"""

# %%
# Setup
# -----
# ``options`` holds what was given on the command line: where the data come from, how many *epochs*
# (passes over the training images) to train, and where the runs are kept.

from hw2_keras import tutorial

options = tutorial.arguments(epochs=6)  # before Keras, which it starts

import keras
import numpy as np
from keras import layers
from matplotlib.figure import Figure

import export
import hw2_keras as hw2
from export import runtime
from hw2_keras.plots import curves, of_images, of_runs, of_theory, style
from hw2_keras.report import tables
from hw2_keras.theory import convolution, derivation

experiment = hw2.experiments["fashion_cnn"]
data = hw2.load_data("fashion", source=options.source)

# %%
# Question 2.1: which changes does convolution respect?
# -----------------------------------------------------
# Let ``f`` be a convolution and ``T`` a change of the image, such as a shift. ``f`` is
# **equivariant** to ``T`` when it makes no difference whether we change first or convolve first:
# ``f(T x) = T f(x)``. It is **invariant** when the change disappears altogether:
# ``f(T x) = f(x)``. We measure the gap between the two sides, divided by the size of the right
# one: 0 means equal.
#
# The image is a landscape, because a colour image can also change its hue. The filter looks for
# vertical edges, mostly in red.

tutorial.section("Question 2.1: which changes does convolution respect?")
scene = hw2.load_data("intel", source="synthetic").train
image = scene.image[np.argmax(scene.label == 3)] / 256
edge = np.array([[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]])
kernel = edge[:, :, None, None] * np.array([1.0, 0.2, -0.8])[:, None]  # (3, 3, 3 colours, 1)

conv = layers.Conv2D(1, 3, padding="same", use_bias=False, dtype="float64")
conv.build((None, *image.shape))
conv.set_weights([kernel])


def f(x):
    """(H, W, 3) -> (H, W, 1)."""
    return conv(x[None]).numpy()[0]


# %%
# A shift of 4 pixels down and 6 to the right. The border is left out of the comparison: there the
# convolution sees zeros beyond the edge, and pixels that left on one side.


def shift(x):
    """(H, W, C) -> (H, W, C)."""
    return convolution.translate(x, rows=4, columns=6)


equivariant = convolution.relative_gap(f, image, before=shift, after=shift, margin=9)
invariant = convolution.relative_gap(f, image, before=shift, margin=9)
print(f"gap between f(Tx) and T f(x): {equivariant:.1%}")
print(f"gap between f(Tx) and f(x):   {invariant:.1%}")

# %%
# So convolution is equivariant to *translation*, that is shifts: the same weights are used at every
# place, so the answer moves along with the image. It is not invariant. Report 000 writes
# "invariance"; the second number is the counter-example.
#
# Nothing in a convolution does the same for turning, zooming or changing colours. A filter for
# vertical edges does not answer to horizontal ones, whatever its weights are; only a filter that is
# itself symmetric would.

changes = {
    "quarter turn": (convolution.rotate, convolution.rotate),
    "zoom 2x": (convolution.zoom, convolution.zoom),
    "hue": (convolution.turn_hue, None),  # a feature map has no hue: T f(x) is f(x)
}
for name, (before, after) in changes.items():
    gap = convolution.relative_gap(f, image, before, after, margin=3)
    print(f"{name:12}: gap {gap:.0%}")
tutorial.show(of_theory.plot_equivariance(image, kernel), "equivariance")

# %%
# Question 2.2: the network
# -------------------------
# Two blocks of convolution, ReLU (``max(0, x)``) and max-pooling (the largest of 2x2 numbers),
# then three *dense* layers, in which every output sees every input. *Dropout* sets a random 30 % of
# the numbers to 0 while training, so that no unit can rely on a single other one. Its rate was a
# free choice; report 001 took 20 %. Beside each layer stands the shape of what it gives.

tutorial.section("Question 2.2: the network")
keras.utils.set_random_seed(42)
pixels = keras.Input((28, 28, 1))
x = layers.Conv2D(16, 3, padding="same", activation="relu")(pixels)  # 28x28x16
x = layers.MaxPooling2D(2)(x)  # 14x14x16
x = layers.Conv2D(32, 3, activation="relu")(x)  # 12x12x32: no padding
x = layers.MaxPooling2D(2)(x)  # 6x6x32
x = layers.Flatten()(x)  # 1,152
x = layers.Dense(600, activation="relu")(x)  # 600
x = layers.Dropout(0.3)(x)
x = layers.Dense(120, activation="relu")(x)  # 120
logits = layers.Dense(10)(x)  # 10, one score per class
network = keras.Model(pixels, logits, name="by_hand")
network.summary()

# %%
# ``hw2.build`` makes the same network: as many parameters, and with the same weights the same
# scores. Where the parameters come from, layer by layer:

of_package = hw2.build("fashion_cnn")
of_package.set_weights(network.get_weights())
some = data.val.image[:32] / 256
gap = np.abs(network(some) - of_package(some)).max()
print(f"largest difference from hw2.build: {gap:.1e}")
assert gap < 1e-5 and network.count_params() == of_package.count_params()
for row in derivation.derive(of_package):
    if row.parameters:
        print(f"{row.name:8} {row.parameter_formula}")
print(f"Keras counts {network.count_params():,}; the homework's network has", end=" ")
print(f"{experiment.parameters:,}")

# %%
# Nearly all of it is in the first dense layer. It is also where equivariance ends: a dense weight
# belongs to one place.
#
# One epoch, by hand
# ------------------
# ``compile`` says what to minimise and how: *stochastic gradient descent* (SGD) takes a batch of 8
# images, computes in which direction the loss falls, and moves every weight a little that way; the
# **learning rate** says how little. The loss is the negative logarithm of the probability of the
# right class. ``fit`` goes through the images once per epoch, here through the first 1,000.

tutorial.section("One epoch, by hand")
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
network.compile(keras.optimizers.SGD(0.01), loss, metrics=["accuracy"])
image, label = data.train.image[:1000] / 256, data.train.label[:1000]
validation = (data.val.image / 256, data.val.label)
network.fit(image, label, batch_size=8, epochs=1, validation_data=validation, verbose=2)
print("1 of 10 would be right by chance (accuracy 0.1); one epoch is only the beginning")

# %%
# Question 2.3: three learning rates
# ----------------------------------
# The package does the same for all images and epochs, once per learning rate, and keeps what the
# protocol asks for: ``tutorial.sweep`` is ``hw2.sweep`` but for finished runs, which it opens. The
# best run is the one with the best accuracy on the *validation* images, which are not trained on.
# The *test* images have no part in the choice.
#
# The course plots a *running* loss, the mean over all batches since the first epoch. It lags behind
# the loss of the last epoch; the table has both.

tutorial.section("Question 2.3: three learning rates")
runs = tutorial.sweep("fashion_cnn", options)
print(tables.heading(runs[0]))
if options.source == "synthetic":
    print("report rows are Fashion-MNIST, 15 epochs; 'this run' is drawn letters: do not compare")
print(tables.sweep_table(runs))

# %%
# On 2,000 drawn letters and in fewer epochs, the default, the numbers cannot be the reports'; the
# question is the same. The star in the table and the thick lines below are the best rate.

histories = {run.learning_rate: run.history for run in runs}
best = next(run for run in runs if run.best)
reported = experiment.reported if options.source == "real" else ()
tutorial.show(curves.sweep_curves(histories, best.learning_rate, reported), "curves_all_rates")

# %%
# A small rate needs more steps than it gets. A large one is fast at first, so after few epochs it
# may lead; given time it cannot settle, because near a minimum its steps jump over it. On
# Fashion-MNIST the rate 0.1 ends with a lower running loss than 0.01 and a lower accuracy on new
# images, in report 001 as in the runs of this package. A low training loss alone says little.

for run in runs:
    figures_of_run = run.metrics
    print(
        f"rate {run.learning_rate:5g}: running loss {figures_of_run['running_loss']:.4f}, "
        f"validation {figures_of_run['val_accuracy']:.4f}"
    )
print(f"best by validation accuracy: {best.learning_rate:g}, the reports' best: ", end="")
print(f"{experiment.best_rate:g}")
if best.learning_rate > experiment.best_rate:
    epochs = best.record["protocol"]["epochs"]
    print(f"in {epochs} epochs the longer steps got further; the reports had 15 to settle in")

# %%
# Question 2.4: both curves of the best run
# -----------------------------------------
# Where the validation accuracy still rises, more epochs would help. Where it falls while the
# training loss falls too, the network has begun to learn the training images by heart.

tutorial.section("Question 2.4: both curves of the best run")
tutorial.show(
    curves.curves(best.history, of_runs.title(best), of_runs.reported_at(best) if reported else ()),
    "curves",
)

# %%
# Question 2.5: the filters
# -------------------------
# Each small square is one filter, scaled from the smallest weight of its layer (black) to the
# largest (white). The filters of the first layer look at the image: light next to dark is an edge.
# Those of the second look at the 16 maps of the first; the picture shows the slice for the first
# of these maps, whose meaning we do not know, so little can be read from it.

tutorial.section("Question 2.5: the filters")
model = best.model()
for name in ("conv1", "conv2"):
    tutorial.show(of_images.filters(np.asarray(model.get_layer(name).kernel)), f"filters_{name}")

# %%
# Which classes does it confuse? Each row is a true class. Numbers off the diagonal are mistakes.

matrix = np.array(best.metrics["test_confusion"])
tutorial.show(of_images.confusion_matrix(matrix, data.classes), "confusion")

# %%
# Question 2.6: a small shift
# ---------------------------
# The convolutions move along with the image, the dense layers do not. What is left of that? The
# trained network has to name test images that were moved to the right and down, black moving in.

tutorial.section("Question 2.6: a small shift")


def shifted(image, pixels):
    """(N, H, W, C) -> the same, moved by so many pixels."""
    height, width = image.shape[1:3]
    moved = np.zeros_like(image)
    moved[:, pixels:, pixels:] = image[:, : height - pixels, : width - pixels]
    return moved


def accuracy(model, image, label):
    """The share of the images (N, H, W, C) uint8 whose class the network names."""
    scores = model.predict(image / np.float32(256), batch_size=256, verbose=0)
    return float(np.mean(scores.argmax(axis=1) == label))


# %%
# The clothes of Fashion-MNIST are all in the middle of their images. The drawn letters, the default
# here, lie up to 3 pixels off, so that training has shown the network some shifts already.

shifts = range(7)
test, classes = data.test, data.classes
found = [accuracy(model, shifted(test.image, pixels), test.label) for pixels in shifts]
for pixels, share in zip(shifts, found, strict=True):
    print(f"moved by {pixels} pixels: {share:.3f} right")

figure = Figure(figsize=(6.3, 2.4), layout="constrained")
axes = figure.subplots()
axes.plot(shifts, found, "o-", color=style.OKABE_ITO[0], label="this network")
axes.axhline(1 / len(classes), linestyle=":", color=style.GREY, label="chance")
axes.set(xlabel="shift to the right and down, in pixels", ylabel="test accuracy", ylim=(0, 1))
axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False)
tutorial.show(figure, "shift")

# %%
# Pooling forgives one pixel or two. Beyond that the weights of the first dense layer, which belong
# to places, meet numbers that they have never seen there.
#
# Take it away as one file
# ------------------------
# ``export.to_onnx`` writes the network in ONNX, a format that many programs can run, with the
# division of the pixels by 256 and the names of the classes inside. It compares the file with
# Keras on the test images before it is kept. ``load`` needs numpy and onnxruntime alone.

tutorial.section("Take it away as one file")
path = tutorial.file("fashion_cnn.onnx")
print(export.to_onnx(best, path))
classify = runtime.load(path)
sure = classify.probabilities(test.image[0]).max()
print(f"ONNX says {classify(test.image[0])[0]} ({sure:.0%} sure), ", end="")
print(f"the truth is {classes[test.label[0]]}")

# %%
# What to try next
# ----------------
# - ``--epochs 15``: which rate wins when each has more steps?
# - A filter that looks the same after a quarter turn: for which ``edge`` is the gap of the quarter
#   turn 0? What can such a filter not see?
# - ``hw2.build("fashion_cnn", dropout=0.2)`` is report 001's network. Does its number of parameters
#   change?
# - Train on images of which each is ``shifted`` by 0, 1 or 2 pixels. What does the last picture
#   look like then, and does the network lose anything at shift 0?
# - :ref:`sphx_glr_gallery_2022_23_q2_kuzushiji_cnn.py` takes the images' neighbourhoods away.
