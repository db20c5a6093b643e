"""The writes of a run, and the values and errors that it reads from its history."""

from __future__ import annotations

from typing import Any, NoReturn

from django_dbos import offloading, serializers
from django_dbos.core.records import Answer, Checkpoint, RecordStep, Verdict, Write
from django_dbos.exceptions import EncryptionKeyMissing, SerializationError
from django_dbos.interruptions import HistoryUnusable
from django_dbos.operations import places, posting, reads
from django_dbos.operations.run_base import BaseCall, BaseRun, W
from django_dbos.operations.storing import storing


class AsyncRunWrites(BaseRun):
    """Writes and recorded values of a run."""

    async def aensure_claim(self, *, always: bool = False) -> None:
        """Raise the error that ends the run; query the database first if the claim is in doubt.

        The row has the claim and the deadline. `always` queries it without a doubt, too.
        """
        self.check()
        doubt = self.last_doubt
        if always or doubt is not self.settled_doubt:
            await self.asubmit(Write, None)
            self.settle(doubt)

    async def asubmit(self, kind: type[Write], call: BaseCall | None, **values: Any) -> Answer:
        """Write, wait until the write is durable, and raise the error that ends the run."""
        if self.left:
            await self.arecord_left()
            # Other branches may have been given outcomes in the meantime.
            self._move_to_end(values)
        write = self.fenced(kind, **values)
        if self.saving is not None or self.has_lost_post or posting.is_large(write):
            # Its outcome is one of the moment at which the writer gets it, as those of others are.
            write = self._moved_to_end(await self.aready(write))
            if self.has_lost_post:
                self.check()
        answer = await self.host.writer.awrite(write)
        self.check_answer(answer, call)
        checkpoint = _outcome(write, answer)
        if checkpoint is not None:
            await places.aregain(self)
        if checkpoint is not None:
            await self.turn(checkpoint)
        return answer

    async def afail(self, call: BaseCall, error: Exception, *, ends_wait: bool = False) -> NoReturn:
        """Record that one of the engine's own operations failed, and raise its error.

        If it `ends_wait`, it may have begun to wait for any of several things.
        """
        if isinstance(error, EncryptionKeyMissing):
            self.await_key(error)
        checkpoint = call.checkpoint(error=serializers.dump_error(error))
        values = {"checkpoint": checkpoint, "ends_wait": ends_wait}
        answer = await self.asubmit(RecordStep, call, **values)
        await self.aoutcome(answer.checkpoint or checkpoint)
        raise error

    async def apost(self, kind: type[Write], **values: Any) -> None:
        """Write without waiting; the next write that waits, waits for this one as well."""
        self.has_posted = True
        await posting.apost(self, self.fenced(kind, **values))

    async def aready(self, write: W) -> W:
        """Return a write that the writer may get: behind the posted ones, its large values saved.

        A failure of the storage is waited out. An interruption that comes meanwhile is raised.
        """
        if posting.is_large(write):
            save = storing(offloading.offloaded, write)
            read = reads.AsyncRead(self, save, known=self.interruption)
            write = await reads.auntil_answered(self, read)
        await posting.auntil_posted(self)
        return write

    async def aflush(self) -> None:
        """Wait until all posted writes are durable."""
        if self.has_posted:
            self.has_posted = False
            await self.asubmit(Write, None)

    async def arecord_left(self) -> None:
        """Record the iterations over streams that were left since the last write."""
        while self.left:
            call, output = self.left.popleft()
            await self.apost(RecordStep, checkpoint=call.checkpoint(output=output))

    async def aoutcome(self, checkpoint: Checkpoint) -> Any:
        """Return the recorded value, or raise the recorded error."""
        if checkpoint.error is not None:
            raise await self.aload_error(checkpoint.error)
        return None if checkpoint.output is None else await self.aload(checkpoint.output)

    async def aload(self, text: str) -> Any:
        """Return a recorded value; one that can't be read quarantines the workflow.

        Without its key, the workflow waits.
        """
        try:
            text = serializers.opened(text)
            if serializers.needs_thread(text):
                with self.holding_turns():
                    return await reads.apatiently(self, storing(serializers.loads, text))
            return serializers.loads(text)
        except EncryptionKeyMissing as error:
            self.await_key(error)
        except SerializationError as error:
            self.stop(HistoryUnusable(error))

    async def aload_error(self, text: str) -> BaseException:
        """Return a recorded error; see aload()."""
        try:
            text = serializers.opened(text)
            if serializers.needs_thread(text):
                with self.holding_turns():
                    return await reads.apatiently(self, storing(serializers.load_error, text))
            return serializers.load_error(text)
        except EncryptionKeyMissing as error:
            self.await_key(error)
        except SerializationError as error:
            self.stop(HistoryUnusable(error))


def _outcome(write: Write, answer: Answer) -> Checkpoint | None:
    """Return the outcome that a write has recorded, or has found."""
    if answer.verdict is Verdict.WAITING:
        return None
    return answer.checkpoint or getattr(write, "checkpoint", None)
