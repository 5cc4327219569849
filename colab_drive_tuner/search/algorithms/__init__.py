"""hyperopt's algorithms, several times as fast, with bit-identical suggestions.

`fast_algorithm` holds the suggest functions, `space_program` compiles a search space. For TPE,
`tpe_parameters` chooses the value of one parameter and `candidate_scores` compares its candidates.
Anything not supported here is left to hyperopt's own function.
"""
