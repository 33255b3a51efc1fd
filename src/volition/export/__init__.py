"""A policy as files that run without its training code's speed limits: exported, quantised, proved, and signed."""
