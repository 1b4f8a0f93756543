"""Marks of tests that run Rockpool."""

from __future__ import annotations

import pytest

needs_rockpool = pytest.mark.usefixtures("rockpool_is_installed")  # a comparison that is left out proves nothing
SOURCES_MAY_WARN = [  # Rockpool's sources, when they are compiled
    pytest.mark.filterwarnings("ignore:.*invalid escape sequence:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*invalid escape sequence:SyntaxWarning"),
]
