"""The context of a run in words: machine, software, model sizes and training protocols."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from reports.analysis.groups import Group
from reports.format.numbers import count, listed, plural, size
from reports.text.budgets import budget
from results import SOLVED_SHARE, Protocol, RunFile

SHORT_COMMIT = 10
"""The number of digits of a commit hash that are shown."""

Setting = tuple[str, int]
"""A task and a trained length."""


def context(run: RunFile, groups: Sequence[Group]) -> dict[str, str]:
    """Return the context of a run as names and texts, such as `device: cpu`. Empty entries are left out.

    The page shows the entries below the verdict, in the order of the dictionary.
    """
    seeds = sorted({seed.case.seed for group in groups for seed in group.seeds})
    threads = sorted({record.training.threads for group in groups for record in group.records if record.training})
    environment = run.environment
    strip = {
        "machine": f"{environment.cpu}, {plural(environment.cores, 'core')}, {size(environment.memory_bytes)}",
        "workers": f"{run.workers:,}" + (f", {listed([plural(n, 'thread') for n in threads])} each" if threads else ""),
        "timing threads": f"{environment.threads:,}" if environment.threads else "",
        "timing processes": f"{run.repeat:,}" if run.repeat > 1 else "",
        "software": f"torch {environment.torch}, Python {environment.python}, {environment.system}",
        "device": environment.device,
        "training": "none, the initial weights were timed" if are_untrained(groups) else "",
        "commit": _commit(run),
        "code": run.code,
        "plugins": listed([f"{name} {digest}" for name, digest in run.plugins.items()]) if run.plugins else "",
        "date": _date(run.created),
        "seeds": f"{len(seeds)} ({_range(seeds)})" if seeds else "none",
        "budget": budget(groups),
        "command": run.command,
    }
    return {name: text for name, text in strip.items() if text}


def are_untrained(groups: Sequence[Group]) -> bool:
    """Return whether a run has cases, and none of them was to be trained."""
    return bool(groups) and not any(group.trains for group in groups)


def untrained_sentence(groups: Sequence[Group]) -> str:
    """Return a sentence that names the untrained architectures; empty if there are none."""
    archs = list(dict.fromkeys(group.arch for group in groups if not group.trains))
    if not archs:
        return ""
    subject = "All models are" if are_untrained(groups) else f"{listed(archs)} {'are' if len(archs) > 1 else 'is'}"
    return f"{subject} untrained: initial weights were timed, and there are no scores."


def protocols(groups: Sequence[Group]) -> list[tuple[str, str]]:
    """Return a pair of texts per training protocol: the cases that use the protocol, and its description.

    Protocols with the same description share a pair. If learning rates differ between architectures, tasks or lengths,
    descriptions refer to the section that lists them.
    """
    used = {seed.case.protocol for group in groups for seed in group.seeds}
    rates = {protocol.learning_rate for protocol in used if protocol.optimizer == "adam"}
    archs_by_protocol: dict[str, dict[Setting, list[str]]] = {}
    for group in groups:
        for protocol in dict.fromkeys(seed.case.protocol for seed in group.seeds):
            archs_by_setting = archs_by_protocol.setdefault(_in_words(protocol, has_one_rate=len(rates) == 1), {})
            archs_by_setting.setdefault((group.task, group.length), []).append(group.arch)
    if len(archs_by_protocol) == 1:
        return [("All cases", next(iter(archs_by_protocol)))]
    return [(_cases_of(protocol, archs_by_protocol), protocol) for protocol in archs_by_protocol]


def _cases_of(protocol: str, archs_by_protocol: Mapping[str, Mapping[Setting, Sequence[str]]]) -> str:
    """Return the tasks and lengths on which a protocol is used.

    The architectures of a setting are named if another protocol has at least as many architectures in the setting.
    """
    plain: dict[str, list[int]] = {}
    by_archs: dict[str, dict[str, list[int]]] = {}
    for (task, length), archs in archs_by_protocol[protocol].items():
        counts = [len(settings[task, length]) for settings in archs_by_protocol.values() if (task, length) in settings]
        if len(archs) == max(counts) and counts.count(len(archs)) == 1:
            plain.setdefault(task, []).append(length)
        else:
            by_archs.setdefault(listed(list(archs)), {}).setdefault(task, []).append(length)
    parts = [_tasks_and_lengths(plain)] if plain else []
    return listed(parts + [f"{archs} on {_tasks_and_lengths(tasks)}" for archs, tasks in by_archs.items()])


def _tasks_and_lengths(lengths_by_task: Mapping[str, Sequence[int]]) -> str:
    return listed(
        [f"{task} at {listed([count(n) for n in sorted(lengths)])}" for task, lengths in lengths_by_task.items()]
    )


def _in_words(protocol: Protocol, *, has_one_rate: bool) -> str:
    if not protocol.trains:
        return "Untrained: the initial weights were timed. Nothing was trained or tested."
    if protocol.steps is not None:
        source = f"{plural(protocol.steps, 'step')} on fresh batches of {protocol.batch:,}"
    else:
        epochs = plural(protocol.epochs or 0, "epoch")
        source = f"{epochs} over {count(protocol.train_sequences)} fixed sequences in batches of {protocol.batch:,}"
    evaluation_interval = plural(protocol.evaluate_every, "step")
    bound = "" if protocol.test_steps is None else f", fewer beyond {protocol.test_steps:,} time steps in total"
    parts = [
        f"At most {source}",
        *_learning(protocol, has_one_rate=has_one_rate),
        f"validation on {protocol.validation_sequences:,} sequences every {evaluation_interval}",
        f"one test on {protocol.test_sequences:,} other sequences{bound}",
    ]
    if (lengths := protocol.training_range()) is not None:
        parts.insert(1, f"training lengths {lengths[0]:,} to {lengths[1]:,}")
    elif protocol.train_lengths == "up_to":
        parts.insert(1, "training lengths up to that of the case")
    if protocol.fit_sequences:
        parts.append(f"fit measured on {protocol.fit_sequences:,} training sequences every {evaluation_interval}")
    if protocol.solved_after:
        bar = f" at {protocol.solved_at:g} of the span" if protocol.solved_at != SOLVED_SHARE else ""
        parts.append(f"early stop after {plural(protocol.solved_after, 'solved validation')} in a row{bar}")
    if protocol.patience:
        parts.append(f"early stop after {plural(protocol.patience, 'validation')} in a row without improvement")
    if protocol.keep_best:
        parts.append("the weights with the best validation score tested too (keep_best)")
    return "; ".join(parts) + "."


def _learning(protocol: Protocol, *, has_one_rate: bool) -> list[str]:
    """Return how the weights are found."""
    if protocol.optimizer == "guessing":
        bound = f"{protocol.guess_range:g}"
        return [f"random weight guessing, every step with new weights from -{bound} to {bound}"]
    halving = f"halved every {plural(protocol.halve_every, 'epoch')}"
    schedule = halving if protocol.schedule == "halving" else protocol.schedule
    if protocol.final_learning_rate:
        schedule += f" to {protocol.final_learning_rate:g}"
    if protocol.learning_rate is None:
        rate = "a learning rate chosen by tuning"
    else:
        rate = (
            f"learning rate {protocol.learning_rate:g}" if has_one_rate else "a learning rate of the plan, listed above"
        )
    parts = [f"Adam, {rate} ({schedule})"]
    if protocol.weight_decay:
        on = " on matrices" if protocol.weight_decay_on == "matrices" else ""
        parts.append(f"weight decay {protocol.weight_decay:g}{on}")
    if protocol.warmup_share:
        parts.append(f"warm-up over {protocol.warmup_share:.0%} of the steps")
    if protocol.warmup_steps:
        parts.append(f"{protocol.warmup_steps:,} warm-up steps")
    return [*parts, f"gradients clipped at {protocol.clip:g}" if protocol.clip else "gradients not clipped"]


def _range(numbers: Sequence[int]) -> str:
    return count(numbers[0]) if len(numbers) == 1 else f"{numbers[0]:,}–{numbers[-1]:,}"


def _commit(run: RunFile) -> str:
    if run.commit is None:
        return ""
    return f"{run.commit[:SHORT_COMMIT]}{', with uncommitted changes' if run.modified else ''}"


def _date(text: str) -> str:
    try:
        return datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M %Z").strip()
    except ValueError:
        return text
