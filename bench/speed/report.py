"""The report: a page for people, and every run for programs."""

import json
from pathlib import Path

from .goals import GOALS
from .peers import Peer
from .rounds import Row, Samples, median

LIMITS = """Milestone and aim are those of `bench/README.md`. A figure is the median over the rounds of what each round gave; the least and the
greatest stand beside it. Nothing is switched off in Holdfast: credentials, a finite tier far above the load, history, events and metrics. Redis runs without
persistence on both sides, but where a row says otherwise. The generator shares the cores."""


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"


def goal(row: Row) -> str:
    return f"{number(GOALS[row.goal].milestone)} / {number(GOALS[row.goal].aim)}" if row.goal else ""


def rows_table(rows: list[Row]) -> str:
    lines = ["| | measure | median | least .. greatest | milestone / aim | | figures |", "| --- | --- | --- | --- | --- | --- | --- |"]
    for row in rows:
        spread = f"{number(min(row.values))} .. {number(max(row.values))}"
        lines.append(f"| {row.id} | {row.what} | **{number(row.median)}{row.unit}** | {spread} | {goal(row)} | {row.verdict} | {row.note} |")
    return "\n".join(lines)


def peers_table(peers: list[Peer], samples: dict[str, Samples], absent: list[str]) -> str:
    if not samples:
        return ""
    counts = list(samples)
    head = "".join(f" {clients} client{'s' * (clients != '1')}: pairs/s, p50 / p99 ms | Holdfast's over it |" for clients in counts)
    lines = ["| |" + head + " what it does not do |", "| --- |" + " --- | --- |" * len(counts) + " --- |"]
    for peer in peers:
        cells = ""
        for clients in counts:
            here, ours = samples[clients][peer.name], samples[clients]["holdfast"]
            over = sorted(our["pairs_per_s"] / their["pairs_per_s"] for our, their in zip(ours, here))
            cells += f" {median(here, 'pairs_per_s'):,.0f}, {median(here, 'p50_us') / 1e3:.2f} / {median(here, 'p99_us') / 1e3:.2f} |"
            cells += " |" if peer.name == "holdfast" else f" **{over[len(over) // 2]:.2f}** ({over[0]:.2f} .. {over[-1]:.2f}) |"
        lines.append(f"| {peer.name}: {peer.how} |{cells} {peer.lacks} |")
    latencies = "Latencies are " + "; ".join(sorted({peer.latency for peer in peers})) + "."
    return "\n\n".join(["\n".join(lines), latencies, *(f"Left out: {line}." for line in absent)])


def conditions(samples: dict[str, Samples]) -> str:
    every = [sample for runs in samples.values() for run in runs.values() for sample in run if "cal_ms" in sample]
    if not every:
        return ""
    cal, steal = sorted(sample["cal_ms"] for sample in every), sorted(sample["steal_percent"] for sample in every)
    text = f"A fixed loop took {cal[0]:.0f} .. {cal[len(cal) // 2]:.0f} .. {cal[-1]:.0f} ms before the runs (least, median, greatest); "
    text += f"the host took {steal[len(steal) // 2]:.0f} % (median) to {steal[-1]:.0f} % of the cores away during them."
    failed = sum(sample.get("failed", 0) for sample in every)
    return text + (f" **{failed} runs failed and were made again.**" if failed else "")


def page(date: str, machine: dict[str, str], settings: str, rows: list[Row], samples: dict[str, Samples], peers: tuple | None, failures: list[str]) -> str:
    parts = [f"# Speed on {date}", ", ".join(f"{name}: {value}" for name, value in machine.items()) + ".", settings + " " + conditions(samples)]
    if rows:
        parts += ["## Beside the limits", LIMITS, rows_table(rows)]
    if peers:
        parts += ["## Beside the peers", "One node each, on the same cores. A pair is taking one name and giving it back.", peers_table(*peers)]
    parts += [f"**Not measured, for it failed:** {failure}" for failure in failures]
    return "\n\n".join(part for part in parts if part) + "\n"


def save(directory: Path, date: str, text: str, everything: dict) -> Path:
    """Writes `<date>.md` and `<date>.json`."""
    directory.mkdir(exist_ok=True)
    file = directory / f"{date}.md"
    file.write_text(text)
    (directory / f"{date}.json").write_text(json.dumps(everything, indent=1) + "\n")
    return file
