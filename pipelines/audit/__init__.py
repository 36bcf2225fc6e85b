"""Bias audits: who is served how well, what is exposed, and a record of it that can be checked."""
