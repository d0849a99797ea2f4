"""What a run is trained on: the first GPU that TensorFlow sees, or the CPU."""

import contextlib

import keras
import tensorflow as tf


def use(device: str = "auto") -> None:
    """Chooses the device of this process; call it before TensorFlow has computed anything.

    A GPU's memory is taken as it is needed, not all at once. Afterwards the call changes nothing.

    Args:
        device: "auto" takes a GPU where there is one, "cpu" none.
    """
    with contextlib.suppress(RuntimeError):  # TensorFlow has its devices already
        if device == "cpu":
            tf.config.set_visible_devices([], "GPU")
        for gpu in tf.config.get_visible_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)


def used() -> dict[str, str]:
    """What a run's record says: the device's ``kind`` and ``name``, and the ``precision``."""
    gpus = tf.config.get_visible_devices("GPU")
    if gpus:
        name = tf.config.experimental.get_device_details(gpus[0]).get("device_name", gpus[0].name)
    else:
        name = _processor()
    return {
        "kind": "gpu" if gpus else "cpu",
        "name": name,
        "precision": keras.config.dtype_policy().name,
    }


def allow_cudnn(model: keras.Model) -> None:
    """Lets the LSTMs of a model train with cuDNN's kernel on a GPU; on a CPU nothing changes.

    The weights are the same, and an exported model is built anew without it: cuDNN's kernel has
    no ONNX form.
    """
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.LSTM):
            layer.use_cudnn = "auto"


def _processor() -> str:
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    import platform

    return platform.processor() or platform.machine()
