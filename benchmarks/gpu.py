"""A GPU against the CPU of the same machine: training of every real network, and exported files.

Needs HW2_DATA_DIR, a GPU, and for the files ``pip install onnxruntime-gpu`` in place of
onnxruntime.
"""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from measure import Row, alternate, calls_per_second

from export.runtime import Model, load
from export.verify import sources_of
from hw2_keras import experiments, load_data
from hw2_keras.reproduction import workers
from hw2_keras.reproduction.plan import PlannedRun
from hw2_keras.reproduction.trainer import Trainer, kind
from hw2_keras.runs import open_run

NETWORKS = (
    "fashion_cnn",
    "kmnist_cnn",
    "intel_cnn",
    "intel_cnn_bn",
    "translate_attention",
    "p2g_attention",
)
EPOCHS = 2
BATCHES = (1, 64, 1024)
FILES = Path(__file__).parents[1] / "results" / "onnx"


def rows() -> Iterator[Row]:
    """Minutes of a whole run on both, and examples per second of the exported files."""
    if not workers.gpus():
        raise SystemExit("no GPU here: this section compares one with the CPU")
    for name in NETWORKS:
        gpu, cpu = (minutes(name, device) for device in ("auto", "cpu"))
        yield Row("gpu", f"{name}, a run", "min", gpu, cpu, cpu / gpu)
    for path in sorted(FILES.glob("*.onnx")):
        for batch in BATCHES:
            yield answers(path, batch)


def minutes(name: str, device: str) -> float:
    """Minutes that a whole run would take, from a few epochs and what they took to start."""
    experiment = experiments[name]
    run = PlannedRun(name, experiment.best_rate, EPOCHS, 42, "real")
    trainer = Trainer(kind(run, device))
    with tempfile.TemporaryDirectory() as out:
        outcome = trainer.train(run, Path(out), lambda: None)
        trainer.close()
        if outcome.problem:
            raise SystemExit(f"{run} on {device}: {outcome.problem}")
        seconds = open_run(Path(out, run.folder)).record["training_seconds"]
    return (seconds * experiment.epochs / EPOCHS + outcome.seconds - seconds) / 60


def answers(path: Path, batch: int) -> Row:
    """Examples per second of a file on the GPU, and on the CPU."""
    gpu, cpu = (
        load(path, providers=(f"{provider}ExecutionProvider",)) for provider in ("CUDA", "CPU")
    )
    examples = inputs(gpu, batch)
    ours, theirs, ratio = alternate(
        lambda: batch * calls_per_second(lambda: gpu(examples, batch_size=batch), 2),
        lambda: batch * calls_per_second(lambda: cpu(examples, batch_size=batch), 2),
        pairs=3,
    )
    return Row("gpu", f"{path.name}, batch {batch}", "examples/s", ours, theirs, ratio)


def inputs(model: Model, batch: int) -> Sequence:
    """A batch of real test examples, repeated where there are fewer."""
    data = load_data(experiments[model.info["experiment"]].data, source="real")
    sources = sources_of(model, data)
    if isinstance(sources, np.ndarray):
        return np.resize(sources, (batch, *sources.shape[1:]))
    return [sources[i % len(sources)] for i in range(batch)]
