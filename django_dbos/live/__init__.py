"""Live data for pages: who may read, what is sent and when it ends, without a transport.

`following.py` has the async iterators that transports send: `follow_stream`, `follow_events` and
`read_stream_page`. A transport makes a `Reader` (`access.py`) of its request, turns each page's
frames into its own form, and `Refused` into its own answer. The websockets are in
`django_dbos.consumers`.
"""
