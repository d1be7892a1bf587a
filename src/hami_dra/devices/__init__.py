"""Accelerator families behind one contract (`backend.Backend`): `nvidia` today."""
