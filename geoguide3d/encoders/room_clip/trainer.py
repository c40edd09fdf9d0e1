"""The training loop of RoomCLIP: batches that depend on (seed, step) alone, so that a resumed run is the same run."""

from __future__ import annotations

import copy
import math
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from geoguide3d.encoders.room_clip.augmentation import augment
from geoguide3d.encoders.room_clip.captions import CaptionWriter, truth_table, vocabulary_of
from geoguide3d.encoders.room_clip.frames import FrameFolder, Frames
from geoguide3d.encoders.room_clip.networks import RoomClip, RoomClipConfig
from geoguide3d.encoders.room_clip.objective import (
    Sampling,
    balancing_weights,
    caption_loss,
    draw_captions,
    sample_pixels,
)
from geoguide3d.encoders.room_clip.vocabulary import Vocabulary, split_words
from geoguide3d.encoders.room_clip.weights import write_room_clip
from geoguide3d.store.atomic import atomic_file


@dataclass(frozen=True)
class TrainingConfig:
    """How RoomCLIP is trained.

    Args:
        steps: optimiser steps.
        batch: images per step.
        crop: (height, width) to which a random crop is resampled; a little below the size that images are encoded at,
            because most crops are parts of an image.
        learning_rate: highest learning rate (AdamW).
        warm_up: steps until it is reached; afterwards it falls as a cosine.
        weight_decay: of matrices and kernels.
        balance_from: step from which on pixels of rare categories weigh more (late, as in Cao et al. 2019, so that the
            frequent ones have shaped the features first).
        average: decay of the moving average of the weights, which is what is kept.
        seed: of weights and batches.
        checkpoint_steps: steps from one checkpoint to the next.
        sampling: what the loss looks at.
    """

    steps: int = 13000
    batch: int = 16
    crop: tuple[int, int] = (96, 128)
    learning_rate: float = 2e-3
    warm_up: int = 200
    weight_decay: float = 0.02
    balance_from: int = 2750
    average: float = 0.998
    seed: int = 0
    checkpoint_steps: int = 250
    sampling: Sampling = field(default_factory=Sampling)


