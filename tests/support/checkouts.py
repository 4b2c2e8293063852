"""Small git repositories."""

import subprocess


def git(folder, *arguments):
    """What git prints, with an author for commits."""
    names = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    command = ["git", "-C", str(folder), *names, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
