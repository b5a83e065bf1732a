"""Where a run comes from: the strip under the verdict, the sizes, and how training went about it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from reports.analysis.groups import Group
from reports.format.numbers import count, listed, plural, size
from results import Protocol, RunFile

LEGIBLE_COMMIT = 10
"""Digits of a commit that tell it from all others."""


def context(run: RunFile, found: Sequence[Group]) -> dict[str, str]:
    """Machine, software, budget and command, in the order of the strip."""
    seeds = sorted({seed.case.seed for group in found for seed in group.seeds})
    threads = sorted({record.training.threads for group in found for record in group.records if record.training})
    where = run.environment
    strip = {
        "machine": f"{where.cpu}, {plural(where.cores, 'core')}, {size(where.memory_bytes)}",
        "lanes": f"{plural(run.workers, 'lane')}"
        + (f" of {listed([plural(n, 'thread') for n in threads])}" if threads else ""),
        "timed with": plural(where.threads, "thread") if where.threads else "",
        "processes": f"{run.repeat} a timing" if run.repeat > 1 else "",
        "software": f"torch {where.torch}, Python {where.python}, {where.system}",
        "device": where.device,
        "commit": _commit(run),
        "code": run.code,
        "plugins": listed([f"{name} {digest}" for name, digest in run.plugins.items()]) if run.plugins else "",
        "date": _date(run.created),
        "seeds": f"{len(seeds)} ({_span(seeds)})" if seeds else "none",
        "budget": budget(found),
        "command": run.command,
    }
    return {name: text for name, text in strip.items() if text}


def budget(found: Sequence[Group]) -> str:
    """The size that models were given."""
    cases = [seed.case for group in found for seed in group.seeds]
    depths = sorted({case.depth for case in cases})
    wanted = [f"{number:,} parameters" for number in sorted({case.params for case in cases if case.params is not None})]
    wanted += [f"width {number:,}" for number in sorted({case.width for case in cases if case.width is not None})]
    return f"{listed(wanted)}, {listed([plural(depth, 'layer') for depth in depths])}" if wanted else ""


def sizes(found: Sequence[Group]) -> dict[str, str]:
    """What each architecture's models turned out to be: `width 40, 20,003 parameters`."""
    told: dict[str, str] = {}
    for arch in dict.fromkeys(group.arch for group in found):
        models = [
            record.model
            for group in found
            if group.arch == arch
            for record in group.records
            if record.model is not None
        ]
        if models:
            widths, parameters = ({model.width for model in models}, {model.parameters for model in models})
            told[arch] = f"width {_span(sorted(widths))}, {_span(sorted(parameters))} parameters"
    return told


def protocols(found: Sequence[Group]) -> list[tuple[str, str]]:
    """How models were trained: where each distinct protocol was used, and the protocol in words."""
    used: dict[str, dict[tuple[str, int], list[str]]] = {}
    for group in found:
        for protocol in dict.fromkeys(seed.case.protocol for seed in group.seeds):
            used.setdefault(_told(protocol), {}).setdefault((group.task, group.length), []).append(group.arch)
    if len(used) == 1:
        return [("All cases", next(iter(used)))]
    return [(_places(words, used), words) for words in used]


def _places(words: str, used: dict[str, dict[tuple[str, int], list[str]]]) -> str:
    """Tasks with their lengths; where others were trained otherwise on one of them, the architectures too."""
    plain: dict[str, list[int]] = {}
    named: dict[str, dict[str, list[int]]] = {}
    for (task, length), archs in used[words].items():
        rivals = [len(places[task, length]) for places in used.values() if (task, length) in places]
        if len(archs) == max(rivals) and rivals.count(len(archs)) == 1:
            plain.setdefault(task, []).append(length)
        else:
            named.setdefault(listed(archs), {}).setdefault(task, []).append(length)
    told = [_at(plain)] if plain else []
    return listed(told + [f"{archs} on {_at(tasks)}" for archs, tasks in named.items()])


def _at(lengths: dict[str, list[int]]) -> str:
    return listed([f"{task} at {listed([count(n) for n in sorted(kept)])}" for task, kept in lengths.items()])


def _told(protocol: Protocol) -> str:
    if protocol.steps is not None:
        source = f"{plural(protocol.steps, 'step')} on fresh batches of {protocol.batch:,}"
    else:
        epochs = plural(protocol.epochs or 0, "epoch")
        source = f"{epochs} over {count(protocol.train_sequences)} fixed sequences in batches of {protocol.batch:,}"
    halving = f"halved every {plural(protocol.halve_every, 'epoch')}"
    schedule = halving if protocol.schedule == "halving" else protocol.schedule
    parts = [
        f"At most {source}",
        f"Adam, learning rate {protocol.learning_rate:g} ({schedule})",
        f"gradients clipped at {protocol.clip:g}",
        f"validated on {protocol.validation_sequences:,} sequences every {plural(protocol.evaluate_every, 'step')}",
        f"tested once on {protocol.test_sequences:,} others",
    ]
    if protocol.warmup_steps:
        parts.insert(2, f"{protocol.warmup_steps:,} steps of warm-up")
    if protocol.weight_decay:
        parts.insert(2, f"weight decay {protocol.weight_decay:g}")
    if protocol.fit_sequences:
        parts.append(f"the fit measured on {protocol.fit_sequences:,} training sequences as often")
    if protocol.solved_after:
        parts.append(f"stopped early when validation was solved {protocol.solved_after} times running")
    return "; ".join(parts) + "."


def _span(numbers: Sequence[int]) -> str:
    return count(numbers[0]) if len(numbers) == 1 else f"{numbers[0]:,}–{numbers[-1]:,}"


def _commit(run: RunFile) -> str:
    if run.commit is None:
        return ""
    return f"{run.commit[:LEGIBLE_COMMIT]}{', with changes' if run.modified else ''}"


def _date(text: str) -> str:
    try:
        return datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M %Z").strip()
    except ValueError:
        return text
