import dataclasses
import io
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from tests.evaluation.worlds import TASKS, Seeker, UnrepeatableWorld
from tests.toy import Toy, ToyConfig
from volition.evaluation.chain import chain_trials
from volition.evaluation.films import encode_mp4, film_strip, replay_films, still, write_mp4
from volition.evaluation.rollout import RolloutConfig, evaluate
from volition.evaluation.suite import task_trials
from volition.records import Start

HERE = RolloutConfig(num_workers=0, slots_per_worker=2, batch=2, max_steps=20)


def ramp(count: int) -> np.ndarray:
    """Frames whose brightness counts up."""
    return np.stack([np.full((200, 200, 3), 10 + 10 * i, np.uint8) for i in range(count)])


def test_a_film_shows_the_episode_from_its_start_to_its_end() -> None:
    trials = [*task_trials(TASKS, num_starts=1, first_seed=0), *chain_trials([Start(seed=5, tasks=TASKS)])]
    results = evaluate(Seeker(), ToyConfig(), trials, HERE)
    films = replay_films(ToyConfig(), results, every=1, num_workers=1)
    for film, result in zip(films, results):
        env = Toy()
        env.reset(result.trial.start)
        np.testing.assert_array_equal(film.frames[0], env.frame())
        assert len(film.frames) == result.num_steps + 1
        env.begin(result.task)
        for action in np.concatenate([a.actions for a in result.attempts]):
            env.step(action)
        np.testing.assert_array_equal(film.frames[-1], env.frame())


def test_every_other_frame_and_the_last() -> None:
    results = evaluate(Seeker(), ToyConfig(), task_trials(TASKS, num_starts=1, first_seed=0), HERE)
    films = replay_films(ToyConfig(), results, every=3, num_workers=0)
    assert [len(f.frames) for f in films] == [-(-r.num_steps // 3) + 1 for r in results]


def test_an_episode_that_does_not_repeat_itself_is_an_error() -> None:
    trials = task_trials(TASKS, num_starts=2, first_seed=0)
    results = evaluate(Seeker(horizon=1), UnrepeatableWorld(), trials, dataclasses.replace(HERE, slots_per_worker=1))
    with pytest.raises(RuntimeError, match="must end as it did"):
        replay_films(UnrepeatableWorld(), results, num_workers=0)


def test_an_mp4_is_h264_and_keeps_the_frames_in_order(tmp_path: Path) -> None:
    path = write_mp4(ramp(12), tmp_path / "films" / "a.mp4", fps=15)
    assert [p.name for p in path.parent.iterdir()] == ["a.mp4"]
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        levels = [frame.to_ndarray(format="rgb24").mean() for frame in container.decode(stream)]
    assert len(levels) == 22, "12 frames and 10 that hold the last"
    np.testing.assert_allclose(levels[:12], 10 + 10 * np.arange(12), atol=3)


def test_the_same_frames_give_the_same_bytes() -> None:
    assert encode_mp4(ramp(5)) == encode_mp4(ramp(5))
    assert film_strip(ramp(5)) == film_strip(ramp(5))


def test_a_strip_goes_from_the_first_frame_to_the_last() -> None:
    strip = np.asarray(Image.open(io.BytesIO(film_strip(ramp(21), count=5, height=100, gap=4))))
    assert strip.shape == (100, 5 * 104 - 4, 3)
    centres = [strip[50, 50 + 104 * i].mean() for i in range(5)]
    np.testing.assert_allclose(centres, [10, 60, 110, 160, 210], atol=3)
    assert np.asarray(Image.open(io.BytesIO(film_strip(ramp(2), count=5)))).shape == (120, 244, 3)


def test_a_still_is_a_jpeg_of_the_frame() -> None:
    image = Image.open(io.BytesIO(still(ramp(3)[2])))
    assert image.format == "JPEG"
    assert np.asarray(image).mean() == pytest.approx(30, abs=2)


@pytest.mark.parametrize("frames", [ramp(1)[:0], ramp(1).astype(np.float32), ramp(1)[0]])
def test_what_is_no_film_is_refused(frames: np.ndarray) -> None:
    with pytest.raises(ValueError, match="uint8"):
        encode_mp4(frames)
    with pytest.raises(ValueError, match="even sides"):
        encode_mp4(ramp(1)[:, :199])
