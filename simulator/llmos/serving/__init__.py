"""LLM serving: requests as tasks, an engine as a processor with many slots."""
