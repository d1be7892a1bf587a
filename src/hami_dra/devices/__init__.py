"""Accelerator families behind one Protocol (`backend.Backend`): `nvidia` today."""
