"""RoboVLMs' ways of doing things, where they differ from ours: what its checkpoints and datasets need to be understood.

Nothing here is a default of the package. Each module says what the reference does and which of it is a defect.

    config, report = read_config(path)            every key honoured, named, or refused
    model = load_checkpoint(path, config)         strict; `export_checkpoint` writes the reference's names again
    policy = load_policy(config_path, path)       a `records.Actor`
"""

from volition.compat.checkpoint import export_checkpoint, load_checkpoint
from volition.compat.config import RoboVLMsConfig
from volition.compat.model import RoboVLM
from volition.compat.policy import RoboVLMsPolicy, load_policy
from volition.compat.read import ConfigReport, read_config

__all__ = [
    "ConfigReport",
    "RoboVLM",
    "RoboVLMsConfig",
    "RoboVLMsPolicy",
    "export_checkpoint",
    "load_checkpoint",
    "load_policy",
    "read_config",
]
