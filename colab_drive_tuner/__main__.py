"""`python -m colab_drive_tuner` is the command line."""

from colab_drive_tuner.cli import main

main()
