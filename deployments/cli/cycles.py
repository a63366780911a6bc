"""Run the sentences of the product for one cluster or source, here and now, and show what came of it."""

from __future__ import annotations

from typing import Any

import typer
from rich.text import Text

from blocks.errors import PermanentError, SourceError
from blocks.models.ids import ClusterRef, SourceRef
from blocks.models.report import CycleOutcome, Report
from blocks.models.source import SourceReport
from deployments.cli.options import TheCluster, Wait
from deployments.cli.output import Answer, clean, show
from deployments.cli.resolve import cluster_name, known_cluster, known_source
from deployments.cli.session import Cli
from deployments.cli.words import coloured, milliseconds, plural
from deployments.cli.world import Parts


class NothingDoneError(PermanentError):
    """What was asked for did not happen, for a reason that the report tells."""


def report_row(report: Report) -> dict[str, Any]:
    """A report in short."""
    return {
        "namespace": report.namespace,
        "cluster": report.cluster_id,
        "outcome": report.outcome,
        "error": report.error,
        "started_at": report.started_at,
        "phases_ms": report.phases_ms,
        "nodes_synced": report.nodes_synced,
        "nodes_failed": report.nodes_failed,
        "actions_sent": report.actions_sent,
        "actions_send_failed": report.actions_send_failed,
        "actions_lost": report.actions_lost,
        "events": report.events,
        "choice": dict(report.choice),
        "notes": report.notes,
    }


def report_page(report: Report) -> Text:
    """A report for people."""
    nodes = plural(report.nodes_synced, "node") + " answered" + _more(report.nodes_failed, "did not")
    sent = plural(report.actions_sent, "action") + " sent"
    sent += _more(report.actions_send_failed, "could not be sent") + _more(report.actions_lost, "lost")
    phases = "  ".join(f"{clean(phase)} {milliseconds(ms)}" for phase, ms in report.phases_ms.items())
    lines = [
        Text.assemble((clean(report.cluster), "bold"), "  ", coloured(report.outcome)),
        Text(f"  {nodes}; {sent}; {plural(report.events, 'event')}"),
        Text(f"  {phases}", style="dim"),
        *_held_back(report),
        *(Text(f"  {clean(note)}") for note in report.notes),
    ]
    return Text("\n").join(lines)


def _held_back(report: Report) -> list[Text]:
    choice = report.choice
    what = [
        *(["node actions"] if choice.block_nodes else []),
        *(["exclusive cluster actions"] if choice.block_exclusive else []),
    ]
    why = ", ".join(clean(reason) for reason in choice.reasons)
    return [Text(f"  held back: {' and '.join(what)} ({why})", style="yellow")] if what else []


def _more(count: int, what: str) -> str:
    return f", {count} {what}" if count else ""


def _cycle(context: typer.Context, name: str, text: str, wait_s: float) -> None:
    cli = Cli.of(context)
    with cli.keeping_refusals(name, text):
        ref = _cluster(cli, text)
    cli.need_prefect()
    report: Report = cli.run_flow(name, cluster=str(ref), wait_s=wait_s)
    show(Answer(report_row(report), (report_page(report),)), cli.form)
    if report.outcome is not CycleOutcome.SUCCESS:
        why = report.error or ", ".join(report.notes) or "see its report"
        message = f"{ref} was {report.outcome}: {why}"
        raise NothingDoneError(message)


def _cluster(cli: Cli, text: str) -> ClusterRef:
    if "/" in text or cli.namespace is not None:
        return cluster_name(text, cli.namespace)

    async def look(parts: Parts) -> ClusterRef:
        return await known_cluster(await parts.store(), text, None)

    return cli.run(look)


def orchestrate(context: typer.Context, cluster: TheCluster, wait: Wait = 30.0) -> None:
    """Look at a cluster, and do what is approved and due on it, now."""
    _cycle(context, "orchestrate", cluster, wait)


def observe(context: typer.Context, cluster: TheCluster, wait: Wait = 30.0) -> None:
    """Look at a cluster now, change nothing on it."""
    _cycle(context, "observe", cluster, wait)


def act(context: typer.Context, cluster: TheCluster, wait: Wait = 30.0) -> None:
    """Send what is approved and due on a cluster now."""
    _cycle(context, "act", cluster, wait)


def discover(context: typer.Context, source: str, wait: Wait = 30.0) -> None:
    """Ask a discovery source now what exists."""
    cli = Cli.of(context)

    async def look(parts: Parts) -> SourceRef:
        return await known_source(await parts.store(), source, cli.namespace)

    with cli.keeping_refusals("discover", source):
        ref = cli.run(look)
    cli.need_prefect()
    try:
        report: SourceReport = cli.run_flow("discover", source=str(ref), wait_s=wait)
    except SourceError as error:

        async def kept(parts: Parts) -> SourceReport | None:
            return await (await parts.store()).get(SourceReport, ref.key)

        failed = cli.run(kept)
        if failed is not None:
            show(Answer(_source_row(failed), (_source_page(failed),)), cli.form)
        raise NothingDoneError(str(error)) from error
    show(Answer(_source_row(report), (_source_page(report),)), cli.form)


def _source_row(report: SourceReport) -> dict[str, Any]:
    return {
        "namespace": report.namespace,
        "source": report.name,
        "at": report.at,
        "duration_s": report.duration_s,
        **{name: getattr(report, name) for name in ("error", "clusters", "nodes", "new", "changed", "missing")},
        "rejected": [dict(rejected) for rejected in report.rejected],
    }


def _source_page(report: SourceReport) -> Text:
    if report.error is not None:
        last = "it has never given a good answer"
        if report.good_at is not None:
            last = f"its last good answer told of {plural(report.clusters, 'cluster')}, {plural(report.nodes, 'node')}"
        return Text.assemble((clean(report.key), "bold"), f"  nothing was concluded; {last}")
    found = f"{plural(report.clusters, 'cluster')}, {plural(report.nodes, 'node')}"
    news = f"{report.new} new, {report.changed} changed, {report.missing} missing"
    lines = [
        Text.assemble((clean(report.key), "bold"), f"  {found}; {news}; {milliseconds(report.duration_s * 1_000)}"),
        *(
            Text(
                f"  {'taken in part' if one.partial else 'refused'}: {clean(one.what)}: {clean(one.reason)}",
                style="yellow",
            )
            for one in report.rejected
        ),
    ]
    return Text("\n").join(lines)
