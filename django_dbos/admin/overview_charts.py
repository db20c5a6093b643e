"""The charts of the overview: starts and failures, durations and waits."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from django_dbos.admin.charts import Chart, Line, bars, ceiling, highest, steps, table
from django_dbos.admin.section import Label
from django_dbos.admin.values import decimal, duration, whole
from django_dbos.core.statistics import Bucket, percentile
from django_dbos.store.statistics import MOST


def draw(buckets: Sequence[Bucket], now: datetime) -> list[Chart]:
    """Return the charts of what was created in these spans of time, up to now."""
    starts = [bucket.start for bucket in buckets]
    durations = [bucket.durations for bucket in buckets]
    waits = [bucket.waits for bucket in buckets]
    return [
        _counts(buckets, now),
        _spread(
            "durations", _("Duration"), _("from the first run to the end"), durations, starts, now
        ),
        _spread("waits", _("Waiting"), _("from the start to the first run"), waits, starts, now),
    ]


def in_words(seconds: float) -> str:
    """Return a short duration as people read it: 12 ms, 1.2 s, and so on."""
    if seconds < 1:
        return gettext("%d ms") % round(seconds * 1_000)
    return gettext("%s s") % decimal(seconds, 1) if seconds < 10 else duration(seconds)


def _counts(buckets: Sequence[Bucket], now: datetime) -> Chart:
    counts = [bucket.count for bucket in buckets]
    failed = [min(bucket.failed, bucket.count) for bucket in buckets]
    top = ceiling(highest([counts]))
    labels = [_clock(bucket.start) for bucket in buckets]
    tips = [
        gettext("%(time)s: %(count)s started, %(failed)s failed")
        % {"time": label, "count": _shown(count), "failed": _shown(bad)}
        for label, count, bad in zip(labels, counts, failed, strict=True)
    ]
    is_cut = any(count >= MOST for count in counts)
    total = whole(sum(counts), is_cut=is_cut)
    bad = sum(failed)
    return Chart(
        name="started",
        title=_("Started"),
        summary=ngettext(
            "%(total)s started, of which %(bad)s has failed.",
            "%(total)s started, of which %(bad)s have failed.",
            bad,
        )
        % {"total": total, "bad": whole(bad)},
        top=_shown(top) if is_cut else whole(top),
        first=labels[0],
        last=_clock(now),
        bars=[*bars(counts, top, "busy", tips), *bars(failed, top, "bad", tips)],
        columns=(_("From"), _("Started"), _("Failed")),
        rows=table(labels, counts, failed, write=_shown),
    )


def _spread(
    name: str,
    title: Label,
    what: Label,
    samples: Sequence[Sequence[float]],
    starts: Sequence[datetime],
    now: datetime,
) -> Chart:
    middle = [percentile(sample, 0.5) for sample in samples]
    high = [percentile(sample, 0.95) for sample in samples]
    top = highest([middle, high], default=1.0)
    every = [value for sample in samples for value in sample]
    labels = [_clock(start) for start in starts]
    p50, p95 = percentile(every, 0.5), percentile(every, 0.95)
    summary = gettext("No workflow yet.")
    if p50 is not None and p95 is not None:
        summary = gettext("p50 %(p50)s, p95 %(p95)s, %(what)s.") % {
            "p50": in_words(p50),
            "p95": in_words(p95),
            "what": what,
        }
    return Chart(
        name=name,
        title=title,
        summary=summary,
        top=in_words(top),
        first=labels[0],
        last=_clock(now),
        lines=[
            Line(path=steps(high, top), colour="wait", label="p95"),
            Line(path=steps(middle, top), colour="busy", label="p50"),
        ],
        columns=(_("From"), "p50", "p95"),
        rows=table(labels, middle, high, write=in_words),
    )


def _clock(value: datetime) -> str:
    local = timezone.localtime(value) if timezone.is_aware(value) else value
    return date_format(local, "D H:i")


def _shown(number: float) -> str:
    return whole(round(number), is_cut=number >= MOST)
