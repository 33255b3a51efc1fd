"""The real CALVIN simulator as a plug-in: the user's own clones of `calvin_env` and `calvin`, driven from outside.

Nothing of theirs is copied or changed. `simulator` is the only file that meets pybullet and their classes.
"""
