"""What holds for every test of this project."""

from hypothesis import HealthCheck, settings

# A change is judged by the same examples in every run, and not by how fast this machine is. `pytest
# --hypothesis-profile=random` draws new ones.
settings.register_profile("random", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.register_profile("same", settings.get_profile("random"), derandomize=True)
settings.load_profile("same")
