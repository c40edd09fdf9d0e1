"""The label sets of the published benchmarks, and how their names become prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from geoguide3d.encoders.prompts import class_prompt

OPENSCENE_TEMPLATE = "a {} in a scene"
_OTHER = "other"


@dataclass(frozen=True)
class LabelSet:
    """The classes of a benchmark, by the names that OpenScene gives them (`dataset/label_constants.py` @ 0f369bc).

    Args:
        labels: K names; label k of a scene is labels[k], 255 is ignored.
        bare_other: the class whose prompt OpenScene replaces by the bare word "other". None: none.
        details: words to ask for in the place of the labels, where the benchmark asks for finer ones.
        class_of_detail: the class of each of details.
    """

    labels: tuple[str, ...]
    bare_other: int | None = None
    details: tuple[str, ...] = ()
    class_of_detail: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def prompts(self, template: str, *, openscene_compat: bool, detailed: bool = False) -> list[str]:
        """Returns the prompts of the classes, or of the details, in their order.

        Args:
            template: with "{}" for the name; OpenScene's is OPENSCENE_TEMPLATE.
            openscene_compat: one class is asked for as the bare word "other": otherfurniture in ScanNet, other in
                Matterport's 21. In Matterport's 40, 80 and 160 it hits "air vent", "headboard" and "person", because
                OpenScene looks for the data set's name in that of a folder; published numbers carry that.
            detailed: the details, which have no exception, instead of the classes.

        Raises:
            ValueError: there are no details, or the template has no place for a name.
        """
        if detailed and not self.details:
            raise ValueError("this label set has no details; ask for its classes")
        prompts = [class_prompt(name, template) for name in (self.details if detailed else self.labels)]
        if openscene_compat and not detailed and self.bare_other is not None:
            prompts[self.bare_other] = _OTHER
        return prompts

    def classes_of(
        self,
        details: Tensor,  # (N,)
    ) -> Tensor:
        """Returns (N,) int64 classes of predicted details; what is no detail (e.g. "unpredicted") stays as it is."""
        table = torch.tensor(self.class_of_detail, device=details.device)
        known = (details >= 0) & (details < len(table))
        return torch.where(known, table[details.where(known, 0)], details)


def _names(text: str) -> tuple[str, ...]:
    return tuple(" ".join(name.split()) for name in text.split(","))


def _mapped(counts: Sequence[int]) -> tuple[int, ...]:
    return tuple(label for label, count in enumerate(counts) for _ in range(count))


_INDOOR_19 = _names(
    """wall, floor, cabinet, bed, chair, sofa, table, door, window, bookshelf, picture, counter, desk, curtain,
    refrigerator, shower curtain, toilet, sink, bathtub"""
)
SCANNET_20 = LabelSet((*_INDOOR_19, "otherfurniture"), bare_other=19)
MATTERPORT_21 = LabelSet((*_INDOOR_19, _OTHER, "ceiling"), bare_other=19)

# The misspelt names are OpenScene's: a prompt spelt well is another vector.
_MATTERPORT = _names(
    """wall, door, ceiling, floor, picture, window, chair, pillow, lamp, cabinet, curtain, table, plant, mirror, towel,
    sink, shelves, sofa, bed, night stand, toilet, column, banister, stairs, stool, vase, television, pot, desk, box,
    coffee table, counter, bench, garbage bin, fireplace, clothes, bathtub, book, air vent, faucet, photo, toilet paper,
    fan, railing, sculpture, dresser, rug, ottoman, bottle, refridgerator, bookshelf, wardrobe, pipe, monitor, stand,
    drawer, container, light switch, purse, door way, basket, chandelier, oven, clock, stove, washing machine,
    shower curtain, fire alarm, bin, chest, microwave, blinds, bowl, tissue box, plate, tv stand, shoe, heater,
    headboard, bucket, candle, flower pot, speaker, furniture, sign, air conditioner, fire extinguisher, curtain rod,
    floor mat, printer, telephone, blanket, handle, shower head, soap, keyboard, thermostat, radiator, kitchen island,
    paper towel, sheet, glass, dishwasher, cup, ladder, garage door, hat, exit sign, piano, board, rope, ball,
    excercise equipment, hanger, candlestick, light, scale, bag, laptop, treadmill, guitar, display case,
    toilet paper holder, bar, tray, urn, decorative plate, pool table, jacket, bottle of soap, water cooler, utensil,
    tea pot, stuffed animal, paper towel dispenser, lamp shade, car, toilet brush, doll, drum, whiteboard, range hood,
    candelabra, toy, foot rest, soap dish, placemat, cleaner, computer, knob, paper, projector, coat hanger, case, pan,
    luggage, trinket, chimney, person, alarm"""
)
MATTERPORT_40 = LabelSet(_MATTERPORT[:40], bare_other=38)
MATTERPORT_80 = LabelSet(_MATTERPORT[:80], bare_other=78)
MATTERPORT_160 = LabelSet(_MATTERPORT, bare_other=158)

NUSCENES_16 = LabelSet(
    _names(
        """barrier, bicycle, bus, car, construction vehicle, motorcycle, person, traffic cone, trailer, truck,
        drivable surface, other flat, sidewalk, terrain, manmade, vegetation"""
    ),
    details=_names(
        """barrier, barricade, bicycle, bus, car, bulldozer, excavator, concrete mixer, crane, dump truck, motorcycle,
        person, pedestrian, traffic cone, trailer, semi trailer, cargo container, shipping container, freight container,
        truck, road, curb, traffic island, traffic median, sidewalk, grass, grassland, lawn, meadow, turf, sod,
        building, wall, pole, awning, tree, trunk, tree trunk, bush, shrub, plant, flower, woods"""
    ),
    class_of_detail=_mapped((2, 1, 1, 1, 5, 1, 2, 1, 5, 1, 1, 3, 1, 6, 4, 8)),
)

LABEL_SETS: dict[str, LabelSet] = {
    "scannet_20": SCANNET_20,
    "matterport_21": MATTERPORT_21,
    "matterport_40": MATTERPORT_40,
    "matterport_80": MATTERPORT_80,
    "matterport_160": MATTERPORT_160,
    "nuscenes_16": NUSCENES_16,
}
