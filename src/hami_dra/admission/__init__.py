"""Admission path: Pod -> GPU request -> claim spec -> patch; then claim or template -> owner -> collected with the Pod."""
