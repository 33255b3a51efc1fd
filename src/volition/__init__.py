"""Volition: a vision-language model becomes a robot policy, trained end to end and proved closed-loop."""
