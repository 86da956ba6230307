"""Some of these play examples of Hypothesis."""

from tests.harness.examples import take_any_time

take_any_time()
