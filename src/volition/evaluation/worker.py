"""The life of a worker process: make the environments, answer requests until the pipe closes.

    python -m volition.evaluation.worker FD      FD: a pipe whose first message says what to make

It never imports torch and never re-runs the caller's script. An environment that raises is told to the caller with its
traceback and made anew; the others in the process go on.
"""

from __future__ import annotations

import pickle
import signal
import sys
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection

from volition.evaluation.slot import Failure, Made, Request, Slot


def _next(pipe: Connection) -> tuple[int, Request] | None:
    """The next request and the place of its slot, or None when the caller is done or gone."""
    try:
        return pipe.recv()
    except (EOFError, OSError):
        return None


def serve(pipe: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the caller decides
    num_slots, payload = pipe.recv()
    slots: list[Slot] = []
    try:
        factory = pickle.loads(payload)
        slots.extend(Slot(factory()) for _ in range(num_slots))
        pipe.send((-1, Made()))
        while (asked := _next(pipe)) is not None:
            place, request = asked
            try:
                answer = slots[place].answer(request)
            except Exception:  # whatever a simulator raises, its episode is told of and the others go on
                pipe.send((place, Failure(traceback=traceback.format_exc())))
                with suppress(Exception):  # it is broken already
                    slots[place].close()
                slots[place] = Slot(factory())
            else:
                pipe.send((place, answer))
    except (BrokenPipeError, ConnectionResetError):
        return  # nobody listens any more
    except Exception:
        with suppress(OSError):
            pipe.send((-1, Failure(traceback=traceback.format_exc())))
    finally:
        for slot in slots:
            with suppress(Exception):
                slot.close()


if __name__ == "__main__":
    serve(Connection(int(sys.argv[1])))
