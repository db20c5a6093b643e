"""Messages over a websocket: a frame from the page, and the one that answers it."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from django_dbos.core import names
from django_dbos.core.texts import is_encodable
from django_dbos.exceptions import PayloadTooLarge, SerializationError
from django_dbos.live.outages import is_outage
from django_dbos.live.readers import Reader, Refused
from django_dbos.live.sending import send_message
from django_dbos.telemetry import concealing
from django_dbos.telemetry.rare_warnings import RareWarning

logger = logging.getLogger("django_dbos.consumers")
_is_away = RareWarning(logger, "Messages of pages are refused: the database is unavailable: %r")

FIELDS = ("message", "topic", "idempotency_key")


async def answer(reader: Reader, workflow_id: str, text: str) -> Mapping[str, Any] | None:
    """Send the message in a frame to a workflow, and return the frame to answer it with.

    A frame without a message is none of ours: it is ignored, and None returned.

    Args:
        reader: Who sends it. Their user is read again for each message.
        workflow_id: The receiver.
        text: The frame from the page.
    """
    frame = _read(text)
    if frame is None:
        return None
    key = _repeatable(frame.get("idempotency_key"))
    try:
        names.check_options(frame, FIELDS, owner="A message")
        if frame.get("idempotency_key") is None:
            raise ValueError("The field 'idempotency_key' is missing: the answer repeats it.")
        await send_message(
            reader,
            workflow_id,
            frame["message"],
            topic=frame.get("topic"),
            idempotency_key=frame["idempotency_key"],
            is_again=True,
        )
    except Refused as refused:
        return {"refused": key, "reason": str(refused.reason)}
    except (TypeError, ValueError, SerializationError, PayloadTooLarge) as error:
        return {"refused": key, "reason": str(error)}
    except Exception as error:
        if is_outage(error):
            _is_away.warn(error)
            return {"refused": key, "reason": "unavailable"}
        logger.error(
            "A message to workflow %r couldn't be sent",
            workflow_id,
            exc_info=concealing.shown("", error),
        )
        return {"refused": key, "reason": "error"}
    return {"sent": key}


def _repeatable(key: Any) -> str | None:
    """Return a key as the answer repeats it: None for what it can't be, such as Infinity."""
    return key if isinstance(key, str) and is_encodable(key) else None


def _read(text: str) -> dict[str, Any] | None:
    try:
        frame = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return frame if isinstance(frame, dict) and "message" in frame else None
