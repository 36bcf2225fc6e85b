"""How data changes: steps, models, stores, serving, audit. One heavy library a module."""
