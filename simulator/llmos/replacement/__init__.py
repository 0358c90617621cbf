"""Replacement policies, one file each, behind the contract of `llmos.replacement.base`."""
