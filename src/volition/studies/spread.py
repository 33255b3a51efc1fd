"""The same function over many tasks: in processes of this machine, or on a Ray cluster, unchanged."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any, Literal, TypeVar

import torch

Engine = Literal["processes", "ray"]
Task = TypeVar("Task")
Result = TypeVar("Result")


def spread(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    *,
    jobs: int,
    engine: Engine = "processes",
    device: str = "cpu",
) -> Iterator[tuple[int, Result]]:
    """(number of the task, its result), in the order in which they end. One thread a process.

    jobs: how many at a time; 0 does one after the other here. device: what a task runs on, which Ray has to keep free.
    """
    if engine == "ray":
        yield from _on_ray(function, tasks, device)
    elif jobs == 0:
        yield from ((number, function(task)) for number, task in enumerate(tasks))
    else:
        context = multiprocessing.get_context("spawn")  # forking a process that has used threads may never return
        with ProcessPoolExecutor(jobs, context, initializer=_begin) as pool:
            running = {pool.submit(function, task): number for number, task in enumerate(tasks)}
            try:
                for future in as_completed(running):
                    yield running[future], future.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def _begin() -> None:
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_the_parent, daemon=True).start()


def _end_with_the_parent() -> None:
    """An executor's processes do not notice that theirs was killed, and would work on, into folders of the next run."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _on_ray(function: Callable[[Task], Result], tasks: Sequence[Task], device: str) -> Iterator[tuple[int, Result]]:
    try:
        import ray
    except ImportError as error:
        raise ValueError("--engine ray needs Ray: pip install 'volition[ray]', or take --engine processes") from error
    ray.init(ignore_reinit_error=True, log_to_driver=False)
    remote: Any = ray.remote(num_gpus=int(device != "cpu"))(function)
    running = {remote.remote(task): number for number, task in enumerate(tasks)}
    while running:
        (done,), _ = ray.wait(list(running), num_returns=1)
        yield running.pop(done), ray.get(done)
