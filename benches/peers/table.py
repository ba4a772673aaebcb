"""What was measured, as the two Markdown tables of the README."""

import datetime
import os
import platform
import statistics

from .shapes import PACE_PER_SECOND

TITLES = {"keyward": "Keyward", "nginx": "nginx", "haproxy": "HAProxy", "envoy": "Envoy"}
ABSENT = "–"
# Where other programs had a gateway's CPU for more than this share of the time, its number is worth less: it found its caches
# cold, and the others theirs.
WAITED_MAX = 0.1


def median(rows, column):
    return statistics.median(row[column] for row in rows)


def ratio(rows, others):
    """Each round against its neighbour in time, so that a slow drift of the machine falls out."""
    return statistics.median(row["cpu_us"] / other["cpu_us"] for row, other in zip(rows, others))


def number(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def row(*cells):
    return f"| {' | '.join(cells)} |"


def head(*cells):
    return [row(*cells), row("---", *("---:" for _ in cells[1:]))]


def cpu_model():
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def preamble(versions, options):
    about = ", ".join(f"{TITLES[name]} {version}" for name, version in versions.items())
    return (
        f"Printed by `benches/peers/run` on {datetime.date.today()}: {about}; {len(os.sched_getaffinity(0))} CPUs "
        f"({cpu_model()}), Linux {platform.release().split('-')[0]}; medians of {options.rounds} runs of {options.seconds} s, in turn."
    )


def cpu_table(names, shapes, results):
    """CPU time, and Keyward's share of each peer's. A gateway that failed a shape has no number there."""
    peers = [name for name in names if name != "keyward"] if "keyward" in names else []
    lines = head("CPU µs per request", *(TITLES[name] for name in names), *(f"against {TITLES[peer]}" for peer in peers))
    for key, shape in shapes.items():
        rows = results[key]
        cells = [number(median(rows[name], "cpu_us")) if rows.get(name) else ABSENT for name in names]
        for peer in peers:
            both = rows.get("keyward") and rows.get(peer)
            cells.append(f"**{ratio(rows['keyward'], rows[peer]):.2f}**" if both else ABSENT)
        lines.append(row(shape.title, *cells))
    return lines


def other_rows(results, extra):
    """Title, the gateways' values, and how to write them; where they were measured."""
    first = results.get("h1", {})
    yield "requests per second, HTTP/1.1, 2 B, 64 connections", {n: median(r, "rps") for n, r in first.items()}, "{:,.0f}"
    pace = results.get("paced", {})
    for column, title in (("p50_us", "median"), ("p99_us", "99th percentile")):
        yield (
            f"µs until the answer at {PACE_PER_SECOND:,} requests a second, {title}",
            {n: median(r, column) for n, r in pace.items()},
            "{:,.0f}",
        )
    yield "system calls per request", extra["syscalls"], "{:.1f}"
    yield "MiB resident after it, 64 connections, 10,000 keys", {n: median(r, "rss_mib") for n, r in first.items()}, "{:.0f}"
    yield "KiB per idle keep-alive connection", extra["idle"], "{:.1f}"
    yield "KiB per idle keep-alive connection, TLS", extra["idle_tls"], "{:.1f}"


def other_table(names, results, extra):
    lines = head("", *(TITLES[name] for name in names))
    for title, values, form in other_rows(results, extra):
        if values:
            lines.append(row(title, *(form.format(values[name]) if name in values else ABSENT for name in names)))
    return lines


def is_disturbed(rows):
    return median(rows, "waited") > WAITED_MAX


def disturbed(results):
    """The gateways, and in how many shapes other programs were in the way of each."""
    counts = {}
    for by_name in results.values():
        for name, rows in by_name.items():
            counts[name] = counts.get(name, 0) + is_disturbed(rows)
    return ", ".join(f"{TITLES[name]} in {count} of {len(results)} shapes" for name, count in counts.items() if count)


def markdown(names, shapes, results, extra, versions, options):
    results = {key: {name: rows for name, rows in by_name.items() if rows} for key, by_name in results.items()}
    others = other_table(names, results, extra)
    parts = [preamble(versions, options), "", *cpu_table(names, shapes, results)]
    if len(others) > 2:
        parts += ["", *others]
    if busy := disturbed(results):
        parts += ["", f"Not for the README: other programs had the CPU ({busy}). Run it on a quiet machine."]
    return "\n".join(parts)
