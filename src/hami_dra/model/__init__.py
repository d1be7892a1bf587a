"""Pure values: devices, quantities, claims, shares, errors. Imports the standard library only."""
