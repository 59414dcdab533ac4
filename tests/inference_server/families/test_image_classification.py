"""Image classification answers files and arrays alike, and says of each bad image which it is and why."""

from __future__ import annotations

import base64
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from inference_server.families.base import Family, InputUnreadable, ModelUnreadable
from inference_server.families.weights import FILE_NAME
from tests.inference_server.families.made_models import CLASSES, image_model, loaded

DETAILS: dict[str, Any] = {
    "architecture": {"classes": 3, "widths": [8, 16], "stem_stride": 1},
    "image": {"size": 12, "channels": 3, "mean": [0.5] * 3, "std": [0.2] * 3},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Family:
    return loaded(image_model(tmp_path_factory.mktemp("model")))


def picture(width: int = 20, height: int = 12, seed: int = 0) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(pixels: Any, file_format: str = "PNG", **options: Any) -> str:
    content = BytesIO()
    Image.fromarray(pixels).save(content, file_format, **options)
    return base64.b64encode(content.getvalue()).decode()


def answer(model: Family, *images: object) -> dict[str, Any]:
    return dict(model.render(model.predict(model.parse({"images": list(images)}))))


def png_header(width: int, height: int) -> str:
    """A PNG that announces its size and holds no pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content).to_bytes(4, "big")
        return len(content).to_bytes(4, "big") + kind + content + checksum

    size = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\x00\x00\x00"
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    return base64.b64encode(content).decode()


def test_every_image_gets_a_class_and_a_probability_for_each(model: Family) -> None:
    got = answer(model, encoded(picture(seed=1)), encoded(picture(90, 7, seed=2)))
    assert len(got["predictions"]) == len(got["probabilities"]) == 2
    for prediction, probabilities in zip(got["predictions"], got["probabilities"], strict=True):
        assert tuple(probabilities) == CLASSES
        assert sum(probabilities.values()) == pytest.approx(1)
        assert prediction == max(probabilities, key=probabilities.__getitem__)


def test_a_file_a_data_url_and_an_array_of_the_same_pixels_get_the_same_answer(model: Family) -> None:
    pixels = picture()
    file = encoded(pixels)
    url = f"data:image/png;base64,{file}"
    floats = pixels.astype(float).tolist()
    assert len({str(answer(model, image)) for image in (file, url, pixels.tolist(), floats)}) == 1


def test_one_image_may_be_given_alone(model: Family) -> None:
    file = encoded(picture())
    assert model.render(model.predict(model.parse({"image": file}))) == answer(model, file)


def test_grey_arrays_are_grey_images(model: Family) -> None:
    grey = picture()[:, :, 0]
    got = [answer(model, image) for image in (grey.tolist(), grey[:, :, None].tolist(), encoded(grey))]
    assert got[0] == got[1] == got[2]


def test_sixteen_bit_grey_is_scaled_and_not_clipped(model: Family) -> None:
    grey = picture()[:, :, 0]
    assert answer(model, encoded(grey.astype(np.uint16) * 257)) == answer(model, encoded(grey))


@pytest.mark.parametrize("file_format", ["JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM"])
def test_the_usual_formats_are_read(model: Family, file_format: str) -> None:
    assert answer(model, encoded(picture(), file_format))["predictions"][0] in CLASSES


def test_an_upside_down_photo_is_turned_upright(model: Family) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    turned = encoded(picture()[::-1, ::-1], "PNG", exif=exif)
    assert answer(model, turned) == answer(model, encoded(picture()))


def test_an_answer_does_not_depend_on_the_neighbours(model: Family) -> None:
    rows = [model.parse({"image": encoded(picture(seed=seed))})[0] for seed in range(7)]
    together = np.stack(model.predict(rows))
    alone = np.stack([model.predict([row])[0] for row in rows])
    assert np.allclose(together, alone, atol=1e-6)
    assert not np.allclose(together[0], together[1], atol=1e-3)


def test_more_images_than_fit_one_step_come_back_in_order(tmp_path: Path) -> None:
    details = {**DETAILS, "image": {**DETAILS["image"], "size": 512}}
    model = loaded(image_model(tmp_path, details=details))
    rows = model.parse({"images": [encoded(picture(seed=seed)) for seed in (1, 2, 3)]})
    together = np.stack(model.predict(rows))
    assert np.allclose(together, np.stack([model.predict([row])[0] for row in rows]), atol=1e-6)


@pytest.mark.parametrize(
    ("data", "pointer"),
    [
        (None, "/data"),
        ([], "/data"),
        ({}, "/data"),
        ({"images": [[[0]]], "image": [[0]]}, "/data"),
        ({"images": [[[0]]], "extra": 1}, "/data"),
        ({"images": "abc"}, "/data/images"),
        ({"images": []}, "/data/images"),
        ({"images": [[[0]]] * 1025}, "/data/images"),
        ({"image": 7}, "/data/image"),
        ({"image": None}, "/data/image"),
        ({"image": {"url": "http://localhost/"}}, "/data/image"),
        ({"image": ""}, "/data/image"),
        ({"image": "not base64!"}, "/data/image"),
        ({"image": "ümlaut"}, "/data/image"),
        ({"image": "aGVsbG8="}, "/data/image"),
        ({"image": "data:image/png;base64,"}, "/data/image"),
        ({"image": []}, "/data/image"),
        ({"image": [[]]}, "/data/image"),
        ({"image": [1, 2]}, "/data/image"),
        ({"image": [[1, 2], [3]]}, "/data/image"),
        ({"image": [[["1"]]]}, "/data/image"),
        ({"image": [["1"]]}, "/data/image"),
        ({"image": [[True]]}, "/data/image"),
        ({"image": [[None]]}, "/data/image"),
        ({"image": [[256]]}, "/data/image"),
        ({"image": [[-1]]}, "/data/image"),
        ({"image": [[float("nan")]]}, "/data/image"),
        ({"image": [[10**400]]}, "/data/image"),
        ({"image": [[[1, 2]]]}, "/data/image"),
        ({"image": [[[[1]]]]}, "/data/image"),
    ],
)
def test_what_is_no_image_is_refused_and_pointed_at(model: Family, data: object, pointer: str) -> None:
    with pytest.raises(InputUnreadable) as refusal:
        model.parse(data)
    assert refusal.value.pointer == pointer
    assert refusal.value.sentence.endswith(".")


def test_the_pointer_names_the_first_bad_image(model: Family) -> None:
    with pytest.raises(InputUnreadable, match="not base64") as refusal:
        model.parse({"images": [encoded(picture())] * 3 + ["?"]})
    assert refusal.value.pointer == "/data/images/3"


@pytest.mark.filterwarnings(r"ignore::UserWarning:PIL\.")  # as the code does, whose filter pytest replaces
def test_every_cut_of_a_file_is_refused_or_answered_but_never_a_crash(model: Family) -> None:
    for file_format in ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM"):
        whole = base64.b64decode(encoded(picture(), file_format))
        chance = np.random.default_rng(0)
        for end in range(0, len(whole), max(1, len(whole) // 25)):
            broken = bytearray(whole)
            broken[chance.integers(len(whole))] ^= 0xFF
            for content in (whole[:end], bytes(broken)):
                try:
                    model.parse({"image": base64.b64encode(content).decode()})
                except InputUnreadable as refusal:
                    assert refusal.pointer == "/data/image"


@pytest.mark.parametrize(("width", "height"), [(8_001, 8_000), (10_000, 10_000), (30_000, 30_000), (2**31 - 1, 2)])
def test_a_decompression_bomb_is_refused_before_it_is_unpacked(model: Family, width: int, height: int) -> None:
    with pytest.raises(InputUnreadable, match="pixels"):
        model.parse({"image": png_header(width, height)})


def test_the_images_of_one_request_share_the_limit_on_pixels(model: Family) -> None:
    large = encoded(np.zeros((4000, 9000), dtype=np.uint8))
    with pytest.raises(InputUnreadable, match="pixels") as refusal:
        model.parse({"images": [large, large]})
    assert refusal.value.pointer == "/data/images/1"


def test_a_format_that_starts_programs_is_not_read(model: Family) -> None:
    with pytest.raises(InputUnreadable, match="PNG, JPEG"):
        model.parse({"image": encoded(picture(), "EPS")})


@pytest.mark.parametrize(
    ("architecture", "image"),
    [
        (None, {}),
        ({"widths": []}, {}),
        ({"widths": [8] * 9}, {}),
        ({"widths": [1 << 40]}, {}),
        ({"widths": [True]}, {}),
        ({"widths": "8"}, {}),
        ({"classes": 4}, {}),
        ({"classes": 3.0}, {}),
        ({"stem_stride": 0}, {}),
        ({"evil": 1}, {}),
        ({"widths": [4096, 4096, 4096]}, {}),
        ({"widths": [8, 24]}, {}),
        ({}, {"size": 1 << 30}),
        ({}, {"size": "12"}),
        ({}, {"channels": 1}),
        ({}, {"std": [0.2, 0.2, 0.0]}),
        ({}, {"std": [0.2, 0.2]}),
        ({}, {"mean": [float("nan")] * 3}),
        ({}, {"mean": None}),
    ],
)
def test_a_card_that_does_not_fit_is_refused(
    tmp_path: Path, architecture: dict[str, Any] | None, image: dict[str, Any]
) -> None:
    details = {
        "architecture": None if architecture is None else {**DETAILS["architecture"], **architecture},
        "image": {**DETAILS["image"], **image},
    }
    with pytest.raises(ModelUnreadable):
        loaded(image_model(tmp_path, details=details))


@pytest.mark.parametrize("classes", [None, (), ("cat",), ("cat", "cat", "owl"), ("cat", "dog"), (1, "1", 2)])
def test_classes_that_do_not_fit_are_refused(tmp_path: Path, classes: Any) -> None:
    with pytest.raises(ModelUnreadable):
        loaded(image_model(tmp_path, classes=classes))


def test_a_pickle_in_place_of_the_weights_is_never_opened(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "exploded",))

    image_model(tmp_path)
    torch.save({"bomb": Bomb()}, tmp_path / FILE_NAME)
    with pytest.raises(ModelUnreadable, match="not a whole safetensors file"):
        loaded(tmp_path)
    assert not (tmp_path / "exploded").exists()


def test_cut_and_missing_weights_are_refused(tmp_path: Path) -> None:
    weights = image_model(tmp_path) / FILE_NAME
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelUnreadable, match="not a whole safetensors file"):
        loaded(tmp_path)
    weights.unlink()
    with pytest.raises(ModelUnreadable, match=r"no model\.safetensors"):
        loaded(tmp_path)


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = image_model(tmp_path) / FILE_NAME
    tensors = load_file(weights)
    tensors["head.bias"][1] = float("nan")
    save_file(tensors, weights)
    with pytest.raises(ModelUnreadable, match=r"not finite numbers, in head\.bias"):
        loaded(tmp_path)
