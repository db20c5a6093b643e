"""The errors: one tree, messages that help, and data that survives pickling and copying."""

import copy
import pickle

import pytest
from django.db.transaction import TransactionManagementError

from django_dbos import exceptions, interruptions
from django_dbos.core.values import errors
from django_dbos.core.values.json import JSONSerializer

ERRORS = [
    exceptions.WorkflowDoesNotExist("order-1"),
    exceptions.WorkflowIdConflict("order-1", "shop.refund", "shop.checkout"),
    exceptions.UserConflict("Workflow id", "order-1", "7"),
    exceptions.DuplicateWorkflow("order-1"),
    exceptions.DuplicateWorkflow("order-1", "customer-7"),
    exceptions.ChangeRefused("order-1", "rewind", "it runs."),
    exceptions.UnknownWorkflow("shop.chekout", "shop.checkout"),
    exceptions.UnknownWorkflow("shop.chekout"),
    exceptions.UnknownWorkflow("shop.checkout", version="2"),
    exceptions.NotPermitted("shop.refund", "shop.refund", "7"),
    exceptions.NotPermitted("shop.refund", "shop.refund", None),
    exceptions.QueueDoesNotExist("mial", "mail"),
    exceptions.QueueDoesNotExist("nowhere"),
    exceptions.ScheduleDoesNotExist("nightli", "nightly"),
    exceptions.ScheduleExists("nightly"),
    exceptions.ScheduleIsDeclared("nightly"),
    exceptions.FormDoesNotExist(7),
    exceptions.FormNotPending(7, "answered"),
    exceptions.WaitTimeout("a message on topic 'paid'", 1.5),
    exceptions.WaitInTest("recv()"),
    exceptions.WorkflowCancelled("order-1"),
    exceptions.MaxRecoveryAttemptsExceeded("order-1", 100),
    exceptions.NondeterminismError("order-1", 3, "step 'charge'", "step 'refund'"),
    exceptions.MapFailed("shop.charge", 3, 100, 2, "order-1-7", "it has no funds"),
    exceptions.LimitReached("order-1", "steps", 50_000, "STEP_LIMITS"),
    exceptions.StepTimeout("shop.charge", 2.5),
    exceptions.StreamClosed("order-1", "log"),
    exceptions.NotInWorkflow("recv"),
    exceptions.NotInWorkflow("amap"),
    exceptions.NotAllowedInStep("recv", "charge"),
    exceptions.NotAllowedInAtomic("recv"),
    exceptions.NotAllowedInAtomic("send", "other", "default"),
    exceptions.EncryptionKeyMissing("2025"),
    exceptions.OffloadedValueMissing("dbos/2026-01-01/0197a3f4"),
    exceptions.OffloadFailed("the disk is full"),
    exceptions.ImportRefused("Workflow 'order-1' is in the document twice."),
    exceptions.PayloadTooLarge("The message", 9_000, 4_000),
    exceptions.RecordedError("shop.errors:Declined", "('card',)", "Traceback"),
    exceptions.SerializationError("The message can't be stored."),
    exceptions.UnknownTypeInHistory("Class 'shop:Gone' was recorded."),
    exceptions.ModelInstanceGone("shop.Order", 5, "default"),
]
every_error = pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)


@pytest.mark.parametrize(
    ("operation", "advice"),
    [
        ("map", " Elsewhere, call start_many() and then get_results()."),
        ("amap", " Elsewhere, call start_many() and then get_results()."),
        ("wait_any", "or get_event()."),
        ("await_any", "or get_event()."),
        ("recv", "a function decorated with @workflow."),
    ],
)
def test_outside_of_workflows_the_error_names_what_works_there(operation: str, advice: str) -> None:
    assert str(exceptions.NotInWorkflow(operation)).endswith(advice)


def test_every_error_of_the_tree_is_tried_here() -> None:
    tried = {type(error) for error in ERRORS}

    assert tried == _subclasses(exceptions.DbosError)


