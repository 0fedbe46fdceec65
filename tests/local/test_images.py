"""What a container runs whose manifest gives no command."""

from __future__ import annotations

from pathlib import Path

import pytest

from kfcore_local.images import ImageMap


@pytest.mark.parametrize(
    "image", ["trainer", "trainer:1", "ghcr.io/us/trainer", "host:5000/us/trainer:v2", "us/trainer@sha256:abc"]
)
def test_an_image_is_known_by_its_name_whatever_its_registry_and_tag(image: str) -> None:
    found = ImageMap.parse(["trainer=python train.py --rate '0.1 0.2'"]).find(image)
    assert found is not None
    assert found.command == ("python", "train.py", "--rate", "0.1 0.2")


def test_the_first_that_matches_is_taken_before_those_built_in() -> None:
    images = ImageMap.parse(["us/jupyter*=mine", "*=rest"])
    assert [(found.command if (found := images.find(name)) else None) for name in ("us/jupyter-x:1", "other")] == [
        ("mine",),
        ("rest",),
    ]


def test_a_virtual_environment_stands_for_an_image(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").touch()
    found = ImageMap.parse([f"torch={tmp_path}"]).find("torch:2")
    assert found is not None
    assert (found.command, found.bin_directory) == ((), tmp_path / "bin")


@pytest.mark.parametrize("option", ["python", "=x", "a=", "a='"])
def test_an_option_that_says_nothing_is_refused(option: str) -> None:
    with pytest.raises(ValueError, match="--image"):
        ImageMap.parse([option])
