"""Runners: this machine, or a runtime of Colab's that is taken for one run."""
