"""The `hami` command: one file for each subcommand, loaded only when it is asked for."""
