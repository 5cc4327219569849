"""Runners of programs: on this machine, or on a Colab runtime allocated for one run."""
