"""hyperopt's TPE and annealing, several times as fast: the same documents, to the last bit.

`algorithm` is TPE's suggest function and `annealing` the other one; `space` is the program that a
search space is compiled to, `observations` what was tried so far, `parameters` the choice of one
parameter's value, and `scores` the comparison of its candidates. What none of them knows is left to
hyperopt's own function.
"""

from colab_drive_tuner.search.tpe.algorithm import fast_algorithm

__all__ = ["fast_algorithm"]
