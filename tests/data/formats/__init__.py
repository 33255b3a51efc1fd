"""A small dataset of every format that is read, for the suites that run over all of them.

MAKERS[name](root) writes one under `root`, two episodes or more, and returns the folder to open.
What follows a slash in a name tells samples of one format apart.
"""

from collections.abc import Callable
from pathlib import Path

from tests.data.formats import aloha, calvin, lerobot, lerobot_v2, mobile, rlds, robomimic

MAKERS: dict[str, Callable[[Path], Path]] = {
    "lerobot": lerobot.make,
    "lerobot_v2": lerobot_v2.make,
    "lerobot_v2/video": lerobot_v2.make_old,
    "calvin": calvin.make,
    "hdf5/robomimic": robomimic.make,
    "hdf5/libero": robomimic.make_libero,
    "hdf5/aloha": aloha.make,
    "hdf5/mobile": mobile.make,
    "rlds": rlds.make,
}
