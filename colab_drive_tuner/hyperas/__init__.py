"""Support for the unmodified hyperas package (0.4.1 and later) on Keras 3 and current hyperopt."""
