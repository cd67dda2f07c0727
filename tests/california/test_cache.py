"""The workflow downloads California Housing once."""

from pathlib import Path

import yaml

from stages.tables import datasets


def test_the_cache_holds_the_table_that_is_expected() -> None:
    workflow = yaml.safe_load(Path(".github/workflows/ci.yml").read_text(encoding="utf-8"))
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    wanted = {
        "path": str(datasets.download_home()),
        "key": f"california-housing-{datasets.CALIFORNIA_SHA256[:12]}",
    }
    caches = [s["with"] for s in steps if s.get("uses", "").startswith("actions/cache@")]
    assert caches == [wanted] * 2
