"""Size of a share's ledger file; its layout is native/include/ledger.h."""

SIZE = 65536 + 4096
"""Bytes."""
