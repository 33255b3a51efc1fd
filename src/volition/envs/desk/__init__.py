"""The embedded simulator: a desk with a drawer, a sliding door, two lamps and three blocks; 34 tasks; an expert.

desk.Desk            physics and cameras              tasks.judge      what counts as done
environment.DeskEnv  the desk as records.Env          language         how people ask for it
expert.label         what to do, from any state       starts, chains   where episodes begin, what follows what
"""
