"""Pretraining of the tiny VLM on captions, questions and pointing, drawn in `desk`: no action, no expert, no task."""
