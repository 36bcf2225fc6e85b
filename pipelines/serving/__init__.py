"""The endpoint: it looks up what the night prepared, and says what it answered. It never runs a model."""
