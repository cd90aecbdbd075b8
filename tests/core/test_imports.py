"""What `import maskwright` loads, and how long it takes."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "scipy", "skimage", "huggingface_hub", "sqlalchemy", "gradio", "napari")


def _loaded(code: str) -> set[str]:
    code = f"{code}\nimport sys\nprint(*(name for name in {HEAVY!r} if name in sys.modules))"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


def test_import_is_light() -> None:
    assert _loaded("import maskwright; maskwright.__version__; dir(maskwright)") == set()


@pytest.mark.parametrize(
    "module", ["cli", "domain", "settings", "imaging.reading", "files", "errors", "formats.coco_writer"]
)
def test_modules_without_models_or_database(module: str) -> None:
    assert _loaded(f"import maskwright.{module}") == set()


def test_project_needs_no_torch() -> None:
    assert _loaded("import maskwright.project; maskwright.Project; maskwright.Image") == {"sqlalchemy"}


def test_models_need_torch_and_nothing_else() -> None:
    # each command, server, run and test process pays for what these import
    assert _loaded("import maskwright.engine, maskwright.training.finetune.run, maskwright.evaluation.text") == {
        "torch"
    }


def test_import_takes_under_half_a_second() -> None:
    code = "import time; t = time.perf_counter(); import maskwright; print(time.perf_counter() - t)"
    times = [float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout)
             for _ in range(3)]  # fmt: skip
    assert min(times) < 0.5


def test_public_names_are_there() -> None:
    import maskwright as mw

    for name in mw.__all__:
        assert getattr(mw, name) is not None
    with pytest.raises(AttributeError, match="nosuch"):
        _ = mw.nosuch
