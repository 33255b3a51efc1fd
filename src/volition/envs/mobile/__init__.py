"""A second embedded simulator: an omni-wheeled robot drives around boxes, on the told sides, to the told thing.

mobile.Mobile          physics and cameras               tasks.Course     what counts as done
environment.MobileEnv  the room as records.Env           language         how people ask for it
expert.label           where to drive, from any state    starts           where episodes begin
"""
