"""States on disk that are damaged or hostile: one line that names the file, in bounded time, and no code is run."""

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from irregular import put_in_place
from safetensors.torch import save_file

from ldm_sep.config import load_config
from ldm_sep.errors import CheckpointError
from ldm_sep.records import read_pickled
from ldm_sep.training.log import CsvLog
from ldm_sep.training.state import ExponentialMovingAverage, Reached, load_state, resumed, save_state


class Malice:
    """Pickles to a call that would create a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def parts(width: int = 3) -> tuple[torch.nn.Module, ExponentialMovingAverage, torch.optim.Optimizer]:
    """A layer, its averages and an optimiser that has taken a step."""
    module = torch.nn.Linear(width, 2)
    optimizer = torch.optim.AdamW(module.parameters(), 0.1)
    module(torch.ones(1, width)).sum().backward()
    optimizer.step()
    return module, ExponentialMovingAverage(list(module.parameters()), 0.9), optimizer


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return save_state(tmp_path / "run", Reached(step=5, minutes=2.0, processes=2), *parts())


def refusal(act: Callable[[], object], *needles: object) -> None:
    with pytest.raises(CheckpointError) as caught:
        act()
    message = str(caught.value)
    assert message.isprintable() and len(message) < 1000
    for needle in needles:
        assert str(needle) in message


def test_a_state_comes_back_as_it_was_saved(state: Path) -> None:
    torch.manual_seed(1)
    module, ema, optimizer = parts()
    optimizer.param_groups[0]["lr"] = 0.5
    assert load_state(state, module, ema, optimizer) == Reached(step=5, minutes=2.0, processes=2)
    again = save_state(state.parent.parent / "other", Reached(step=5, minutes=2.0, processes=2), module, ema, optimizer)
    for name in ("model.safetensors", "ema.safetensors", "progress.json"):
        assert (again / name).read_bytes() == (state / name).read_bytes()
    moments, before = (torch.load(s / "optimizer.pt")["state"] for s in (again, state))
    assert all(torch.equal(moments[i][k], before[i][k]) for i in before for k in before[i])
    # The learning rate comes from the settings, not from the file.
    assert optimizer.param_groups[0]["lr"] == 0.5


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('{"step": "x"}', "step"),
        ('{"step": -1}', "step"),
        ('{"step": 1e400}', "step"),
        ('{"step": 1, "minutes": NaN}', "minutes"),
        ('{"step": 1, "processes": 0}', "processes"),
        ('{"step": 1, "rm": 1}', "rm"),
        ("[]", "the file"),
        ("[" * 100_000, "deep"),
        ("\x00", "JSON"),
        ("{" + " " * (5 << 20), "bytes, more than"),
    ],
)
def test_progress_that_cannot_be_names_the_file_and_the_key(state: Path, text: str, key: str) -> None:
    (state / "progress.json").write_text(text)
    refusal(lambda: load_state(state, *parts()), state / "progress.json", key, "delete the state's folder")


@pytest.mark.parametrize("name", ["progress.json", "model.safetensors", "ema.safetensors", "optimizer.pt"])
@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "gone", "empty", "cut", "flipped"])
def test_every_file_of_a_state_may_be_anything(state: Path, name: str, kind: str) -> None:
    place = state / name
    data = bytearray(place.read_bytes())
    place.unlink()
    put_in_place(place, kind)
    match kind:
        case "empty":
            place.write_bytes(b"")
        case "cut":
            place.write_bytes(data[: len(data) // 2])
        case "flipped":
            data[2] ^= 255
            place.write_bytes(data)
    refusal(lambda: load_state(state, *parts()), place)


def test_moments_are_tensors_of_adamw_and_run_no_code(state: Path, tmp_path: Path) -> None:
    place, trace = state / "optimizer.pt", tmp_path / "trace"
    good = torch.load(place)
    moments = good["state"][0]
    for spoilt, needle in (
        ({"state": Malice(trace)}, "could run code"),
        ([1, 2], "damaged"),
        ({"state": [1]}, "damaged"),
        ({"state": {0: {"step": 1}}}, "no parameter of AdamW"),
        ({"state": {"0": moments}}, "no parameter of AdamW"),
        ({"state": {0: {**moments, "exp_avg": moments["exp_avg"] / 0}}}, "are not finite"),
        ({"state": {0: {**moments, "exp_avg": torch.zeros(9, 9)}}}, "of another training"),
        ({"state": {7: moments}}, "of another training"),
    ):
        torch.save(spoilt, place)
        refusal(lambda: load_state(state, *parts()), state, needle)
    assert not trace.exists()
    # Rates, decay and whatever else a hostile file says of the optimiser are not read.
    torch.save({**good, "param_groups": [{"lr": "x", "betas": None, "params": [0, 1]}]}, place)
    assert load_state(state, *parts()).step == 5


def test_a_small_archive_that_unpacks_to_much_more_is_refused(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ldm_sep.training.state.LARGEST", 1 << 20)
    place, plain = state / "optimizer.pt", state / "plain.pt"
    torch.save({"state": {}, "more": torch.zeros(1 << 19)}, plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as bomb:
        for entry in source.infolist():
            bomb.writestr(entry.filename, source.read(entry))
    refusal(lambda: load_state(state, *parts()), place, "unpacks to")


def test_weights_that_are_not_finite_or_of_another_network_are_refused(state: Path) -> None:
    refusal(lambda: load_state(state, *parts(width=4)), state, "of another training", "undo what changed")
    module, _, _ = parts()
    weights = {k: v.detach() / 0 for k, v in module.state_dict().items()}
    save_file(weights, state / "model.safetensors")
    refusal(lambda: load_state(state, *parts()), state / "model.safetensors", "not finite")


@pytest.mark.parametrize(
    "text", ["step,loss\nx,1\n", 'step\n"1', "step\n" + "9" * 5000 + "\n", "a,\xff", "step\n1,2,3\n\x00"]
)
def test_a_log_that_is_none_is_named_and_kept(tmp_path: Path, text: str) -> None:
    path = tmp_path / "train.csv"
    path.write_bytes(text.encode("latin-1"))
    refusal(lambda: CsvLog(path, ["loss"], 3), path, "not a training's log", "move it away")
    assert path.read_bytes() == text.encode("latin-1")
    path.unlink()
    os.mkfifo(path)
    refusal(lambda: CsvLog(path, ["loss"], 3), path, "not a regular file")


def test_what_goes_on_otherwise_than_it_began_is_told_in_one_line(state: Path) -> None:
    run, config = state.parent, load_config("tiny.toml")
    for damage in ("", "[]", "[" * 100_000, '{"a": '):
        (run / "config.json").write_text(damage)
        assert resumed(run, config, 2, 2).endswith("resumed; what it began with is not known")
    (run / "config.json").write_text(config.model_dump_json())
    assert resumed(run, config, 2, 2) == f"{run}: resumed"
    other = load_config("tiny.toml", ["mix.reverb=0.5"])
    assert resumed(run, other, 2, 2) == f"{run}: resumed, changed: mix.reverb 0.3 -> 0.5"
    assert resumed(run, config, 2, 3) == (
        f"{run}: resumed; 3 processes instead of 2: a step now takes 6 items, not 4, and draws other ones, "
        "so from here on it is another run"
    )


def test_a_state_whose_list_of_parts_is_damaged_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    torch.save({"a": torch.zeros(3)}, path)
    data = bytearray(path.read_bytes())
    data[data.rindex(b"PK\x01\x02") + 3] = 9
    path.write_bytes(data)
    with pytest.raises(ValueError, match="damaged"):
        read_pickled(path, 1 << 20)
