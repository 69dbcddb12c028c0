"""The card of a checkpoint: the README beside its weights, from what its config.json says."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

from ldm_sep.checkpoint.manifest import PARTS, Run
from ldm_sep.markdown import markdown_table

_SCORES = (
    "As the training took them: on 16-bit samples, but for the SI-SDR of a codec, on unrounded waves. `_1` is the "
    "number of sampling steps, `si_sdr_gain` the SI-SDR over the mixture's in dB. A codec's are those of its round "
    "trip."
)


def _evaluation_table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    labels = list(dict.fromkeys(label for row in rows for label in row["scores"]))
    lines = []
    for row in rows:
        cells = []
        for label in labels:
            score = row["scores"].get(label)
            if label not in row["scores"]:
                cells.append("–")
            elif score is None:
                cells.append("undefined")
            else:
                interval = f" [{score[1]:.2f}, {score[2]:.2f}]" if len(score) == 3 else ""
                fewer = f" (n = {row['defined'][label]})" if label in row.get("defined", {}) else ""
                cells.append(f"{score[0]:.2f}{interval}{fewer}")
        lines.append([row["group"], row["system"], *cells])
    tracks = dict.fromkeys((row["group"], row["n"], row["hash"]) for row in rows)
    counts = ", ".join(f"{group or 'all'}: n = {n}, track list {digest}" for group, n, digest in tracks)
    table = markdown_table(["group", "system", *labels], lines)
    how = "Means (of cSDR: medians)" if any(label.startswith("cSDR") for label in labels) else "Means"
    return [*table, "", f"{how} with 95 % bootstrap intervals over tracks; {counts}."]


def trainings(facts: Mapping[str, Any], parts: Iterable[str] = PARTS) -> list[dict[str, Any]]:
    """The runs that made these ``parts`` of a checkpoint, first to last: command, steps, minutes, hardware, commit of
    each, and which of the parts it trained; or, with its name, a checkpoint that has a card of its own.
    """
    wanted = set(parts)
    # Checkpoints of earlier versions know their last run alone, and of no run what it trained.
    unknown = Run().model_dump(mode="json")
    last = {key: facts[key] for key in unknown if key in facts}
    runs = [unknown | run for run in [*facts.get("before", []), last]]
    made = [run | {"parts": [part for part in run["parts"] if part in wanted]} for run in runs]
    return [run for run in made if run["parts"]]


def joined(histories: Iterable[Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """All runs of several checkpoints, in order; those they share once, with the parts that any of them names."""
    runs: list[dict[str, Any]] = []
    for run in chain.from_iterable(histories):
        same = next((known for known in runs if known | {"parts": run["parts"]} == run), None)
        if same is None:
            runs.append(dict(run))
        else:
            same["parts"] = [part for part in PARTS if part in {*same["parts"], *run["parts"]}]
    return runs


def model_card(facts: dict[str, Any]) -> str:
    """The README of a checkpoint, from what its config.json says."""
    lines = [
        f"# {facts['name']}",
        "",
        f"A {facts['kind']} of ldm-sep. {facts['config'].get('description', '')}".rstrip(),
    ]
    sizes = [[part, f"{count:,}"] for part, count in facts["parameters"].items()]
    lines += ["", "## Sizes", "", *markdown_table(["part", "parameters"], sizes)]
    if facts.get("evaluation"):
        lines += ["", "## Evaluation", "", *_evaluation_table(facts["evaluation"])]
    if facts["scores"]:
        scores = [[key, "undefined" if value is None else f"{value:.3f}"] for key, value in facts["scores"].items()]
        lines += ["", "## Scores on the validation items", "", _SCORES, "", *markdown_table(["score", "value"], scores)]
    lines += ["", "## Training", ""]
    starts = []
    for run in trainings(facts):
        if run.get("checkpoint"):
            starts.append(run["checkpoint"])
            digest = (run.get("weights") or "unknown")[:12]
            lines += [
                f"Started from the checkpoint `{starts[-1]}` (SHA-256 of its weights: {digest}...), whose own card "
                "lists its runs, its data and their terms.",
                "",
            ]
            continue
        work = f"{run['steps']:,} steps in {run['minutes']:.0f} minutes on {run['hardware'] or 'unrecorded hardware'}"
        lines += [
            # A mean of checkpoints has no steps of its own.
            f"{work if run['steps'] else 'No training'}, code at {run['commit'] or 'an unrecorded commit'}:",
            "",
            f"    {run['command'] or 'command not recorded'}",
            "",
        ]
    lines += ["### Data and its terms", ""]
    sources = [*facts["training_data"], *(f"what `{start}` was trained on: see its card" for start in starts)]
    lines += [f"- {source}" for source in sources] or ["- unknown"]
    lines += ["", f"Licence of the weights: {facts['licence']}"]
    if facts["limitations"]:
        lines += ["", "## Where it fails", ""] + [f"- {limit}" for limit in facts["limitations"]]
    return "\n".join(lines) + "\n"
