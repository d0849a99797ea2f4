"""Runs on several processes or machines, by Dask distributed (extra ``[cluster]``).

A run is one task of the engine. It trains in a process of its own beside the engine's (see
``trainer``), in the results folder where the worker sees it, else in a scratch folder whose content
comes back as the task's result. What dies is the engine's to notice and to start again.
"""

import contextlib
import io
import os
import sys
import tarfile
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import dask
import distributed
import distributed.versions
from distributed import Client, KilledWorker, LocalCluster, WorkerPlugin, get_worker

from hw2_keras import files, runs
from hw2_keras.errors import UsageError
from hw2_keras.lock import LOCK
from hw2_keras.reproduction.plan import PlannedRun
from hw2_keras.reproduction.trainer import (
    RETRIES,
    Outcome,
    Report,
    Trainer,
    TrainerDied,
    kind,
    on_new_epoch,
)

COMPARED = ("keras", "tensorflow", "numpy", "hw2-keras")  # what decides a run, besides Python
CONNECT_SECONDS = 30


class Shared(NamedTuple):
    """A folder that a worker may see too: it does if the file with ``token`` is there."""

    folder: str
    token: str


@contextlib.contextmanager
def local(workers: int, device: str = "auto") -> Iterator[Client]:
    """N worker processes on this machine.

    Raises:
        UsageError: fewer than one, or more than there are GPUs to train on.
    """
    if workers < 1:
        raise UsageError(f"{workers} workers: expected a whole number of at least 1")
    found = [] if device == "cpu" else gpus()
    if found and workers > len(found):
        raise UsageError(
            f"{workers} workers for {len(found)} GPUs: a GPU trains one run at a time, so expected "
            f"at most {len(found)}, or --device cpu"
        )
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": RETRIES}),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            dashboard_address="127.0.0.1:0",
            silence_logs=50,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@contextlib.contextmanager
def joined(address: str) -> Iterator[Client]:
    """A running cluster, by its scheduler's address, e.g. "tcp://10.0.0.1:8786".

    Raises:
        UsageError: nothing answers there.
    """
    try:
        client = Client(address, timeout=CONNECT_SECONDS)
    except Exception as error:  # an address that is none shows as many unrelated types
        where, why = address or "an empty address", files.first_line(error)
        raise UsageError(
            f"no cluster answers at {where} ({why}): start one with 'dask scheduler' and give the "
            "address that it prints"
        ) from error
    with client:
        yield client


def check_versions(client: Client) -> list[str]:
    """Sends away the workers whose packages are not this process's; says which, one line each.

    Raises:
        UsageError: no worker is left.
    """
    found = client.get_versions(packages=COMPARED)
    here = found["client"]["packages"]
    refused = {}
    for address, worker in found["workers"].items():
        if other := differences(here, worker["packages"]):
            refused[address] = f"worker {address} refused: {other}"
    if refused:
        if len(refused) == len(found["workers"]):
            raise UsageError(f"{'; '.join(refused.values())}: install the same versions")
        client.retire_workers(list(refused))
    return list(refused.values())


def differences(here: Mapping[str, str | None], there: Mapping[str, str | None]) -> str:
    """Names both versions of every package that decides a run and differs; "" if none does."""
    return ", ".join(
        f"{name} {there.get(name) or 'missing'} there, {here[name] or 'missing'} here"
        for name in ("python", *COMPARED)
        if here[name] != there.get(name)
    )


def train_all(
    client: Client,
    planned: Sequence[PlannedRun],
    report: Report,
    shared: Path | None = None,
    device: str = "auto",
) -> Iterator[tuple[PlannedRun, Outcome]]:
    """Trains runs on the workers of a cluster; gives each back as it ends.

    Args:
        planned: in the order in which they are started.
        report: as for `trainer.train_here`; it is called from another thread.
        shared: the results folder; workers that see it train in it. None: all train in scratch
            folders.
        device: "auto" or "cpu".

    Raises:
        UsageError: the cluster is gone.
    """
    topic = f"hw2-{uuid.uuid4().hex}"
    by_key = {f"{run.folder}-{topic}": run for run in planned}

    def listen(event: tuple[float, dict]) -> None:
        message = event[1]
        if "refused" in message:
            print(f"hw2: {message['refused']}", file=sys.stderr)
        else:
            report(by_key[message["key"]], message["row"])

    client.subscribe_topic(topic, listen)
    expected = client.get_versions(packages=COMPARED)["client"]["packages"]
    client.register_plugin(Trainers(topic, expected, device), name=topic)
    with _token(shared) as seen:
        futures = [
            client.submit(
                run_task, run, seen, topic, key=key, retries=RETRIES, priority=-i, pure=False
            )
            for i, (key, run) in enumerate(by_key.items())
        ]
        done = distributed.as_completed(futures)
        del futures  # a result is freed as soon as it has been used
        try:
            for future in done:
                yield by_key[future.key], _outcome(client, future)
        finally:
            if client.status == "running":
                client.unregister_worker_plugin(topic)


def _outcome(client: Client, future: distributed.Future) -> Outcome:
    try:
        return future.result()
    except KilledWorker:
        return Outcome(f"its worker died {RETRIES + 1} times")
    except TrainerDied as error:
        return Outcome(f"{error}, {RETRIES + 1} times")
    except Exception as error:
        if client.status != "running" or future.status in ("cancelled", "lost"):
            raise UsageError(
                "the cluster is gone: start it again and repeat the command; finished runs are kept"
            ) from error
        return Outcome(f"{type(error).__name__}: {files.first_line(error)}")


