"""`volition data view` and `volition data stats`: a dataset for the eye."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import tyro

from volition.studies.output import tell, write


@dataclass(frozen=True, kw_only=True)
class View:
    """Draw an episode with its actions: a contact sheet (PNG), a film (MP4), or a recording for rerun's viewer (RRD).

    Example:  volition data view runs/demo/data --episode 3 --out episode.png
              volition data view runs/demo/data --episode 3 --out episode.mp4
              volition data view runs/demo/data --episode 3 --out episode.rrd && rerun episode.rrd
    """

    path: tyro.conf.Positional[Path]
    episode: int = 0
    out: Path = Path("episode.png")
    """What to write: a .png is a contact sheet, an .mp4 a film, an .rrd what rerun shows."""
    frames: int = 8
    """Pictures of every camera on a contact sheet."""

    def __post_init__(self) -> None:
        if self.out.suffix not in (".png", ".mp4", ".rrd"):
            raise ValueError(f"out must end in .png, .mp4 or .rrd, got {str(self.out)!r}")
        if self.frames < 1:
            raise ValueError(f"frames must be at least 1, got {self.frames}")

    def __call__(self) -> None:
        from volition.data.checks.evidence import read_trace, spread
        from volition.data.open import load_episodes, load_spec
        from volition.data.remote import located
        from volition.evaluation.films import write_mp4
        from volition.studies.data_view import contact_sheet, film
        from volition.studies.rerun_view import write_recording

        path = located(self.path)
        episodes, spec = load_episodes(path), load_spec(path)
        if not 0 <= self.episode < len(episodes):
            raise ValueError(f"episode must be in 0..{len(episodes) - 1}, got {self.episode}")
        episode = episodes[self.episode]
        kind = self.out.suffix
        steps = spread(len(episode), self.frames if kind == ".png" else len(episode))
        trace = read_trace(episode, f"episode {self.episode}", steps)
        if kind == ".rrd":
            write_recording(trace, spec, self.out)
        elif kind == ".mp4":
            write_mp4(film(trace, spec), self.out, fps=max(1, round(spec.control_hz)))
        else:
            contact_sheet(trace, spec, steps, self.out)
        tell(f"{self.out}")


@dataclass(frozen=True, kw_only=True)
class Stats:
    """Statistics of every dimension of the actions: a table, and histograms as PNG or an HTML page.

    Example:  volition data stats runs/demo/data --out actions.html
    """

    path: tyro.conf.Positional[Path]
    out: Path | None = None
    """Where to write histograms: a .png, or an .html page with the table too."""
    max_episodes: int = 2000
    """How many episodes to read, evenly spread."""
    json: Path | None = None
    """Write the table to this file as well."""

    def __post_init__(self) -> None:
        if self.out is not None and self.out.suffix not in (".png", ".html"):
            raise ValueError(f"out must end in .png or .html, got {str(self.out)!r}")
        if self.max_episodes < 1:
            raise ValueError(f"max_episodes must be at least 1, got {self.max_episodes}")

    def __call__(self) -> None:
        from volition.data.checks.evidence import gather
        from volition.data.open import detect, load_spec
        from volition.data.remote import located
        from volition.studies.data_view import histograms, page, show, table

        path = located(self.path)
        spec = load_spec(path)
        evidence = gather(detect(path).load(path), spec, max_episodes=self.max_episodes, max_pictured=0)
        for complaint in (*evidence.unreadable, *evidence.not_finite):
            tell(f"left out: {complaint}")
        if not evidence.traces:
            raise ValueError(f"{path} must hold an episode that can be read, but none can")
        rows = table(evidence.traces, spec)
        title = f"{path}: actions of {len(evidence.traces)} of {evidence.num_episodes} episodes"
        show(rows, title)
        if self.out is not None:
            picture = histograms(evidence.traces, spec)
            if self.out.suffix == ".png":
                self.out.write_bytes(picture)
            else:
                self.out.write_text(page(rows, picture, title), encoding="utf-8")
            tell(f"{self.out}")
        write(self.json, [dataclasses.asdict(row) for row in rows])
