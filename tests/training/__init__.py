"""Tests of what happens inside a Keras trial."""