@contextlib.contextmanager
def _token(folder: Path | None) -> Iterator[Shared | None]:
    """A file by which a worker knows that it sees the same folder."""
    if folder is None:
        yield None
        return
    token = f".shared-{uuid.uuid4().hex}"
    try:
        (folder / token).touch()
        yield Shared(str(folder.resolve()), token)
    finally:
        (folder / token).unlink(missing_ok=True)


class Trainers(WorkerPlugin):
    """What a worker needs for one driver's runs: its training processes, one for each kind of run.

    Its name is the driver's topic, so that several drivers may use a cluster. A worker that joins
    late and has other packages leaves again.
    """

    def __init__(self, topic: str, expected: Mapping[str, str | None], device: str) -> None:
        self.topic, self.expected, self.device = topic, expected, device

    def setup(self, worker: distributed.Worker) -> None:
        """Called by the engine on the worker."""
        self.one_at_a_time = threading.Lock()
        self.trainers: dict[str, Trainer] = {}
        self.environment = environment_of(worker.name, self.device)
        here = distributed.versions.get_versions(COMPARED)["packages"]
        if other := differences(self.expected, here):
            refused = f"worker {worker.address} refused: {other}"
            worker.log_event(self.topic, {"refused": refused})
            worker.loop.call_later(1, worker.close_gracefully)

    def teardown(self, worker: distributed.Worker) -> None:
        """Called by the engine on the worker."""
        self.close()

    def close(self) -> None:
        """Ends the training processes."""
        for trainer in self.trainers.values():
            trainer.close()

    def train(self, run: PlannedRun, out: Path, watch: Callable[[], None]) -> Outcome:
        """`Trainer.train` in this worker's process for runs of this kind."""
        name = kind(run, self.device)
        with self.one_at_a_time:
            trainer = self.trainers.setdefault(name, Trainer(name, self.environment))
            try:
                return trainer.train(run, out, watch)
            except TrainerDied:
                self.close()  # the driver may be gone: no process stays behind idle
                raise


def environment_of(worker: Any, device: str) -> dict[str, str]:
    """Variables of the training processes: without the engine's own, with a GPU for each worker.

    Args:
        worker: its name. Engines that count their workers over several machines have more of them
            than a machine has GPUs; those choose among all.
        device: "auto" or "cpu".
    """
    added = dask.config.get("distributed.nanny.pre-spawn-environ")
    kept = {k: v for k, v in os.environ.items() if k not in added}
    found = gpus() if device == "auto" else []
    if isinstance(worker, int) and worker < len(found):
        kept["CUDA_VISIBLE_DEVICES"] = found[worker]
    return kept


def gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [name for name in chosen.split(",") if name not in ("", "-1")]
    return sorted(p.name.removeprefix("nvidia") for p in Path("/dev").glob("nvidia[0-9]*"))


def run_task(run: PlannedRun, shared: Shared | None, topic: str) -> Outcome:
    """Trains one run on this worker, for the driver of this topic.

    Raises:
        TrainerDied: the engine tries again, on this worker or another.
    """
    worker = get_worker()
    trainers: Trainers = worker.plugins[topic]

    def train(out: Path) -> Outcome:
        return trainers.train(run, out, _watch(worker, topic, run, out))

    if shared and Path(shared.folder, shared.token).is_file():
        return train(Path(shared.folder))
    with tempfile.TemporaryDirectory(prefix="hw2-") as scratch:
        outcome = train(Path(scratch))
        if outcome.problem:
            return outcome
        return outcome._replace(files=pack(Path(scratch, run.folder)))


def _watch(
    worker: distributed.Worker, topic: str, run: PlannedRun, out: Path
) -> Callable[[], None]:
    """What is done twice a second while a run trains: tell its epoch, or end it if unwanted."""
    key = worker.get_current_task()
    look = on_new_epoch(run, out, lambda row: worker.log_event(topic, {"key": key, "row": row}))

    def watch() -> None:
        state = worker.state.tasks.get(key)
        if state is None or state.state != "executing":
            raise TrainerDied("nobody waits for this run any more")
        look()

    return watch


def pack(folder: Path) -> bytes:
    """A finished run's folder as a tar file."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.name not in (runs.CHECKPOINT, LOCK):
                archive.add(path, path.relative_to(folder).as_posix())
    return packed.getvalue()


def unpack(packed: bytes, folder: Path) -> None:
    """Writes a run's folder, its record last: the run is finished when all of it is there.

    Raises:
        UsageError: the disk is full or the folder not writable; the run stays unfinished.
    """
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        members = sorted(archive.getmembers(), key=lambda member: member.name == runs.RECORD)
        for member in members:
            path = folder / tarfile.data_filter(member, str(folder)).name
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UsageError(f"cannot write {path} ({error.strerror or error})") from error
            content = archive.extractfile(member).read()
            files.write_atomically(path, lambda file, content=content: file.write(content))
    (folder / runs.CHECKPOINT).unlink(missing_ok=True)


def serve(address: str) -> None:
    """Joins a cluster as a worker that trains one run at a time; returns when the cluster ends.

    Raises:
        UsageError: nothing answers at the address.
    """
    from distributed.cli.dask_worker import main

    with joined(address):
        pass
    main([address, "--nthreads", "1", "--no-dashboard"], standalone_mode=False)
