"""Searches out and in: pickles and tables, Optuna's studies, KerasTuner's projects."""
