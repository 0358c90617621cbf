"""Which llmos this is."""

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed


def version() -> str:
    """The version, or "unknown" where llmos runs from a folder and is not installed."""
    try:
        return installed("llmos")
    except PackageNotFoundError:
        return "unknown"
