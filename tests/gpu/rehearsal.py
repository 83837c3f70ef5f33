"""The tiny model of the suite's tests, for rehearsing the stages: ``python -m tests.gpu.rehearsal FOLDER``."""

from __future__ import annotations

import sys
from pathlib import Path


def main(folder: str) -> int:
    from tests.conftest import make_model, make_tokenizer

    Path(folder).mkdir(parents=True, exist_ok=True)
    make_model().save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
