-- Return the time, as a text in UTC.
SELECT %(now)s
