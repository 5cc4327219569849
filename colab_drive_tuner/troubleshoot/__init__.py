"""Diagnosis of problems (doctor), removal of leftovers (clean), and repair of damaged searches."""