def test_each_tree_is_drawn_at_the_top_of_its_module() -> None:
    for module, base in (
        (exceptions, exceptions.DbosError),
        (interruptions, interruptions.RunInterrupted),
    ):
        for cls in _subclasses(base):
            assert f"── {cls.__name__}" in (module.__doc__ or "")


@every_error
def test_an_error_survives_pickling(error: exceptions.DbosError) -> None:
    _assert_same(pickle.loads(pickle.dumps(error)), error)


@every_error
def test_an_error_survives_copying(error: exceptions.DbosError) -> None:
    _assert_same(copy.copy(error), error)
    _assert_same(copy.deepcopy(error), error)


@every_error
def test_an_error_survives_being_recorded(error: exceptions.DbosError) -> None:
    serializer = JSONSerializer()

    loaded = errors.load_error(serializer, errors.dump_error(serializer, error))

    assert type(loaded) is type(error)
    assert (loaded.args, str(loaded)) == (error.args, str(error))


@every_error
def test_a_message_contains_every_attribute(error: exceptions.DbosError) -> None:
    message = str(error)

    assert "{" not in message
    assert message == message.strip() != ""
    for value in vars(error).values():
        assert value in (None, "", "Traceback") or str(value).replace(":", ".") in message


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            exceptions.UnknownWorkflow("shop.chekout", "shop.checkout"),
            "Workflow 'shop.chekout' isn't registered. Did you mean 'shop.checkout'?",
        ),
        (
            exceptions.WaitTimeout("a message", 1.5),
            (
                "Waited 1.5 s for a message, which didn't come. Use a longer timeout, or "
                "timeout=None to wait indefinitely."
            ),
        ),
        (
            exceptions.RecordedError("shop.errors:Declined", "('card')"),
            "shop.errors.Declined('card')",
        ),
    ],
)
def test_a_message_says_what_happened_and_what_to_do(error: Exception, message: str) -> None:
    assert str(error) == message


def test_atomic_requests_is_named_where_a_view_may_be_at_fault() -> None:
    message = str(exceptions.NotAllowedInAtomic("recv", "default"))

    assert "ATOMIC_REQUESTS" in message
    assert "non_atomic_requests" in message


def test_on_commit_is_named_where_another_database_is_in_a_transaction() -> None:
    message = str(exceptions.NotAllowedInAtomic("send", "other", "default"))

    assert "transaction.on_commit(..., using='other')" in message


def test_errors_can_be_caught_as_errors_of_python_and_django() -> None:
    assert issubclass(exceptions.WaitTimeout, TimeoutError)
    assert issubclass(exceptions.NotAllowedInAtomic, TransactionManagementError)


def test_a_wait_timeout_has_no_errno() -> None:
    error = exceptions.WaitTimeout("a message", 5.0)

    assert (error.errno, error.strerror) == (None, None)


def test_an_interruption_passes_through_except_exception() -> None:
    for cls in _subclasses(interruptions.RunInterrupted):
        assert not issubclass(cls, Exception)


def test_an_unusable_history_carries_the_reason() -> None:
    reason = exceptions.NondeterminismError("order-1", 3, "step 'a'", "step 'b'")

    interruption = interruptions.HistoryUnusable(reason)

    assert interruption.error is reason
    assert str(interruption) == str(reason)


def test_an_error_of_a_user_under_the_same_base_keeps_its_message() -> None:
    class ShopError(exceptions.DbosError):
        pass

    assert str(ShopError("closed on sundays")) == "closed on sundays"


def _assert_same(other: BaseException, error: BaseException) -> None:
    assert type(other) is type(error)
    assert other.args == error.args
    assert vars(other) == vars(error)
    assert str(other) == str(error)


def _subclasses(cls: type) -> set[type]:
    found: set[type] = set()
    below: list[type] = type.__subclasses__(cls)
    for subclass in below:
        if subclass.__module__ == cls.__module__:
            found |= {subclass} | _subclasses(subclass)
    return found
