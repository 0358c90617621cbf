"""The terminal UI: a log, live or saved, to look at, step through and rewind.

- It reads nothing but the log; `timeline` and `tracks` are plain folds that know nothing of screens.
- textual is imported by `app` and its parts only. How often it may paint is settled here, before that.
"""

import os

# textual reads this once, when it is imported. A key press is painted within 1/120 s.
os.environ.setdefault("TEXTUAL_FPS", "120")
