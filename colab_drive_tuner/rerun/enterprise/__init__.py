"""Colab Enterprise: its runner, its schedules, and the requests to Vertex AI behind both."""
