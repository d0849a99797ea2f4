"""The image classifiers, each one reading like the homework's list of layers.

Every model maps float images (N, H, W, C), pixels already divided by 256, to logits (N, K).
The softmax belongs to the loss while training and to the exported file afterwards.
"""

import keras
from keras import Model, layers


def parameter_cnn() -> Model:
    """Q1 of 2021-22: 10,298 parameters. (N, 28, 28, 3) -> logits (N, 10)."""
    image = keras.Input((28, 28, 3), name="image")
    x = layers.Conv2D(8, 5, activation="relu", name="conv1")(image)  # 24x24x8
    x = layers.MaxPooling2D(4, strides=2, name="pool1")(x)  # 11x11x8
    x = layers.Flatten(name="flatten")(x)  # 968
    logits = layers.Dense(10, name="logits")(x)
    return Model(image, logits, name="parameter_cnn")


def parameter_mlp() -> Model:
    """Q1 of 2021-22: 236,310 parameters. (N, 28, 28, 3) -> logits (N, 10)."""
    image = keras.Input((28, 28, 3), name="image")
    x = layers.Flatten(name="flatten")(image)  # 2352
    x = layers.Dense(100, activation="relu", name="dense1")(x)
    logits = layers.Dense(10, name="logits")(x)
    return Model(image, logits, name="parameter_mlp")


def two_block_cnn(name: str, filters: tuple[int, int], first_kernel: int, dropout: float) -> Model:
    """Q2 of 2021-22 and 2022-23. (N, 28, 28, 1) -> logits (N, 10).

    Args:
        name: of the model.
        filters: of the two convolutions: 16 and 32 (fashion_cnn), 8 and 16 (kmnist_cnn).
        first_kernel: side of the first convolution's kernel: 3 (fashion_cnn) or 5 (kmnist_cnn).
        dropout: rate after the first dense layer; report 001 took 0.2.
    """
    image = keras.Input((28, 28, 1), name="image")
    x = layers.Conv2D(filters[0], first_kernel, padding="same", name="conv1")(image)  # 28x28
    x = layers.ReLU(name="relu1")(x)
    x = layers.MaxPooling2D(2, name="pool1")(x)  # 14x14
    x = layers.Conv2D(filters[1], 3, name="conv2")(x)  # 12x12
    x = layers.ReLU(name="relu2")(x)
    x = layers.MaxPooling2D(2, name="pool2")(x)  # 6x6
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(600, activation="relu", name="dense1")(x)
    x = layers.Dropout(dropout, name="dropout1")(x)
    x = layers.Dense(120, activation="relu", name="dense2")(x)
    logits = layers.Dense(10, name="logits")(x)
    return Model(image, logits, name=name)


def residual_cnn(name: str, filters: tuple[int, ...], first_kernel: int) -> Model:
    """A small residual network with batch norm. (N, 28, 28, 1) -> logits (N, 10).

    A residual pair after each convolution of stride 2, and the mean over all positions at the
    end: He et al. 2016, "Deep residual learning for image recognition".

    Args:
        name: of the model.
        filters: channels of each size, 14x14, 7x7 and 4x4: 32, 64 and 128.
        first_kernel: side of the first convolution's kernel, 4.
    """
    image = keras.Input((28, 28, 1), name="image")
    x = image
    for stage, channels in enumerate(filters, start=1):  # 14x14, 7x7, 4x4
        kernel = first_kernel if stage == 1 else 3
        x = _convolution(x, channels, kernel, 2, f"{stage}")
        x = layers.ReLU(name=f"relu{stage}")(x)
        x = _residual_pair(x, channels, stage)
    x = layers.GlobalAveragePooling2D(name="global_pool")(x)
    logits = layers.Dense(10, name="logits")(x)
    return Model(image, logits, name=name)


def intel_cnn(dropout: float = 0.1) -> Model:
    """Q2 of 2024-25: 5,340,742 parameters. (N, 48, 48, 3) -> logits (N, 6).

    Args:
        dropout: rate after every block and after the first dense layer.
    """
    image = keras.Input((48, 48, 3), name="image")
    x = _intel_blocks(image, dropout, batch_norm=False)  # 6x6x128
    x = layers.Flatten(name="flatten")(x)  # 4608
    x = layers.Dense(1024, activation="relu", name="dense1")(x)
    x = layers.Dropout(dropout, name="dropout4")(x)
    x = layers.Dense(512, activation="relu", name="dense2")(x)
    logits = layers.Dense(6, name="logits")(x)
    return Model(image, logits, name="intel_cnn")


def intel_cnn_bn(dropout: float = 0.1) -> Model:
    """Q2 of 2024-25: 756,742 trainable parameters. (N, 48, 48, 3) -> logits (N, 6).

    Args:
        dropout: rate after every block and after the first dense layer.
    """
    image = keras.Input((48, 48, 3), name="image")
    x = _intel_blocks(image, dropout, batch_norm=True)  # 6x6x128
    x = layers.GlobalAveragePooling2D(name="global_pool")(x)  # 128
    x = layers.Dense(1024, name="dense1")(x)
    x = _batch_norm("norm4")(x)
    x = layers.ReLU(name="relu4")(x)
    x = layers.Dropout(dropout, name="dropout4")(x)
    x = layers.Dense(512, name="dense2")(x)
    x = _batch_norm("norm5")(x)
    x = layers.ReLU(name="relu5")(x)
    logits = layers.Dense(6, name="logits")(x)
    return Model(image, logits, name="intel_cnn_bn")


def _intel_blocks(x: keras.KerasTensor, dropout: float, batch_norm: bool) -> keras.KerasTensor:
    for block, filters in enumerate((32, 64, 128), start=1):  # 24x24, 12x12, 6x6
        x = layers.Conv2D(filters, 3, padding="same", name=f"conv{block}")(x)
        if batch_norm:
            x = _batch_norm(f"norm{block}")(x)
        x = layers.ReLU(name=f"relu{block}")(x)
        x = layers.MaxPooling2D(2, name=f"pool{block}")(x)
        x = layers.Dropout(dropout, name=f"dropout{block}")(x)
    return x


def _residual_pair(x: keras.KerasTensor, channels: int, stage: int) -> keras.KerasTensor:
    """Two convolutions whose result is added to what went into them."""
    y = _convolution(x, channels, 3, 1, f"{stage}a")
    y = layers.ReLU(name=f"relu{stage}a")(y)
    y = _convolution(y, channels, 3, 1, f"{stage}b")
    return layers.ReLU(name=f"relu{stage}b")(layers.Add(name=f"add{stage}")([x, y]))


def _convolution(
    x: keras.KerasTensor, channels: int, kernel: int, stride: int, place: str
) -> keras.KerasTensor:
    """A convolution and its batch norm, which makes a bias useless."""
    x = layers.Conv2D(
        channels, kernel, stride, padding="same", use_bias=False, name=f"conv{place}"
    )(x)
    return _batch_norm(f"norm{place}")(x)


def _batch_norm(name: str) -> layers.BatchNormalization:
    # The course's framework updates its running statistics by 0.1 and adds 1e-5 to the variance.
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)
