"""The input of a workflow: its arguments, checked against the function's signature, as text."""

from __future__ import annotations

import inspect
import sys
from inspect import Parameter
from typing import Any

from django_dbos import serializers
from django_dbos.core.registry import WorkflowDefinition

POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


class InputWriter:
    """Checks and serializes the arguments of one workflow function."""

    def __init__(self, definition: WorkflowDefinition) -> None:
        self._name = definition.name
        self._signature = inspect.signature(definition.function)
        self._positional = _positional(self._signature)
        self._label = f"The arguments of workflow {definition.name!r}"

    def write(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """Return the arguments as text.

        Raises:
            TypeError: The function doesn't take these arguments.
            SerializationError: An argument can't be stored; PayloadTooLarge if they are too large.
        """
        if kwargs or len(args) not in self._positional:
            try:
                self._signature.bind(*args, **kwargs)
            except TypeError as error:
                raise TypeError(f"{self._name}(): {error}") from None
        return serializers.dumps({"args": list(args), "kwargs": kwargs}, label=self._label)


def _positional(signature: inspect.Signature) -> range:
    """Return the numbers of positional arguments that make a valid call.

    The range answers faster than Signature.bind().
    """
    parameters = signature.parameters.values()
    plain = [parameter for parameter in parameters if parameter.kind in POSITIONAL]
    required = [parameter for parameter in parameters if parameter.default is Parameter.empty]
    if any(parameter.kind is Parameter.KEYWORD_ONLY for parameter in required):
        return range(0)
    least = sum(parameter in required for parameter in plain)
    has_more = any(parameter.kind is Parameter.VAR_POSITIONAL for parameter in parameters)
    return range(least, sys.maxsize if has_more else len(plain) + 1)
