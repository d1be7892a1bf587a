"""One file for each subject of `make bench`."""
