"""hyperopt's algorithms, several times as fast, with bit-identical suggestions.

`fast_algorithm` holds the suggest functions. For TPE, `tpe_space` compiles a search space,
`tpe_parameters` chooses the value of one parameter and `candidate_scores` compares its candidates.
Anything not supported here is left to hyperopt's own function.
"""
