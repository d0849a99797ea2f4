"""Loss NaN: the logarithm of a probability that is 0, reached at once from raw pixels."""

import keras

import hw2_keras as hw2

data = hw2.load_data("fashion")
pixels, label = data.train.image[:800].astype("float32"), data.train.label[:800]


def log_of_softmax(label, logits):
    probabilities = keras.ops.softmax(logits)
    truth = keras.ops.one_hot(keras.ops.cast(keras.ops.reshape(label, -1), "int32"), 10)
    return -keras.ops.sum(truth * keras.ops.log(probabilities), axis=-1)


from_logits = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
for name, scale, loss in (
    ("raw pixels, log(softmax)", 1, log_of_softmax),
    ("raw pixels, loss from logits", 1, from_logits),
    ("pixels / 256, loss from logits", 256, from_logits),
):
    keras.utils.set_random_seed(42)
    model = hw2.build("fashion_cnn")
    model.compile(keras.optimizers.SGD(0.01), loss)
    history = model.fit(pixels / scale, label, batch_size=8, epochs=2, verbose=0).history["loss"]
    print(f"{name:<31}", *(f"{value:.3f}" for value in history))
