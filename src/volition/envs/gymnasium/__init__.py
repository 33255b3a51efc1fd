"""Environments in gymnasium's style: any that is registered, Meta-World, LIBERO and SimplerEnv.

Each is a `World` (adapter.py), some 50 lines that say what differs, and a config whose fields are flags. LIBERO and
SimplerEnv were written against their public interfaces and never run: their assets and pins could not be had.
"""
