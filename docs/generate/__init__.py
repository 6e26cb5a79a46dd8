"""Makes the generated parts of the documentation from the code: docstrings, tables of models, commands, faults.

A page has lines such as `<!-- generate: names client -->`; `pages.expand` puts Markdown in their place when the
site is built.
"""
