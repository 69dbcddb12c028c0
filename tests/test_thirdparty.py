"""The two packages import with and without a usable torchaudio, and say clearly what does not work then."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from ldm_sep.errors import LdmSepError
from ldm_sep.thirdparty import import_audio_diffusion_pytorch, import_encodec

ROOT = Path(__file__).resolve().parents[1]


def run(code: str, *folders: Path) -> None:
    """Run ``code`` in a fresh interpreter that turns warnings into errors and finds ``folders`` first."""
    paths = os.pathsep.join(map(str, [*folders, ROOT]))
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""


@pytest.fixture
def fake_encodec(tmp_path: Path) -> Path:
    """A folder with a quick package ``encodec`` that imports torchaudio at its top and warns."""
    package = tmp_path / "encodec_folder" / "encodec"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(
        "import warnings, torchaudio\n"
        "from torchaudio import transforms\n"
        "warnings.warn('old', FutureWarning)\n"
        "def resample(): return torchaudio.transforms.Resample(2, 1)\n"
        "def save(): return torchaudio.save('x.wav')\n"
    )
    return package.parent


def fake_torchaudio(tmp_path: Path, top: str) -> Path:
    """A folder with a package ``torchaudio`` that runs ``top`` after it has loaded a submodule."""
    package = tmp_path / "torchaudio_folder" / "torchaudio"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(f"import torchaudio._extension\n{top}\n")
    (package / "_extension.py").write_text("")
    (package / "transforms.py").write_text("class Resample:\n    def __init__(self, *args): pass\n")
    return package.parent


def test_real_packages_work_where_torchaudio_cannot_be_imported() -> None:
    run("""
        import sys

        class Block:
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] == "torchaudio":
                    raise ImportError("torchaudio is blocked")

        sys.meta_path.insert(0, Block())
        from ldm_sep.thirdparty import import_audio_diffusion_pytorch, import_encodec
        assert "torch" not in sys.modules, "the module itself must stay light"
        encodec, diffusion = import_encodec(), import_audio_diffusion_pytorch()
        import torch
        codec = encodec.EncodecModel.encodec_model_48khz(pretrained=False)
        assert codec.decoder(codec.encoder(torch.randn(1, 2, 640))).shape == (1, 2, 640)
        net = diffusion.UNetV0(dim=1, in_channels=2, channels=[8, 8], factors=[1, 2], items=[1, 1])
        assert net(torch.randn(1, 2, 8), time=torch.tensor([0.5])).isfinite().all()
        calls = (
            ("encodec", lambda: encodec.utils.convert_audio(torch.zeros(1, 8), 2, 1, 1)),
            ("audio_diffusion_pytorch", lambda: diffusion.MelSpectrogram(64, 16, 64, 8000, 8)),
        )
        for package, call in calls:
            try:
                call()
            except Exception as error:
                assert type(error).__name__ == "LdmSepError", repr(error)
                assert f"torchaudio is not usable here (ImportError: torchaudio is blocked); " in str(error)
                assert f"this function of {package} needs it" in str(error)
            else:
                raise SystemExit("no error")
        assert not [name for name in sys.modules if name.startswith("torchaudio")]
        """)


@pytest.mark.parametrize("failure", ["OSError('no libc10_cuda.so')", "RuntimeError('CUDA 13, not 12')"])
def test_torchaudio_that_breaks_half_way_leaves_nothing_behind(
    tmp_path: Path, fake_encodec: Path, failure: str
) -> None:
    broken = fake_torchaudio(tmp_path, f"raise {failure}")
    run(
        f"""
        import sys
        from ldm_sep.thirdparty import import_encodec
        encodec = import_encodec()
        assert import_encodec() is encodec
        assert not [name for name in sys.modules if name.startswith("torchaudio")]
        for call in (encodec.resample, encodec.save):
            try:
                call()
            except Exception as error:
                assert type(error).__name__ == "LdmSepError" and "\\n" not in str(error)
                assert "function of encodec needs it" in str(error)
                assert {failure.split("'")[1]!r} in str(error)
            else:
                raise SystemExit("no error")
        assert not hasattr(encodec.torchaudio, "__wrapped__"), "introspection must not blow up"
        try:
            import torchaudio
        except {failure.split("(")[0]} as error:
            pass
        """,
        fake_encodec,
        broken,
    )


def test_real_torchaudio_is_used_where_it_loads(tmp_path: Path, fake_encodec: Path) -> None:
    run(
        """
        import sys
        from ldm_sep.thirdparty import import_encodec
        encodec = import_encodec()
        import torchaudio
        assert encodec.torchaudio is torchaudio and torchaudio.__file__.endswith("__init__.py")
        assert type(encodec.resample()) is torchaudio.transforms.Resample
        """,
        fake_encodec,
        fake_torchaudio(tmp_path, "import warnings; warnings.warn('to be removed')"),
    )


def test_a_module_someone_put_under_the_name_is_given_back(fake_encodec: Path) -> None:
    run(
        """
        import sys
        sys.modules["torchaudio"] = None  # the usual way to block an import
        from ldm_sep.thirdparty import import_encodec
        import_encodec()
        assert {k: v for k, v in sys.modules.items() if k.startswith("torchaudio")} == {"torchaudio": None}
        """,
        fake_encodec,
    )


@pytest.mark.parametrize(
    ("name", "load", "command"),
    [
        ("encodec", import_encodec, "pip install encodec"),
        ("audio_diffusion_pytorch", import_audio_diffusion_pytorch, "pip install audio-diffusion-pytorch"),
    ],
)
def test_missing_package_names_the_install_command(monkeypatch, name, load, command) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(LdmSepError, match=f"^the package {name} is not installed; run: {command}$"):
        load()


def test_missing_and_broken_dependencies_are_named(tmp_path: Path) -> None:
    package = tmp_path / "encodec"
    package.mkdir()
    code = """
        from ldm_sep.thirdparty import import_encodec
        try:
            import_encodec()
        except Exception as error:
            assert type(error).__name__ == "LdmSepError"
            assert {text!r} in str(error), error
        else:
            raise SystemExit("no error")
        """
    torchaudio = fake_torchaudio(tmp_path, "")
    (package / "__init__.py").write_text("import torchaudio, surely_absent\n")
    run(
        code.format(text="needs surely_absent, which is not installed; run: pip install encodec sur"),
        torchaudio,
        tmp_path,
    )
    (package / "__init__.py").write_text("from os import surely_absent\n")
    run(code.format(text="does not import (cannot import name 'surely_absent'"), torchaudio, tmp_path)
