"""Augmentation of training batches: by kornia, and recordings by flip and roll; all at once, none one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from neurodeploy.errors import UsageError

if TYPE_CHECKING:
    import torch

Step: TypeAlias = "Callable[[torch.Tensor], torch.Tensor]"
FOR_IMAGES = ("crop", "affine", "flip", "cutout", "autoaugment")
FOR_RECORDINGS = ("affine", "flip", "roll")
ROLL = 5  # pixels; Deng et al. 2022 (TET) and after them MPD-AGL, on DVS-CIFAR10 at 48 x 48
# Shares of the side: 4 of padding and a hole of 16 at CIFAR's 32 (He et al. 2015; DeVries & Taylor 2017).
_PADDING, _HOLE = 1 / 8, 1 / 2
# What leaves a handwritten digit the digit that it is; our choice.
_TURN, _SHIFT, _SCALE = 10.0, 0.07, (0.9, 1.1)
# Images that share a sub-policy: the paper draws one for each image, kornia one for each call. 8 keeps the variety at
# the cost of a few calls per batch.
_SHARING = 8


def check_augmentation(names: Sequence[str], shape: Sequence[int], temporal: bool) -> None:
    """Raises UsageError where a transformation does not suit samples of that shape (without batch and time)."""
    allowed = FOR_RECORDINGS if temporal else FOR_IMAGES
    kind = "recordings" if temporal else "images"
    problems = [f"{name} is not for {kind} (allowed: {', '.join(allowed)})" for name in names if name not in allowed]
    if names and len(shape) != 3:
        problems.append(f"samples of shape {tuple(shape)} are not (channels, height, width)")
    elif "autoaugment" in names and shape[0] not in (1, 3):
        problems.append(f"autoaugment needs 1 or 3 channels, not {shape[0]}")
    if problems:
        raise UsageError(f"data.augment={','.join(names)}: {'; '.join(problems)}")


class Augmentation:
    """Transformations, one after the other, of whole batches.

    Images, (B, C, H, W) in [0, 1], through kornia: "crop" at a random place after padding with zeros by an eighth of
    the side (4 at 32), "affine": turned by up to 10 degrees, shifted by up to 7 % of each side and scaled by 0.9 to
    1.1, "flip" left to right with probability 1/2, "cutout" of one square of half the side (16 at 32) inside the
    image, set to 0, "autoaugment" with the policy found for CIFAR-10 (Cubuk et al. 2019). What comes out is in [0, 1]
    and off the grid of the input.

    Recordings, (T, B, C, H, W), all steps of a sample alike: "affine" as images, "flip", and "roll" by -5 to 5 pixels
    around both sides.
    """

    def __init__(self, names: Sequence[str], shape: Sequence[int], temporal: bool) -> None:
        check_augmentation(names, shape, temporal)
        self.names, self.temporal = tuple(names), temporal
        self._steps = [_step(name, shape, temporal) for name in names]

    def __call__(self, values: torch.Tensor, seed: int) -> torch.Tensor:
        """The batch transformed; what is drawn depends on the seed alone, and torch's generators stay as they are."""
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would reach into GPUs as well
            for step in self._steps:
                values = step(values)
        return values


def _step(name: str, shape: Sequence[int], temporal: bool) -> Step:
    if temporal and name in ("flip", "roll"):
        return _flip if name == "flip" else _roll
    transform = _kornia(name, shape)
    if name == "autoaugment":
        return partial(_automatic, transform)
    return partial(_all_steps_alike, transform) if temporal else transform


def _kornia(name: str, shape: Sequence[int]) -> Step:
    import kornia.augmentation as kornia
    from kornia.augmentation.auto import AutoAugment

    _, height, width = shape
    made: Any
    if name == "crop":
        padding = tuple(max(1, round(side * _PADDING)) for side in (width, height))
        made = kornia.RandomCrop((height, width), padding=padding, p=1.0)
    elif name == "affine":
        made = kornia.RandomAffine(_TURN, (_SHIFT, _SHIFT), _SCALE, p=1.0)
    elif name == "flip":
        made = kornia.RandomHorizontalFlip(p=0.5)
    elif name == "cutout":
        area = min(1.0, _HOLE**2 * min(height, width) / max(height, width))
        made = kornia.RandomErasing(scale=(area, area), ratio=(1.0, 1.0), value=0.0, p=1.0)
    else:
        made = AutoAugment("cifar10")
    return cast(Step, made)


def _automatic(transform: Step, values: torch.Tensor) -> torch.Tensor:
    import torch

    grey = values.shape[1] == 1  # kornia's contrast is for colours only
    parts = [transform(part.expand(-1, 3, -1, -1) if grey else part) for part in values.split(_SHARING)]
    whole = torch.cat(parts).clamp(0, 1)
    return whole[:, :1].contiguous() if grey else whole


def _all_steps_alike(transform: Step, values: torch.Tensor) -> torch.Tensor:
    """The steps of a recording as channels of one image."""
    images = values.transpose(0, 1)
    return transform(images.flatten(1, 2)).view(images.shape).transpose(0, 1).contiguous()


def _flip(values: torch.Tensor) -> torch.Tensor:
    import torch

    chosen = torch.rand(values.shape[1]) < 0.5
    return torch.where(chosen[:, None, None, None], values.flip(-1), values)


def _roll(values: torch.Tensor) -> torch.Tensor:
    """out[t, b, c, y, x] = in[t, b, c, (y - dy[b]) mod H, (x - dx[b]) mod W]."""
    import torch

    samples, height, width = values.shape[1], values.shape[3], values.shape[4]
    shifts = torch.randint(-ROLL, ROLL + 1, (2, samples))
    rows = (torch.arange(height) - shifts[0, :, None]) % height
    columns = (torch.arange(width) - shifts[1, :, None]) % width
    places = torch.arange(samples)[:, None, None]
    # Indices on both sides of the channels put what they index first: (B, H, W, T, C).
    return values[:, places, :, rows[:, :, None], columns[:, None, :]].permute(3, 0, 4, 1, 2).contiguous()
