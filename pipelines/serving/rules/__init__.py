"""The product rules, applied to a list after it is read: each a function over the list in order."""
