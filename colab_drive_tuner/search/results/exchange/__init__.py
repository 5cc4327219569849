"""Export and import of searches: pickles, CSV, Optuna studies, KerasTuner projects."""
