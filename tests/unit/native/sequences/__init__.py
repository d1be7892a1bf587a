"""A program of the simulated driver that makes calls at random, some for each line it reads, and tells them.

Run as `python -m tests.unit.native.sequences SEED CARDS [CALL...]`, which makes only these; the line "end"
has it give back all that there is. A module for each subject has its steps, which open, close or are seldom,
and how it ends.
"""
