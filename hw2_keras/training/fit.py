"""Train one run of an experiment, or sweep its learning rates, through ``model.fit``."""

import contextlib
import datetime
import hashlib
import io
import math
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from hw2_keras import decoding, files, lock, metrics, runs
from hw2_keras.data import load_data
from hw2_keras.errors import UsageError, printable
from hw2_keras.experiments import Experiment, experiments
from hw2_keras.models import build_models
from hw2_keras.models.encoder_decoder import EncoderDecoder
from hw2_keras.records import LARGEST_RATE, MOST_EPOCHS
from hw2_keras.runs import Run, open_run
from hw2_keras.training import TASKS, captioning, devices, sampling
from hw2_keras.training.callbacks import (
    Checkpoint,
    EpochNumber,
    Progress,
    RunningLoss,
    TensorBoard,
)
from hw2_keras.training.optimizers import optimizer_for

LONGEST_WAIT = 10.0  # seconds for another process that opens the same run


def train(
    name: str,
    learning_rate: float | None = None,
    epochs: int | None = None,
    seed: int = 42,
    source: str = "synthetic",
    out: str | Path = "runs",
    encoder: str | Path | None = None,
) -> Run:
    """Trains one run as the homework prescribes, or resumes it where it was interrupted.

    Args:
        name: an experiment that is trained (any but those of Q1).
        learning_rate: default: the rate that the reports found best.
        epochs: default: those of the homework.
        seed: decides initial weights, order of the data and dropout; the same seed on the same
            machine with the same threads (see ``set_threads``) gives the same run.
        source: "synthetic" or "real" data, see ``load_data``.
        out: folder in which the run's folder is made, e.g.
            ``runs/fashion_cnn-real-rate0.01-epochs15-seed42``.
        encoder: image encoder of the captioners on real data: name or folder of a KerasHub preset
            for ``ResNetBackbone``. Default: resnet_18_imagenet, from the folder of that name
            under HW2_DATA_DIR where there is one; a run with another network departs from the
            reports' protocol.

    Returns:
        The finished run. One that is finished already is opened, not repeated.

    Raises:
        UsageError: bad arguments, missing data, an encoder that cannot be used (see
            ``models.image_encoder.resnet_encoder``), a folder that cannot be written, or one that
            another process trains in (``lock.Held``).
    """
    experiment = trainable(name)
    protocol = protocol_of(experiment, learning_rate, epochs, seed)
    encoded_by = image_encoder(experiment, source, encoder)
    data = load_data(experiment.data, source=source)
    identity = {
        "experiment": name,
        "protocol": protocol,
        "source": source,
        "fingerprint": data.fingerprint,
        **encoded_by,
    }
    decided = (protocol[key] for key in ("learning_rate", "epochs", "seed"))
    folder = Path(out) / runs.folder_name(name, source, *decided)
    if (folder / runs.RECORD).exists():
        return _open_finished(folder, identity)
    files.make_folder(folder)
    try:
        prepared = TASKS[experiment.task].prepare(data, Path(out), identity.get("encoder"))
    except UsageError:
        with contextlib.suppress(OSError):  # it holds epochs of an earlier attempt
            folder.rmdir()
        raise
    with lock.hold(folder, f"training {name}"):
        _finish(experiment, prepared, data, identity, folder)
    return open_run(folder)


def _finish(experiment: Experiment, prepared: Any, data: Any, identity: dict, folder: Path) -> None:
    """Trains a run whose folder this process holds, unless another has finished it meanwhile."""
    if not (folder / runs.RECORD).exists():
        record = _fit(experiment, prepared, data, identity, folder)
        files.write_json(folder / runs.RECORD, record)
    _remove_leftovers(folder)


def protocol_of(
    experiment: Experiment, learning_rate: float | None, epochs: int | None, seed: int
) -> dict[str, Any]:
    """What decides how a run is trained, as its record keeps it; None means the homework's own.

    Raises:
        UsageError: a number that nothing can be trained with.
    """
    learning_rate = experiment.best_rate if learning_rate is None else learning_rate
    epochs = experiment.epochs if epochs is None else epochs
    if not 0 < learning_rate <= LARGEST_RATE:
        raise UsageError(
            f"learning rate {learning_rate}: expected a positive number up to {LARGEST_RATE:g}"
        )
    if not 1 <= epochs <= MOST_EPOCHS:
        raise UsageError(f"epochs is {epochs}: expected a whole number from 1 to {MOST_EPOCHS:,}")
    if not 0 <= seed < 2**32:
        raise UsageError(f"seed is {seed}: expected a whole number from 0 to {2**32 - 1}")
    return {
        "optimizer": experiment.optimizer,
        "learning_rate": float(learning_rate),
        "epochs": epochs,
        "batch_size": experiment.batch_size,
        "dropout": experiment.dropout,
        "selection": experiment.selection,
        "seed": seed,
        **experiment.recipe,
    }


