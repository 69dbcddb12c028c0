"""From an upload to the stems, over HTTP, as another program does it."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import soundfile as sf
from conftest import ROOT
from openapi_spec_validator import validate
from PIL import Image
from songs import RATE, House, as_file, song

from ldm_sep.page.media import page_endpoints
from ldm_sep.separation import Options, Separator

DOCUMENT = json.loads((ROOT / "ldm_sep/page/static/openapi.json").read_text())


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, untrained: Path) -> Iterator[House]:
    with House(tmp_path_factory.mktemp("house"), untrained) as one:
        yield one


@pytest.fixture(scope="module")
def done(house: House) -> dict[str, Any]:
    """A song of 12 s, separated with a preset and a seed."""
    job = house.add(as_file(song(12)), "A song – ü.wav", preset="fast", seed=5)
    return house.await_state(job, "done", "failed")


def test_a_song_is_separated_as_the_separator_does_it(house: House, done: dict[str, Any], untrained: Path) -> None:
    assert done["state"] == "done" and done["error"] is None and done["take"] == 1, done
    assert done["sound"] == {"sample_rate": RATE, "channels": 2, "frames": 12 * RATE} and done["seconds"] == 12
    assert done["expires"] > done["finished"] > done["created"]
    assert done["settings"] == {"preset": "fast", "seed": 5}
    vocals, rate = house.file(done, "vocals.wav")
    instrumental, _ = house.file(done, "instrumental.wav")
    expected = Separator.load(untrained, device="cpu").separate(song(12), RATE, Options(preset="fast", seed=5))
    assert rate == RATE and np.array_equal(vocals, expected.vocals) and vocals.std() > 1e-3
    assert np.array_equal(vocals + instrumental, song(12))
    assert np.array_equal(house.file(done, "mixture.wav")[0], song(12))
    assert done["peaks"]["vocals"] == pytest.approx(np.abs(vocals).max())


def test_downloads_in_every_format_have_the_song_s_name_and_its_samples(house: House, done: dict[str, Any]) -> None:
    vocals = house.file(done, "vocals.wav")[0]
    path = f"/api/jobs/{done['id']}/files"
    for suffix, kind, error in (("flac", "audio/flac", 2**-23), ("mp3", "audio/mpeg", 0.1)):
        reply = house.client.get(f"{path}/vocals.{suffix}")
        assert reply.headers["content-type"] == kind
        # RFC 5987, as the name is not ASCII.
        assert "A%20song%20_%20%C3%BC%20vocals" in reply.headers["content-disposition"]
        wave, rate = sf.read(io.BytesIO(reply.content), dtype="float32", always_2d=True)
        assert rate == RATE and np.abs(wave.T[:, : vocals.shape[1]] - vocals).max() <= error
    part = house.client.get(f"{path}/vocals.wav", headers={"range": "bytes=100-199"})
    assert part.status_code == 206 and part.content == house.client.get(f"{path}/vocals.wav").content[100:200]
    for name in ("drums.wav", "vocals.ogg", "vocals", "job.json", "..%2fjob.json"):
        assert house.client.get(f"{path}/{name}").status_code == 404, name


def test_a_blend_is_the_sum_of_the_stems_with_their_gains(house: House, done: dict[str, Any]) -> None:
    vocals, instrumental = (house.file(done, f"{stem}.wav")[0] for stem in ("vocals", "instrumental"))
    blend = house.file(done, "blend.wav", vocals=1.25, instrumental=0.5)[0]
    assert np.abs(blend - (1.25 * vocals + 0.5 * instrumental)).max() < 1e-6
    assert np.array_equal(house.file(done, "blend.wav")[0], song(12))
    assert np.array_equal(house.file(done, "blend.wav", vocals=1, instrumental=0)[0], vocals)
    assert not house.file(done, "blend.wav", vocals=0, instrumental=0)[0].any()
    for gain in ("-1", "5", "nan", "loud"):
        reply = house.client.get(f"/api/jobs/{done['id']}/files/blend.wav", params={"vocals": gain})
        assert reply.status_code == 422 and "vocals" in reply.json()["error"]


def test_pieces_follow_one_another_without_a_gap_and_add_up_to_the_song(house: House, done: dict[str, Any]) -> None:
    def lane(name: str) -> np.ndarray:
        path = f"/api/jobs/{done['id']}/takes/1/{name}/pieces"
        replies = [house.client.get(f"{path}/{index}") for index in range(4)]
        assert [reply.status_code for reply in replies] == [200, 200, 200, 404]
        assert "immutable" in replies[0].headers["cache-control"]
        return 2 * np.concatenate([sf.read(io.BytesIO(reply.content))[0] for reply in replies[:3]]).T

    assert np.abs(lane("vocals") + lane("instrumental") - song(12)).max() <= 2**-14
    assert house.client.get(f"/api/jobs/{done['id']}/takes/2/vocals/pieces/0").status_code == 404


def test_the_picture_of_the_waveform_holds_every_extreme(house: House, done: dict[str, Any]) -> None:
    def peaks(**query: float) -> np.ndarray:
        reply = house.client.get(f"/api/jobs/{done['id']}/takes/1/mixture/peaks", params=query)
        assert reply.status_code == 200, reply.text
        return np.array(reply.json()["peaks"])

    wave = song(12)
    whole = peaks(pixels=12)
    for second, (low, high) in enumerate(whole):
        part = wave[:, second * RATE : (second + 1) * RATE]
        assert abs(low / 127 - part.min()) < 0.02 and abs(high / 127 - part.max()) < 0.02
    assert peaks(start=3, end=4, pixels=200).max() == whole[3].max()
    assert peaks(start=11.999, end=12, pixels=4096).shape == (4096, 2)
    for wrong in ({"start": 4, "end": 3}, {"end": 13}, {"pixels": 5000}, {"pixels": 0}):
        reply = house.client.get(f"/api/jobs/{done['id']}/takes/1/mixture/peaks", params=wrong)
        assert reply.status_code == 422, wrong


def test_the_spectrogram_shows_a_tone_where_it_is(house: House) -> None:
    time_axis = np.arange(20 * RATE) / RATE
    tone = np.where(time_axis < 10, np.sin(2 * np.pi * 1000 * time_axis), 0).astype(np.float32)
    job = house.await_state(house.add(as_file(0.5 * tone[None])), "done", "failed")

    def tile(level: int, index: int) -> np.ndarray:
        reply = house.client.get(f"/api/jobs/{job['id']}/takes/1/mixture/tiles/{level}/{index}")
        assert reply.status_code == 200 and reply.headers["content-type"] == "image/png"
        return np.asarray(Image.open(io.BytesIO(reply.content)))[::-1]

    fine = tile(0, 0)
    assert fine.shape == (128, 512) and tile(0, 1).shape == (128, 1000 - 512)
    # The 1000th Hz is the 15th mel of Slaney's scale; 8 kHz, half the rate, is above the last band.
    top = 15 + np.log(8) * 27 / np.log(6.4)
    assert abs(int(fine[:, 200].argmax()) - (15 / top * 129 - 1)) <= 1
    # A sine at half of full scale is at -6 of the 90 dB.
    assert fine[:, 200].max() == pytest.approx(255 * (1 - 6.02 / 90), abs=8)
    assert tile(0, 1)[:, 60:].max() == 0
    assert np.array_equal(
        tile(1, 0), np.maximum(*np.concatenate([fine, tile(0, 1)], 1).reshape(128, 500, 2).transpose(2, 0, 1))
    )
    assert house.client.get(f"/api/jobs/{job['id']}/takes/1/mixture/tiles/0/2").status_code == 404


def test_a_song_is_separated_again_and_the_result_of_before_stays_until_then(
    house: House, done: dict[str, Any]
) -> None:
    job = house.await_state(house.add(as_file(song(3))), "done")
    before = house.file(job, "vocals.wav")[0]
    reply = house.client.post(f"/api/jobs/{job['id']}/order", json={"preset": "fast", "seed": 9})
    assert reply.status_code == 202 and reply.json()["order"]["settings"] == {"preset": "fast", "seed": 9}
    assert reply.json()["take"] == 1 and reply.json()["settings"] == {"preset": None, "seed": 0}
    after = house.await_state(job, "done")
    assert after["take"] == 2 and after["settings"] == {"preset": "fast", "seed": 9} and after["order"] is None
    assert not np.array_equal(house.file(job, "vocals.wav")[0], before)
    for wrong in (
        {"preset": "finest"},
        {"seed": -1},
        {"seed": 2**31},
        {"start": 2, "end": 1},
        {"end": 4},
        {"extra": 1},
        [],
    ):
        reply = house.client.post(f"/api/jobs/{job['id']}/order", json=wrong)
        assert reply.status_code == 422 and "\n" not in reply.json()["error"], wrong


def test_a_stretch_is_renewed_and_everything_else_stays_bit_by_bit(house: House) -> None:
    wave = song(6)
    # No grid of blocks, windows or pieces divides these.
    start, end = 2.123, 3.456
    job = house.await_state(house.add(as_file(wave)), "done")

    def renew(seed: int) -> np.ndarray:
        order = {"start": start, "end": end, "seed": seed}
        assert house.client.post(f"/api/jobs/{job['id']}/order", json=order).status_code == 202
        now = house.await_state(job, "done", "failed")
        assert now["error"] is None and now["stretches"][-1] == order
        vocals, instrumental = (house.file(job, f"{stem}.wav")[0] for stem in ("vocals", "instrumental"))
        assert np.array_equal(vocals + instrumental, wave)
        return vocals

    before = house.file(job, "vocals.wav")[0]
    after = renew(4)
    first, last = round(start * RATE), round(end * RATE)
    assert np.array_equal(after[:, :first], before[:, :first]) and np.array_equal(after[:, last:], before[:, last:])
    # Inside it is what the whole song gives with that seed, but for 10 ms at both ends.
    other = house.await_state(house.add(as_file(wave), seed=4), "done")
    fade = RATE // 100
    inside = slice(first + fade, last - fade)
    assert np.array_equal(after[:, inside], house.file(other, "vocals.wav")[0][:, inside])
    assert np.abs(after - before)[:, inside].max() > 1e-3
    # Renewed with the song's own seed, the stretch is as it was.
    again = renew(0)
    assert np.array_equal(again[:, inside], before[:, inside])
    assert [one["seed"] for one in house.job(job)["stretches"]] == [4, 0]


def test_songs_are_listed_and_deleted_with_everything_that_was_made(house: House) -> None:
    job = house.await_state(house.add(as_file(song(1))), "done")
    assert job["id"] in [one["id"] for one in house.client.get("/api/jobs").json()["jobs"]]
    folder = house.store.folder(house.store.get(job["id"]))
    assert folder.is_dir()
    assert house.client.delete(f"/api/jobs/{job['id']}").json() == {"deleted": job["id"]}
    assert not folder.exists() and not list(folder.parent.glob(".*"))
    for path in ("", "/files/vocals.wav", "/takes/1/vocals/pieces/0"):
        assert house.client.get(f"/api/jobs/{job['id']}{path}").status_code == 404
    assert house.client.delete(f"/api/jobs/{job['id']}").status_code == 404


def test_the_licence_and_the_training_data_are_told(house: House) -> None:
    model = house.client.get("/api/model").json()
    assert model["name"] == "tiny" and set(model["presets"]) == {"balanced", "fast", "best"}
    assert {"licence", "training_data", "limitations"} <= set(model)


def test_the_document_describes_every_endpoint_and_every_reply(house: House, done: dict[str, Any]) -> None:
    validate(DOCUMENT)
    described = {(method.upper(), path) for path, methods in DOCUMENT["paths"].items() for method in methods}
    assert described == {(one.method, one.path) for one in page_endpoints(house.page)}
    assert house.client.get("/static/openapi.json").json() == DOCUMENT

    def reply_fits(method: str, path: str, address: str, status: int = 200) -> None:
        reply = house.client.request(method, address)
        assert reply.status_code == status, reply.text
        told = DOCUMENT["paths"][path][method.lower()]["responses"][str(status)]
        schema = told["content"]["application/json"]["schema"]
        jsonschema.validate(reply.json(), {**schema, "components": DOCUMENT["components"]})

    one = f"/api/jobs/{done['id']}"
    reply_fits("GET", "/api/door", "/api/door")
    reply_fits("GET", "/api/model", "/api/model")
    reply_fits("GET", "/api/jobs", "/api/jobs")
    reply_fits("GET", "/api/jobs/{id}", one)
    reply_fits("DELETE", "/api/jobs/{id}/order", f"{one}/order")
    reply_fits("GET", "/api/jobs/{id}/takes/{take}/{lane}/peaks", f"{one}/takes/1/vocals/peaks")
    reply_fits("GET", "/api/jobs/{id}", "/api/jobs/nobody", 404)
    reply_fits("POST", "/api/jobs", "/api/jobs", 400)
