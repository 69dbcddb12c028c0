"""What phase inversion gives, and what breaks a null test: the picture of the producer's guide.

    ldm-sep separate demo/song.ogg --out separated
    python demo/null.py --song demo/song.ogg --stems separated/song --out docs/null.png

Both stems are added after something was done to them, and the song is taken away: what is left, relative to the song,
is drawn and printed. Needs matplotlib (``pip install -e ".[eval]"``).
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
from draw import parse_arguments

from ldm_sep.audio import AudioWriter, read
from ldm_sep.figures import need_matplotlib

# Seconds of the song that are drawn.
EXCERPT = (4.0, 10.0)
# Where the bars begin.
SILENT_DB = -190.0


def level_db(wave: np.ndarray, song: np.ndarray) -> float:
    """RMS of ``wave (C, T)`` in dB relative to ``song``; minus infinity for exact silence."""
    power = np.mean(wave.astype(np.float64) ** 2) / np.mean(song.astype(np.float64) ** 2)
    return 10 * float(np.log10(power)) if power else -np.inf


def through_file(wave: np.ndarray, rate: int, name: str, subtype: str | None = None) -> np.ndarray:
    """``wave (C, T)`` after writing and reading a file of that suffix."""
    with tempfile.TemporaryDirectory() as folder:
        with AudioWriter(Path(folder) / name, rate, wave.shape[0], subtype=subtype) as writer:
            writer.write(wave)
        return read(Path(folder) / name)[0][:, : wave.shape[1]]


def warped(wave: np.ndarray, rate: int, tempo: float) -> np.ndarray:
    """``wave (2, T)`` at another tempo and the same pitch (WSOLA, FFmpeg's atempo), as a DAW warps a clip."""
    graph = av.filter.Graph()
    source = graph.add_abuffer(sample_rate=rate, format="flt", layout="stereo")
    tempo_filter, sink = graph.add("atempo", f"{tempo}"), graph.add("abuffersink")
    source.link_to(tempo_filter)
    tempo_filter.link_to(sink)
    graph.configure()
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave.T.reshape(1, -1)), format="flt", layout="stereo")
    frame.sample_rate = rate
    graph.push(frame)
    graph.push(None)
    parts = []
    while True:
        try:
            parts.append(graph.pull().to_ndarray().reshape(-1, 2).T)
        except (av.error.EOFError, av.error.BlockingIOError):
            return np.concatenate(parts, 1)


def residuals(song: np.ndarray, vocals: np.ndarray, instrumental: np.ndarray, rate: int) -> dict[str, float]:
    """What was done to the stems -> what a null test leaves, in dB."""

    def both(change: Callable[[np.ndarray], np.ndarray]) -> float:
        # In double precision: the sum itself is not to add an error.
        total = change(vocals).astype(np.float64) + change(instrumental)
        return level_db(total - song[:, : total.shape[1]], song)

    moved = np.roll(vocals, 1, 1)
    louder = vocals * 10 ** (0.1 / 20)
    apart = [warped(one, rate, 1.03) for one in (vocals, instrumental, song)]
    length = min(one.shape[1] for one in apart)
    return {
        "wav, 32 bit float, as it is": both(lambda wave: wave),
        "flac, 24 bit": both(lambda wave: through_file(wave, rate, "stem.flac")),
        "wav, 16 bit": both(lambda wave: through_file(wave, rate, "stem.wav", "int16")),
        "mp3, 320 kbit/s": both(lambda wave: through_file(wave, rate, "stem.mp3")),
        "vocals 0.1 dB louder": level_db(louder + instrumental - song, song),
        "vocals one sample late": level_db(moved + instrumental - song, song),
        "each stem warped by itself, 3 %": level_db(
            apart[0][:, :length] + apart[1][:, :length] - apart[2][:, :length], song
        ),
    }


def draw(out: Path, waves: dict[str, np.ndarray], left: dict[str, float], rate: int) -> None:
    """Waveforms above, bars below."""
    need_matplotlib("the picture of the guide")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 6.4), layout="constrained", dpi=110)
    axes = figure.subplots(4, 1, height_ratios=(1, 1, 1, 2.6))
    first, last = (round(second * rate) for second in EXCERPT)
    seconds = np.arange(first, last) / rate
    for axis, (name, wave), colour in zip(axes, waves.items(), ("#505a66", "#1d4f91", "#1a6b3c"), strict=False):
        axis.plot(seconds, wave[0, first:last], color=colour, linewidth=0.4)
        axis.set(ylabel=name, ylim=(-0.8, 0.8), yticks=[], xticks=[], xlim=EXCERPT)
        axis.yaxis.label.set(rotation=0, horizontalalignment="right", verticalalignment="center")
    bars = axes[3]
    names, values = list(left), list(left.values())
    bars.barh(names, [max(value - SILENT_DB, 0) for value in values], left=SILENT_DB, color="#1d4f91")
    for place, value in enumerate(values):
        words = " nothing, bit by bit" if value == -np.inf else f" {value:.0f} dB"
        bars.text(max(value, SILENT_DB), place, words, verticalalignment="center", fontsize=9)
    bars.set(xlim=(SILENT_DB, 15), xlabel="what a null test leaves, dB relative to the song")
    bars.invert_yaxis()
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(out)


def main() -> None:
    """Read, measure, print, draw."""
    arguments = parse_arguments(__doc__)
    song, rate = read(arguments.song)
    vocals, instrumental = (read(arguments.stems / f"{stem}.wav")[0] for stem in ("vocals", "instrumental"))
    left = residuals(song, vocals, instrumental, rate)
    for name, value in left.items():
        print(f"{name}: {value:.1f} dB")
    draw(arguments.out, {"song": song, "vocals,\ninverted": -vocals, "their sum": song - vocals}, left, rate)


if __name__ == "__main__":
    main()
