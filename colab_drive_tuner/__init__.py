"""Hyperparameter searches that outlive Google Colab runtimes."""
