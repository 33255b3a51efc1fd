"""An episode as a recording for the viewer of rerun, to be scrubbed through: pip install "volition[viz]"

camera/NAME    pictures          action/NAME, state/NAME    a curve each          instruction    its words
"""

from __future__ import annotations

from pathlib import Path

from volition.contract import RobotSpec
from volition.data.checks.evidence import Trace

QUALITY = 90  # of the JPEGs


def write_recording(trace: Trace, spec: RobotSpec, path: Path) -> Path:
    """`trace.pictures` are those of every step. ValueError where rerun is not installed."""
    try:
        import rerun
    except ImportError as error:
        raise ValueError("a recording for rerun's viewer needs rerun: pip install 'volition[viz]'") from error
    recording = rerun.RecordingStream(f"volition {trace.name}")
    recording.save(path)
    recording.log("instruction", rerun.TextDocument("\n".join(trace.instructions)), static=True)
    names = [dimension.name for dimension in spec.action_space.dimensions]
    for step in range(len(trace)):
        recording.set_time("step", sequence=step)
        recording.set_time("seconds", duration=step / spec.control_hz)
        for camera, pictures in trace.pictures.items():
            recording.log(f"camera/{camera}", rerun.Image(pictures[step]).compress(jpeg_quality=QUALITY))
        for kind, labels, values in (("action", names, trace.actions), ("state", spec.state, trace.states)):
            for name, value in zip(labels, values[step]):
                recording.log(f"{kind}/{name}", rerun.Scalars(float(value)))
    recording.flush()
    recording.disconnect()
    return path