def sweep(
    name: str,
    epochs: int | None = None,
    seed: int = 42,
    source: str = "synthetic",
    out: str | Path = "runs",
) -> list[Run]:
    """Trains an experiment at each of its learning rates and marks the best run.

    The best run has the best final validation metric; a run that diverged is never best.
    Arguments and errors are those of ``train``.

    Returns:
        One run per rate, in the order of the homework; ``run.best`` is True for one of them,
        or for none if all diverged.
    """
    experiment = trainable(name)
    return mark_best(
        [train(name, rate, epochs, seed, source, out) for rate in experiment.learning_rates]
    )


def mark_best(trained: Sequence[Run]) -> list[Run]:
    """Marks the best of the runs of one experiment at several rates, see ``sweep``."""
    experiment = trained[0].experiment
    sound = [run for run in trained if not run.record["divergence"]]
    values = [run.metrics[experiment.metric] for run in sound]
    best = sound[metrics.best(values, experiment.metric)] if sound else None
    for run in trained:
        record = run.record | {"best_of_sweep": run is best}
        if record != run.record:
            with lock.hold(run.path, "marking the best rate", LONGEST_WAIT):
                files.write_json(run.path / runs.RECORD, record)
                _remove_leftovers(run.path)
    return [open_run(run.path) for run in trained]


def trainable(name: str) -> Experiment:
    """The experiment of this name; refuses those of Q1, which are counted, not trained."""
    experiment = experiments[name]
    if experiment.task == "counting":
        names = ", ".join(n for n, e in experiments.items() if e.task != "counting")
        raise UsageError(f"{name} is counted, not trained (try 'summary {name}'); trained: {names}")
    return experiment


def set_threads(name: str) -> None:
    """Keeps TensorFlow from splitting the operations of an encoder-decoder between threads.

    They are so small, and so many follow each other, that waking a second thread takes longer
    than its help saves. It holds for the whole process and only before TensorFlow has computed
    anything, so ``python -m hw2_keras train`` does it and ``train`` leaves the threads alone.
    Another number of threads may change a result by rounding.
    """
    if experiments[name].task != "classification":
        with contextlib.suppress(RuntimeError):
            tf.config.threading.set_intra_op_parallelism_threads(1)


def image_encoder(
    experiment: Experiment, source: str, encoder: str | Path | None
) -> dict[str, str]:
    """What a captioner's record says of its image encoder; nothing for other experiments.

    Raises:
        UsageError: an encoder is given where there is nothing for it to encode.
    """
    if experiment.task == "captioning" and source == "real":
        return {"encoder": captioning.encoder_name(encoder)}
    if encoder is None:
        return {}
    if experiment.task == "captioning":
        raise UsageError(
            f"--encoder {encoder}: synthetic scenes have a small CNN that is trained with the "
            "captioner; add --source real or leave --encoder out"
        )
    names = " and ".join(n for n, e in experiments.items() if e.task == "captioning")
    raise UsageError(
        f"{experiment.name} has no image encoder: leave --encoder out, it is for {names}"
    )


def _fit(experiment: Experiment, prepared: Any, data: Any, identity: dict, folder: Path) -> dict:
    """Runs ``model.fit`` from the last checkpoint, if any, and returns the run's record."""
    task, protocol = TASKS[experiment.task], identity["protocol"]
    seed, epochs = protocol["seed"], protocol["epochs"]
    epoch = tf.Variable(0, dtype=tf.int64, trainable=False)
    train_batches = task.batches(prepared, experiment, seed, epoch)
    batches = int(train_batches.cardinality())
    models, model = _compiled(experiment, protocol, task.sizes(prepared), epochs * batches)
    monitor = experiment.metric if protocol["selection"] == "best" else None
    checkpoint = Checkpoint(folder, identity, monitor)
    checkpoint.restore(model)
    label = f"{experiment.name} ({identity['source']}) rate {protocol['learning_rate']:g}"
    rows = checkpoint.rows
    if rows:
        print(f"{label}  resuming after epoch {len(rows)}", file=sys.stderr, flush=True)
    model.fit(
        train_batches,
        initial_epoch=len(rows),
        epochs=epochs if not rows or math.isfinite(rows[-1]["loss"]) else len(rows),
        validation_data=task.validation(prepared, experiment),
        shuffle=False,  # the pipeline shuffles
        verbose=0,
        callbacks=[
            EpochNumber(epoch),
            *task.callbacks(models, prepared, experiment),
            RunningLoss([row["loss"] for row in rows]),
            TensorBoard(folder / "tensorboard", write_graph=False),
            checkpoint,
            Progress(label, epochs, batches),
        ],
    )
    print(f"{label}  trained; measuring on validation and test", file=sys.stderr, flush=True)
    checkpoint.select(model)
    weights = _weights_file(model)
    files.write_atomically(folder / runs.WEIGHTS, lambda file: file.write(weights))
    for name, vocabulary in task.vocabularies(data).items():
        vocabulary.save(folder / runs.VOCABULARY.format(name))
    digest = {"weights": hashlib.sha256(weights).hexdigest()}
    return identity | digest | _measured(experiment, models, prepared, data, checkpoint)


