"""Accelerator families behind one contract (`backend`): `nvidia` by code, others by profile (`generic`)."""
