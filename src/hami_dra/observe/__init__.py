"""Observation path: slices + claims (+ ledgers + kubelet pod-resources) -> join -> metrics -> exporter."""
