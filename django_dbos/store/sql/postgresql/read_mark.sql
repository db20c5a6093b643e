-- What the last statement with a mark left in the session, if that was committed.
SELECT current_setting('dbos.mark', true)
