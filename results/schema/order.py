"""The order in which the runs of a store ended, as far as possible independent of wrong clocks.

A run that finishes records which runs had ended last in its store (`RunFile.after`). These links hold whatever the
clocks said. Recorded times decide only between runs that no chain of links orders, such as runs of merged stores or of
earlier versions. A clock that was ahead is soon corrected. So a run ended no later than the runs that followed it:

    e(r) = min(t(r), smallest e of the runs that follow r)        (1)  t: recorded time, e: time used for the order

Runs are sorted by e, and runs with equal e by the length of the longest chain of links that leads to them.
"""

from __future__ import annotations

from collections.abc import Sequence

from results.schema.run import RunFile

MAX_LINKS = 100
"""Maximum number of links of one run. Only a store merged from more stores has more runs that no run follows."""


def by_end(files: Sequence[RunFile]) -> list[int]:
    """Return the indices of run files in the order in which the runs ended, by (1).

    The time of an unfinished run is that of its creation.
    """
    index_of = {file.id: index for index, file in enumerate(files)}
    followers: list[list[int]] = [[] for _ in files]
    waiting_for = [0] * len(files)
    for index, file in enumerate(files):
        for earlier in {index_of[name] for name in file.after if name in index_of} - {index}:
            followers[earlier].append(index)
            waiting_for[index] += 1
    depths = [0] * len(files)
    ordered = [index for index, count in enumerate(waiting_for) if count == 0]
    for index in ordered:  # grows while it is read; runs in a cycle of links, which only damage can cause, never enter
        for follower in followers[index]:
            depths[follower] = max(depths[follower], depths[index] + 1)
            waiting_for[follower] -= 1
            if waiting_for[follower] == 0:
                ordered.append(follower)
    times = [file.finished or file.created for file in files]
    for index in reversed(ordered):
        times[index] = min([times[index], *(times[follower] for follower in followers[index])])
    return sorted(
        range(len(files)), key=lambda index: (times[index], depths[index], files[index].created, files[index].id)
    )


def last_ended(files: Sequence[RunFile]) -> tuple[str, ...]:
    """Return the ids of the finished runs that no run follows, at most `MAX_LINKS`: the links of the next run."""
    followed = {name for file in files for name in file.after}
    ended = [files[index] for index in by_end(files) if files[index].finished is not None]
    return tuple(dict.fromkeys(file.id for file in ended if file.id not in followed))[-MAX_LINKS:]
