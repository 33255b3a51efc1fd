"""Recipes: functions that return an Experiment. `volition train NAME` finds these; yours are `pkg.module:function`."""

from volition.recipes.bridge import bridge
from volition.recipes.calvin import calvin
from volition.recipes.calvin_sim import calvin_sim, calvin_sim_corrected, calvin_sim_corrected_2, calvin_sim_corrected_3
from volition.recipes.desk import demo, demo_blind, desk, desk_corrected, desk_corrected_2, smoke
from volition.recipes.mobile import mobile_2d, mobile_3d
from volition.recipes.seeds_table import seeds_table as seeds_table
from volition.recipes.seeds_table import seeds_table_mobile as seeds_table_mobile

# Functions that return several recipes by name, for `volition compare`.
STUDIES = ("seeds_table", "seeds_table_mobile")

__all__ = [
    "bridge",
    "calvin",
    "calvin_sim",
    "calvin_sim_corrected",
    "calvin_sim_corrected_2",
    "calvin_sim_corrected_3",
    "demo",
    "demo_blind",
    "desk",
    "desk_corrected",
    "desk_corrected_2",
    "mobile_2d",
    "mobile_3d",
    "smoke",
]