def _compiled(
    experiment: Experiment, protocol: dict, sizes: dict, steps: int
) -> tuple[keras.Model | EncoderDecoder, keras.Model]:
    """All models of a run, and the one of them to fit, with its optimizer for so many steps."""
    keras.utils.set_random_seed(protocol["seed"])
    models = build_models(experiment, protocol["seed"], **sizes)
    model = getattr(models, "training", models)
    optimizer = optimizer_for(experiment, protocol["learning_rate"], steps)
    devices.allow_cudnn(model)
    TASKS[experiment.task].compile_model(model, optimizer, experiment)
    optimizer.build(model.trainable_variables)
    return models, model


def _measured(
    experiment: Experiment, models: Any, prepared: Any, data: Any, checkpoint: Checkpoint
) -> dict[str, Any]:
    """What the record of a trained run says besides its identity."""
    task = TASKS[experiment.task]
    tested = checkpoint.rows[checkpoint.best_epoch() - 1]
    figures = {name: value for name, value in tested.items() if name != "epoch"}
    figures |= task.measure(models, prepared, experiment)
    vocabularies = task.vocabularies(data)
    return {
        "edition": experiment.edition,
        "finished": True,
        "best_of_sweep": False,
        "divergence": task.divergence(figures),
        "origin": data.origin,
        "notes": list(data.notes),
        "sizes": task.sizes(prepared),
        "vocabularies": {name: v.fingerprint for name, v in vocabularies.items()},
        "tested_epoch": checkpoint.best_epoch(),
        "metrics": figures,
        "standard_errors": sampling.standard_errors(models, prepared, experiment, figures),
        "device": devices.used(),
        "training_seconds": round(checkpoint.seconds, 1),
        "finished_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version()}
        | {package: version(package) for package in ("keras", "tensorflow", "numpy")},
    }


class _InMemory(io.BytesIO):
    """Keras writes weights into a ``BytesIO`` too, but looks at the ending of its name."""

    def __str__(self) -> str:
        return runs.WEIGHTS


def _weights_file(model: keras.Model) -> bytes:
    # Not straight to disk: HDF5 brings the process down where there is no space left.
    file = _InMemory()
    keras.Model(model.input, model.output).save_weights(file)  # without the optimizer's moments
    return file.getvalue()


def _remove_leftovers(folder: Path) -> None:
    """Removes what a finished run needs no more, and what a kill left half written.

    Only for whoever holds the folder: what is half written may be somebody's who still writes.
    """
    half = folder.glob(f"{files.UNFINISHED}*")
    with contextlib.suppress(OSError):
        for path in (folder / runs.CHECKPOINT, *half, folder / lock.LOCK):
            path.unlink(missing_ok=True)


def _open_finished(folder: Path, identity: dict) -> Run:
    run = open_run(folder)
    record = {"encoder": identity.get("encoder")} | run.record  # older runs do not name theirs
    changed = [key for key, value in identity.items() if record.get(key) != value]
    if changed:
        raise UsageError(
            f"{folder} holds another run (different {', '.join(changed)}): choose another --out "
            "or delete the folder"
        )
    told = printable(f"opened the finished run {folder}; another --out trains it again")
    print(told, file=sys.stderr)
    # It may be in use, or lie where nothing can be written.
    with contextlib.suppress(UsageError), lock.hold(folder, "opening the run"):
        _remove_leftovers(folder)
    return run


def evaluate(run: Run, search: str = "greedy", num_beams: int = 5, top_p: float = 0.8) -> Run:
    """Measures a finished run again on its data; the run on disk stays as it is.

    Args:
        run: a finished run.
        search: for encoder-decoders "greedy", "beam" (of ``num_beams``) or "nucleus" (``top_p``).

    Returns:
        The run with the measured figures: those of its record, or with another search than
        "greedy" that search's figures on both splits alone.

    Raises:
        UsageError: another search than "greedy" for a classifier, or bad ``num_beams``, ``top_p``.
    """
    experiment, task = run.experiment, TASKS[run.experiment.task]
    if search != "greedy" and not task.SEARCHES:
        raise UsageError(f"{run.path} is a classifier: --search {search} needs an encoder-decoder")
    if search == "beam":
        decoding.check_width(num_beams)
    if search == "nucleus":
        decoding.check_mass(top_p)
    prepared, models = run.prepared(), run.models()
    if search == "greedy":
        measured = run.metrics | task.measure(models, prepared, experiment)
    else:
        options = {"search": search, "num_beams": num_beams, "top_p": top_p}
        measured = {
            f"{split}_{name}": value
            for split in ("val", "test")
            for name, value in task.evaluate_split(
                models, prepared, experiment, split, **options
            ).items()
        }
    return Run(run.path, run.record | {"metrics": measured}, run.best)
