"""Training images changed at random, by random numbers that a key alone decides.

Keras's augmenting layers draw from a state of their own, which a resumed run would not have.
"""

import tensorflow as tf


def augment(image: tf.Tensor, key: tf.Tensor, padding: int, side: int) -> tf.Tensor:
    """Images (B, H, W, C), each one shifted and partly hidden in a way of its own.

    Args:
        image: float pixels, 0 is black.
        key: integers (2,); the same key gives the same images.
        padding: see `crop`; 0: no crops.
        side: see `cut_out`; 0: no square.
    """
    count, height, width = (tf.shape(image)[axis] for axis in range(3))
    of_crop, of_square = tf.unstack(tf.random.experimental.stateless_split(key, 2))
    if padding:
        image = crop(image, _places(of_crop, count, 2 * padding + 1, 2 * padding + 1), padding)
    if side:
        image = cut_out(image, _places(of_square, count, height, width), side)
    return image


def crop(image: tf.Tensor, start: tf.Tensor, padding: int) -> tf.Tensor:
    """Windows of the images' own size out of the images with a black border.

    Source: He et al. 2016, "Deep residual learning", 4.2.

    Args:
        image: (B, H, W, C).
        start: integers (B, 2) from 0 to 2 ``padding``: row and column of each window's corner.
        padding: pixels of the border; a window that starts there leaves its image as it is.
    """
    height, width = tf.shape(image)[1], tf.shape(image)[2]
    border = [[0, 0], [padding, padding], [padding, padding], [0, 0]]
    grid = tf.stack(tf.meshgrid(tf.range(height), tf.range(width), indexing="ij"), -1)
    places = start[:, None, None] + grid  # (B, H, W, 2)
    return tf.ensure_shape(tf.gather_nd(tf.pad(image, border), places, 1), image.shape)


def cut_out(image: tf.Tensor, centre: tf.Tensor, side: int) -> tf.Tensor:
    """Images with one black square each, of which a part may lie outside.

    Source: DeVries and Taylor 2017, "Improved regularization with cutout".

    Args:
        image: (B, H, W, C).
        centre: integers (B, 2): row and column.
        side: of the square, in pixels.
    """
    height, width = tf.shape(image)[1], tf.shape(image)[2]
    rows = _within(tf.range(height), centre[:, :1], side)  # (B, H)
    columns = _within(tf.range(width), centre[:, 1:], side)  # (B, W)
    hidden = rows[:, :, None] & columns[:, None, :]
    return tf.where(hidden[..., None], tf.zeros_like(image), image)


def _within(place: tf.Tensor, centre: tf.Tensor, side: int) -> tf.Tensor:
    first = centre - side // 2
    return (place >= first) & (place < first + side)


def _places(key: tf.Tensor, count: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Random rows below ``height`` and columns below ``width``: int32 (count, 2)."""
    of_rows, of_columns = tf.unstack(tf.random.experimental.stateless_split(key, 2))
    rows, columns = (
        tf.random.stateless_uniform((count, 1), seed, 0, below, tf.int32)
        for seed, below in ((of_rows, height), (of_columns, width))
    )
    return tf.concat([rows, columns], 1)
