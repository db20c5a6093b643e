-- Return the mark that the last transaction with a mark left in the session, if it was committed.
SELECT current_setting('dbos.mark', true)
