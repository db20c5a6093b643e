"""Template tags: `{% load dbos %}`."""
