"""Conversion of `{{...}}` templates in a model function to a hyperopt space.

hyperas rewrites the text of notebooks. This package changes the function's syntax tree and compiles
it again under the same file name and line numbers, so that tracebacks, pdb and warnings show the
user's own lines, and the function keeps its helpers, globals and closure.
"""
