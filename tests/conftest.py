"""What holds for all tests."""

from hypothesis import HealthCheck, settings

# A busy machine makes an example slow, and no property wrong.
settings.register_profile("hami", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("hami")

# Other machines' /sys and /proc are no place for tests, and their links lead round in circles.
collect_ignore = ["trees"]
