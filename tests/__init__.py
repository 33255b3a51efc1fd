from beartype import BeartypeConf, beartype

# Arguments are checked while tests run, and as mypy does: an int is a float (pyproject.toml names it).
checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
