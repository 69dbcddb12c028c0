"""The shape of the repository: floors, file sizes, instant help, configurations."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

import pytest
import soundfile as sf
import torch
from conftest import RATE, ROOT, mixture, run_here

from ldm_sep.build import build_codec, build_separator
from ldm_sep.checkpoint.writing import parameter_count
from ldm_sep.config import load_config, parse_config
from ldm_sep.errors import ConfigError

PACKAGE = ROOT / "ldm_sep"
# Rooms and loose modules, from the ground up: each may import from the floors below it. `__init__` is what the
# package offers.
FLOORS = [
    {"errors"},
    {"bundled", "device", "figures", "files", "markdown", "statistics", "thirdparty", "signal"},
    {"records", "listing"},
    {"config", "audio", "metrics", "codec", "network", "workers"},
    {"method", "data"},
    {"build"},
    {"checkpoint"},
    {"separation"},
    {"training", "evaluate", "web", "catalogue", "__init__"},
    {"study", "page"},
    {"cli"},
    {"__main__"},
]


def floor_of(module: str) -> int:
    return next(i for i, names in enumerate(FLOORS) if module in names)


def imports_of(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ldm_sep"):
            parts = node.module.split(".")
            names |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        if isinstance(node, ast.Import):
            names |= {a.name.split(".")[1] for a in node.names if a.name.startswith("ldm_sep.")}
    return names


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_modules_import_only_from_lower_floors(path: Path) -> None:
    relative = path.relative_to(PACKAGE)
    module = relative.parts[0].removesuffix(".py")
    for imported in imports_of(path) - {module}:
        assert floor_of(imported) < floor_of(module), f"{relative} imports {imported}"


def test_no_file_is_longer_than_300_lines() -> None:
    for path in (path for room in ("ldm_sep", "tests", "eval", "demo") for path in (ROOT / room).rglob("*.py")):
        assert len(path.read_text().splitlines()) <= 300, path


def test_nothing_imports_eval() -> None:
    for path in PACKAGE.rglob("*.py"):
        assert not re.search(r"(from|import) eval\b", path.read_text()), path


def test_the_package_offers_the_separator_without_importing_it_first(untrained: Path, tmp_path: Path) -> None:
    sf.write(tmp_path / "song.wav", mixture(1).T, RATE)
    code = (
        "import sys, ldm_sep\n"
        "assert 'torch' not in sys.modules and ldm_sep.__version__ and not hasattr(ldm_sep, 'nothing')\n"
        "from ldm_sep import Options, Separator, separate_file\n"
        f"paths = separate_file({str(tmp_path / 'song.wav')!r}, {str(tmp_path / 'out')!r}, Options(steps=1),"
        f" checkpoint={str(untrained)!r}, device='cpu')\n"
        "print(*sorted(path.name for path in paths.values()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == ["instrumental.wav", "vocals.wav"]


def test_help_is_instant_in_that_it_imports_no_torch() -> None:
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom ldm_sep.cli import app\n"
        "for words in ([], ['separate'], ['catalogue'], ['train'], ['evaluate']):\n"
        "    assert CliRunner().invoke(app, [*words, '--help']).exit_code == 0\n"
        "print(sorted({m.split('.')[0] for m in sys.modules} & {'torch', 'numpy', 'accelerate', 'soundfile'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "words",
    [
        ["separate", "nothing.wav"],
        ["separate", "song.wav", "--filename", "{stem}"],
        ["rerun", "nothing.json"],
        ["rerun", "checkpoints/open/config.json"],
    ],
)
def test_a_mistake_in_a_name_is_told_before_torch_is_imported(words: list[str]) -> None:
    code = (
        "import sys\nfrom ldm_sep.__main__ import main\n"
        f"sys.argv[1:] = {words}\ntry:\n    main()\nexcept SystemExit as end:\n"
        "    print(end.code, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "1 False" and done.stderr.startswith("ldm-sep: ")


CONFIGS = sorted((ROOT / "configs").glob("*.toml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_every_configuration_builds_and_reports_its_parameters(path: Path) -> None:
    config = load_config(path)
    # What the last stage makes goes by its own name.
    assert path.stem in (config.name, f"{config.name}_stage2", f"{config.name}_stage3")
    with torch.device("meta"):
        module = build_separator(config) if config.unet else build_codec(config.codec)
    assert parameter_count(module) > 0
    assert parse_config(config.model_dump(mode="json"), "round trip") == config
    done = run_here("inspect", path)
    assert done.returncode == 0
    assert f"{parameter_count(module.unet if config.unet else module.encoder):,} parameters" in done.stdout


def test_the_paper_sizes() -> None:
    with torch.device("meta"):
        for name, count in (("paper_stage1", 115_892_352), ("paper_stage2", 115_892_352), ("paper_adp", 115_924_096)):
            separator = build_separator(load_config(ROOT / f"configs/{name}.toml"))
            assert parameter_count(separator.unet) == count
            assert separator.level_head is not None


def test_the_default_stays_within_its_size() -> None:
    with torch.device("meta"):
        separator = build_separator(load_config(ROOT / "configs/open_stage2.toml"))
    assert parameter_count(separator) <= 15_000_000


@pytest.mark.parametrize(
    ("text", "needle"),
    [
        ("name = ", "not a readable TOML"),
        ('name = "x"\n[codec]\nkind = "mp3"\n[data]\nlayout = "stems"', "codec"),
        ('name = "x"\n[codec]\nkind = "spectral"\nhopp = 3\n[data]\nlayout = "stems"', "hopp"),
        ('extends = "bad.toml"\nname = "x"', "extends itself"),
    ],
)
def test_a_wrong_configuration_names_file_and_key(tmp_path: Path, text: str, needle: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=needle) as error:
        load_config(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("change", ["separator.gated_anchor=false", "separator.refines=true"])
def test_refinement_needs_an_estimate_and_its_gate(change: str) -> None:
    # The paper's networks have neither; those that refine have both.
    name = "open_refine" if "gated" in change else "paper_stage1"
    config = load_config(ROOT / f"configs/{name}.toml", [change])
    with torch.device("meta"), pytest.raises(ConfigError, match=r"refines needs a \[predictor\] and gated_anchor"):
        build_separator(config)


def test_extends_overrides_key_by_key() -> None:
    one, two = (load_config(ROOT / f"configs/open_stage{n}.toml") for n in (1, 2))
    assert one.codec == two.codec and one.unet == two.unet
    assert one.training.stage == 1 and two.training.stage == 2
    assert one.training.seconds == two.training.seconds


def imported_packages(nodes: Iterable[ast.AST]) -> set[str]:
    top = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            top.add(node.module.split(".")[0])
        if isinstance(node, ast.Import):
            top |= {a.name.split(".")[0] for a in node.names}
    renamed = {
        "audio_diffusion_pytorch": "audio-diffusion-pytorch",
        "visqol": "visqol-python",
        "pyworld": "pyworld-prebuilt",
        "yaml": "PyYAML",
        "PIL": "pillow",
    }
    return {renamed.get(name, name) for name in top - sys.stdlib_module_names - {"ldm_sep"}}


def test_the_project_file_lists_what_is_imported() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    core = {re.split(r"[>\[]", name)[0] for name in project["dependencies"]}
    extra = {re.split(r"[>\[]", name)[0] for names in project["optional-dependencies"].values() for name in names}
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        # What belongs to an extra is imported where it is used, never with the module.
        assert imported_packages(tree.body) <= core, path
        assert imported_packages(ast.walk(tree)) <= core | extra, path
