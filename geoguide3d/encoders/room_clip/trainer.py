"""How RoomCLIP is trained: batches that depend on (seed, step) alone, so that a resumed run is the same run."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

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
from geoguide3d.training.run_folder import open_run
from geoguide3d.training.schedule import Schedule
from geoguide3d.training.trainer import Trainer, train


@dataclass(frozen=True)
class TrainingConfig(Schedule):
    """How RoomCLIP is trained, besides the `Schedule`.

    Args:
        batch: images per step.
        crop: (height, width) to which a random crop is resampled; a little below the size that images are encoded at,
            because most crops are parts of an image.
        balance_from: step from which on pixels of rare categories weigh more (late, as in Cao et al. 2019, so that the
            frequent ones have shaped the features first).
        sampling: what the loss looks at.
    """

    steps: int = 13000
    batch: int = 16
    crop: tuple[int, int] = (96, 128)
    balance_from: int = 2750
    sampling: Sampling = field(default_factory=Sampling)


class RoomClipTrainer(Trainer[RoomClip]):
    """Trains a RoomClip on frames.

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
        super().__init__(model.to(memory_format=torch.channels_last), config)
        self._frames, self._writer, self._vocabulary = frames, writer, vocabulary
        self.config = config
        self._device = model.bias.device
        self._max_words = len(model.text.places)

    def shown(self) -> dict[str, str]:
        """Returns the cosine from which on a prompt counts as meant."""
        return {"relevant": f"{self.model.relevant_cosine():.3f}"}

    def terms(self, part: int) -> dict[str, Tensor]:
        """Returns the loss of the images and captions of this step."""
        config, generator = self.config, self.generator(part)
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
        loss = caption_loss(self.model, features, texts, truth.to(self._device), weights.to(self._device))
        return {"loss": loss}


def train_weights(
    frames_folder: Path, output: Path, sizes: RoomClipConfig, config: TrainingConfig, device: str
) -> Path:
    """Trains on the folder's frames and returns the weights file that it wrote into `output`, beside a checkpoint."""
    frames = Frames.read(frames_folder, "train")
    writer = CaptionWriter(FrameFolder.read(frames_folder).categories)
    vocabulary = vocabulary_of(frames.things, writer, config.seed)
    torch.manual_seed(config.seed)
    model = RoomClip(sizes, len(vocabulary)).to(device)
    trainer = RoomClipTrainer(model, frames, writer, vocabulary, config)
    with open_run(output, trainer.processes) as run:
        train(trainer, run)
    weights = output / "room_clip.safetensors"
    write_room_clip(weights, trainer.averaged, sizes, vocabulary)
    return weights
