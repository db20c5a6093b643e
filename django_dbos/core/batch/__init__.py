"""A batch of writes: look-ups, decision, plan, and the notifications after the commit."""
