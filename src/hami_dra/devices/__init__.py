"""Accelerator families: one backend each, behind one contract (`backend.py`)."""
