"""Stand in for GitHub's program `gh`: answer the two questions of the comment's workflow, and keep what is written.

The two filters are those of the workflow. Any other one is refused, so that a change of the workflow fails the test.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

PULLS = re.compile(r'\.\[\] \| select\(\.head\.sha == "(?P<commit>\w+)"\) \| \.number')
COMMENTS = re.compile(
    r'\.\[\] \| select\(\.user\.type == "Bot" and \(\.body \| startswith\("(?P<marker>[^"]+)"\)\)\) \| \.id'
)


def main(words: list[str]) -> None:
    """Answer `gh api …`. Raises `AssertionError` for a request that the workflow does not make."""
    assert words[0] == "api"
    method = words[words.index("--method") + 1] if "--method" in words else "GET"
    path = next(word for word in words if word.startswith("repos/"))
    if method in ("POST", "PATCH"):
        body = words[words.index("-F") + 1].removeprefix("body=@")
        Path("written").write_text(f"{method} {path}\n{Path(body).read_text()}")
        return
    query = words[words.index("--jq") + 1]
    if path.endswith("/pulls"):
        assert "head=o:b'ranch" in words
        found = PULLS.fullmatch(query)
        assert found is not None
        for pull in json.loads(Path("pulls.json").read_text()):
            if pull["head"]["sha"] == found["commit"]:
                print(pull["number"])
        return
    found = COMMENTS.fullmatch(query)
    assert found is not None
    for comment in json.loads(Path("comments.json").read_text()):
        if comment["user"]["type"] == "Bot" and comment["body"].startswith(found["marker"]):
            print(comment["id"])


main(sys.argv[1:])
