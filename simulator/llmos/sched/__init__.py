"""Schedulers: pure policies, one per file. `base.py` is the contract."""
