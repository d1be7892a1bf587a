"""What kubelet, scheduler and administrators expect of any DRA driver, a module for each group."""

from tests.contract.check import Check, checks_of
from tests.contract.checks import health, prepare, refusal, registration, slices, trouble, unprepare

CHECKS: list[Check] = [
    each
    for module in (registration, prepare, refusal, unprepare, trouble, slices, health)
    for each in checks_of(module)
]
"""In the order in which they are run and reported."""
