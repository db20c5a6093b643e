"""The functions of `import django_dbos as dbos`, a file a subject.

Each that waits or writes has an async twin. The sync forms raise SynchronousOnlyOperation on a
running event loop. Durations are seconds or timedeltas of at most 1,000 years; a `timeout` of None
waits indefinitely, one of 0 doesn't wait.
"""
