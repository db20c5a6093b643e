"""Rules of recovery: the fate of the workflows of dead executors."""

from __future__ import annotations

SUSPECT_ATTEMPTS = 3
"""The number of dead claims in a row without progress that make a workflow a suspect.

Suspects run one at a time, since each may be what kills its executors. SQL has the number as a
literal, as the condition of a partial index must.
"""