class Trainer:
    """Trains a RoomClip on frames; `model` is what is trained, `averaged` what is kept.

    Args:
        model: fresh networks, on the device to train on.
        frames: the training split.
        writer: writes the captions.
        vocabulary: turns them into ids.
        config: how.
    """

    def __init__(
        self, model: RoomClip, frames: Frames, writer: CaptionWriter, vocabulary: Vocabulary, config: TrainingConfig
    ) -> None:
        self.model = model.to(memory_format=torch.channels_last).train()
        self.averaged = copy.deepcopy(self.model).eval().requires_grad_(False)
        self.step_count = 0
        self._frames, self._writer, self._vocabulary = frames, writer, vocabulary
        self.config = config
        self._device = model.bias.device
        self._max_words = len(model.text.places)
        self._optimizer = torch.optim.AdamW(
            _parameter_groups(model, config.weight_decay), lr=config.learning_rate, fused=True
        )

    def step(self) -> float:
        """Takes one optimiser step and returns its loss."""
        config = self.config
        for group in self._optimizer.param_groups:
            group["lr"] = config.learning_rate * _schedule(self.step_count, config)
        loss = self._loss()
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self._optimizer.step()
        self.step_count += 1
        self._average()
        return float(loss.detach())

    def state_dict(self) -> dict[str, Any]:
        """Returns everything that a resumed run needs."""
        return {
            "step": self.step_count,
            "model": self.model.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self._optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes back to a state of `state_dict`."""
        self.step_count = state["step"]
        self.model.load_state_dict(state["model"])
        self.averaged.load_state_dict(state["averaged"])
        self._optimizer.load_state_dict(state["optimizer"])

    def _loss(self) -> Tensor:
        config = self.config
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + self.step_count)
        rng = random.Random(f"{config.seed} {self.step_count}")
        rows = torch.randint(len(self._frames), (config.batch,), generator=generator)
        images = self._frames.images[rows].to(self._device).float() / 255.0
        images, objects = augment(images, self._frames.objects[rows].to(self._device), config.crop, generator)
        objects = objects.cpu()
        pixels = sample_pixels(objects, config.sampling, generator)
        seen, thing_of_pixel = torch.unique(objects.flatten()[pixels], return_inverse=True)
        things = [self._frames.things[row] for row in seen.tolist()]
        captions = draw_captions(things, self._writer, config.sampling.captions, rng)
        truth = truth_table(things, captions)[thing_of_pixel]
        words = self._vocabulary.ids([split_words(caption.text) for caption in captions], self._max_words)
        with torch.autocast(self._device.type, dtype=torch.bfloat16):
            maps = self.model.image(images.to(memory_format=torch.channels_last))
        texts = self.model.text(words.to(self._device))
        features = maps.permute(0, 2, 3, 1).flatten(0, 2)[pixels.to(self._device)]
        weights = torch.ones(len(pixels))
        if self.step_count >= config.balance_from:
            weights = balancing_weights([things[row].category for row in thing_of_pixel.tolist()])
        return caption_loss(self.model, features, texts, truth.to(self._device), weights.to(self._device))

    @torch.no_grad()
    def _average(self) -> None:
        # Early on the average forgets faster, or the random start would stay in it.
        decay = min(self.config.average, self.step_count / (self.step_count + 10))
        trained = self.model.state_dict()
        for name, kept in self.averaged.state_dict().items():
            if kept.is_floating_point():
                kept.lerp_(trained[name], 1 - decay)
            else:
                kept.copy_(trained[name])


def train_weights(
    frames_folder: Path, output: Path, sizes: RoomClipConfig, config: TrainingConfig, device: str
) -> Path:
    """Trains on the folder's frames and returns the weights file that it wrote into `output`, beside a checkpoint."""
    frames = Frames.read(frames_folder, "train")
    writer = CaptionWriter(FrameFolder.read(frames_folder).categories)
    vocabulary = vocabulary_of(frames.things, writer, config.seed)
    torch.manual_seed(config.seed)
    model = RoomClip(sizes, len(vocabulary)).to(device)
    trainer = Trainer(model, frames, writer, vocabulary, config)
    train(trainer, output / "checkpoint.pt")
    weights = output / "room_clip.safetensors"
    write_room_clip(weights, trainer.averaged, sizes, vocabulary)
    return weights


def train(trainer: Trainer, checkpoint: Path) -> None:
    """Trains to the end, from the checkpoint where there is one."""
    steps = trainer.config.steps
    if checkpoint.is_file():
        trainer.load_state_dict(torch.load(checkpoint, weights_only=True))
    shown = math.nan
    with tqdm(total=steps, initial=trainer.step_count, desc="training", unit="step") as bar:
        while trainer.step_count < steps:
            loss = trainer.step()
            shown = loss if math.isnan(shown) else 0.98 * shown + 0.02 * loss
            bar.set_postfix(loss=f"{shown:.3f}", relevant=f"{trainer.model.relevant_cosine():.3f}", refresh=False)
            bar.update()
            if trainer.step_count % trainer.config.checkpoint_steps == 0 or trainer.step_count == steps:
                with atomic_file(checkpoint) as temporary:
                    torch.save(trainer.state_dict(), temporary)


def _schedule(step: int, config: TrainingConfig) -> float:
    if step < config.warm_up:
        return (step + 1) / config.warm_up
    progress = (step - config.warm_up) / max(1, config.steps - config.warm_up)
    return 0.5 * (1 + math.cos(math.pi * progress))


def _parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    matrices = [value for value in model.parameters() if value.ndim > 1]
    others = [value for value in model.parameters() if value.ndim <= 1]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
