"""What things cost: operation types, profiles of machines, and the model that predicts from them.

- `ops` says what an operation is: its sizes, FLOPs and bytes.
- `profile` is what was measured on a machine, or copied from its data sheet, with where it came from.
- `model` predicts the time of an operation from a profile, with an interval and a source.
- `iteration` sums operations into the cost of one iteration of an LLM engine.
- Nothing here imports torch: a profile is made elsewhere, and is read here.
"""
