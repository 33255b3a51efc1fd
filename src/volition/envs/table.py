"""The environments that come with the package, by the name that the command line knows them by.

A table of import paths, so that a simulator is imported only where it is asked for. Yours need no entry: say
'package.module:ClassName'.
"""

from __future__ import annotations

from volition.envs.base import EnvConfig
from volition.names import locate, suggest

# name -> class of its EnvConfig
ENVIRONMENTS: dict[str, str] = {
    "desk": "volition.envs.desk.environment:DeskConfig",
    "calvin": "volition.envs.calvin.config:CalvinSimConfig",
    "mobile": "volition.envs.mobile.environment:MobileConfig",
    "gymnasium": "volition.envs.gymnasium.generic:GymnasiumConfig",
    "metaworld": "volition.envs.gymnasium.metaworld:MetaworldConfig",
    "libero": "volition.envs.gymnasium.libero:LiberoConfig",
    "simpler": "volition.envs.gymnasium.simpler:SimplerConfig",
}


def find_env(name: str) -> type[EnvConfig]:
    """The config class of one of ours, or of 'package.module:ClassName'. ValueError for a name that is neither."""
    if ":" not in name and name not in ENVIRONMENTS:
        raise ValueError(
            f"there is no environment {name!r}{suggest(name, ENVIRONMENTS)}; yours are 'package.module:ClassName'"
        )
    found = locate(name if ":" in name else ENVIRONMENTS[name])
    if not (isinstance(found, type) and EnvConfig.__subclasshook__(found)):
        members = ", ".join(member for member in vars(EnvConfig) if member[0] != "_")
        raise ValueError(f"{name} must be a class with the members of an EnvConfig ({members}), got {found!r}")
    return found
