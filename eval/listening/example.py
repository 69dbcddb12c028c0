"""A listening study from folders of stems to its report, with simulated listeners.

    python eval/listening/example.py [--out results/listening]

The material is the demo song, which may be passed on: each of its three sung phrases at three speeds, nine "songs" in
all, separated by the default checkpoint's fast preset, by what both channels share (centre) and by the ideal ratio
mask, which knows the answer (oracle). Every command is printed before it is run. Listeners are simulated, so the
report shows what the commands do and nothing about the systems.
"""

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np

from ldm_sep.audio import AudioWriter, read, resample
from ldm_sep.evaluate import irm, karaoke

ROOT = Path(__file__).resolve().parents[2]
# Seconds of the demo song in which its three phrases lie.
PHRASES = ((4.6, 10.9), (11.0, 17.3), (17.2, 22.9))
SPEEDS = (0.94, 1.0, 1.06)
SYSTEMS = ("open", "oracle", "centre")


def run(*words: object) -> None:
    """Print a command of ldm-sep or a script beside this one, and run it. SystemExit where it fails."""
    command = [str(word) for word in words]
    print(f"\n$ {shlex.join(command)}", flush=True)
    start = [sys.executable, "-m", "ldm_sep"] if command[0] == "ldm-sep" else [sys.executable]
    done = subprocess.run([*start, *command[1:]], check=False, cwd=ROOT)
    if done.returncode:
        raise SystemExit(done.returncode)


def write(path: Path, wave: np.ndarray, rate: int) -> None:
    """A 24-bit file."""
    with AudioWriter(path, rate, len(wave), subtype="int24") as writer:
        writer.write(np.clip(wave, -1, 1).astype(np.float32))


def make_material(out: Path) -> None:
    """Nine songs with true vocals, mixtures and three separations, in the layout of MUSDB18-HQ."""
    run("ldm-sep", "separate", ROOT / "demo/song.ogg", "--preset", "fast", "--stems", "vocals", "-o", out / "separated")
    mixture, rate = read(ROOT / "demo/song.ogg")
    vocals = read(ROOT / "demo/vocals.ogg")[0]
    separated = read(next((out / "separated").rglob("*vocals.wav")))[0]
    waves = {
        "reference/{}/vocals.wav": vocals,
        "reference/{}/mixture.wav": mixture,
        "open/{}/vocals.wav": separated,
        "oracle/{}/vocals.wav": irm(vocals, mixture),
        "centre/{}/vocals.wav": karaoke(mixture),
    }
    for number, (start, end) in enumerate(PHRASES, 1):
        for speed in SPEEDS:
            for place, wave in waves.items():
                part = np.ascontiguousarray(wave[:, round(start * rate) : round(end * rate)])
                # As a tape would: faster is higher.
                played = resample(part, round(rate * speed), rate)
                write(out / place.format(f"phrase {number} at {speed:g}"), played, rate)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="A listening study with simulated listeners, every command of it.")
    parser.add_argument("--out", type=Path, default=Path("results/listening"))
    out = parser.parse_args().out.resolve()
    if out.exists():
        raise SystemExit(f"{out}: is there already; name another --out, or take it away")
    stems = out / "stems"
    make_material(stems)
    estimates = [f"--estimates={name}={stems / name}" for name in SYSTEMS]
    references = ("--reference", stems / "reference")
    plan = ("--listeners", 15, "--songs", 8, "--per-listener", 4, "--systems", len(SYSTEMS) + 1)
    run("ldm-sep", "study", "plan", *plan, "-o", out / "plan")
    metrics = ("--metrics", "sdr,lsd,mel_mae", "--no-spectrograms")
    run("ldm-sep", "evaluate", *references, *estimates, *metrics, "--out", out / "scores")
    study, key, answers = out / "study", out / "study-key.json", out / "answers"
    texts = Path(__file__).with_name("texts.toml")
    words = ("--title", "Voices of one song", "--texts", texts, "--licence", "MIT, the demo song of ldm-sep")
    design = ("--per-listener", 4, "--seconds", 4, "--add", "mixture", "--repeats", 1)
    run("ldm-sep", "study", "prepare", *references, *estimates, *words, *design, "-o", study)
    print(f"\nWith real listeners, now: ldm-sep study serve {study} --answers {answers}")
    truth = ("--mean", "oracle=0.8", "--mean", "open=0.6", "--mean", "centre=0.35", "--mean", "mixture=0.2")
    run("python", Path(__file__).with_name("simulate.py"), study, "--key", key, "--answers", answers, *truth)
    run("ldm-sep", "study", "export", study, "--to", "csv", "--answers", answers, "-o", out / "ratings.csv")
    run("ldm-sep", "study", "export", study, "--to", "webmushra", "-o", out / "webmushra")
    scores = ("--scores", out / "scores/scores.jsonl")
    run("ldm-sep", "study", "analyse", study, "--answers", answers, *scores, "-o", out / "report")


if __name__ == "__main__":
    main()
