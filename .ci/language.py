"""Print phrases that readers stumble over, and commit subjects over 72 characters; exit 1 if there is one.

Run from the root of a checkout. The phrases were collected where readers had to read a sentence twice; each has a plain
alternative in its row.
"""

import re
import subprocess
import sys
from pathlib import Path

SUFFIXES = {".py", ".md", ".html", ".txt", ".sh", ".toml", ".yaml", ".service", ".conf"}
# Other people's sentences, and this list.
LEFT_OUT = re.compile(r"(^|/)(migrations|locale)/|^\.ci/language\.py$|^CHANGELOG\.md$|^requirements\.lock$|^LICENSE$")
# Commits before this one were written without a limit. A tag after it moves the start.
SUBJECTS_SINCE = "af69b05"

# pattern: what to write instead
PHRASES = {
    r"\bwhat came of\b": "result, status",
    r"\bcame of (it|them|this|that)\b": "result",
    r"\bwhat became of\b": "what happened to, status of",
    r"\btold of\b": "told about",
    r"\bis had\b": "exists, was received",
    r"\bnobody\b[^.]{0,30}\bbut\b": "only",
    r"\bnone but\b": "only",
    r"\buntold\b": "not sent yet",
    r"\bundone\b": "reverted",
    r"\banew\b": "again",
    r"\bamid\b": "during",
    r"\bby now\b": "already",
    r"\bat hand\b": "available",
    r"\bmend(ed|s|ing)?\b": "fix",
    r"\bof late\b": "recently",
    r"\bthe like\b": "similar",
    r"\bthereof\b": "of it",
    r"\bbe it\b": "whether",
    r"\bso many\b": "the number",
    r"\bso long as\b": "while",
    r"\bin doubt\b": "ambiguous (code), outcome unknown (pages)",
    r"\bdoubtful\b": "ambiguous",
    r"\bstate of the house\b": "overview",
    r"\bkeep(s|ing)? house\b": "run maintenance",
    r"(?<!--)(?<!sms\.)\bhousekeep\w*": "maintenance",
    r"\bsigns? of life\b": "heartbeat",
    r"\bgo(es|ing)? again\b": "retry",
    r"\bring(s|ing)? the bell\b": "wake",
    r"\bwhoever\b": "the process that, the operator who",
    r"\bin its stead\b": "instead",
    r"\bwhence\b|\bwherein\b|\bwhereby\b|\bhitherto\b": "plain words",
    r"\bgive(n|s)? back by hand\b": "record a manual refund",
}
# At the start of a comment or docstring: a condition takes "if", a description starts with a verb or a noun.
STARTS = re.compile(
    r"""^\s*(?:\#+\s|[rf]?\"\"\"|[-*]\s)(?:Where\s(?!to\b|the\slinks)|Who\s|Whoever\s|Whether\s|What\s[a-z]+\s[^?]*$)"""
)


def tracked() -> list[Path]:
    out = subprocess.run(["git", "ls-files", "-z"], capture_output=True, text=True, check=True).stdout
    return [Path(name) for name in out.split("\0") if name and Path(name).suffix in SUFFIXES and Path(name).exists()]


def phrases(path: Path) -> list[str]:
    product = path.parts[0] in ("sms", "game", "payments", "playmatatu")
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        hits = [(pattern, plain) for pattern, plain in PHRASES.items() if re.search(pattern, line, re.IGNORECASE)]
        found += [f"{path}:{number}: “{re.search(p, line, re.IGNORECASE)[0]}”: {plain}" for p, plain in hits]  # type: ignore[index]
        if product and path.suffix == ".py" and STARTS.search(line):
            found.append(
                f"{path}:{number}: starts with a free relative or a condition without “if”: {line.strip()[:80]}"
            )
    return found


def subjects() -> list[str]:
    """Commit subjects that are too long, since the tag before this commit, or since SUBJECTS_SINCE without a tag."""
    tag = _git("describe", "--tags", "--abbrev=0", "HEAD^")
    start = tag or SUBJECTS_SINCE
    if not _git("rev-parse", "--verify", "--quiet", f"{start}^{{commit}}"):
        print(f"The history of this clone does not reach back to {start}: commit subjects are not checked.")
        return []
    rows = [line.split(" ", 1) for line in _git("log", "--format=%h %s", f"{start}..HEAD").splitlines()]
    return [
        f"{commit}: subject of {len(subject)} characters, 72 at most" for commit, subject in rows if len(subject) > 72
    ]


def _git(*arguments: str) -> str:
    """Output of a git command, empty if it fails."""
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=False).stdout.strip()


def main() -> int:
    found = [hit for path in tracked() if not LEFT_OUT.search(path.as_posix()) for hit in phrases(path)]
    found += subjects()
    print(*found, sep="\n", end="\n" if found else "")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
